#!/bin/busybox sh
# First program of the test machine: mounts what a system has, loads the modules that the kernel's command line names,
# and becomes BusyBox init, which starts what /etc/inittab says: the agent, unless a test brings its own table. It must
# not decide anything about the box.
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /root /mnt /data /etc
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mkdir -p /dev/pts /dev/shm
/bin/busybox mount -t devpts devpts /dev/pts
/bin/busybox mount -t tmpfs -o mode=1777 tmp /tmp
/bin/busybox mount -t tmpfs -o mode=755 run /run
/bin/busybox mount -t cgroup2 cgroup /sys/fs/cgroup
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
ip link set lo up
for word in $(cat /proc/cmdline); do
    case $word in
    testbed.modules=*)
        for module in $(echo "${word#testbed.modules=}" | tr , ' '); do
            modprobe "$module" || echo "testbed: module $module does not load" >/dev/console
        done ;;
    esac
done
# A chip of 28 lines, as many as a Pi's header has, with the label that the board's description names.
if [ -d /sys/module/gpio_sim ]; then
    mount -t configfs configfs /sys/kernel/config
    chip=/sys/kernel/config/gpio-sim/front
    mkdir -p $chip/bank0
    echo 28 >$chip/bank0/num_lines
    echo gpio-sim.0-node0 >$chip/bank0/label
    echo 1 >$chip/live
fi
exec /bin/init
