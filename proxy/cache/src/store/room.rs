//! The room of one tier: bytes of memory, or of a disk, and what has to leave when there are not enough (S3-FIFO).
//!
//! What is new waits in a short queue, and leaves it soon unless it was asked for again: most of what is asked for once is
//! never asked for again. What was comes to the main queue, where it stays for another round for each time it was asked for.
//! Who asks changes one byte and no queue (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).

use std::collections::hash_map::RandomState;
use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::key::Key;

/// The short queue has this part of the room.
const SHORT: u64 = 10;
/// Being asked for more often than this makes no difference.
const OFTEN: u8 = 3;

/// Bytes of one kind, and who has them.
#[derive(Debug)]
pub(crate) struct Tier {
    limit: AtomicU64,
    used: AtomicU64,
    evicted: AtomicU64,
    /// Locked when something is stored or has to leave.
    queues: Mutex<Queues>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Queues {
    short: VecDeque<(Key, Arc<Room>)>,
    short_bytes: u64,
    main: VecDeque<(Key, Arc<Room>)>,
    /// Digests of keys that left the short queue lately: they were worth more than it seemed if they come again.
    ghosts: VecDeque<u64>,
    ghost_set: HashSet<u64>,
    /// How long both queues were when what is gone was last taken out of them.
    compacted: usize,
}

/// Bytes that something which is stored has.
#[derive(Debug)]
pub(crate) struct Room {
    bytes: u64,
    asked: AtomicU8,
    /// They are given back.
    gone: AtomicBool,
    tier: Arc<Tier>,
}

/// Bytes that something has which is not stored yet, or never will be by itself.
#[derive(Debug)]
pub(crate) struct Reserved {
    bytes: u64,
    tier: Arc<Tier>,
}

impl Tier {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self {
            limit: limit.into(),
            used: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            queues: Mutex::default(),
            hasher: RandomState::new(),
        })
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// What is there stays until there is need.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// How many things had to leave.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Takes bytes of something that is there already, free or not.
    pub(crate) fn claim(self: &Arc<Self>, bytes: u64) -> Reserved {
        self.used.fetch_add(bytes, Relaxed);
        Reserved { bytes, tier: self.clone() }
    }

    /// What has to leave next; its bytes are free. `None`: nothing is stored.
    pub(crate) fn evict(&self) -> Option<(Key, Arc<Room>)> {
        let limit = self.limit();
        let mut queues = self.queues();
        loop {
            let from_short = queues.short_bytes > limit / SHORT || queues.main.is_empty();
            if from_short && let Some((key, room)) = queues.short.pop_front() {
                queues.short_bytes = queues.short_bytes.saturating_sub(room.bytes);
                if room.gone.load(Relaxed) {
                    continue;
                }
                if room.asked.load(Relaxed) > 0 {
                    room.asked.store(0, Relaxed);
                    queues.main.push_back((key, room));
                    continue;
                }
                queues.remember(self.hasher.hash_one(&key));
                room.give_back();
                self.evicted.fetch_add(1, Relaxed);
                return Some((key, room));
            }
            let (key, room) = queues.main.pop_front()?;
            if room.gone.load(Relaxed) {
                continue;
            }
            let asked = room.asked.load(Relaxed);
            if asked > 0 {
                room.asked.store(asked - 1, Relaxed);
                queues.main.push_back((key, room));
                continue;
            }
            room.give_back();
            self.evicted.fetch_add(1, Relaxed);
            return Some((key, room));
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    fn remember(&mut self, digest: u64) {
        let most = self.main.len().max(64);
        if self.ghost_set.insert(digest) {
            self.ghosts.push_back(digest);
        }
        while self.ghosts.len() > most {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.ghost_set.remove(&oldest);
            }
        }
    }

    /// What was replaced or purged leaves its entry behind.
    fn compact(&mut self) {
        let length = self.short.len() + self.main.len();
        if length < 64 + 2 * self.compacted {
            return;
        }
        let is_there = |(_, room): &(Key, Arc<Room>)| !room.gone.load(Relaxed);
        self.short.retain(is_there);
        self.main.retain(is_there);
        self.short_bytes = self.short.iter().map(|(_, room)| room.bytes).sum();
        self.compacted = self.short.len() + self.main.len();
    }
}

impl Reserved {
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more; false, and nothing is taken, if there is not so much.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.tier.limit();
        let take = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        let taken = self.tier.used.fetch_update(Relaxed, Relaxed, take).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives back all but so many bytes.
    pub(crate) fn shrink(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.tier.used.fetch_sub(more, Relaxed);
        self.bytes -= more;
    }

