#!/bin/sh
# Tries the example on one machine: a director, two proxies, and a client that is the origin server as well, each in a network namespace
# of its own. Answers have to go past the director, and both proxies have to be used. Then a proxy is killed, a link is cut, a proxy is
# restarted, and the director's script; each time it is told what became of clients that asked all the time.
#
#   try.sh TIDEGATE
#
# Needs the right to make namespaces, ip(8), nft(8), sysctl(8) and curl. Exit status 77: it cannot be tried here.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../trial/namespaces.sh"
address=10.99.0.100

if [ "${2-}" != inside ]; then
    needs nft sysctl
    # All that is started ends with the first process of the namespace.
    exec unshare --net --mount --pid --fork --mount-proc "$0" "$(realpath "$1")" inside
fi
tidegate=$1
begin
machine director 10.99.0.1
machine first 10.99.0.2
machine second 10.99.0.3
machine client 10.99.0.10
origin client 10.99.0.10

ip -n director address add "$address/32" dev eth0
if ! on director nft -f "$here/director.nft" 2>"$files/nft.log"; then
    echo "not tried: this kernel does not forward at the ingress hook: $(head -n 1 "$files/nft.log")"
    exit 77
fi
direct() { TMPDIR=$files on "$1" "$here/director.sh" 10.99.0.2 10.99.0.3 >>"$files/$1.log" 2>&1 & }
serve() {
    if [ ! -e "$files/$1" ]; then
        mkdir "$files/$1"
        head -c 32 /dev/urandom | base64 >"$files/$1/admin.token"
        on "$1" "$here/proxy.sh"
    fi
    proxy "$1"
}

# slots N: how many slots has proxy N?
slots() { on director nft list map netdev director slots | grep -oE " : 0x0*$1\>" | wc -l; }
both() { [ "$(slots 1)" = 32 ] && [ "$(slots 2)" = 32 ]; }
only() { [ "$(slots "$1")" = 64 ]; }

serve first
serve second
direct director
until_so "each proxy has half of the slots" both
echo "begun: each proxy has half of the slots"

# What the director's interface sent, in KiB.
sent() { echo $(($(on director cat /sys/class/net/eth0/statistics/tx_bytes) / 1024)); }
# Requests that each proxy has answered to this client.
answered() { grep -c '"client":"10.99.0.10".*"status":200' "$files/$1.log" || true; }

before=$(sent)
downloads 1 "http://$address/large"
downloaded
passed=$(($(sent) - before))
echo "downloads of 61440 KiB: $fate, and $passed KiB passed the director"
if [ "$fate" != "1 of 1 whole" ] || [ "$passed" -gt 6144 ]; then show; fi

begins() {
    asking "https://$address/"
}
happens() {
    until_so "each proxy has half of the slots" both
    begins
}
out() {
    until_so "the second has all slots: $1" only 2
    after=$(($(now) - began))
    asked
    echo "$1: out after $after ms, noticed for $disturbed ms; $requests"
}
back() {
    until_so "each proxy has half of the slots: $1 is over" both
    after=$(($(now) - began))
    asked
    echo "$1 is over: back after $after ms, noticed for $disturbed ms; $requests"
    nobody_failed
}
nobody_failed() { if [ "$failed" != 0 ]; then show; fi; }

happens
signal KILL first
out "a proxy is killed"
gone first
begins
serve first
back "a proxy is killed"

happens
ip link set port-first down
out "a link is cut"
begins
ip link set port-first up
back "a link is cut"

# The one that drains keeps its downloads, and the other one has those that begin.
happens
downloads 8 "http://$address/large"
held=$(on first ss -Htn state established "( sport = :80 )" | wc -l)
signal TERM first
out "a restart"
nobody_failed
downloaded
gone first
echo "a restart: downloads: $fate, $held of them by the one that drained"
if [ "$fate" != "8 of 8 whole" ]; then show; fi
begins
serve first
back "a restart"

# Another director, which chooses the same.
machine another 10.99.0.4
on another nft -f "$here/director.nft"
direct another
knows() { on another nft list map netdev director slots | grep -q elements; }
until_so "the other director has its maps" knows
happens
downloads 8 "http://$address/large"
ip -n director address delete "$address/32" dev eth0
ip -n another address add "$address/32" dev eth0
# As keepalived tells the neighbours.
ip -n client neighbour replace "$address" lladdr "$(on another cat /sys/class/net/eth0/address)" dev eth0 nud stale
asked
echo "another director: noticed for $disturbed ms; $requests"
nobody_failed
downloaded
echo "another director: downloads: $fate"
if [ "$fate" != "8 of 8 whole" ]; then show; fi

for machine in first second; do
    echo "the $machine answered $(answered "$machine") requests of the client"
    if [ "$(answered "$machine")" -lt 20 ]; then show; fi
done
