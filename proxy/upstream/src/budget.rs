//! How many retries an upstream gets: a share of its recent requests, so that retries cannot multiply the
//! load that made requests fail.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tidegate_io::Millis;

/// What "recent" is: ten slots of a second, of which the present one is not over.
///
/// Two windows of ten seconds would need less memory, but would have to guess how the older one's requests
/// were spread, and a burst would count up to twenty seconds. Here it is gone after ten.
const SLOTS: usize = 10;
const SLOT: u64 = 1000;

/// Retries in ten seconds that need no requests, three a second: an upstream with little traffic may
/// retry as well, until the server that fails its requests is ejected.
const ALWAYS: u64 = 30;

/// The requests and retries of one upstream in the last ten seconds, in all workers. Outlives generations.
#[derive(Debug, Default)]
pub(crate) struct RetryBudget {
    requests: Window,
    retries: Window,
}

impl RetryBudget {
    /// Counts a request, not its retries.
    pub(crate) fn request(&self, now: Millis) {
        self.requests.count(now);
    }

    /// Whether a retry keeps the retries within `percent` of the requests; then it is counted. Workers
    /// that ask in the same instant may get one each where there was one left.
    pub(crate) fn try_retry(&self, percent: u32, now: Millis) -> bool {
        let allowed = (self.requests.sum(now) * u64::from(percent) / 100).max(ALWAYS);
        let within = self.retries.sum(now) < allowed;
        if within {
            self.retries.count(now);
        }
        within
    }
}

/// Each slot has the second it counts in the upper half, and how many in the lower one.
#[derive(Debug, Default)]
struct Window([AtomicU64; SLOTS]);

impl Window {
    fn count(&self, now: Millis) {
        let second = now.0 / SLOT;
        let slot = &self.0[(second % SLOTS as u64) as usize];
        let value = slot.load(Relaxed);
        if value >> 32 == second {
            slot.fetch_add(1, Relaxed);
        } else if slot.compare_exchange(value, second << 32 | 1, Relaxed, Relaxed).is_err() {
            // Another worker began the second.
            slot.fetch_add(1, Relaxed);
        }
    }

    fn sum(&self, now: Millis) -> u64 {
        let second = now.0 / SLOT;
        let values = self.0.iter().map(|slot| slot.load(Relaxed));
        let recent = values.filter(|value| second.saturating_sub(value >> 32) < SLOTS as u64);
        recent.map(|value| value & u64::from(u32::MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERCENT: u32 = 20;

    fn retries(budget: &RetryBudget, now: Millis) -> usize {
        (0..1000).take_while(|_| budget.try_retry(PERCENT, now)).count()
    }

    #[test]
    fn three_retries_a_second_need_no_requests() {
        let budget = RetryBudget::default();
        assert_eq!(retries(&budget, Millis(0)), 30);
        assert_eq!(retries(&budget, Millis(9_999)), 0);
        assert_eq!(retries(&budget, Millis(10_000)), 30);
    }

    #[test]
    fn retries_are_a_share_of_the_requests_of_the_last_ten_seconds() {
        let budget = RetryBudget::default();
        for second in 0..20 {
            for _ in 0..100 {
                budget.request(Millis(second * 1000));
            }
        }
        assert_eq!(retries(&budget, Millis(19_500)), 200);
        assert_eq!(retries(&budget, Millis(24_500)), 0, "half of the requests are too old, and no retry");
        assert_eq!(retries(&budget, Millis(29_000)), 30, "so is everything");
    }

    #[test]
    fn no_request_is_lost_between_workers() {
        let budget = RetryBudget::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..5000).for_each(|request| budget.request(Millis(request))));
            }
        });
        assert_eq!(budget.requests.sum(Millis(5000)), 20_000);
    }
}