    /// All of them, as those of another.
    pub(crate) fn take_all(&mut self) -> Self {
        Self { bytes: std::mem::take(&mut self.bytes), tier: self.tier.clone() }
    }

    /// They are those of something stored under `key`, which may have to leave.
    pub(crate) fn store(mut self, key: &Key) -> Arc<Room> {
        let bytes = std::mem::take(&mut self.bytes);
        let tier = self.tier.clone();
        let room = Arc::new(Room {
            bytes,
            asked: AtomicU8::new(0),
            gone: AtomicBool::new(false),
            tier: tier.clone(),
        });
        let digest = tier.hasher.hash_one(key);
        let mut queues = tier.queues();
        if queues.ghost_set.remove(&digest) {
            queues.ghosts.retain(|ghost| *ghost != digest);
            queues.main.push_back((key.clone(), room.clone()));
        } else {
            queues.short_bytes += bytes;
            queues.short.push_back((key.clone(), room.clone()));
        }
        queues.compact();
        drop(queues);
        room
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.tier.used.fetch_sub(self.bytes, Relaxed);
    }
}

impl Room {
    /// It was asked for.
    pub(crate) fn touch(&self) {
        let asked = self.asked.load(Relaxed);
        // What is asked for often is not written to any more: workers would take the line from each other.
        if asked < OFTEN {
            self.asked.store(asked + 1, Relaxed);
        }
    }

    /// Its bytes are free, once.
    pub(crate) fn give_back(&self) {
        if !self.gone.swap(true, Relaxed) {
            self.tier.used.fetch_sub(self.bytes, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::KeyParts;
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(&KeyParts { destination: "", scheme: "", authority: "", target: name, addition: b"" })
    }

    fn target(key: &Key) -> String {
        key.parts().expect("a key").target.to_owned()
    }

    /// Stores something of 10 bytes, and says what had to leave for it.
    fn store(tier: &Arc<Tier>, name: &str) -> (Arc<Room>, Vec<String>) {
        let mut left = Vec::new();
        loop {
            let mut reserved = tier.claim(0);
            if reserved.grow(10) {
                return (reserved.store(&key(name)), left);
            }
            left.push(target(&tier.evict().expect("something is stored").0));
        }
    }

    #[test]
    fn what_was_asked_for_stays_and_a_scan_does_not_push_it_out() {
        let tier = Tier::new(100);
        let hot: Vec<_> = (0..3).map(|name| store(&tier, &format!("hot{name}")).0).collect();
        hot.iter().for_each(|room| room.touch());
        for name in 0..50 {
            let (_, left) = store(&tier, &format!("once{name}"));
            assert!(left.iter().all(|name| name.starts_with("once")), "{left:?}");
        }
        assert!(hot.iter().all(|room| !room.gone.load(Relaxed)));
        assert_eq!(tier.used(), 100);
        assert_eq!(tier.evicted(), 43);
    }

    #[test]
    fn what_comes_back_soon_is_worth_more() {
        let tier = Tier::new(100);
        for name in 0..10 {
            store(&tier, &format!("{name}"));
        }
        let (_, left) = store(&tier, "new");
        assert_eq!(left, ["0"]);
        store(&tier, "0");
        assert_eq!(target(&tier.queues().main[0].0), "0");
    }

    #[test]
    fn bytes_are_given_back_once_and_entries_that_are_gone_go() {
        let tier = Tier::new(u64::MAX);
        for name in 0..1000 {
            let (room, _) = store(&tier, &format!("{name}"));
            room.give_back();
            room.give_back();
        }
        assert_eq!(tier.used(), 0);
        assert!(tier.queues().short.len() <= 64);
        let mut reserved = tier.claim(10);
        assert!(reserved.grow(5) && !tier.claim(1).grow(u64::MAX));
        reserved.shrink(3);
        assert_eq!(tier.used(), 3);
        drop(reserved);
        assert_eq!((tier.used(), tier.evict().is_none()), (0, true));
    }
}
