# Becomes a lab host: a whole system over the machine's own, in which everything may be changed and of which nothing stays.
# Runs inside fresh mount and uts namespaces. Arguments: NAME MACHINE-ID SCRATCH, then pairs SOURCE TARGET to bind.
set -eu
name=$1 machine=$2 scratch=$3
shift 3
hostname "$name"
# An overlay's upper layer must not lie on another overlay, so it lies in memory.
mount -t tmpfs -o mode=0755,size=50% tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
root=$scratch/root
[ -x "$root/bin/sh" ] || { echo "the machine's /bin or /usr is not on its root file system" >&2; exit 1; }
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
echo "$name" > "$root/etc/hostname"
# Two machines never share this, and it outlives a restart of the machine.
rm -f "$root/etc/machine-id"
echo "$machine" > "$root/etc/machine-id"
while [ $# -gt 1 ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root${2%/*}"; : > "$root$2"; fi
    mount --bind "$1" "$root$2"
    shift 2
done
# With the machine's root moved away nothing of it can be reached; where it cannot be moved, changing the root is enough for a lab.
mkdir "$root/.machine"
cd "$root"
if pivot_root . .machine 2>/dev/null; then
    cd /
    umount -l /.machine && rmdir /.machine
    # A token that the one who started us waits for: nothing before it is ready.
    echo ready
    exec sleep infinity
fi
rmdir .machine
exec chroot . /bin/sh -c 'cd / && echo ready && exec sleep infinity'
