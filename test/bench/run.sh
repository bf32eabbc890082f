#!/usr/bin/env bash
# make bench: how long COPY and imports take for files with the shape of MovieLens 20M, on private servers.
#
#   SCALE=0.1         part of the 20 million ratings (SEED=1 for the generator)
#   ROUNDS=3          measurements of each way, at least 3 for results to be published
#   WAYS="heap ..."   groups or ways, by the names that test/bench/Ways.pm has
#   CONFIGURATIONS="tuned initdb"   servers, by the names that test/bench/configurations.sh has
#
# The tables go to the terminal; results.json, chart.svg and chart.png to build/bench, on another PostgreSQL than the host's
# (test/versions/on) to build/results/bench-N, without the chart where gnuplot is missing.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=test/bench/configurations.sh
. "$top/test/bench/configurations.sh"

export SCALE=${SCALE:-0.1} SEED=${SEED:-1} ROUNDS=${ROUNDS:-3} WAYS=${WAYS:-}
read -ra names <<<"${CONFIGURATIONS:-tuned initdb}"
for name in "${names[@]}"; do
    [[ $name == tuned || $name == full || $name == initdb ]] || {
        say "no such configuration: $name"
        exit 2
    }
done
results=$build/bench
data=$results/data/$SCALE-$SEED

# The files of the data set in set/; in parts/ those that only some ways load. Made once for a scale and a seed.
generate() {
    local ratings set=$data.new/set
    ratings=$(awk -v scale="$SCALE" 'BEGIN { printf "%d", 20000263 * scale + 0.5 }')
    part() { # part NAME FROM TO: these ratings, counted from 1, under the header
        awk -v from="$2" -v to="$3" 'NR > to + 1 { exit } NR == 1 || NR > from' "$set/ratings.csv" >"$data.new/parts/$1"
    }
    rm -rf "$data.new"
    # The sync, or the first way would share the disk with them.
    mkdir -p "$set" "$data.new/parts" &&
        "$top/test/data/generate.pl" "$set" "$ratings" "$SEED" &&
        part half-1.csv 1 $((ratings / 2)) &&
        part half-2.csv $((ratings / 2 + 1)) "$ratings" &&
        part twentieth.csv 1 $((ratings / 20)) &&
        part quarter.csv 1 $((ratings / 4)) &&
        part one-row.csv 1 1 &&
        part thousand-rows.csv 1 1000 &&
        sync &&
        mv "$data.new" "$data"
}

# measure CONFIGURATION SETTING...
measure() {
    local name=$1
    shift
    step "server ($name)" "$results/server-$name.log" start_server "$results/server" "$@"
    "$top/test/bench/measure.pl" "$name" "$results/server/data" "$data" "$results/$name.json"
    stop_server fast >/dev/null
    rm -rf "$results/server"
}

needs=bench
[ -z "${MOVIELENS_INGEST_PG_CONFIG:-}" ] || needs=installation
"$top/test/setup.sh" $needs
if ! reachable; then
    copy=$(copy_of_clone)
    say "$server_user cannot read all of $top: going on in a copy, $copy"
    "$copy/test/bench/run.sh"
    mkdir -p "$results"
    cp "$copy"/build/bench/{results.json,chart.svg,chart.png} "$results/"
    rm -rf "$copy"
    exit
fi

step "private PostgreSQL" "$build/private.log" private_tree
step "extension" "$build/extension.log" install_privately
mkdir -p "$results/data"
rm -f "$results"/{*.json,chart.*,planning}
[ -d "$data" ] || step "files of scale $SCALE" "$results/generate.log" generate

trap 'stop_server immediate >/dev/null 2>&1 || true' EXIT
export PATH=$bindir:$PATH
for name in "${names[@]}"; do
    declare -n settings=$name
    measure "$name" "${settings[@]}"
done
trap - EXIT

# Gigabytes a second of the planning pass alone, by a program of the core.
if [ -f "$top/test/bench/planning.cpp" ]; then
    g++ -std=c++17 -O2 -I"$top/src" -o "$results/plan" "$top/test/bench/planning.cpp" "$top"/src/core/*.cpp -lcsv -lxxhash
    for _ in 1 2 3 4 5; do
        "$results/plan" "$data/set/ratings.csv"
    done | sort -n | sed -n 3p >"$results/planning"
fi

"$top/test/bench/report.pl" "$results" "${names[@]}"
# Without a group that the chart shows there is none.
if [ -s "$results/chart.tsv" ] && { [ $needs = bench ] || command -v gnuplot >/dev/null; }; then
    for terminal in svg pngcairo; do
        gnuplot -e "terminal = '$terminal'; folder = '$results'" "$top/test/bench/chart.gp"
    done
fi
if [ $needs = installation ]; then
    version=$("$tested_pg_config" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
    kept=results/bench-$version
    rm -rf "${build:?}/$kept"
    mkdir -p "$build/$kept"
    find "$results" -maxdepth 1 \( -name results.json -o -name 'chart.[sp]*' \) -exec cp {} "$build/$kept" \;
else
    kept=bench
fi
say
say "what was measured is in build/$kept"
