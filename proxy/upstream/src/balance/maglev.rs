//! The table of Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load
//! Balancer", NSDI 2016, §3.4): which server a hash belongs to.

use super::hash::mix;

/// Prime, as the method asks for, and small: the table of 128 KiB fits a core's second-level cache, and
/// a prime next to a power of two is a cheap divisor. With a hundred places per server shares are even to
/// 1 %, so up to some 650 servers; it is the paper's smaller size.
const SIZE: usize = 65_537;

const FREE: u16 = u16::MAX;

/// Built once for a list of servers, by the control side, in about a millisecond.
#[derive(Debug)]
pub(crate) struct Maglev(Box<[u16]>);

/// A server that wants places in the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    /// What a lookup returns. From 65,535 on there are no places left.
    pub(crate) index: usize,
    /// The hash of its address, so that its places do not depend on its neighbours in the list.
    pub(crate) key: u64,
    pub(crate) weight: u32,
}

/// The order in which a server asks for places, and whether it is its turn.
struct Permutation {
    index: u16,
    key: u64,
    place: usize,
    skip: usize,
    weight: u32,
    credit: u32,
}

impl Maglev {
    pub(crate) fn new(entries: impl Iterator<Item = Entry>) -> Self {
        let mut servers: Vec<_> = entries.filter_map(Permutation::new).collect();
        // Names resolve to the same addresses in any order.
        servers.sort_by_key(|server| server.key);
        let Some(heaviest) = servers.iter().map(|server| server.weight).max() else {
            return Self(Box::default());
        };
        let mut table = vec![FREE; SIZE];
        let mut free = SIZE;
        // The heaviest takes a place in each round, the others in as many as their weight is worth.
        loop {
            for server in &mut servers {
                server.credit += server.weight;
                if server.credit < heaviest {
                    continue;
                }
                server.credit -= heaviest;
                while table[server.place] != FREE {
                    server.place = (server.place + server.skip) % SIZE;
                }
                table[server.place] = server.index;
                free -= 1;
                if free == 0 {
                    return Self(table.into());
                }
            }
        }
    }

    /// The index of the server a hash belongs to; `None` if there are no servers.
    pub(crate) fn lookup(&self, hash: u64) -> Option<usize> {
        self.0.get((hash % SIZE as u64) as usize).copied().map(usize::from)
    }
}

impl Permutation {
    fn new(Entry { index, key, weight }: Entry) -> Option<Self> {
        let index = u16::try_from(index).ok().filter(|index| *index != FREE)?;
        let place = (mix(key ^ 1) % SIZE as u64) as usize;
        let skip = (mix(key ^ 2) % (SIZE as u64 - 1)) as usize + 1;
        Some(Self { index, key, place, skip, weight, credit: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash::hash;

    fn entry(index: usize, weight: u32) -> Entry {
        Entry { index, key: hash(format!("10.0.0.{index}:80").as_bytes()), weight }
    }

    fn places(table: &Maglev, index: u16) -> usize {
        table.0.iter().filter(|place| **place == index).count()
    }

    #[test]
    fn shares_are_even() {
        let table = Maglev::new((0..100).map(|index| entry(index, 1)));
        for index in 0..100 {
            let places = places(&table, index);
            assert!((655..=656).contains(&places), "server {index}: {places}");
        }
    }

    #[test]
    fn shares_follow_the_weights() {
        let table = Maglev::new([entry(0, 6), entry(1, 3), entry(2, 1)].into_iter());
        for (index, share) in [(0, 0.6), (1, 0.3), (2, 0.1)] {
            let places = places(&table, index) as f64 / SIZE as f64;
            assert!((places - share).abs() < 0.001, "server {index}: {places}");
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let entries = [0, 1, 2, 3].map(|index| entry(index, index as u32 + 1));
        let one = Maglev::new(entries.into_iter());
        let other = Maglev::new(entries.into_iter().rev());
        assert_eq!(one.0, other.0);
    }

    #[test]
    fn without_servers_there_is_no_answer() {
        assert_eq!(Maglev::new(std::iter::empty()).lookup(7), None);
    }

    #[test]
    fn a_server_that_leaves_moves_little_more_than_its_own_keys() {
        let keys = 100_000_u64;
        let all = Maglev::new((0..10).map(|index| entry(index, 1)));
        let mut worst = (0.0_f64, 0.0_f64);
        for gone in 0..10 {
            let left = Maglev::new((0..10).filter(|index| *index != gone).map(|index| entry(index, 1)));
            let (mut own, mut moved) = (0, 0);
            for key in (0..keys).map(|key| hash(&key.to_be_bytes())) {
                let home = all.lookup(key);
                own += u64::from(home == Some(gone));
                moved += u64::from(home != left.lookup(key));
            }
            let share = |count: u64| count as f64 / keys as f64;
            worst = (worst.0.max(share(moved)), worst.1.max(share(moved - own)));
        }
        println!(
            "one of ten servers leaves: at most {:.1} % of the keys move, {:.1} % without need",
            worst.0 * 100.0,
            worst.1 * 100.0
        );
        assert!(worst.0 < 0.13);
    }
}
