#!/usr/bin/env bash
# The sources are listed by name in the Makefile and in CMakeLists.txt: both lists must be what is on disk.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
compare() { # compare LIST DIRECTORY...: the .cpp files that LIST names against those in the directories
    local list=$1
    shift
    local IFS='|'
    diff -u --label "$list" --label "on disk" \
        <(grep -oE "($*)/[A-Za-z0-9_/]+\.cpp" "$list" | LC_ALL=C sort) \
        <(find "$@" -name '*.cpp' 2>/dev/null | LC_ALL=C sort) || failed=1
}

compare Makefile src/core src/pg
compare CMakeLists.txt src/core src/pg
compare CMakeLists.txt test/unit test/fuzz
# Holds of cancels are not counted: see cancel_hold.hpp.
if grep -nE "(HOLD|RESUME)_(CANCEL_)?INTERRUPTS\(\);|QueryCancelHoldoffCount" -r src --include="*.?pp" | grep -v "^src/pg/cancel_hold.hpp:"; then
    failed=1
fi
exit $failed
