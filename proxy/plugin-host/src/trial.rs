//! Time and chance as a test of a policy wants them: the same every time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A clock that stands until it is advanced, and chance that comes from a number.
#[derive(Debug)]
pub struct Fixed {
    /// Nanoseconds since the Unix epoch; 64 bits last until 2554.
    now: AtomicU64,
    state: AtomicU64,
}

impl Fixed {
    /// `now` is since the Unix epoch.
    pub fn new(now: Duration, seed: u64) -> Self {
        Self { now: AtomicU64::new(nanos(now)), state: AtomicU64::new(seed) }
    }

    /// So much time has passed.
    pub fn advance(&self, by: Duration) {
        self.now.fetch_add(nanos(by), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): its whole state is one number, and every number will do.
    pub(crate) fn random(&self) -> u64 {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same() {
        let [one, other] = [7, 7].map(|seed| Fixed::new(Duration::ZERO, seed));
        let numbers: Vec<u64> = (0..3).map(|_| one.random()).collect();
        assert_eq!(numbers, (0..3).map(|_| other.random()).collect::<Vec<_>>());
        assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2]);
        // As the authors' own implementation gives it.
        assert_eq!(Fixed::new(Duration::ZERO, 1_234_567).random(), 6_457_827_717_110_365_317);
    }
}
