#!/bin/sh
# Asks twenty times a second, each time over a new connection and whether or not earlier ones were answered, until FILE.stop is there.
# The client that a user is, who has five seconds and tries once.
#
#   ask.sh URL FILE
#
# Each request is a line of FILE: when it began (milliseconds since 1970), the exit status of curl, and the seconds it took.

set -eu
while [ ! -e "$2.stop" ]; do
    {
        began=$(date +%s%3N)
        failed=0
        took=$(curl --silent --fail --insecure --max-time 5 --output /dev/null --write-out '%{time_total}' "$1") || failed=$?
        echo "$began $failed $took" >>"$2"
    } &
    sleep 0.05
done
wait
