#!/usr/bin/env bash
# make soak: the law held to random tables and files (test/t/031_property.pl), then to random bytes in all encodings
# (test/t/032_encodings.pl), for half of TIME seconds each, from case SEED on. A line of progress every ten seconds;
# ends at the first case that fails.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

export TIME=${TIME:-600} SEED=${SEED:-$(date +%s)}
dir=$build/run/soak

ready_to_run "$dir"
tap_environment "$dir" "$dir/ports"
# The tests' programs say on standard error what is for people; when they are ended they stop their server.
for test in 031_property 032_encodings; do
    "${as_server_user[@]}" env "${tap_env[@]}" TIME=$(((TIME + 1) / 2)) \
        perl "$top/test/t/$test.pl" </dev/null 2>&1 >"$dir/$test.log"
done
