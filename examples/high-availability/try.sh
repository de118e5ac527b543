#!/bin/sh
# Tries the example on one machine: two proxies with keepalived, and a client that is the origin server as well, each in a network
# namespace of its own. Then the active proxy is killed, keepalived, the link, and the path through the switch; the proxy is restarted and
# upgraded, and the servers are gone. Each time it is measured what became of requests, for how long no machine had the address, and for how
# long two had it.
#
#   try.sh TIDEGATE
#
# Needs the right to make namespaces, ip(8) and bridge(8), curl and keepalived. Exit status 77: it cannot be tried here.

set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../trial/namespaces.sh"
address=10.99.0.100

if [ "${2-}" != inside ]; then
    needs bridge keepalived
    # All that is started ends with the first process of the namespace.
    exec unshare --net --mount --pid --fork --mount-proc "$0" "$(realpath "$1")" inside
fi
tidegate=$1
begin
machine first 10.99.0.1
machine second 10.99.0.2
machine client 10.99.0.10
origin client 10.99.0.10

guard() {
    cp "$here/keepalived.conf" "$files/$1.conf"
    if [ "$1" = second ]; then
        sed -i 's/priority 200/priority 100/; s/10\.99\.0\.1$/SECOND/; s/10\.99\.0\.2$/10.99.0.1/; s/SECOND/10.99.0.2/' "$files/$1.conf"
    fi
    on "$1" keepalived --dont-fork --log-console --vrrp --use-file "$files/$1.conf" \
        --pid "$files/$1.pid" --vrrp_pid "$files/$1.vrrp" >>"$files/$1-keepalived.log" 2>&1 &
}
has() { ip -n "$1" -o address show dev eth0 | grep -q "$address/"; }
answers() { on client curl --silent --fail --max-time 1 --output /dev/null "http://$address/"; }

# When each of them got the address and lost it, as the kernel tells.
stamp() { date +%Y-%m-%dT%H:%M:%S.%6N; }
for machine in first second; do
    ip -n "$machine" -tshort monitor address >"$files/$machine.addresses" &
done
# Sets `two` and `none`: for how many milliseconds since the time $1 two machines had it, and none.
owners() {
    set -- "$1" $(for machine in first second; do sed "s/^/$machine /" "$files/$machine.addresses"; done | grep "$address/" | sort -k 2 |
        awk -v from="[$1]" -v to="[$(stamp)]" '
            function seconds(time) { split(substr(time, 2), part, /[T:\]]/); return part[2] * 3600 + part[3] * 60 + part[4] }
            # The time up to `time` belongs to who had it.
            function until(time) {
                if (time <= last) return
                passed = (seconds(time) - seconds(last) + 86400) % 86400
                if (has["first"] && has["second"]) two += passed
                if (!has["first"] && !has["second"]) none += passed
                last = time
            }
            BEGIN { last = from }
            { until($2 < to ? $2 : to); has[$1] = !/Deleted/ }
            END { until(to); printf "%.0f %.0f\n", two * 1000, none * 1000 }')
    two=$2 none=$3
}

# The first has it and keeps it: a machine whose servers were out of reach may give it up once more.
rests() {
    for _ in 1 2 3 4 5 6 7 8; do
        if ! has first || has second; then return 1; fi
        sleep 0.5
    done
}

# What is between `happens` and `away` or `back` is measured.
happens() {
    until_so "the first has the address for good" rests
    begins
}
begins() {
    asking "http://$address/"
    since=$(stamp)
}
moved() {
    until_so "the $2 has the address: $1" has "$2"
    after=$(($(now) - began))
    until_so "an answer: $1" answers
    asked
    owners "$since"
}
away() {
    moved "$1" second
    echo "$1: away for $away ms, at the second after $after ms; $requests; nobody had it for $none ms, two for $two ms"
}
back() {
    moved "$1 is over" first
    echo "$1 is over: the first has it again after $after ms, away for $away ms; $requests; nobody had it for $none ms, two for $two ms"
}
most=0
never_two() { if [ "$two" -gt "$most" ]; then most=$two; fi; }

proxy first
proxy second
guard first
guard second
until_so "the first has the address" has first
until_so "an answer" answers
echo "begun: the first has the address"

happens
signal KILL first
away "the proxy is killed"
never_two
gone first
begins
proxy first
back "the proxy is killed"
never_two

happens
# All of its processes, and none may say goodbye.
kill -STOP "$(cat "$files/first.pid")" "$(cat "$files/first.vrrp")"
kill -KILL "$(cat "$files/first.pid")" "$(cat "$files/first.vrrp")"
# Nobody is left to take it away from the interface: ExecStopPost= of keepalived.service.d does.
ip -n first address delete "$address/24" dev eth0 2>/dev/null || true
away "keepalived is killed"
never_two
begins
guard first
back "keepalived is killed"
never_two

happens
ip link set port-first down
away "the link is cut"
never_two
begins
ip link set port-first up
back "the link is cut"
never_two

happens
downloads 1 "http://$address/large"
signal TERM first
away "a restart"
never_two
if [ "$away" -gt 100 ]; then show; fi
downloaded
echo "a restart: downloads that were under way: $fate"
# Its client speaks to another machine now: there is nothing to wait for.
signal TERM first
gone first
begins
proxy first
back "a restart"
never_two

alone() { ! has first || ! has second; }
# The interface of the first machine knows nothing of it: it keeps the address, which nobody can reach there.
happens
bridge link set dev port-first state 0
away "the switch loses the first"
begins
bridge link set dev port-first state 3
until_so "one of them has the address" alone
back "the switch loses the first"

# The process is another one, and the address stays.
happens
downloads 1 "http://$address/large"
on first "$tidegate" upgrade --config "$files/first/tidegate.toml" >>"$files/first.log"
sleep 4
moved "an upgrade" first
downloaded
echo "an upgrade: away for $away ms; $requests; downloads that were under way: $fate"
if [ "$failed" != 0 ] || [ "$fate" != "1 of 1 whole" ]; then show; fi

# Neither is better than the other: clients are told by a 503 of one of them.
happens
kill -KILL "$(cat "$files/origin.proxy")"
unavailable() { test "$(on client curl --silent --max-time 1 --output /dev/null --write-out '%{http_code}' "http://$address/")" = 503; }
not_ready() { ! on "$1" curl --silent --fail --max-time 1 --output /dev/null http://127.0.0.1:9900/readyz; }
neither_ready() { not_ready first && not_ready second; }
until_so "neither is ready" neither_ready
sleep 5
until_so "a 503" unavailable
asked
owners "$since"
never_two
echo "the servers are gone: 503; nobody had it for $none ms, two for $two ms"

echo "never two for longer than $most ms, but where they could not hear each other"
if [ "$most" -gt 500 ]; then show; fi
