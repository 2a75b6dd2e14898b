#!/bin/sh
# Called by udhcpc with what happened and the lease in variables: sets the address and hands the lease to the supervisor.
# Every value comes from whoever answers DHCP on this network: it is only ever an argument, never a command.
run=${PERCH_RUN:-/run/perch/network}
case "$1" in
deconfig)
    rm -f "$run/$interface.lease"
    ip -4 addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    ip -4 addr replace "$ip/${mask:-24}" dev "$interface"
    for gateway in $router; do
        ip -4 route replace default via "$gateway" dev "$interface"
        break
    done
    for server in $dns; do echo "nameserver $server"; done >"$run/resolv.conf.new"
    mv "$run/resolv.conf.new" "$run/resolv.conf"
    printf 'ip %s\nntp %s\n' "$ip" "$ntpsrv" >"$run/$interface.new"
    mv "$run/$interface.new" "$run/$interface.lease"
    ;;
esac
exit 0
