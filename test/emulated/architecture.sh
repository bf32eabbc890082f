# shellcheck shell=bash
# Shared by the scripts of this folder, after test/lib.sh: what Debian and others call an architecture. Takes it in $arch.
# shellcheck disable=SC2034,SC2154 # for the scripts, from the scripts

case $arch in
arm64) processor=aarch64 byte_order=little ;;
s390x) processor=s390x byte_order=big ;;
*)
    say "ARCH=$arch is none of those that are tested: arm64, s390x" >&2
    exit 2
    ;;
esac
triplet=$processor-linux-gnu
compiler=$triplet-g++
emulator=/usr/bin/qemu-$processor-static
emulated=$build/emulated/$arch
