//! What became of the files, each time they were loaded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

/// Enough to see what a day of deployments did.
const KEPT: usize = 50;

/// The last reloads, and how many there were.
#[derive(Default)]
pub(crate) struct History {
    counts: [AtomicU64; End::ALL.len()],
    reports: Mutex<VecDeque<Report>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) at: SystemTime,
    pub(crate) end: End,
    /// The generation that serves since then.
    pub(crate) generation: u64,
    /// Why the files, or some of them, were not taken.
    pub(crate) problems: Vec<String>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum End {
    /// There is a new generation.
    Changed,
    /// Nothing differs for a request.
    Unchanged,
    /// The files, or those that changed, cannot be used, and nothing changed.
    Refused,
    /// A version of a policy was put back.
    RolledBack,
}

impl End {
    pub(crate) const ALL: [Self; 4] = [Self::Changed, Self::Unchanged, Self::Refused, Self::RolledBack];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
        }
    }
}

impl History {
    pub(super) fn add(&self, end: End, generation: u64, problems: Vec<String>) {
        self.counts[end as usize].fetch_add(1, Relaxed);
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() == KEPT {
            reports.pop_front();
        }
        reports.push_back(Report { at: SystemTime::now(), end, generation, problems });
    }

    /// How many ended so.
    pub(crate) fn count(&self, end: End) -> u64 {
        self.counts[end as usize].load(Relaxed)
    }

    /// The last ones, the latest last.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
