//! How many series one policy may have.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::definition::Kind;

/// Series with labels of one policy. The values of labels come from requests, and a client must not be able
/// to fill memory, nor Prometheus, by inventing some.
const MAX_SERIES: u32 = 1000;

/// What one series may add to the exposition before it counts as several. With it a policy never writes
/// more than 10,000 lines for its series, however many buckets it has.
const LINES_PER_SERIES: usize = 10;

/// One policy by its name, for all versions of it: what they share.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) policy: Box<str>,
    /// Series that may still be added.
    free: AtomicU32,
    dropped: AtomicU64,
}

impl Room {
    pub(crate) fn new(policy: &str) -> Self {
        Self { policy: policy.into(), free: AtomicU32::new(MAX_SERIES), dropped: AtomicU64::new(0) }
    }

    /// Takes room for one series; without any, what was to be counted in it counts as dropped.
    pub(crate) fn take(&self, kind: &Kind) -> bool {
        let took = self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(size(kind))).is_ok();
        if !took {
            self.dropped.fetch_add(1, Relaxed);
        }
        took
    }

    /// So many series are no more.
    pub(crate) fn give_back(&self, kind: &Kind, series: usize) {
        let series = u32::try_from(series).expect("at most MAX_SERIES");
        self.free.fetch_add(size(kind) * series, Relaxed);
    }

    /// What was not counted for lack of room.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }
}

/// As how many series one counts. Most histograms have 10 or 11 buckets and count twice.
fn size(kind: &Kind) -> u32 {
    let lines = match kind {
        Kind::Counter | Kind::Gauge => 1,
        // The bucket of all values, the sum and the count.
        Kind::Histogram(bounds) => bounds.len() + 3,
    };
    u32::try_from(lines.div_ceil(LINES_PER_SERIES)).expect("a handful")
}
