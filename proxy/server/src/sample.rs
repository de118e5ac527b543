//! A share of the requests of one worker.

use std::cell::Cell;

/// Takes so many of every hundred, those that come first.
pub(crate) struct Sample {
    per_cent: u8,
    count: Cell<u64>,
}

impl Sample {
    pub(crate) fn new(per_cent: u8) -> Self {
        Self { per_cent, count: Cell::new(0) }
    }

    /// Whether the next one is among them.
    pub(crate) fn takes(&self) -> bool {
        self.count.replace(self.count.get() + 1) % 100 < u64::from(self.per_cent)
    }
}
