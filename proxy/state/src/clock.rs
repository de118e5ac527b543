//! Monotonic time in nanoseconds.

#[cfg(test)]
use std::sync::Arc;
#[cfg(test)]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nanoseconds since it was made; 64 bits last 584 years.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    System(Instant),
    #[cfg(test)]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::System(Instant::now())
    }

    pub(crate) fn now(&self) -> u64 {
        match self {
            Self::System(start) => nanos(start.elapsed()),
            #[cfg(test)]
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }
}

#[cfg(test)]
impl Clock {
    /// Stands still until it is advanced; clones show the same time.
    pub(crate) fn manual() -> Self {
        Self::Manual(Arc::default())
    }

    pub(crate) fn advance(&self, by: Duration) {
        match self {
            Self::System(_) => panic!("the system's clock goes by itself"),
            Self::Manual(now) => _ = now.fetch_add(nanos(by), Ordering::SeqCst),
        }
    }
}

pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
