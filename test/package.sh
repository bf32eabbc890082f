#!/usr/bin/env bash
# make package-test: Debian packages of this clone, built, installed, used and removed in clean roots of Debian releases.
# VERSIONS="15 17" selects; without it, every version that a Debian release has. As root, as making and entering roots is.
#
# A version whose root cannot be made counts as skipped, and is named.
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"
# shellcheck source=test/versions/versions.sh
. "$top/test/versions/versions.sh"

passed=0 failed=0 skipped=0

# release_with N: the codename of the release that has it.
release_with() {
    local release
    release=$(release_of "$1")
    [ "$release" != host ] || release=$(. /etc/os-release && say "${VERSION_CODENAME:-}")
    say "$release"
}

# in_layer FOLDER COMMAND...: inside a root of this version, which stays as it is.
in_layer() { "$top/test/package/layer" "$root" "$@"; }

# counted TITLE LOG COMMAND...
counted() {
    if step "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        return 1
    fi
}

package_test() {
    local major=$1 release folder root status=0
    release=$(release_with "$major")
    if [ "$release" = none ] || [ -z "$release" ]; then
        say "PostgreSQL $major: NOT TESTED, no Debian release has it"
        skipped=$((skipped + 2))
        return
    fi
    root=$("$top/test/versions/root" "$major") || status=$?
    if [ $status != 0 ]; then
        say "PostgreSQL $major: NOT TESTED, there is no root of Debian $release"
        skipped=$((skipped + 2))
        return
    fi
    folder=$build/package/$major
    rm -rf "$folder"
    mkdir -p "$folder/sources"
    copy_sources "$folder/sources"
    counted "package for PostgreSQL $major: built and tested in Debian $release" "$build/package-$major-build.log" \
        in_layer "$folder" "$folder/sources/test/package/build" "$folder/sources" "$major" || return 0
    counted "package for PostgreSQL $major: installed, a file loaded, removed" "$build/package-$major-use.log" \
        in_layer "$folder" "$folder/sources/test/package/use" "$folder" "$major" "$release" || return 0
}

versions=${VERSIONS:-}
if [ -z "$versions" ]; then
    for version in $(known_versions); do
        [ "$(release_of "$version")" = none ] || versions+=" $version"
    done
fi
for version in $versions; do
    package_test "$version"
done
say "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
