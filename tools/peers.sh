#!/bin/sh
# Other people's software that `make test-peers` checks us against: installed with apt where we may, asked for
# where we may not.
set -eu

# command and the Debian package that brings it
peers='docker-registry:docker-registry skopeo:skopeo umoci:umoci buildah:buildah podman:podman dockerd:docker.io'

missing() {
    for peer in $peers; do
        command -v "${peer%%:*}" >/dev/null 2>&1 || printf '%s ' "${peer##*:}"
    done
}

packages=$(missing)
[ -n "$packages" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "missing: $packages" >&2
    echo "install them (on Debian: apt-get install $packages) and run this again" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# Each name is a word of its own.
# shellcheck disable=SC2086
apt-get install -y -q --no-install-recommends $packages

packages=$(missing)
if [ -n "$packages" ]; then
    echo "still missing after the installation: $packages" >&2
    exit 1
fi
