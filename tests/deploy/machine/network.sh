# shellcheck shell=bash disable=SC2034,SC2154
# Sourced by machine.sh: two network namespaces, the machine's and the one of everybody else, and a cable between them.
# The machine also has a way to this machine's network, for apt alone; nobody comes in by it.

machine_4=192.0.2.10 machine_6=2001:db8::10
outside_4=192.0.2.1 outside_6=2001:db8::1

open_network() {
    ip netns add outside
    ip -n outside link set lo up
}

# Each boot has a new namespace, so that no rule of the firewall outlives the machine.
plug_in() {
    ip netns add machine
    ip -n machine link set lo up
    ip link add wan netns machine type veth peer name cable netns outside
    ip -n machine addr add "$machine_4/24" dev wan
    ip -n machine addr add "$machine_6/64" dev wan nodad
    ip -n outside addr add "$outside_4/24" dev cable
    ip -n outside addr add "$outside_6/64" dev cable nodad
    ip -n machine link set wan up
    ip -n outside link set cable up
    # A browser asks for IPv6 addresses only where there is a way to the world by IPv6.
    ip -n outside route add default via "$machine_4"
    ip -n outside route add default via "$machine_6"
    slirp4netns --configure --mtu=1500 --disable-host-loopback --netns-type=path /run/netns/machine tap0 \
        >"$logs/slirp4netns.log" 2>&1 &
    uplink=$!
}

pull_out() {
    kill "$uplink" 2>/dev/null && wait "$uplink" 2>/dev/null
    ip -n outside link delete cable
    ip netns delete machine
}
