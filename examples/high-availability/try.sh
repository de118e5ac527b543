#!/bin/sh
# Tries the example on one machine: two proxies with keepalived, and a client that is the origin server as well, each in a network
# namespace of its own. Then the active proxy is killed, keepalived, and the link; each time it is measured how long the address
# was away, who has it, and that never two had it.
#
#   try.sh TIDEGATE
#
# Needs the right to make namespaces, ip(8), curl and keepalived. Exit status 77: it cannot be tried here.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
address=10.99.0.100

if [ "${2-}" != inside ]; then
    for needed in ip curl keepalived unshare; do
        if ! command -v "$needed" >/dev/null; then
            echo "not tried: $needed is not installed"
            exit 77
        fi
    done
    if ! unshare --net --mount --pid --fork true 2>/dev/null; then
        echo "not tried: this user may not make namespaces"
        exit 77
    fi
    # All that is started ends with the first process of the namespace.
    exec unshare --net --mount --pid --fork --mount-proc "$0" "$(realpath "$1")" inside
fi
tidegate=$1
mount -t tmpfs tmpfs /run
files=/run/high-availability
mkdir "$files"

now() { date +%s%3N; }

# Three machines at one switch.
ip link set lo up
ip link add switch type bridge forward_delay 0
ip link set switch up
machine() {
    ip netns add "$1"
    ip link add "port-$1" type veth peer name eth0 netns "$1"
    ip link set "port-$1" master switch up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
}
machine first 10.99.0.1
machine second 10.99.0.2
machine client 10.99.0.10
on() { ip netns exec "$@"; }

# The origin server.
mkdir "$files/site"
echo hello >"$files/site/index.html"
cat >"$files/origin.toml" <<CONFIG
default-upstream = "site"
workers = 1
[listener.web]
address = "10.99.0.10:8080"
[files.site]
root = "$files/site"
CONFIG
on client "$tidegate" run --config "$files/origin.toml" >/dev/null 2>&1 &

proxy() {
    mkdir -p "$files/$1"
    cp "$here/tidegate.toml" "$files/$1/"
    # Not by the function: that would be a process of its own, and the number is that of what is to be killed.
    ip netns exec "$1" "$tidegate" run --config "$files/$1/tidegate.toml" >>"$files/$1.log" 2>&1 &
    echo $! >"$files/$1.proxy"
}
guard() {
    # Nobody else is in the namespace, and it has one user.
    sed "s/script_user nobody/script_user root/" "$here/keepalived.conf" >"$files/$1.conf"
    if [ "$1" = second ]; then
        sed -i 's/priority 200/priority 100/; s/10\.99\.0\.1$/SECOND/; s/10\.99\.0\.2$/10.99.0.1/; s/SECOND/10.99.0.2/' "$files/$1.conf"
    fi
    on "$1" keepalived --dont-fork --log-console --vrrp --use-file "$files/$1.conf" \
        --pid "$files/$1.pid" --vrrp_pid "$files/$1.vrrp" >>"$files/$1-keepalived.log" 2>&1 &
}
has() { ip -n "$1" -o address show dev eth0 | grep -q "$address/"; }
answers() { on client curl --silent --fail --max-time 0.3 --output /dev/null "http://$address/"; }

# Never two: looked at all the time.
(
    while :; do
        if has first && has second; then
            # Between two looks it may have moved.
            if has first && has second && has first; then
                echo "two have it at $(now)" >>"$files/two"
            fi
        fi
        sleep 0.05
    done
) &

show() {
    tail -n 20 "$files"/*.log
    exit 1
}
# until WHAT COMMAND...: for a minute at most.
until_so() {
    what=$1
    shift
    limit=$(($(now) + 60000))
    until "$@"; do
        if [ "$(now)" -gt "$limit" ]; then
            echo "in vain: $what"
            show
        fi
    done
}
# away WHAT WHO: from now until somebody answers at the address, and who that is.
away() {
    until_so "$2 has the address after: $1" has "$2"
    until_so "an answer after: $1" answers
    echo "$1: away for $(($(now) - began)) ms, then at the $2"
}
back() {
    began=$(now)
    until_so "the first has the address again after: $1" has first
    until_so "an answer after: $1" answers
    echo "$1 is over: the first has it again after $(($(now) - began)) ms"
}

proxy first
proxy second
guard first
guard second
until_so "the first has the address" has first
until_so "an answer" answers
echo "begun: the first has the address"

began=$(now)
kill -9 "$(cat "$files/first.proxy")"
away "the proxy is killed" second
proxy first
back "the proxy is killed"

began=$(now)
# With all of its processes.
kill -9 "$(cat "$files/first.pid")" "$(cat "$files/first.vrrp")" 2>/dev/null || true
# Nobody is left to take it away from the interface: ExecStopPost= of keepalived.service.d does.
ip -n first address delete "$address/24" dev eth0 2>/dev/null || true
away "keepalived is killed" second
guard first
back "keepalived is killed"

began=$(now)
ip link set port-first down
away "the link is cut" second
ip link set port-first up
back "the link is cut"

# A restart that is announced: nobody is refused.
(while :; do answers || echo "refused at $(now)" >>"$files/refused"; done) &
asking=$!
kill -TERM "$(cat "$files/first.proxy")"
until_so "the second has the address while the first drains" has second
proxy first
back "a restart"
kill "$asking"
echo "a restart: $(cat "$files/refused" 2>/dev/null | wc -l) requests without an answer"

if [ -e "$files/two" ]; then
    cat "$files/two"
    show
fi
echo "never two"
