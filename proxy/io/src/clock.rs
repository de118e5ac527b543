//! A moment to the millisecond, cheap enough to be asked for at every step of a request.

use std::ops::Add;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds of the system's monotonic clock, whose origin means nothing. It fits an atomic, and
/// tests make their own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Millis(pub u64);

impl Millis {
    /// How far [`Millis::now`] may be behind.
    pub const TICK: Duration = Duration::from_millis(10);

    /// The moment of the kernel's last tick, up to 10 ms ago. It costs a fifteenth of an `Instant`,
    /// of which a request would need a dozen; bounds on waits are seconds.
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::MonotonicCoarse);
        // Neither is ever negative.
        let (seconds, nanos) = (time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs());
        Self(seconds * 1000 + nanos / 1_000_000)
    }

    /// Milliseconds from `earlier` to this moment; 0 if it is still to come.
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Time from `earlier` to this moment; none if it is still to come.
    pub fn time_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.since(earlier))
    }
}

impl Add<Duration> for Millis {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(in_millis(time)))
    }
}

/// Unix time, in seconds.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time in whole milliseconds.
pub fn in_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
