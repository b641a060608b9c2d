#!/bin/sh
# What some packages change in a Debian root file system, as a directory to lay over it; the root file system stays as it is.
#
# Usage: unshare --mount --pid --fork --kill-child sh layer.sh TARGET SUITE MIRROR ROOTFS SETTINGS PACKAGE... < provision
#
# As debian.sh, which made ROOTFS: it runs in namespaces of its own, SETTINGS is a directory with apt.conf and binds, and
# standard input is a script that is run inside when all packages are there. They are installed into an overlay on a tmpfs,
# since TARGET may lie on an overlay itself; then what is new or different is copied. What was removed comes back.
set -eu
target=$1 suite=$2 mirror=$3 rootfs=$4 settings=$5
shift 5
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR
mount --make-rprivate /

place=$settings/place
mkdir "$place"
mount -t tmpfs -o mode=755 tmpfs "$place"
mkdir "$place/upper" "$place/work" "$place/view"
view=$place/view
mount -t overlay -o "lowerdir=$rootfs,upperdir=$place/upper,workdir=$place/work" overlay "$view"
mkdir -p "$view/var/cache/apt" "$view/var/lib/apt/lists"
for volatile in run var/cache/apt var/lib/apt/lists etc/apt/apt.conf.d; do
    mount -t tmpfs tmpfs "$view/$volatile"
done
mount -t proc proc "$view/proc"
while read -r here there; do
    [ -e "$here" ] || continue
    mkdir -p "$view${there%/*}"
    [ -e "$view$there" ] || : > "$view$there"
    mount --bind "$here" "$view$there"
done < "$settings/binds"
cp "$settings/apt.conf" "$view/etc/apt/apt.conf.d/90-build"
printf 'deb %s %s main\n' "$mirror" "$suite" > "$view/run/sources.list"
mount --bind "$view/run/sources.list" "$view/etc/apt/sources.list"

cat > "$view/run/provision"
chroot "$view" apt-get update --quiet < /dev/null
chroot "$view" apt-get install --yes --quiet --no-install-recommends "$@" < /dev/null
chroot "$view" sh -eu /run/provision < /dev/null

cd "$place/upper"
find . -mindepth 1 \( -type f -o -type d -o -type l \) -print0 |
    tar --create --null --no-recursion --files-from=- |
    tar --extract --preserve-permissions --same-owner --directory="$target"
