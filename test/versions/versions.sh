# shellcheck shell=bash
# Shared by the scripts of this folder, after test/lib.sh.

# Status of a version that cannot be tested here: neither passed nor failed.
# shellcheck disable=SC2034 # for the scripts
not_here=77

# Roots of Debian releases are large and the same for all clones.
if [ "$(id -u)" = 0 ]; then
    roots=${MOVIELENS_INGEST_ROOTS:-/var/cache/movielens_ingest/roots}
else
    roots=${MOVIELENS_INGEST_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/movielens_ingest/roots}
fi

# release_of N: the release that the table names, nothing for a version that it does not have.
release_of() { awk -v version="$1" '$1 == version { print $2 }' "${BASH_SOURCE[0]%/*}/releases"; }

# Versions that the table has, in a row.
known_versions() { awk '/^[0-9]/ { print $1 }' "${BASH_SOURCE[0]%/*}/releases" | paste -sd' '; }
