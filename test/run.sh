#!/usr/bin/env bash
# make test: installs what is missing, builds, and runs every suite on servers of its own: run.sh [all]
#
# SUITES="unit sanitize fuzz regress isolation tap discard parallel chaos emulated" and TESTS="name ..." select; `all` adds
# test/t-all and the last four. JOBS=2 runs so many files of tap at a time. On another PostgreSQL than the host's (test/versions/on) only
# regress, isolation, tap, discard, parallel and chaos are run: the others know no PostgreSQL, or bring one.
# Output goes to logs below build/. Counted are GoogleTest cases, fuzz targets, pg_regress tests, isolation specs and
# TAP assertions; a server log that speaks of a crash or a leak is a failure too.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

run=$build/run
tap_folders=("$top/test/t")
suites="unit sanitize fuzz regress isolation tap"
[ $needs = test ] || suites="regress isolation tap"
for suite in ${SUITES:-}; do
    case $needs-$suite in
    installation-unit | installation-sanitize | installation-fuzz | installation-emulated)
        say "$suite knows no PostgreSQL, or brings one: it is run without PG and PG_CONFIG"
        exit 2
        ;;
    esac
done
if [ "${1:-}" = all ]; then
    tap_folders+=("$top/test/t-all")
    suites+=" discard parallel chaos"
    [ $needs != test ] || suites+=" emulated"
fi

total_passed=0 total_failed=0 total_skipped=0
skips=()
out_of_time=

