#!/bin/sh
# On each proxy, at each start of the machine: it has the address that clients speak to, and says so to nobody.
#
#   proxy.sh

set -eu
address=10.99.0.100

# Not on an interface of the network, and who asks for it there (ARP) gets no answer, nor is it named in questions.
sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
ip address replace "$address/32" dev lo

# That a packet was too large on its way to a client is told to the director (ICMP): find out without being told.
sysctl -qw net.ipv4.tcp_mtu_probing=1
