#!/usr/bin/env bash
# make chaos: imports under random acts for TIME seconds, from SEED on (test/chaos/chaos.pl). Root gives the database a small
# file system of its own, so that the disk can be full.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

export TIME=${TIME:-600} SEED=${SEED:-$(date +%s)}
dir=$build/run/chaos
small=

trap '[ -z "$small" ] || umount "$small"' EXIT

ready_to_run "$dir"
tap_environment "$dir" "$dir/ports"
if [ "$(id -u)" = 0 ] && server_folder "$dir/small" && mount -t tmpfs -o "size=96m,mode=0777" tmpfs "$dir/small"; then
    small=$dir/small
else
    say "no small file system: the disk is not filled"
fi
status=0
"${as_server_user[@]}" env "${tap_env[@]}" CHAOS_SMALL="$small" \
    perl "$top/test/chaos/chaos.pl" </dev/null 2>&1 >"$dir/chaos.log" || status=$?
grep -E '^not ok' "$dir/chaos.log" || true
if grep -hE 'terminated by signal|PANIC|TRAP|leak' "$dir"/tmp_check/log/*.log | grep -vE 'terminated by signal 9: Killed|STATEMENT:'; then
    say "the server's log speaks of a crash or a leak"
    status=1
fi
[ "$status" = 0 ] || tail -n 20 "$dir/tmp_check/log/regress_log_chaos"
passed=$(grep -cE '^ok [0-9]+' "$dir/chaos.log" || true)
failed=$(grep -cE '^not ok [0-9]+' "$dir/chaos.log" || true)
[ "$status" = 0 ] || [ "$failed" -gt 0 ] || failed=1
say "$passed passed, $failed failed"
exit "$status"