finish() {
    local status=$?
    trap - EXIT
    stop_server immediate >/dev/null 2>&1 || true
    stop_servers_below "$run/tap"
    [ ${#skips[@]} = 0 ] || printf 'skipped: %s\n' "${skips[@]}"
    # A step before or between the tests failed.
    [ $status = 0 ] || [ $total_failed -gt 0 ] || total_failed=1
    [ -n "${SUITES:-}${TESTS:-}$out_of_time" ] || keep_result
    say "$total_passed passed, $total_failed failed, $total_skipped skipped"
    [ $total_failed = 0 ] || exit 1
}

# What test/versions/publish makes README's table of: only of whole runs.
keep_result() {
    local version major
    version=$("$tested_pg_config" --version) || return 0
    major=${version#PostgreSQL }
    major=${major%%[!0-9]*}
    mkdir -p "$build/results"
    printf '%s: %s\n' version "${version#PostgreSQL }" from "${MOVIELENS_INGEST_TESTED_FROM:-Debian $(. /etc/os-release && echo "${VERSION_CODENAME:-}")}" \
        suites "$suites" passed "$total_passed" failed "$total_failed" skipped "$total_skipped" date "$(date +%F)" \
        >"$build/results/$major"
}

# The time limit runs in the background, where a signal to this script can reach it and end the tests.
declare -A children=()
start_bounded() { # start_bounded LOG SECONDS COMMAND...: sets `child`
    "${as_server_user[@]}" timeout --kill-after=30 "${@:2}" </dev/null >"$1" 2>&1 &
    child=$!
    children[$child]=1
}
bounded() { # bounded LOG SECONDS COMMAND...
    local status=0
    start_bounded "$@"
    wait "$child" || status=$?
    unset "children[$child]"
    return $status
}
interrupted() {
    local pid
    for pid in "${!children[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
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

# What suites set that are slow, or whose server has more settings.
regress_seconds=1800
regress_settings=()

regress_suite() { # regress_suite SUITE PROGRAM INPUT-FOLDER TEST...
    local suite=$1 program=$2 input=$3 dir=$run/$1 status=0 failed
    shift 3
    [ $# -gt 0 ] || return 0
    if ! start_server "$dir" "fsync = off" "${regress_settings[@]}" >"$run/$suite-server.log" 2>&1; then
        report "$suite" 1 0 0 0 || tail -n 20 "$run/$suite-server.log"
        return 0
    fi
    bounded "$run/$suite.log" $regress_seconds "$program" --inputdir="$input" --outputdir="$dir" --bindir="$bindir" \
        --dbname="$suite" --encoding=UTF8 --no-locale "$@" || status=$?
    stop_server >>"$run/$suite-server.log" 2>&1 || status=$?
    # 15 writes "test x ... ok", later ones write TAP.
    failed=$(count ' \.\.\. (FAILED|failed)|^not ok +[0-9]+ ' "$run/$suite.log")
    if ! report "$suite" $status "$(count ' \.\.\. ok|^ok +[0-9]+ ' "$run/$suite.log")" "$failed" 0; then
        head -n 200 "$dir/regression.diffs" 2>/dev/null || tail -n 20 "$run/$suite.log"
        say "the end of $dir/server.log:"
        tail -n 20 "$dir/server.log"
    fi
    clean_log "$suite" '^$' "$dir/server.log"
}

regress() { regression_tests regress; }

regression_tests() { # regression_tests SUITE
    local tests=() file name
    for file in "$top"/sql/*.sql; do
        name=$(basename "$file" .sql)
        [[ $name == *--* ]] || ! selected "$name" || tests+=("$name")
    done
    regress_suite "$1" "$pgxs_test/regress/pg_regress" "$top" "${tests[@]}"
}

# The regression tests where every cache forgets what it has whenever it may: what is kept too long, and read after that, is
# memory that was overwritten. Only a server that was built with assertions can do so, and takes hours.
discard() {
    if ! "$bindir/pg_config" --configure | grep -q -e --enable-cassert; then
        skips+=("discard: this server was not built with assertions, and cannot discard its caches")
        report discard 0 0 0 1
        return
    fi
    local regress_seconds=14400 regress_settings=("debug_discard_caches = 1")
    regression_tests discard
}

# The same where the planner makes every plan parallel that may be.
parallel() {
    local setting=debug_parallel_query major
    major=$("$bindir/pg_config" --version | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p')
    [ "$major" -ge 16 ] || setting=force_parallel_mode
    local regress_settings=("$setting = regress" "max_worker_processes = 16")
    regression_tests parallel
}

isolation() {
    local tests=() file name
    for file in "$top"/test/isolation/specs/*.spec; do
        name=$(basename "$file" .spec)
        ! selected "$name" || tests+=("$name")
    done
    regress_suite isolation "$pgxs_test/isolation/pg_isolation_regress" "$top/test/isolation" "${tests[@]}"
}

# Each file by itself, JOBS at a time: what it may leave in a server's log it says in lines `# allow-log: regex`.
# Files that no time is left for (MOVIELENS_INGEST_DEADLINE, in seconds since 1970) count as skipped; one that runs then has
# some minutes more.
declare -A running=()
deadline=${MOVIELENS_INGEST_DEADLINE:-$(($(date +%s) + 1000000))}
tap() {
    local folder file name
    for folder in "${tap_folders[@]}"; do
        for file in "$folder"/*.pl; do
            name=$(basename "$file" .pl)
            selected "$name" || continue
            [ ${#running[@]} -lt "${JOBS:-1}" ] || end_tap_file
            if [ "$(date +%s)" -ge "$deadline" ]; then
                out_of_time=1
                skips+=("tap $name: no time left")
                report "tap $name" 0 0 0 1
            else
                start_tap_file "$name" "$file"
            fi
        done
    done
    while [ ${#running[@]} -gt 0 ]; do
        end_tap_file
    done
}

start_tap_file() {
    local dir=$run/tap/$1 tap_env seconds=$((deadline + 180 - $(date +%s)))
    [ $seconds -lt 3600 ] || seconds=3600
    server_folder "$dir"
    tap_environment "$dir" "$run/tap/ports"
    start_bounded "$run/tap-$1.log" $seconds env "${tap_env[@]}" prove --norc --verbose "$2"
    running[$child]=$2
}

# Waits for one of the running files, and reports it.
end_tap_file() {
    local ended status=0
    wait -n -p ended "${!running[@]}" || status=$?
    local file=${running[$ended]}
    unset "running[$ended]" "children[$ended]"
    report_tap_file "$(basename "$file" .pl)" "$file" $status
}

report_tap_file() {
    local name=$1 file=$2 status=$3 dir=$run/tap/$1 log=$run/tap-$1.log allowed
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
    report "tap $name" "$status" $((all - failed - unproven)) "$failed" $((unproven + whole_file)) || tail -n 60 "$log"
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

# Other architectures; the big-endian one with a server too.
emulated() {
    local arch log numbers status
    for arch in arm64 s390x; do
        log=$run/emulated-$arch.log status=0
        SUITES="unit$([ $arch = arm64 ] || printf ' regress')" "$top/test/emulated.sh" $arch >"$log" 2>&1 || status=$?
        if [ $status = 77 ]; then
            skips+=("emulated $arch: $(tail -n 1 "$log")")
            report "emulated $arch" 0 0 0 1
            continue
        fi
        read -ra numbers < <(tail -n 1 "$log" | tr -cs '[:digit:]\n' ' ') || true
        [ ${#numbers[@]} = 3 ] || numbers=(0 1 0)
        report "emulated $arch" $status "${numbers[@]}" || tail -n 60 "$log"
    done
}

# --- the run ---

shopt -s nullglob
trap finish EXIT
trap interrupted INT TERM

"$top/test/setup.sh" $needs

if ! reachable; then
    trap - EXIT
    copy=$(copy_of_clone)
    say "$server_user cannot read all of $top: going on in a copy, $copy, which stays if a test fails"
    status=0
    "$copy/test/run.sh" "$@" || status=$?
    [ ! -d "$copy/build/results" ] || cp -r "$copy/build/results" "$build/"
    [ $status != 0 ] || rm -rf "$copy"
    exit $status
fi

mkdir -p "$run/tap/ports"
chown "$server_user:$server_group" "$run" "$run/tap" "$run/tap/ports"

build_with_cmake() { # build_with_cmake FOLDER OPTION...
    cmake -S "$top" -B "$@" -DPG_CONFIG="$bindir/pg_config" && cmake --build "$1" -j"$jobs"
}

step "private PostgreSQL" "$build/private.log" private_tree
step "extension" "$build/extension.log" install_privately
if [ $needs = test ]; then
    step "unit tests" "$build/cmake.log" build_with_cmake "$build/cmake"
    step "unit tests with sanitizers" "$build/sanitize.log" build_with_cmake "$build/sanitize" -DSANITIZE=ON
fi
say "testing $("$tested_pg_config" --version)"

for suite in ${SUITES:-$suites}; do
    case $suite in
    unit | sanitize | fuzz | regress | isolation | tap | discard | parallel | chaos | emulated) $suite ;;
    *)
        say "no such suite: $suite"
        exit 2
        ;;
    esac
done
