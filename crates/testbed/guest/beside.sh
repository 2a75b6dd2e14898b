#!/testbed/busybox sh
# First program where the machine boots a system that brings an initramfs of its own: leaves the agent running beside it
# and lets that system's init start as if nothing were here. It must change nothing that the system could notice but the
# folder /run/testbed.
box=/testbed/here/busybox
/testbed/busybox mkdir -p /testbed/here
/testbed/busybox mount -t tmpfs here /testbed/here
/testbed/busybox mkdir /testbed/here/proc
# Outside the initramfs, which empties itself when it hands over.
/testbed/busybox cp /testbed/busybox /testbed/agent.sh /testbed/here/
$box mount -t proc proc /testbed/here/proc
# A shell opens it for what it starts in the background; the system mounts its own over it.
$box mkdir -p /dev
$box mknod /dev/null c 1 3
(
    system=/testbed/here/proc/1
    files=$system/root
    until $box grep -q ' /run tmpfs ' $system/mounts && [ -e $files/etc/inittab ]; do $box usleep 50000; done
    exec $box chroot $files /bin/sh -c "$($box cat /testbed/here/agent.sh)"
) &
exec /init
