//! How long things took: a histogram fine enough to show quantiles of, of which the buckets of the exposition are sums.

use std::array;
use std::time::Duration;

use crate::counter::Counter;

/// Nine buckets to each power of ten, from a microsecond to a hundred seconds, and one for what is above. Each bound is
/// one digit and zeros, so that those of [`BOUNDS`] are among them.
const DECADES: usize = 8;
const BUCKETS: usize = 9 * DECADES + 1;

/// The upper bounds of the buckets that are shown, in microseconds.
const SHOWN: [u64; 16] = [
    500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000,
    5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The same in seconds, as [`Exposition::histogram`](crate::Exposition::histogram) takes them.
pub const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Written by one thread, as a [`Counter`]; read by any. Some values may be missing from a look at it: buckets and sum
/// are read one after the other.
#[derive(Debug)]
pub struct Durations {
    buckets: [Counter; BUCKETS],
    sum: Counter,
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| Counter::default()), sum: Counter::default() }
    }
}

impl Durations {
    /// Counts one. No more than some instructions.
    pub fn add(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)].add(1);
        self.sum.add(micros);
    }
}

/// Where so many microseconds belong: a bucket's upper bound is in it.
fn bucket(micros: u64) -> usize {
    let Some(below) = micros.checked_sub(1).filter(|below| *below > 0) else { return 0 };
    let power = below.ilog10() as usize;
    if power >= DECADES {
        return BUCKETS - 1;
    }
    let digit = below / 10_u64.pow(below.ilog10());
    9 * power + usize::try_from(digit).expect("one to nine")
}

/// The upper bound of a bucket in microseconds.
fn bound(bucket: usize) -> u64 {
    let (power, digit) = (bucket / 9, bucket as u64 % 9 + 1);
    let power = u32::try_from(power).expect("a handful");
    10_u64.pow(power) * digit
}

/// The sum of several, or the difference of two such sums.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    buckets: [u64; BUCKETS],
    micros: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], micros: 0 }
    }
}

impl Distribution {
    /// Adds what one thread counted so far.
    pub fn add(&mut self, durations: &Durations) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&durations.buckets) {
            *sum = sum.wrapping_add(bucket.get());
        }
        self.micros = self.micros.wrapping_add(durations.sum.get());
    }

    /// Adds another one.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *sum = sum.wrapping_add(*more);
        }
        self.micros = self.micros.wrapping_add(other.micros);
    }

    /// What came since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let mut since = self.clone();
        for (bucket, before) in since.buckets.iter_mut().zip(&before.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        since.micros = since.micros.saturating_sub(before.micros);
        since
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All together, in microseconds.
    pub fn micros(&self) -> u64 {
        self.micros
    }

    /// All together, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of 285 years")]
    pub fn seconds(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// How many were in each bucket of [`BOUNDS`], and above them all.
    pub fn shown(&self) -> [u64; BOUNDS.len() + 1] {
        let mut shown = [0; BOUNDS.len() + 1];
        for (at, count) in self.buckets.iter().enumerate() {
            // The last bucket has no bound.
            let upper = if at == BUCKETS - 1 { u64::MAX } else { bound(at) };
            shown[SHOWN.partition_point(|bound| *bound < upper)] += count;
        }
        shown
    }

    /// The duration that `share` of all do not exceed, in microseconds: as exact as buckets are. `None` of nothing.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate of what was counted"
    )]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = (count as f64 * share).max(1.0);
        let mut before = 0.0;
        for (at, here) in self.buckets.iter().enumerate() {
            let here = *here as f64;
            if here > 0.0 && before + here >= rank {
                let lower = if at == 0 { 0 } else { bound(at - 1) };
                let upper = if at == BUCKETS - 1 { lower } else { bound(at) };
                return Some(lower + ((upper - lower) as f64 * (rank - before) / here) as u64);
            }
            before += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(micros: &[u64]) -> Distribution {
        let durations = Durations::default();
        micros.iter().for_each(|micros| durations.add(Duration::from_micros(*micros)));
        let mut sum = Distribution::default();
        sum.add(&durations);
        sum
    }

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for at in 0..BUCKETS - 1 {
            assert_eq!(bucket(bound(at)), at, "{}", bound(at));
            assert_eq!(bucket(bound(at) + 1), at + 1, "{}", bound(at) + 1);
        }
        assert_eq!([0, 1, u64::MAX].map(bucket), [0, 0, BUCKETS - 1]);
    }

    #[test]
    fn what_is_shown_are_sums() {
        for (shown, micros) in BOUNDS.iter().zip(SHOWN) {
            assert!((shown * 1e6 - micros as f64).abs() < 1e-3);
            assert_eq!(bound(bucket(micros)), micros, "a bound of the finer buckets");
        }
        let shown = of(&[500, 501, 1_000, 1_001, 60_000_000, 60_000_001, 1 << 40]).shown();
        assert_eq!((shown[0], shown[1], shown[2], shown[15], shown[16]), (1, 2, 1, 1, 2));
    }

    #[test]
    fn quantiles_are_as_exact_as_the_buckets() {
        assert_eq!(of(&[]).quantile(0.5), None);
        let many = of(&(1..=1000).collect::<Vec<_>>());
        assert_eq!([0.5, 0.99, 1.0].map(|share| many.quantile(share)), [Some(500), Some(990), Some(1000)]);
        assert_eq!(many.seconds(), 0.5005);
        let later = of(&(1..=1010).collect::<Vec<_>>());
        assert_eq!((later.since(&many).count(), many.since(&later).count()), (10, 0));
    }
}
