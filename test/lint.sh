#!/usr/bin/env bash
# make lint: one line a rule, and failure if any of them fails. `lint.sh format` rewrites instead.
# shellcheck disable=SC2317 # functions called through `rule`
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

"$top/test/setup.sh" lint
log=$build/lint
mkdir -p "$log"

formatted() { find src test/unit test/fuzz -name '*.[ch]pp' -exec clang-format "$@" {} +; }

if [ "${1:-}" = format ]; then
    formatted -i
    exit
fi

failed=0
rule() { # rule TITLE COMMAND...
    step "$1" "$log/${1// /-}.log" "${@:2}" || failed=1
}

nowhere() { # nowhere PATTERN FILE...: no line matches
    ! grep -rnIE "$@"
}

build_with() { # build_with COMPILER
    cmake -S . -B "$build/lint-$1" -DCMAKE_CXX_COMPILER="$1" && cmake --build "$build/lint-$1" -j"$jobs"
}

tidy() {
    find src -name '*.cpp' -print0 | xargs -0 -n 1 -P "$jobs" clang-tidy --quiet -p "$build/lint-clang++"
}

rule "sources are listed" test/check_sources.sh
rule "versions are the same everywhere" test/check_versions.pl
rule "formatting" formatted --dry-run --Werror
rule "scripts" shellcheck -x .ci/run test/*.sh test/bench/*.sh test/emulated/* test/package/* debian/tests/installcheck test/versions/[!r]* test/versions/root
rule "versions only in compat.hpp" nowhere 'PG_VERSION_NUM' src --exclude=compat.hpp
rule "symbols of every minor release" nowhere 'heap_getattr\(' src --exclude=tuple_value.hpp
rule "no PostgreSQL in the core" nowhere '#include.*(postgres|fmgr\.h|pg/)' src/core
# The brackets keep this line from finding itself.
rule "nothing left for later" nowhere 'TO[D]O|FIX[M]E|XX[X]|HA[C]K' src sql test Makefile CMakeLists.txt
rule "g++" build_with g++
rule "clang++" build_with clang++
rule "clang-tidy" tidy

[ $failed = 0 ] || say "lint: FAILED"
exit $failed
