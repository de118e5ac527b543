#!/bin/sh
# Installs a Debian package of tidegate in a system of its own, has it serve by its unit's command line, upgrades it, and removes it.
#
#   try.sh PACKAGE.deb DIRECTORY      as root; debootstrap, curl and unshare have to be there; 77: they are not
#
# DIRECTORY gets the system and is removed first.
set -eu

say() { echo "$*"; }
fail() {
    echo "failed: $*" >&2
    exit 1
}

if [ "${1:-}" != --inside ]; then
    package=$(realpath "$1")
    root=$2
    for tool in debootstrap curl unshare dpkg-deb; do
        command -v "$tool" > /dev/null || { say "skipped: $tool is not installed"; exit 77; }
    done
    [ "$(id -u)" = 0 ] || { say "skipped: this needs root"; exit 77; }
    unshare --net true 2> /dev/null || { say "skipped: no right to make network namespaces"; exit 77; }
    rm -rf "$root"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2> /dev/null | head -n 1)
    # What the package depends on comes with the system.
    debootstrap --variant=minbase --include=adduser,libgcc-s1,ca-certificates "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root" "$mirror" > /dev/null \
        || { say "skipped: debootstrap could not make a system"; exit 77; }
    exec unshare --net "$0" --inside "$package" "$root"
fi

package=$2
root=$3
ip link set lo up
# No home: nothing is kept there.
inside() { HOME= XDG_CACHE_HOME= chroot "$root" "$@"; }

# As systemd would: the folders it makes, the user, and the command of the unit.
start() {
    for folder in run var/lib var/cache var/log; do
        mkdir -p "$root/$folder/tidegate"
        inside chown tidegate:tidegate "/$folder/tidegate"
    done
    command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/tidegate.service")
    CACHE_DIRECTORY=/var/cache/tidegate chroot --userspec=tidegate:tidegate "$root" $command > "$root/log" 2>&1 &
    proxy=$!
    for _ in $(seq 300); do
        curl -sf http://127.0.0.1:9900/readyz > /dev/null && return
        kill -0 "$proxy" 2> /dev/null || fail "it ended: $(cat "$root/log")"
        sleep 0.1
    done
    fail "it is not ready: $(cat "$root/log")"
}

stop() {
    kill -TERM "$proxy"
    wait "$proxy" || fail "it did not end well: $(cat "$root/log")"
}

serves() {
    answer=$(curl -s http://127.0.0.1:8080/)
    [ "$answer" = "$1" ] || fail "it answered $answer"
}

cp "$package" "$root/tidegate.deb"
inside dpkg --install /tidegate.deb > /dev/null
inside id tidegate > /dev/null || fail "there is no user"
say "installed: $(inside tidegate --version)"
for file in usr/share/man/man1/tidegate.1.gz usr/share/bash-completion/completions/tidegate \
    usr/share/tidegate/plugins/router.wasm usr/share/doc/tidegate/copyright; do
    [ -s "$root/$file" ] || fail "there is no $file"
done
# The file as it comes is good.
inside tidegate check --config /etc/tidegate/tidegate.toml > /dev/null || fail "its configuration does not pass"

mkdir -p "$root/srv/site"
echo first > "$root/srv/site/index.html"
cat > "$root/etc/tidegate/tidegate.toml" << 'END'
default-upstream = "site"

[listener.web]
address = "0.0.0.0:8080"

[files.site]
root = "/srv/site"

[admin]
address = "127.0.0.1:9900"
END
inside tidegate plugin install router --as 10-router --directory /etc/tidegate/plugins > /dev/null
printf '[config]\nrules = [{ to = "site" }]\n' > "$root/etc/tidegate/plugins/10-router.toml"
start
serves first
stop
say "served"

# A later version, with the same in it.
later=$(mktemp -d)
dpkg-deb --raw-extract "$package" "$later/files"
sed -i 's/^Version: .*/&+later/' "$later/files/DEBIAN/control"
dpkg-deb --root-owner-group --build "$later/files" "$root/later.deb" > /dev/null
rm -r "$later"
# Without a terminal dpkg would ask about a changed file if the package had changed it, too.
inside dpkg --install /later.deb > /dev/null < /dev/null
inside dpkg-query --show --showformat '${Version}\n' tidegate | grep -q later || fail "it was not upgraded"
grep -q files.site "$root/etc/tidegate/tidegate.toml" || fail "the configuration is lost"
start
serves first
stop
say "upgraded: the configuration stays"

inside dpkg --remove tidegate > /dev/null
[ ! -e "$root/usr/bin/tidegate" ] || fail "the binary is there"
[ -e "$root/etc/tidegate/tidegate.toml" ] || fail "the configuration is gone"
say "removed: the configuration stays"
inside dpkg --purge tidegate > /dev/null 2>&1
inside id tidegate > /dev/null 2>&1 && fail "the user is there"
rm -f "$root/tidegate.deb" "$root/later.deb"
# What the administrator put there stays.
left=$(find "$root" -xdev -name '*tidegate*' ! -path "$root/proc/*" ! -path "$root/etc/tidegate*" ! -path "$root/run/*")
[ -z "$left" ] || fail "left behind: $left"
say "purged: nothing is left but what is not of the package"
