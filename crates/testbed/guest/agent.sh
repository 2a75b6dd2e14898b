#!/bin/busybox sh
# Runs what the host asks for over a virtio-serial port, and says how it ended. The protocol is described in
# src/agent.rs. When the host goes away the machine is switched off: no test leaves one behind.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
work=/run/testbed
mkdir -p $work
port=
while [ -z "$port" ]; do
    for name in /sys/class/virtio-ports/*/name; do
        if [ "$(cat "$name" 2>/dev/null)" = perch.agent ]; then port=/dev/$(basename "$(dirname "$name")"); fi
    done
    if [ -z "$port" ]; then usleep 50000; fi
done
exec 3<>"$port"

# take BYTES FILE: exactly so many bytes from the host into a file.
take() {
    if [ "$1" -gt 0 ]; then dd bs="$1" count=1 iflag=fullblock <&3 >"$2" 2>/dev/null; else : >"$2"; fi
}

# say: its input goes to the host whole, never mixed with another's.
say() {
    until mkdir $work/lock 2>/dev/null; do usleep 5000; done
    cat >&3
    rmdir $work/lock
}

# answer ID CODE: the output of a command.
answer() {
    {
        echo "done $1 $2 $(stat -c %s $work/$1.out) $(stat -c %s $work/$1.err)"
        cat $work/$1.out $work/$1.err
    } | say
    rm -f $work/$1.*
}

run() {
    setsid sh -c "echo \$\$ >$work/$1.pid; exec sh $work/$1.sh" </dev/null >$work/$1.out 2>$work/$1.err 3>&-
    answer "$1" $?
}

# stop ID: a script that has not begun yet is waited for, one that has ended is left alone.
stop() {
    until [ -s $work/$1.pid ] || [ ! -e $work/$1.sh ]; do usleep 5000; done
    kill -KILL -- "-$(cat $work/$1.pid)" 2>/dev/null
}

put() {
    : >$work/$1.out
    : >$work/$1.err
    mkdir -p "$(dirname "$3")" && mv $work/$1.data "$3" 2>$work/$1.err && chmod "$2" "$3" 2>>$work/$1.err
    answer "$1" $?
}

echo "hello $(cut -d' ' -f1 /proc/uptime)" | say
while read -r word id first second third <&3; do
    case $word in
    run) take "$first" $work/$id.sh; run "$id" & ;;
    put) take "$second" $work/$id.data; put "$id" "$first" "$third" ;;
    stop) stop "$id" & ;;
    esac
done
poweroff -f
