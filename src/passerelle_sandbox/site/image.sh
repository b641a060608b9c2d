#!/bin/sh
# A SIF out of a root file system, made by the Apptainer of another one.
#
# Usage: unshare --mount --pid --fork --kill-child sh image.sh ROOTFS PLACE      PLACE/tree becomes PLACE/image.sif
#
# ROOTFS is only read. zstd, because on two cores gzip takes a minute more for a tenth of the size.
set -eu
rootfs=$1 place=$2
mount --make-rprivate /
mount --bind "$rootfs" "$rootfs"
mount -o remount,bind,ro "$rootfs"
mount -t proc proc "$rootfs/proc"
mount --rbind /dev "$rootfs/dev"
mount -t tmpfs tmpfs "$rootfs/run"
mount -t tmpfs tmpfs "$rootfs/tmp"
mkdir "$rootfs/run/image" "$rootfs/run/host"
mount --bind "$place" "$rootfs/run/image"
cd "$rootfs"
pivot_root . run/host
umount -l /run/host
export HOME=/run PATH=/usr/sbin:/usr/bin:/sbin:/bin APPTAINER_CACHEDIR=/run/image/cache APPTAINER_TMPDIR=/run/image
apptainer build --mksquashfs-args "-comp zstd -Xcompression-level 3" /run/image/image.sif /run/image/tree
rm -rf /run/image/cache
