//! Which keys had responses lately that could not be stored: requests for these do not wait for each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::key::Key;
use crate::time::Time;

/// Keys that are remembered at most. Of two that fall into one place the later is; the other may queue once more.
const PLACES: usize = 1 << 15;
/// Seconds that one is remembered.
const LASTS: u64 = 120;

/// A table of a fixed size, without locks.
#[derive(Debug)]
pub(crate) struct Markers {
    /// Upper half: of the digest; lower half: second of its end.
    places: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Markers {
    pub(crate) fn new() -> Self {
        let places = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Self { places, hasher: RandomState::new() }
    }

    pub(crate) fn set(&self, key: &Key, now: Time) {
        let (place, digest) = self.place(key);
        let until = (now.0 / 1000 + LASTS) & 0xffff_ffff;
        place.store(digest | until, Relaxed);
    }

    pub(crate) fn clear(&self, key: &Key) {
        if self.is_set(key, Time(0)) {
            self.place(key).0.store(0, Relaxed);
        }
    }

    pub(crate) fn is_set(&self, key: &Key, now: Time) -> bool {
        let (place, digest) = self.place(key);
        let found = place.load(Relaxed);
        found & !0xffff_ffff == digest && found & 0xffff_ffff > now.0 / 1000
    }

    fn place(&self, key: &Key) -> (&AtomicU64, u64) {
        let digest = self.hasher.hash_one(key);
        // The place is the lower bits, and what is kept there the upper half.
        let place = &self.places[digest as usize & (PLACES - 1)];
        (place, digest & !0xffff_ffff)
    }
}
