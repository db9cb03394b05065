#!/bin/sh
# Makes a base image from Debian packages, for machines that reach no container registry.
# Usage: SUDO=sudo sh hack/images/base.sh [SUITE]    SUITE needs Python 3.11 or newer: bookworm (default) or later
#
# MIRROR says where Debian packages come from, if debootstrap's own choice is not it.
set -eu
suite=${1:-bookworm}
image=kubelb/base:$suite
sudo=${SUDO:-}

say() { echo "base-image: $*"; }
fail() {
    echo "base-image: $*" >&2
    exit 1
}

docker version >/dev/null 2>&1 || fail "Docker does not answer: start it, or join the group that may use it"
if docker image inspect "$image" >/dev/null 2>&1; then
    say "$image is there; 'docker rmi $image' first, to make it anew"
    exit 0
fi
[ -n "$sudo" ] || [ "$(id -u)" = 0 ] || fail "debootstrap needs root: make base-image SUDO=sudo"
PATH=$PATH:/usr/sbin:/sbin
if ! command -v debootstrap >/dev/null; then
    command -v apt-get >/dev/null || fail "no debootstrap on this machine: install it, then run this again"
    say "installing debootstrap by apt"
    # By `env`, because sudo hands nothing on.
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
fi
work=$(mktemp -d)
trap '$sudo rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM
say "Debian $suite with Python, by debootstrap (one to two minutes)"
$sudo debootstrap --variant=minbase --include=python3,ca-certificates "$suite" "$work/root" ${MIRROR:-} \
    >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    fail "debootstrap failed, its last lines are above; MIRROR=... chooses another source of Debian packages"
}
# What only apt and people read. Licences stay.
$sudo sh -c "cd '$work/root' && rm -rf var/cache/apt/* var/lib/apt/lists/* var/log/* usr/share/man usr/share/info \
    usr/share/locale && find usr/share/doc -type f ! -name copyright -delete"
$sudo tar -C "$work/root" --numeric-owner --exclude=./dev --exclude=./proc --exclude=./sys -cf - . |
    docker import --change 'CMD ["python3"]' - "$image" >/dev/null
say "$image is ready: $(docker image inspect -f '{{.Size}}' "$image" | awk '{printf "%.0f MB", $1 / 1e6}')"
