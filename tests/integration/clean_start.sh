#!/usr/bin/env bash
# A newcomer's first hour: Debian 12 in a folder with none of the packages, a clone, ./quickstart, ./tests/run, and each a second time.
# Needs root, debootstrap and the distribution's mirror. Prints the seconds of each command; fails with the first that fails.
#
#   tests/integration/clean_start.sh FOLDER [MIRROR [APT_FILE...]]     FOLDER must not exist; it is left for a look
# APT_FILE: what apt needs besides to reach the mirror; a proxy that this machine's apt has is taken along as it is.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
folder=$1 mirror=${2:-http://deb.debian.org/debian}
[ ! -e "$folder" ] || { echo "clean_start: '$folder' exists; expected a folder that does not" >&2; exit 64; }

mounted=()
unmount() {
    local i
    for ((i = ${#mounted[@]} - 1; i >= 0; --i)); do umount "${mounted[i]}" || true; done
}
trap unmount EXIT
attach() {  # TARGET MOUNT_ARGUMENT...
    local target=$folder/$1
    shift
    mount "$@" "$target"
    mounted+=("$target")
}

debootstrap --variant=minbase --include=git,ca-certificates bookworm "$folder" "$mirror" >/dev/null
cp /etc/resolv.conf /etc/hosts "$folder/etc/"
for file in /etc/apt/apt.conf.d/*proxy* "${@:3}"; do
    if [ -e "$file" ]; then cp "$file" "$folder/etc/apt/apt.conf.d/"; fi
done
cat >"$folder/etc/apt/sources.list" <<END
deb $mirror bookworm main
deb $mirror bookworm-updates main
deb ${mirror%/debian}/debian-security bookworm-security main
END
attach proc -t proc proc
attach sys --bind /sys
attach dev --bind /dev
attach dev/pts --bind /dev/pts
attach dev/shm -t tmpfs tmpfs
git clone -q "$source" "$folder/root/kiban"

inside() {  # COMMAND, in the clone, with an environment that holds nothing of this machine's but its proxies
    local start=$SECONDS
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        chroot "$folder" bash -c "cd /root/kiban && $1"
    echo "clean_start: $1: $((SECONDS - start)) s"
}
inside ./quickstart
inside ./tests/run
inside "./quickstart --build-only"
inside "./tests/run -R house"
