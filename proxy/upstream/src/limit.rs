//! Bounds the requests an upstream has in flight, and those that wait for their turn.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The limit of one upstream for all workers: `max` requests are in flight, `max_queued` wait, first come
/// first served. Outlives generations.
///
/// Without a queue, entering and leaving is one atomic operation each; a lock is only taken to wait and to
/// wake who waits.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// How many wait in the upper half, how many are in flight in the lower one.
    state: AtomicU64,
    max: AtomicU32,
    max_queued: AtomicU32,
    /// Wakes tasks of any worker, in the order in which they came.
    freed: Notify,
}

/// One request in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<InFlight>);

/// Why a request is refused: the upstream is at its limit, and
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// so is its queue.
    Queue,
    /// its turn did not come in time.
    Time,
}

const ONE_WAITING: u64 = 1 << 32;

fn waiting(state: u64) -> u32 {
    (state >> 32) as u32
}

fn in_flight(state: u64) -> u32 {
    (state & u64::from(u32::MAX)) as u32
}

impl InFlight {
    pub(crate) fn new(max: u32, max_queued: u32) -> Self {
        Self {
            state: AtomicU64::new(0),
            max: AtomicU32::new(max),
            max_queued: AtomicU32::new(max_queued),
            freed: Notify::new(),
        }
    }

    /// Enters if that is possible at once. No request that waits is overtaken.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        self.take(|state| waiting(state) == 0)
    }

    /// Enters, if need be after waiting for up to `wait`. When this is dropped, the place in the queue is
    /// free for another.
    pub(crate) async fn enter(self: &Arc<Self>, wait: Duration) -> Result<Permit, Full> {
        if let Some(permit) = self.try_enter() {
            return Ok(permit);
        }
        let queued = self.queue()?;
        timeout(wait, queued.turn()).await.map_err(|_| Full::Time)
    }

    /// How many are in flight, and how many wait.
    pub(crate) fn counts(&self) -> (u32, u32) {
        let state = self.state.load(Relaxed);
        (in_flight(state), waiting(state))
    }

    /// Changes the limits. Who is in flight or in the queue stays there.
    pub(crate) fn resize(&self, max: u32, max_queued: u32) {
        self.max_queued.store(max_queued, Relaxed);
        let before = self.max.swap(max, AcqRel);
        let wake = max.saturating_sub(before).min(waiting(self.state.load(Acquire)));
        (0..wake).for_each(|_| self.freed.notify_one());
    }

    /// Takes a place if there is one and `may` says so.
    fn take(self: &Arc<Self>, may: impl Fn(u64) -> bool) -> Option<Permit> {
        let max = self.max.load(Acquire);
        let enter = |state| (in_flight(state) < max && may(state)).then(|| state + 1);
        self.state.fetch_update(AcqRel, Acquire, enter).ok()?;
        Some(Permit(self.clone()))
    }

    fn queue(self: &Arc<Self>) -> Result<Queued<'_>, Full> {
        let max = self.max_queued.load(Relaxed);
        let wait = |state| (waiting(state) < max).then(|| state + ONE_WAITING);
        let before = self.state.fetch_update(AcqRel, Acquire, wait).map_err(|_| Full::Queue)?;
        Ok(Queued { limit: self, is_first: waiting(before) == 0 })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.state.fetch_sub(1, AcqRel);
        if waiting(before) > 0 {
            self.0.freed.notify_one();
        }
    }
}

/// A place in the queue.
struct Queued<'a> {
    limit: &'a Arc<InFlight>,
    is_first: bool,
}

impl Queued<'_> {
    async fn turn(&self) -> Permit {
        // A place may have come free before this was in the queue, and then no waiting request is told.
        let mut try_first = self.is_first;
        loop {
            let mut freed = pin!(self.limit.freed.notified());
            freed.as_mut().enable();
            if try_first && let Some(permit) = self.limit.take(|_| true) {
                return permit;
            }
            freed.await;
            try_first = true;
        }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.limit.state.fetch_sub(ONE_WAITING, AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::task::yield_now;
    use tokio::time::Instant;

    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn limit(max: u32, max_queued: u32) -> Arc<InFlight> {
        Arc::new(InFlight::new(max, max_queued))
    }

    #[tokio::test(start_paused = true)]
    async fn one_more_than_the_limit_waits_until_another_has_left() {
        let limit = limit(2, 1);
        let first = limit.try_enter();
        let _second = limit.try_enter().expect("below the limit");
        assert!(limit.try_enter().is_none());
        let third = tokio::spawn({
            let limit = limit.clone();
            async move { limit.enter(WAIT).await }
        });
        yield_now().await;
        assert_eq!(limit.enter(WAIT).await.err(), Some(Full::Queue));
        drop(first);
        assert!(limit.try_enter().is_none(), "the place is kept for who waits");
        assert!(third.await.expect("no panic").is_ok());
        assert!(limit.try_enter().is_some(), "dropped with the task's result");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_after_its_time_and_leaves_the_queue() {
        let limit = limit(1, 1);
        let permit = limit.try_enter();
        let begin = Instant::now();
        for round in 1..=2 {
            assert_eq!(limit.enter(WAIT).await.err(), Some(Full::Time));
            assert_eq!(begin.elapsed(), WAIT * round);
        }
        drop(permit);
        assert!(limit.enter(WAIT).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_leaves_the_queue() {
        let limit = limit(1, 1);
        let permit = limit.try_enter();
        for _ in 0..3 {
            tokio::select! {
                biased;
                _ = limit.enter(WAIT) => panic!("it cannot enter"),
                () = yield_now() => {}
            }
        }
        assert_eq!(waiting(limit.state.load(Relaxed)), 0);
        drop(permit);
        assert!(limit.try_enter().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn limits_change_while_permits_are_out() {
        let limit = limit(3, 0);
        let mut permits: Vec<_> = (0..3).filter_map(|_| limit.try_enter()).collect();
        let mut entered = |max, leave: usize| {
            limit.resize(max, 0);
            permits.truncate(permits.len() - leave);
            permits.extend((0..10).map_while(|_| limit.try_enter()));
            permits.len()
        };
        assert_eq!(entered(1, 0), 3, "who is in flight stays");
        assert_eq!(entered(1, 2), 1);
        assert_eq!(entered(1, 1), 1, "only one enters again");
        assert_eq!(entered(4, 0), 4);
        assert_eq!(entered(2, 1), 3);
        assert_eq!(entered(3, 0), 3, "raised while too many are in flight");
        assert_eq!(entered(3, 3), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_raised_limit_wakes_who_waits() {
        let limit = limit(1, 5);
        let _permit = limit.try_enter();
        let waiter = tokio::spawn({
            let limit = limit.clone();
            async move {
                let _permit = limit.enter(WAIT).await.expect("a place");
                pending::<()>().await;
            }
        });
        yield_now().await;
        limit.resize(2, 5);
        yield_now().await;
        assert_eq!(waiting(limit.state.load(Relaxed)), 0);
        assert!(!waiter.is_finished());
    }
}
