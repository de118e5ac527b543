//! Takes a policy that keeps failing out of service for a while, instead of paying for each failure.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Failures within `WINDOW` that open a breaker.
const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// The n-th quarantine in a row lasts n times this …
const QUARANTINE: Duration = Duration::from_secs(30);
/// … but no longer than this.
const LONGEST: Duration = Duration::from_secs(300);
/// A version that fails like this within so long of being loaded is not unlucky but bad:
/// the last good version is put back.
const FRESH: Duration = Duration::from_secs(60);

/// The state of one version of a policy, shared by all workers.
pub(crate) struct Breaker {
    born: Instant,
    /// Milliseconds after `born` until which calls are refused; 0 = none are.
    open_until: AtomicU64,
    quarantines: AtomicU32,
    window: Mutex<Window>,
    /// Tells the control side that this version opened while it was fresh.
    bad_version: mpsc::Sender<u64>,
    version: u64,
}

struct Window {
    since: Instant,
    failures: u32,
}

impl Breaker {
    /// `version` is sent to `bad_version` if the policy keeps failing right after it was loaded.
    pub(crate) fn new(version: u64, bad_version: mpsc::Sender<u64>) -> Self {
        let now = Instant::now();
        Self {
            born: now,
            open_until: AtomicU64::new(0),
            quarantines: AtomicU32::new(0),
            window: Mutex::new(Window { since: now, failures: 0 }),
            bad_version,
            version,
        }
    }

    /// Whether calls are refused now. One load where the policy behaves.
    pub(crate) fn is_open(&self) -> bool {
        let until = self.open_until.load(Ordering::Relaxed);
        until != 0 && self.born.elapsed() < Duration::from_millis(until)
    }

    /// Counts a failed call. A lock is fine here: failing costs more than this anyway.
    pub(crate) fn failed(&self) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.since.elapsed() >= WINDOW {
            *window = Window { since: Instant::now(), failures: 0 };
        }
        window.failures += 1;
        if window.failures < FAILURES || self.is_open() {
            return;
        }
        window.failures = 0;
        let age = self.born.elapsed();
        let before = Duration::from_millis(self.open_until.load(Ordering::Relaxed));
        // Having behaved for longer than the longest quarantine is a new start.
        let in_a_row = age < before + LONGEST;
        let quarantines = if in_a_row { self.quarantines.load(Ordering::Relaxed) + 1 } else { 1 };
        self.quarantines.store(quarantines, Ordering::Relaxed);
        let until = age + (QUARANTINE * quarantines).min(LONGEST);
        self.open_until.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if age < FRESH {
            // A full queue means that others already wait to be put back; this one stays quarantined.
            let _ = self.bad_version.try_send(self.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_open_it_and_report_a_fresh_version_once() {
        let (sender, mut receiver) = mpsc::channel(4);
        let breaker = Breaker::new(7, sender);
        for _ in 0..FAILURES - 1 {
            breaker.failed();
        }
        assert!(!breaker.is_open());
        breaker.failed();
        assert!(breaker.is_open());
        breaker.failed();
        assert_eq!(receiver.try_recv(), Ok(7));
        assert!(receiver.try_recv().is_err());
    }
}
