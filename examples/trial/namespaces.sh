# What the `try.sh` of examples have in common, to be read with `.`: machines at one switch, each a network namespace, and a client that
# asks all the time while something fails.

# needs PROGRAM...: ends with 77 unless they are there, and this user may make namespaces.
needs() {
    for needed in ip curl unshare "$@"; do
        if ! command -v "$needed" >/dev/null; then
            echo "not tried: $needed is not installed"
            exit 77
        fi
    done
    if ! unshare --net --mount --pid --fork true 2>/dev/null; then
        echo "not tried: this user may not make namespaces"
        exit 77
    fi
}

# A directory that is gone with the namespaces, and the switch.
begin() {
    # Nothing of it is seen outside; `ip netns` writes there as well.
    mount -t tmpfs tmpfs /run
    files=/run/trial
    mkdir "$files"
    ip link set lo up
    ip link add switch type bridge forward_delay 0
    ip link set switch up
}

# machine NAME ADDRESS: at the switch, by its eth0.
machine() {
    ip netns add "$1"
    ip link add "port-$1" type veth peer name eth0 netns "$1"
    ip link set "port-$1" master switch up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
}

on() { ip netns exec "$@"; }

# origin MACHINE ADDRESS: a server with a small file, and one that takes ten seconds for who takes 6 MiB in each.
origin() {
    mkdir "$files/site"
    echo hello >"$files/site/index.html"
    truncate --size 60M "$files/site/large"
    cat >"$files/origin.toml" <<CONFIG
default-upstream = "site"
workers = 1
[listener.web]
address = "$2:8080"
[files.site]
root = "$files/site"
CONFIG
    # Not by `on`: that would be a process of its own, and the number is that of what is to be killed.
    ip netns exec "$1" "$tidegate" run --config "$files/origin.toml" >/dev/null 2>&1 &
    echo $! >"$files/origin.proxy"
}

# proxy MACHINE: with the example's tidegate.toml.
proxy() {
    mkdir -p "$files/$1"
    cp "$here/tidegate.toml" "$files/$1/"
    ip netns exec "$1" "$tidegate" run --config "$files/$1/tidegate.toml" >>"$files/$1.log" 2>&1 &
    echo $! >"$files/$1.proxy"
}
# signal NAME MACHINE: to its proxy.
signal() { kill "-$1" "$(cat "$files/$2.proxy")"; }
# gone MACHINE: returns when the process of its proxy has ended.
gone() { wait "$(cat "$files/$1.proxy")" || true; }

now() { date +%s%3N; }

show() {
    for log in "$files"/*.log; do
        echo "==> $log"
        tail -n 20 "$log"
    done
    exit 1
}

# until_so WHAT COMMAND...: for a minute at most.
until_so() {
    what=$1
    shift
    limit=$(($(now) + 60000))
    until "$@"; do
        if [ "$(now)" -gt "$limit" ]; then
            echo "in vain: $what"
            show
        fi
        sleep 0.01
    done
}

# downloads N URL: begins N downloads of ten seconds in the namespace `client`. `downloaded` waits, and sets `fate`: how many
# arrived whole.
downloads() {
    downloading=
    for _ in $(seq "$1"); do
        on client curl --silent --fail --insecure --limit-rate 6M --max-time 30 --output /dev/null "$2" &
        downloading="$downloading $!"
    done
    sleep 0.5
}
downloaded() {
    whole=0
    for one in $downloading; do
        if wait "$one"; then whole=$((whole + 1)); fi
    done
    set -- $downloading
    fate="$whole of $# whole"
}

# A client that asks all the time, from here to `asked`.
asking() {
    rm -f "$files/asked" "$files/asked.stop"
    on client "$here/../trial/ask.sh" "$1" "$files/asked" &
    client=$!
    sleep 0.5
    began=$(now)
}

# What became of what it asked, in words as `requests`. A request that failed or had no answer within 0.3 s is missed: `away` is the
# longest time in which all were that began in it, `disturbed` the time from the first one to the last.
asked() {
    # What is repeated after a second (TCP) is seen too.
    sleep 1.5
    touch "$files/asked.stop"
    wait "$client"
    set -- $(sort -n "$files/asked" | awk '
        { count++; last = $1; missed = $2 != 0 || $3 > 0.3 }
        $2 != 0 { failed++ }
        $2 == 0 && $3 > slowest { slowest = $3 }
        missed && !first { first = $1 }
        missed && !since { since = $1 }
        !missed && since { answered() }
        function answered() {
            if (last - since > away) away = last - since
            disturbed = last - first
            since = 0
        }
        END {
            if (since) answered()
            print away + 0, disturbed + 0, failed + 0, count, int(slowest * 1000)
        }')
    away=$1 disturbed=$2 failed=$3
    requests="$3 of $4 requests failed, the slowest answer took $5 ms"
}
