//! Monotonic time in nanoseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since it was made; 64 bits last 584 years.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    System(Instant),
    Stopped(StoppedClock),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(start) => nanos(start.elapsed()),
            Self::Stopped(clock) => clock.0.load(Ordering::SeqCst),
        }
    }
}

/// Stands still until it is advanced, for tests of policies; clones show the same time.
#[derive(Debug, Clone, Default)]
pub struct StoppedClock(Arc<AtomicU64>);

impl StoppedClock {
    /// So much time has passed.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(nanos(by), Ordering::SeqCst);
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
