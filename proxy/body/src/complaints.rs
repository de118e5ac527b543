//! How often the log tells of the same shortage.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_io::Millis;

/// However many bodies meet it.
const ONCE_IN: Duration = Duration::from_secs(10);

/// Lets one complaint through in [`ONCE_IN`].
#[derive(Debug, Default)]
pub(crate) struct Complaints {
    /// 0 = never.
    last: AtomicU64,
}

impl Complaints {
    pub(crate) fn allow(&self) -> bool {
        let (now, last) = (Millis::now(), self.last.load(Relaxed));
        let quiet = last != 0 && now.time_since(Millis(last)) < ONCE_IN;
        !quiet && self.last.compare_exchange(last, now.0, Relaxed, Relaxed).is_ok()
    }
}
