//! The latest exchanges that failed, for people who look.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError, TryLockError};

use serde::Serialize;
use tidegate_io::Millis;

const KEPT: usize = 50;
/// Of one worker in a second: whoever makes requests fail does not push all others out at once.
const PER_SECOND: u32 = 5;

/// Of all workers.
#[derive(Default)]
pub(crate) struct Failures(Mutex<VecDeque<Failure>>);

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    /// Unix time.
    pub(crate) at: u64,
    pub(crate) id: String,
    pub(crate) listener: String,
    pub(crate) method: Option<String>,
    /// Without the query, which may have secrets.
    pub(crate) path: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) failure: &'static str,
    pub(crate) route: Option<String>,
    pub(crate) server: Option<String>,
}

impl Failures {
    /// Keeps one more. Another thread that is here just now is not waited for: then it is not kept.
    pub(super) fn push(&self, failure: Failure) {
        let mut kept = match self.0.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(kept)) => kept.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(failure);
    }

    /// The latest last.
    pub(crate) fn all(&self) -> Vec<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// How many a worker has kept in this second.
#[derive(Default)]
pub(super) struct Turn {
    second: Cell<u64>,
    kept: Cell<u32>,
}

impl Turn {
    pub(super) fn takes(&self) -> bool {
        let second = Millis::now().0 / 1000;
        if self.second.replace(second) != second {
            self.kept.set(0);
        }
        self.kept.replace(self.kept.get().saturating_add(1)) < PER_SECOND
    }
}
