#!/bin/sh
# On the director: looks at `/readyz` of each proxy once a second, and says in the maps of director.nft who gets what.
#
#   director.sh PROXY...     addresses, in the same order on each director
#
# A proxy has slots while it answers 200; two looks in a row change that, but for the first one of all. If none does, those that answer
# something have them: clients are told by a 503. A proxy that is silent for five looks is taken out of `proxies` as well: who sends something
# in one of its connections is refused instead of waiting. When this script ends, the maps stay as they are.

set -eu
proxies=$*
known=$(mktemp -d)
trap 'rm -r "$known"' EXIT
trap 'exit 0' INT TERM

# look PROXY: ready, alive (it drains, or lacks what [ready] names) or silent.
look() {
    case $(curl --silent --max-time 1 --output /dev/null --write-out '%{http_code}' "http://$1:9900/readyz") in
    200) look=ready ;;
    000) look=silent ;;
    *) look=alive ;;
    esac
    echo "$look" >"$known/$1.look"
}

# believe PROXY: that it is what it was seen as. A line for each is kept: the last look, how often in a row, and what is believed.
believe() {
    read -r look <"$known/$1.look"
    last=$look times=0 is=
    if [ -e "$known/$1" ]; then read -r last times is <"$known/$1"; fi
    if [ "$look" = "$last" ]; then times=$((times + 1)); else times=1; fi
    was=$is
    if [ -z "$is" ] || [ "$times" = 2 ]; then is=$look; fi
    if [ "$look" = silent ] && [ "$times" = 5 ]; then is=dead; fi
    if [ "$is" != "$was" ]; then echo "$1 is $is"; fi
    echo "$look $times $is" >"$known/$1"
}

# Reads the address of each proxy and what it is, and writes what nft is to do, in one transaction. Of n proxies each has every n-th slot.
# Those of one that is out are spread over the others, and return to it: no other slot ever moves.
maps() {
    awk '
        { address[NR - 1] = $1; state[NR - 1] = $2; ready += $2 == "ready" }
        function serves(i) { return state[i] == "ready" || !ready && state[i] == "alive" }
        function owner(slot,    first, turn, i) {
            first = slot % NR
            if (serves(first)) return first
            for (turn = 0; turn < NR - 1; turn++) {
                i = (first + 1 + (int(slot / NR) + turn) % (NR - 1)) % NR
                if (serves(i)) return i
            }
            return -1
        }
        END {
            print "flush map netdev director proxies"
            print "flush map netdev director slots"
            for (i = 0; i < NR; i++) if (state[i] != "dead")
                print "add element netdev director proxies { " i + 1 " : " address[i] " }"
            for (slot = 0; slot < 64; slot++) if (owner(slot) >= 0)
                print "add element netdev director slots { " 256 + slot " : " owner(slot) + 1 " }"
        }'
}

while :; do
    sleep 1 &
    second=$!
    looks=
    for proxy in $proxies; do
        look "$proxy" &
        looks="$looks $!"
    done
    # shellcheck disable=SC2086 # one for each
    wait $looks
    for proxy in $proxies; do
        believe "$proxy"
    done
    for proxy in $proxies; do
        read -r _ _ is <"$known/$proxy"
        echo "$proxy $is"
    done >"$known/all.new"
    # Empty, if somebody has loaded director.nft again. Without the table this ends, and its unit loads it.
    nft list map netdev director slots >"$known/slots"
    if ! cmp -s "$known/all.new" "$known/all" || ! grep -q elements "$known/slots"; then
        maps <"$known/all.new" | nft -f -
        mv "$known/all.new" "$known/all"
    fi
    wait "$second"
done
