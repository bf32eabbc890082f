#!/usr/bin/env bash
# Installs the Debian 12 packages that are missing: setup.sh [test|installation|roots|emulated-aarch64|emulated-s390x|lint|bench|all]
set -euo pipefail
# shellcheck source=test/lib.sh
. "$(dirname "$0")/lib.sh"

# For a PostgreSQL that is there, and for roots of other releases.
installation=(g++ make libcsv-dev libxxhash-dev perl libipc-run-perl util-linux)
roots=(mmdebstrap debian-archive-keyring util-linux)
# Cross compilers, and what runs the programs that they make.
emulated=(mmdebstrap debian-archive-keyring util-linux cmake make qemu-user-static)
common=(g++ make cmake libcsv-dev libxxhash-dev libgtest-dev postgresql-server-dev-15)
test=(clang libclang-rt-dev perl libipc-run-perl postgresql-15 postgresql-client-15 util-linux)
lint=(clang clang-format clang-tidy shellcheck)

case ${1:-all} in
test) wanted=("${common[@]}" "${test[@]}") ;;
installation) wanted=("${installation[@]}") ;;
roots) wanted=("${roots[@]}") ;;
emulated-aarch64) wanted=("${emulated[@]}" g++-aarch64-linux-gnu) ;;
emulated-s390x) wanted=("${emulated[@]}" g++-s390x-linux-gnu) ;;
lint) wanted=("${common[@]}" "${lint[@]}") ;;
bench) wanted=("${common[@]}" "${test[@]}" gnuplot-nox) ;;
all) wanted=("${common[@]}" "${test[@]}" "${lint[@]}") ;;
*)
    say "usage: $0 [test|installation|roots|emulated-aarch64|emulated-s390x|lint|bench|all]" >&2
    exit 2
    ;;
esac

missing=()
for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
    if sudo -n true 2>/dev/null || { [ -t 0 ] && sudo true; }; then
        as_root=(sudo)
    else
        say "packages are missing; as root: apt-get install --no-install-recommends ${missing[*]}"
        exit 1
    fi
fi

# Debian's server package makes a cluster on port 5432 and starts it. Nobody asked for one; the setting goes
# again, for what is installed later is not our business.
no_cluster=/etc/postgresql-common/createcluster.d/movielens_ingest.conf
if [[ " ${missing[*]} " == *" postgresql-15 "* ]]; then
    "${as_root[@]}" mkdir -p "$(dirname $no_cluster)"
    say 'create_main_cluster = false' | "${as_root[@]}" tee $no_cluster >/dev/null
    trap '"${as_root[@]}" rm -f $no_cluster' EXIT
fi

apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y "$@"; }
step "package lists" "$build/setup-update.log" apt update
step "packages ${missing[*]}" "$build/setup-install.log" apt install --no-install-recommends "${missing[@]}"
