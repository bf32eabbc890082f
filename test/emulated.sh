#!/usr/bin/env bash
# make emulated ARCH=arm64|s390x: the core's unit tests, and tests on a server, of another architecture under an emulator.
#
# SUITES="unit regress isolation tap" and TESTS="name ..." select; without them it is the unit tests and the regression
# tests, some minutes. The server is this Debian's PostgreSQL for that architecture, its clients are
# the host's. s390x is the big-endian one. An emulator on a processor that orders its accesses to memory does so too: what
# is missing on others (barriers) does not show. Status 77: it cannot be tested here.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=test/versions/versions.sh
. "$top/test/versions/versions.sh"
arch=${1:-}
# shellcheck source=test/emulated/architecture.sh
. "$top/test/emulated/architecture.sh"

total_passed=0 total_failed=0 total_skipped=0

# add PASSED FAILED SKIPPED
add() {
    total_passed=$((total_passed + $1)) total_failed=$((total_failed + $2)) total_skipped=$((total_skipped + $3))
}

unit() {
    local log=$build/emulated-$arch-unit.log filter=() status=0 all passed
    local result='^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*'
    [ -z "${TESTS:-}" ] || filter=(-R "${TESTS// /|}")
    ctest --test-dir "$emulated/cmake" --output-on-failure --timeout 600 -j"$jobs" "${filter[@]}" >"$log" 2>&1 || status=$?
    all=$(grep -cE "$result" "$log" || true)
    passed=$(grep -cE "$result Passed " "$log" || true)
    [ $status = 0 ] || tail -n 60 "$log"
    # It may fail before the first test.
    [ $status = 0 ] || [ "$all" -gt "$passed" ] || all=$((passed + 1))
    say "unit: $passed passed, $((all - passed)) failed, 0 skipped"
    add "$passed" $((all - passed)) 0
}

# on_server SUITE
on_server() {
    local log=$build/emulated-$arch-$1.log status=0 numbers
    # In the environment: what stands in a Makefile of PGXS would win over make's own.
    CXX="$compiler --sysroot=$root" SUITES=$1 \
        "$top/test/versions/on" '' "$pg_config" test/run.sh 2>&1 | tee "$log" || status=$?
    read -ra numbers < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped$/\1 \2 \3/p' "$log" | tail -n 1) || true
    [ ${#numbers[@]} = 3 ] || numbers=(0 1 0)
    [ $status = 0 ] || [ "${numbers[1]}" -gt 0 ] || numbers[1]=1
    add "${numbers[@]}"
}

"$top/test/setup.sh" test
"$top/test/setup.sh" "emulated-$processor"
root=$("$top/test/emulated/root" "$arch")

say "$arch: $byte_order-endian, $("$emulator" --version | head -n 1)"
pg_config=
for suite in ${SUITES:-unit regress}; do
    case $suite in
    unit)
        step "unit tests for $arch" "$build/emulated-$arch-build.log" "$top/test/emulated/units" "$arch" "$root"
        unit
        ;;
    regress | isolation | tap)
        [ -n "$pg_config" ] || pg_config=$("$top/test/emulated/installation" "$arch" "$root")
        on_server "$suite"
        ;;
    *)
        say "no such suite for another architecture: $suite"
        exit 2
        ;;
    esac
done
say "$total_passed passed, $total_failed failed, $total_skipped skipped"
[ $total_failed = 0 ]
