#!/bin/sh
# A Debian root file system with some packages, in an empty directory.
#
# Usage: unshare --mount --pid --fork --kill-child sh debian.sh TARGET SUITE MIRROR KEYRING SETTINGS PACKAGE... < provision
#
# It runs in a mount and PID namespace of its own: whatever kills it, no mount and no process stays. SETTINGS is a directory
# with apt.conf, apt's settings, and binds, a line for each file of this machine that is lent: where it is, a space, where it
# shall be seen. Standard input is a script that is run inside when all packages are there.
set -eu
target=$1 suite=$2 mirror=$3 keyring=$4 settings=$5
shift 5
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset TMPDIR
mount --make-rprivate /

debootstrap --variant=minbase --force-check-gpg --keyring="$keyring" "$suite" "$target" "$mirror"

# What this machine lends for the time of the build: names, certificates, apt's settings. Binds vanish with the namespace.
mount -t proc proc "$target/proc"
mount -t tmpfs tmpfs "$target/run"
rm -f "$target/etc/resolv.conf" "$target/etc/hostname"
while read -r here there; do
    [ -e "$here" ] || continue
    mkdir -p "$target${there%/*}"
    [ -e "$target$there" ] || : > "$target$there"
    mount --bind "$here" "$target$there"
done < "$settings/binds"
cp "$settings/apt.conf" "$target/etc/apt/apt.conf.d/90-build"

# Nothing is started in there, documents are left out, and a build that is cut off is thrown away: no need to sync.
printf '#!/bin/sh\nexit 101\n' > "$target/usr/sbin/policy-rc.d"
chmod 755 "$target/usr/sbin/policy-rc.d"
cat > "$target/etc/dpkg/dpkg.cfg.d/build" <<'DPKG'
force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
DPKG
cat > "$target/run/provision"
chroot "$target" apt-get install --yes --quiet --no-install-recommends "$@" < /dev/null
chroot "$target" sh -eu /run/provision < /dev/null
rm -rf "$target/etc/apt/apt.conf.d/90-build" "$target/var/cache/apt" "$target/var/lib/apt/lists" \
    "$target/usr/share/locale" "$target/usr/share/doc" "$target/usr/share/man"
