#!/usr/bin/env bash
# make test: installs what is missing, builds, and runs every suite on servers of its own: run.sh [all]
#
# SUITES="unit sanitize fuzz regress isolation tap chaos" and TESTS="name ..." select; `all` adds test/t-all and a minute
# of chaos.
# Output goes to logs below build/. Counted are GoogleTest cases, fuzz targets, pg_regress tests, isolation specs and
# TAP assertions; a server log that speaks of a crash or a leak is a failure too.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

run=$build/run
pgxs_test=$build/pg/usr/lib/postgresql/$pg_major/lib/pgxs/src/test
tap_folders=("$top/test/t")
suites="unit sanitize fuzz regress isolation tap"
if [ "${1:-}" = all ]; then
    tap_folders+=("$top/test/t-all")
    suites+=" chaos"
fi

total_passed=0 total_failed=0 total_skipped=0
skips=()

finish() {
    local status=$?
    trap - EXIT
    stop_server immediate >/dev/null 2>&1 || true
    stop_servers_below "$run/tap"
    [ ${#skips[@]} = 0 ] || printf 'skipped: %s\n' "${skips[@]}"
    # A step before or between the tests failed.
    [ $status = 0 ] || [ $total_failed -gt 0 ] || total_failed=1
    say "$total_passed passed, $total_failed failed, $total_skipped skipped"
    [ $total_failed = 0 ] || exit 1
}

# The time limit runs in the background, where a signal to this script can reach it and end the tests.
child=
bounded() { # bounded LOG SECONDS COMMAND...
    "${as_server_user[@]}" timeout --kill-after=30 "${@:2}" </dev/null >"$1" 2>&1 &
    child=$!
    wait $child
}
interrupted() {
    [ -z "$child" ] || kill "$child" 2>/dev/null || true
    exit 130
}

selected() { [ -z "${TESTS:-}" ] || [[ " $TESTS " == *" $1 "* ]]; }

count() { grep -cE "$@" || true; }

# report SUITE STATUS PASSED FAILED SKIPPED: adds to the totals, one line on the terminal.
report() {
    local failed=$4
    # A suite that fails without saying in which test.
    [ "$2" = 0 ] || [ "$failed" -gt 0 ] || failed=1
    total_passed=$((total_passed + $3))
    total_failed=$((total_failed + failed))
    total_skipped=$((total_skipped + $5))
    say "$1: $3 passed, $failed failed, $5 skipped"
    [ "$failed" = 0 ]
}

# clean_log SUITE ALLOWED LOG...: no server log may speak of a crash or a leak, but for lines like ALLOWED.
# Statements that the log quotes do not count.
clean_log() {
    local suite=$1 allowed=$2 hits
    shift 2
    hits=$(cat "$@" </dev/null 2>/dev/null | grep -E 'terminated by signal|PANIC|TRAP|leak' |
        grep -vE $'^\t|LOG:  (statement|execute|duration)|STATEMENT:' | grep -vE "$allowed") || return 0
    total_failed=$((total_failed + 1))
    say "$suite: FAILED, the server's log says:"
    say "$hits"
}

# A TAP test that was ended may have left its servers behind.
stop_servers_below() {
    local pid_file
    while read -r pid_file; do
        "${as_server_user[@]}" "$bindir/pg_ctl" --pgdata="$(dirname "$pid_file")" --mode=immediate stop \
            >/dev/null 2>&1 || true
    done < <(find "$1" -name postmaster.pid 2>/dev/null)
}

# --- suites ---

ctest_suite() { # ctest_suite SUITE BUILD-FOLDER
    local suite=$1 log=$run/$1.log filter=() status=0
    local result='^ *[0-9]+/[0-9]+ Test +#[0-9]+: .*'
    [ -z "${TESTS:-}" ] || filter=(-R "${TESTS// /|}")
    ctest --test-dir "$2" --output-on-failure --timeout 300 -j"$jobs" "${filter[@]}" >"$log" 2>&1 || status=$?
    local all passed skipped line
    all=$(count "$result" "$log")
    passed=$(count "$result Passed " "$log")
    skipped=$(count "$result\*\*\*(Skipped|Not Run \(Disabled\))" "$log")
    while read -r line; do
        skips+=("$suite $line")
    done < <(awk '/: Skipped$/ { getline why } /^\[  SKIPPED \] .* \(/ { print $4 ": " why }' \
        "$2/Testing/Temporary/LastTest.log")
    report "$suite" $status "$passed" $((all - passed - skipped)) "$skipped" || tail -n 60 "$log"
}

unit() { ctest_suite unit "$build/cmake"; }
sanitize() { ctest_suite sanitize "$build/sanitize"; }

# The corpus, and a few seconds of what `make fuzz` does for longer.
fuzz() {
    local log=$run/fuzz.log status=0 targets=() file name
    for file in "$top"/test/fuzz/*.cpp; do
        name=$(basename "$file" .cpp)
        ! selected "$name" || targets+=("$name")
    done
    [ ${#targets[@]} -gt 0 ] || return 0
    TARGETS="${targets[*]}" TIME=3 SEED=1 "$top/test/fuzz.sh" >"$log" 2>&1 || status=$?
    report fuzz $status "$(count '^fuzz .* executions' "$log")" "$(count '^fuzz .*: FAILED' "$log")" 0 || tail -n 60 "$log"
}

regress_suite() { # regress_suite SUITE PROGRAM INPUT-FOLDER TEST...
    local suite=$1 program=$2 input=$3 dir=$run/$1 status=0 failed
    shift 3
    [ $# -gt 0 ] || return 0
    if ! start_server "$dir" "fsync = off" >"$run/$suite-server.log" 2>&1; then
        report "$suite" 1 0 0 0 || tail -n 20 "$run/$suite-server.log"
        return 0
    fi
    bounded "$run/$suite.log" 1800 "$program" --inputdir="$input" --outputdir="$dir" --bindir="$bindir" \
        --dbname="$suite" --encoding=UTF8 --no-locale "$@" || status=$?
    stop_server >>"$run/$suite-server.log" 2>&1 || status=$?
    failed=$(count ' \.\.\. (FAILED|failed)' "$run/$suite.log")
    if ! report "$suite" $status "$(count ' \.\.\. ok' "$run/$suite.log")" "$failed" 0; then
        head -n 200 "$dir/regression.diffs" 2>/dev/null || tail -n 20 "$run/$suite.log"
        say "the end of $dir/server.log:"
        tail -n 20 "$dir/server.log"
    fi
    clean_log "$suite" '^$' "$dir/server.log"
}

regress() {
    local tests=() file name
    for file in "$top"/sql/*.sql; do
        name=$(basename "$file" .sql)
        [[ $name == *--* ]] || ! selected "$name" || tests+=("$name")
    done
    regress_suite regress "$pgxs_test/regress/pg_regress" "$top" "${tests[@]}"
}

isolation() {
    local tests=() file name
    for file in "$top"/test/isolation/specs/*.spec; do
        name=$(basename "$file" .spec)
        ! selected "$name" || tests+=("$name")
    done
    regress_suite isolation "$pgxs_test/isolation/pg_isolation_regress" "$top/test/isolation" "${tests[@]}"
}

# Each file by itself: what it may leave in a server's log it says in lines `# allow-log: regex`.
tap() {
    local folder file name
    for folder in "${tap_folders[@]}"; do
        for file in "$folder"/*.pl; do
            name=$(basename "$file" .pl)
            ! selected "$name" || tap_file "$name" "$file"
        done
    done
}

tap_file() {
    local name=$1 file=$2 dir=$run/tap/$1 log=$run/tap-$1.log status=0 allowed
    server_folder "$dir"
    bounded "$log" 3600 env PATH="$bindir:$PATH" PERL5LIB="$pgxs_test/perl:$top/test/t" TESTDIR="$dir" \
        PG_TEST_PORT_DIR="$run/tap/ports" PG_REGRESS="$pgxs_test/regress/pg_regress" PGPORT=65432 \
        prove --norc --verbose "$file" || status=$?
    stop_servers_below "$dir"
    # TAP's directives say what was skipped and what is known to fail; of a file skipped as a whole prove tells.
    local directive='# *(skip|to[d]o)' all failed unproven whole_file line
    all=$(count '^(not )?ok [0-9]+' "$log")
    failed=$(grep -E '^not ok [0-9]+' "$log" | grep -vciE "$directive" || true)
    unproven=$(count -i "^(not )?ok [0-9]+.*$directive" "$log")
    whole_file=$(count '^[^ ]+ \.+ skipped: ' "$log")
    while read -r line; do
        skips+=("tap $name: $line")
    done < <(sed -nE -e "s/^(not )?ok [0-9]+.*($directive.*)/\2/Ip" -e 's/^[^ ]+ \.+ (skipped: .*)/\1/p' "$log")
    report "tap $name" $status $((all - failed - unproven)) "$failed" $((unproven + whole_file)) || tail -n 60 "$log"
    allowed=$(sed -nE 's/^# allow-log: +//p' "$file" | paste -sd'|')
    clean_log "tap $name" "${allowed:-^$}" "$dir"/tmp_check/log/*.log
}

# It looks at its servers' logs itself.
chaos() {
    local log=$run/chaos.log status=0
    selected chaos || return 0
    TIME=${TIME:-60} "$top/test/chaos.sh" >"$log" 2>&1 || status=$?
    report chaos $status "$(sed -nE 's/^([0-9]+) passed, .*/\1/p' "$log")" "$(sed -nE 's/.* passed, ([0-9]+) failed$/\1/p' "$log")" 0 ||
        tail -n 60 "$log"
}

# --- the run ---

shopt -s nullglob
trap finish EXIT
trap interrupted INT TERM

"$top/test/setup.sh" test

if ! reachable; then
    trap - EXIT
    copy=$(copy_of_clone)
    say "$server_user cannot read all of $top: going on in a copy, $copy, which stays if a test fails"
    "$copy/test/run.sh" "$@" || exit
    rm -rf "$copy"
    exit
fi

mkdir -p "$run/tap/ports"
chown "$server_user:$server_group" "$run" "$run/tap" "$run/tap/ports"

build_with_cmake() { # build_with_cmake FOLDER OPTION...
    cmake -S "$top" -B "$@" -DPG_CONFIG="$bindir/pg_config" && cmake --build "$1" -j"$jobs"
}

step "private PostgreSQL" "$build/private.log" private_tree
step "extension" "$build/extension.log" install_privately
step "unit tests" "$build/cmake.log" build_with_cmake "$build/cmake"
step "unit tests with sanitizers" "$build/sanitize.log" build_with_cmake "$build/sanitize" -DSANITIZE=ON

for suite in ${SUITES:-$suites}; do
    case $suite in
    unit | sanitize | fuzz | regress | isolation | tap | chaos) $suite ;;
    *)
        say "no such suite: $suite"
        exit 2
        ;;
    esac
done
