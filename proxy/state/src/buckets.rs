//! The counts of one plugin's limiters in this process, in a table of bounded size.

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::quota::Quota;
use crate::remote::keys::Key;

/// How long each key is in debt.
///
/// A key is known by 64 bits of a keyed hash. Among 100,000 keys, two meet with a probability of 3·10^-10, and
/// who does not know the process' secret cannot make them meet. In return a key takes the same few bytes
/// whatever its length.
///
/// A lock is held for some ten nanoseconds; nothing is waited for and no more than a name or a table's growth
/// is allocated under it, and a shard is one of 64. Two workers that go on asking for the very same key cost
/// each other 50 ns a time. A table without locks would need a way to take entries out while others read them.
#[derive(Debug)]
pub(crate) struct Buckets {
    shards: Box<[Shard]>,
    keys_per_shard: usize,
    /// There may be changes to hand on, so that a table without any is passed over.
    changed: AtomicBool,
}

/// On a line of the cache for itself, as its neighbours belong to other workers at the time.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    /// When each key is out of debt. Who is not here is.
    until: HashMap<u64, u64, HashedAlready>,
    /// Each key once, by a moment that is not later than when it is out of debt: it is only corrected when
    /// the key comes to the top, so that counting does not touch it.
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// What passed since the last exchange with the shared store.
    changes: HashMap<u64, Change, HashedAlready>,
}

/// What tells a limiter's counts from those of others.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) quota: Quota,
    /// Sets the hashes of its keys apart from those of the plugin's other limiters.
    pub(crate) seed: u64,
    /// What the names of its keys in the shared store begin with.
    pub(crate) prefix: String,
}

/// What passed of one key.
#[derive(Debug)]
pub(crate) struct Change {
    /// Of the key in the shared store. Bounded, whatever the key.
    pub(crate) name: String,
    /// The debt that it added, ns.
    pub(crate) debt: u64,
}

const SHARDS: usize = 64;

/// Changed keys a shard keeps for one exchange, 4,096 of a plugin. What passes of others remains unknown to
/// other proxies. Keys that are used a lot are among those kept, as they come early.
const CHANGES_PER_SHARD: usize = 64;

impl Buckets {
    /// Up to `keys`, spread over the shards: chance fills some of them a few percent earlier.
    pub(crate) fn new(keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            keys_per_shard: keys.div_ceil(SHARDS),
            changed: AtomicBool::new(false),
        }
    }

    /// Whether this cost of a key passes at this moment, and the key's debt after it.
    ///
    /// With `note`, what passes is kept for [`Self::take_changes`].
    pub(crate) fn take(
        &self,
        limiter: &Named,
        hash: u64,
        cost: u64,
        now: u64,
        note: Option<&Key<'_>>,
    ) -> (bool, u64) {
        let mut keys = self.shard(hash);
        let debt = keys.until.get(&hash).map_or(0, |until| until.saturating_sub(now));
        if !limiter.quota.admits(debt, cost) {
            return (false, debt);
        }
        let price = limiter.quota.price(cost);
        if price == 0 {
            return (true, debt);
        }
        let debt = debt + price;
        keys.set(hash, now + debt, now, self.keys_per_shard);
        if let Some(key) = note
            && keys.note(hash, price, || key.of(&limiter.prefix))
        {
            self.changed.store(true, Ordering::Release);
        }
        (true, debt)
    }

    /// What passed since this was last asked, by hash.
    pub(crate) fn take_changes(&self) -> Vec<(u64, Change)> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        self.shards.iter().flat_map(|shard| mem::take(&mut shard.lock().changes)).collect()
    }

    /// The debt all proxies know of, without what passed here since. The greater of that and what is known
    /// here holds: others add to it, and what is counted here one by one is never too much.
    pub(crate) fn learn(&self, hash: u64, debt: u64, now: u64) {
        let mut keys = self.shard(hash);
        let since = keys.changes.get(&hash).map_or(0, |change| change.debt);
        let until = now.saturating_add(debt).saturating_add(since);
        if until > keys.until.get(&hash).copied().unwrap_or(now) {
            keys.set(hash, until, now, self.keys_per_shard);
        }
    }

    /// The keys that are in debt, and for how long. Each shard is locked for a copy of what is in it.
    pub(crate) fn debts(&self, now: u64) -> Vec<(u64, Duration)> {
        let in_debt = |(hash, until): (&u64, &u64)| {
            let debt = until.saturating_sub(now);
            (debt > 0).then(|| (*hash, Duration::from_nanos(debt)))
        };
        self.shards
            .iter()
            .flat_map(|shard| shard.lock().until.iter().filter_map(in_debt).collect::<Vec<_>>())
            .collect()
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Keys> {
        // The table within takes the lowest and the highest bits.
        self.shards[(hash >> 32) as usize % SHARDS].lock()
    }
}

impl Shard {
    /// Nothing under the lock panics half-way through a change, so a poisoned one is as good as any.
    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn set(&mut self, hash: u64, until: u64, now: u64, max: usize) {
        if let Some(held) = self.until.get_mut(&hash) {
            *held = until;
            return;
        }
        // Two for one: a table that was full of passing visitors shrinks again.
        let _ = self.drop_first(now) && self.drop_first(now);
        if self.until.len() >= max {
            self.drop_first(u64::MAX);
        }
        self.until.insert(hash, until);
        self.due.push(Reverse((until, hash)));
    }

