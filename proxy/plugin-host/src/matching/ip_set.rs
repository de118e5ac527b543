//! A set of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tidegate_message::UNKNOWN;

/// Entries of one set. Published lists of networks stay below.
const MAX_ENTRIES: usize = 100_000;

/// Sorted ranges that do not touch: one binary search answers, whatever the number of entries.
///
/// IPv4 addresses written inside IPv6 (`::ffff:192.0.2.1`) are IPv4 addresses, in entries and in
/// questions.
#[derive(Debug)]
pub(crate) struct IpSet {
    v4: Ranges<Ipv4Addr>,
    v6: Ranges<Ipv6Addr>,
}

impl IpSet {
    /// Entries are CIDR blocks or single addresses; host bits of a block are ignored.
    pub(crate) fn new(entries: &[String]) -> Result<Self, String> {
        if entries.len() > MAX_ENTRIES {
            return Err(format!("{} entries; at most {MAX_ENTRIES} are allowed", entries.len()));
        }
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            match parse(entry) {
                Some(IpNet::V4(net)) => v4.push((net.network(), net.broadcast())),
                Some(IpNet::V6(net)) => v6.push((net.network(), net.broadcast())),
                None => {
                    return Err(format!("[{index}]: `{entry}` is neither an address nor a CIDR block"));
                }
            }
        }
        Ok(Self { v4: Ranges::new(v4), v6: Ranges::new(v6) })
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        if address == UNKNOWN {
            return false;
        }
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.has(address),
            IpAddr::V6(address) => self.v6.has(address),
        }
    }
}

fn parse(entry: &str) -> Option<IpNet> {
    let net = match entry.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(entry.parse::<IpAddr>().ok()?),
    };
    Some(match net {
        IpNet::V6(net) => unmap(net).map_or(IpNet::V6(net), IpNet::V4),
        net => net,
    })
}

/// The IPv4 block that a block inside `::ffff:0:0/96` stands for.
fn unmap(net: Ipv6Net) -> Option<Ipv4Net> {
    let length = net.prefix_len().checked_sub(96)?;
    Ipv4Net::new(net.network().to_ipv4_mapped()?, length).ok()
}

#[derive(Debug)]
struct Ranges<A>(Vec<(A, A)>);

impl<A: Ord + Copy> Ranges<A> {
    fn new(mut ranges: Vec<(A, A)>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let overlaps = next.0 <= kept.1;
            if overlaps {
                kept.1 = kept.1.max(next.1);
            }
            overlaps
        });
        Self(ranges)
    }

    fn has(&self, address: A) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).is_some_and(|at| address <= self.0[at].1)
    }
}
