#!/bin/bash
# The init of a site: makes the site's view of the machine, says who it is, and reaps what dies in it.
#
# Usage: unshare --mount --pid --uts --fork --kill-child bash enter.sh ROOTFS STATE [IMAGE]
#
# The cached ROOTFS, one directory or several with a colon between, stays pristine: it is the lower layer of an overlay whose upper layer is a tmpfs, so nothing of the view
# outlives the namespace, and it works where STATE itself lies on an overlay. What must outlive a daemon, or is worth
# reading from outside, is bound from STATE. A chroot would not do: Apptainer sets the mount propagation of /, so / must be a
# mount point.
set -eu
rootfs=$1 state=$2 image=${3-}
read -r pid rest < /proc/self/stat # this shell's pid as the host sees it: /proc is still the host's
mount --make-rprivate /

mount -t tmpfs -o mode=755 tmpfs "$state/root"
mkdir -m 755 "$state/root/upper" "$state/root/work" "$state/root/view"
view=$state/root/view
mount -t overlay -o "lowerdir=$rootfs,upperdir=$state/root/upper,workdir=$state/root/work" overlay "$view"

mkdir -p "$view/etc/slurm" "$view/var/log/slurm" "$view/var/lib/slurm" "$view/var/spool/slurm" "$view/scratch" "$view/var/lib/mysql"
mount --bind "$state/etc" "$view/etc/slurm"
mount --bind "$state/log" "$view/var/log/slurm"
mount --bind "$state/state" "$view/var/lib/slurm"
mount --bind "$state/spool" "$view/var/spool/slurm"
mount --bind "$state/database" "$view/var/lib/mysql"
mount --bind "$state/scratch" "$view/scratch"
mount --bind "$state/ssh" "$view/etc/ssh"
mount --bind "$state/munge.key" "$view/etc/munge/munge.key"
mount --bind "$state/hosts" "$view/etc/hosts"
if [ -n "$image" ]; then
    mount --bind "$image" "$view/scratch/images/torch.sif"
    mount -o remount,bind,ro "$view/scratch/images/torch.sif"
fi

mount -t proc proc "$view/proc"
mount --rbind /sys "$view/sys"
mount -t tmpfs -o mode=755 tmpfs "$view/run"
mount -t tmpfs -o mode=1777 tmpfs "$view/tmp"
mkdir -m 755 "$view/run/munge" "$view/run/mysqld" "$view/run/slurm" "$view/run/lock" "$view/run/sshd"
ln -s mysqld "$view/run/mariadbd" # where sid's client library looks
chroot "$view" chown munge: /run/munge
chroot "$view" chown mysql: /run/mysqld
chroot "$view" chown slurm: /run/slurm

# Devices of its own: /dev/fuse is open to users in here, and the host's stays as it is. A pretended GPU
# is a copy of /dev/null: Slurm wants a character device.
mount -t tmpfs -o mode=755 tmpfs "$view/dev"
mkdir "$view/dev/pts" "$view/dev/shm" "$view/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$view/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$view/dev/shm"
for device in null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0 fuse:10:229; do
    numbers=${device#*:}
    mknod -m 666 "$view/dev/${device%%:*}" c "${numbers%:*}" "${numbers#*:}"
done
ln -s pts/ptmx "$view/dev/ptmx"
ln -s /proc/self/fd "$view/dev/fd"
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "$view/dev/${stream#*:}"; done
gpu=0
while [ "$gpu" -lt 64 ]; do
    mknod -m 666 "$view/dev/gpu$gpu" c 1 3
    gpu=$((gpu + 1))
done

hostname site
ulimit -c 0
ulimit -n "$(ulimit -H -n)"
mkdir "$view/mnt/host"
cd "$view"
pivot_root . mnt/host
printf '%s\n' "$pid" > "/mnt/host$state/init.pid.new"
mv "/mnt/host$state/init.pid.new" "/mnt/host$state/init.pid"
umount -l /mnt/host
# bash reaps the orphans of the namespace while it waits; asked to end, it takes all of them with it.
exec bash -c 'trap "exit 0" TERM; while :; do sleep infinity & wait "$!"; done'