    /// Drops the key that is out of debt first, if it is by then. The corrections on the way are bounded by
    /// the size of the shard (1,563), and each is owed to a count that made it necessary.
    fn drop_first(&mut self, by: u64) -> bool {
        while let Some(mut first) = self.due.peek_mut() {
            let Reverse((due, hash)) = *first;
            if due > by {
                return false;
            }
            let until = self.until.get(&hash).copied().unwrap_or(due);
            if until > due {
                *first = Reverse((until, hash));
                continue;
            }
            PeekMut::pop(first);
            self.until.remove(&hash);
            return true;
        }
        false
    }

    /// Whether it is kept.
    fn note(&mut self, hash: u64, debt: u64, name: impl FnOnce() -> String) -> bool {
        if let Some(change) = self.changes.get_mut(&hash) {
            change.debt = change.debt.saturating_add(debt);
            return true;
        }
        let kept = self.changes.len() < CHANGES_PER_SHARD;
        if kept {
            self.changes.insert(hash, Change { name: name(), debt });
        }
        kept
    }
}

/// For keys that are hashes.
type HashedAlready = BuildHasherDefault<AsItIs>;

#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(limit: u64, burst: u64) -> Named {
        let quota = Quota::new(limit, Duration::from_secs(1), burst);
        Named { quota, seed: 0, prefix: String::new() }
    }

    fn known(buckets: &Buckets) -> usize {
        buckets.shards.iter().map(|shard| shard.lock().until.len()).sum()
    }

    /// All in the same shard.
    fn hashes(count: u64) -> impl Iterator<Item = u64> {
        1..=count
    }

    #[test]
    fn a_full_table_lets_go_of_the_key_that_is_out_of_debt_first() {
        let buckets = Buckets::new(3 * SHARDS);
        let limiter = limiter(1, 9);
        for (hash, cost) in [(1, 5), (2, 3), (3, 4)] {
            buckets.take(&limiter, hash, cost, 0, None);
        }
        // Recorded as the first to go, and by now the last.
        buckets.take(&limiter, 2, 6, 0, None);
        buckets.take(&limiter, 4, 10, 0, None);
        let debt = |hash| buckets.take(&limiter, hash, 0, 0, None).1 / SECOND;
        assert_eq!([1, 2, 3, 4].map(debt), [5, 9, 0, 10]);
    }

    #[test]
    fn keys_out_of_debt_go_by_themselves_as_others_come() {
        let buckets = Buckets::new(1_000 * SHARDS);
        let limiter = limiter(1, 0);
        hashes(500).for_each(|hash| _ = buckets.take(&limiter, hash, 1, 0, None));
        assert_eq!(known(&buckets), 500);
        hashes(250).for_each(|hash| _ = buckets.take(&limiter, 1_000 + hash, 1, 2 * SECOND, None));
        assert_eq!(known(&buckets), 250);
    }

    #[test]
    fn the_table_never_grows_beyond_its_bound() {
        let buckets = Buckets::new(10 * SHARDS);
        let limiter = limiter(1, 0);
        hashes(10_000).for_each(|hash| _ = buckets.take(&limiter, hash, 1, hash, None));
        assert_eq!(known(&buckets), 10);
        let heap: usize = buckets.shards.iter().map(|shard| shard.lock().due.len()).sum();
        assert_eq!(heap, 10, "each key once");
    }

    #[test]
    fn changes_are_summed_bounded_and_handed_out_once() {
        let buckets = Buckets::new(1_000 * SHARDS);
        let limiter = limiter(1, 9);
        for _ in 0..3 {
            buckets.take(&limiter, 7, 2, 0, Some(&Key::Short("seven")));
        }
        hashes(1_000)
            .for_each(|hash| _ = buckets.take(&limiter, 100 + hash, 1, 0, Some(&Key::Short("other"))));
        let changes = buckets.take_changes();
        assert_eq!(changes.len(), CHANGES_PER_SHARD);
        let seven: Vec<_> = changes.iter().filter(|(hash, _)| *hash == 7).collect();
        assert_eq!(seven.len(), 1);
        assert_eq!((&*seven[0].1.name, seven[0].1.debt), ("k:seven", 6 * SECOND));
        assert!(buckets.take_changes().is_empty());
    }

    #[test]
    fn what_is_learnt_adds_to_what_passed_since_and_never_forgives() {
        let buckets = Buckets::new(1_000);
        let limiter = limiter(1, 9);
        let debt = || buckets.take(&limiter, 7, 0, 0, None).1 / SECOND;
        buckets.take(&limiter, 7, 2, 0, Some(&Key::Short("seven")));
        buckets.take_changes();
        buckets.take(&limiter, 7, 1, 0, Some(&Key::Short("seven")));
        buckets.learn(7, 5 * SECOND, 0);
        assert_eq!(debt(), 6, "five that all know of, and one that they do not");
        buckets.learn(7, SECOND, 0);
        assert_eq!(debt(), 6);
    }
}
