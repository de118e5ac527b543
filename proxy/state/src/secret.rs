//! What the keys of limiters are hashed with.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use siphasher::sip::SipHasher13;

/// The key of a hash. Counts are kept by hashes of keys, so whoever is to go on with them has to know it; nobody else may, or
/// he could choose keys that count as one.
#[derive(Clone, Copy)]
pub struct Secret(pub [u64; 2]);

impl Secret {
    /// A new one.
    pub fn random() -> Self {
        // What std's hash makes of nothing with its own random keys.
        Self([(); 2].map(|()| RandomState::new().hash_one(())))
    }
}

impl BuildHasher for Secret {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0[0], self.0[1])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
