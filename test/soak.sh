#!/usr/bin/env bash
# make soak: the law held to random tables and files (test/t/031_property.pl), then to random bytes in all encodings
# (test/t/032_encodings.pl), for half of TIME seconds each, from case SEED on. A line of progress every ten seconds;
# ends at the first case that fails.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

export TIME=${TIME:-600} SEED=${SEED:-$(date +%s)}
pgxs_test=$build/pg/usr/lib/postgresql/$pg_major/lib/pgxs/src/test
dir=$build/run/soak

ready_to_run "$dir"
# The tests' programs say on standard error what is for people; when they are ended they stop their server.
for test in 031_property 032_encodings; do
    "${as_server_user[@]}" env PATH="$bindir:$PATH" PERL5LIB="$pgxs_test/perl" TESTDIR="$dir" PGPORT=65432 \
        TIME=$(((TIME + 1) / 2)) PG_TEST_PORT_DIR="$dir/ports" PG_REGRESS="$pgxs_test/regress/pg_regress" \
        perl "$top/test/t/$test.pl" </dev/null 2>&1 >"$dir/$test.log"
done
