#!/bin/sh
# A command in a root file system that sees, of this machine, only what is lent, each path where it is.
#
# Usage: unshare --mount --pid --fork --kill-child sh go.sh KEPT PATH... -- COMMAND...
#
# KEPT/root is only read: it is the lower layer of an overlay in KEPT/view, whose upper layer is a tmpfs. All mounts are of
# this mount namespace, so several commands run at the same time, and nothing of any stays.
set -eu
kept=$1
shift
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$kept/view"
root=$kept/view/root
mkdir "$root" "$kept/view/upper" "$kept/view/work"
mount -t overlay -o "lowerdir=$kept/root,upperdir=$kept/view/upper,workdir=$kept/view/work" overlay "$root"
# Every mount point is made before anything is mounted, and from inside: so nothing is written through a lent folder or a link.
for path; do
    [ "$path" != -- ] || break
    if [ -d "$path" ]; then
        chroot "$root" mkdir -p "$path"
    else
        chroot "$root" mkdir -p "${path%/*}"
        chroot "$root" rm -f "$path"
        chroot "$root" touch "$path"
    fi
done
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
while [ "$1" != -- ]; do
    mount --bind "$1" "$root$1"
    shift
done
shift
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot "$root" env --chdir="$PWD" "$@"
