#!/usr/bin/env bash
# make fuzz: lets libFuzzer try the targets of test/fuzz, under sanitizers: fuzz.sh [merge]
#
# TIME=60 is seconds for each target, TARGETS="records ..." selects, SEED=1 makes it the same run each time, in one
# process and with nothing but the corpus of test/fuzz/corpus. Else there is a process for each processor, and what
# they find goes to build/fuzz-found and is tried again the next time. `merge` takes from there into the corpus of
# the tree what reaches more of the core.
# shellcheck disable=SC2317 # a function called through `step`
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

"$top/test/setup.sh" test
programs=$build/fuzz
found=$build/fuzz-found
run=$build/run/fuzz
targets=${TARGETS:-fields numbers records}
failed=0

build_targets() {
    cmake -S "$top" -B "$programs" -DCMAKE_CXX_COMPILER=clang++ -DFUZZ=ON && cmake --build "$programs" -j"$jobs"
}

# Long inputs make everything slow, and find nothing that short ones do not.
options=(-max_len=400 -timeout=20 -print_final_stats=1 "-max_total_time=${TIME:-60}")
processes=$jobs
if [ -n "${SEED:-}" ]; then
    options+=("-seed=$SEED")
    processes=1
    run=$build/run/fuzz-short
    found=$run/found
    rm -rf "$found"
fi

# largest WORD FILE...: the largest number behind a word in libFuzzer's lines
largest() { sed -nE "s/^#.* $1: ([0-9]+).*/\1/p" "${@:2}" | sort -n | tail -n 1; }

fuzz() { # fuzz TARGET
    local target=$1 logs=() pids=() status=0 n executed
    mkdir -p "$found/$target" "$run"
    for ((n = 1; n <= processes; n++)); do
        logs+=("$run/$target-$n.log")
        "$programs/fuzz_$target" "${options[@]}" -artifact_prefix="$run/$target-" "$found/$target" \
            "$top/test/fuzz/corpus/$target" >"$run/$target-$n.log" 2>&1 </dev/null &
        pids+=($!)
    done
    for n in "${pids[@]}"; do
        wait "$n" || status=1
    done
    if [ $status != 0 ]; then
        say "fuzz $target: FAILED"
        grep -hE -A 2 'what\(\): |ERROR: AddressSan|runtime error: ' "${logs[@]}" || tail -n 20 "${logs[@]}"
        grep -hoE 'Test unit written to .*' "${logs[@]}" || true
        say "again: $programs/fuzz_$target FILE"
        failed=1
        return
    fi
    executed=$(sed -nE 's/^stat::number_of_executed_units: *//p' "${logs[@]}" | awk '{ sum += $1 } END { print sum }')
    say "fuzz $target: $executed executions, cov $(largest cov "${logs[@]}"), ft $(largest ft "${logs[@]}")"
}

merge() { # merge TARGET
    local corpus=$top/test/fuzz/corpus/$1
    step "merge $1" "$run/$1-merge.log" "$programs/fuzz_$1" -merge=1 -use_counters=0 -max_len=400 "$corpus" "$found/$1"
    say "$1: $(find "$corpus" -type f | wc -l) files"
}

mkdir -p "$run"
step "fuzz targets" "$build/fuzz.log" build_targets
for target in $targets; do
    case ${1:-} in
    '') fuzz "$target" ;;
    merge) merge "$target" ;;
    *)
        say "usage: $0 [merge]" >&2
        exit 2
        ;;
    esac
done
exit $failed
