//! The log phases of one worker's exchanges: off the latency path, as many as may wait.

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;
use tokio::task::{JoinSet, spawn_local};

/// Exchanges of one worker that may wait for their log phase; more skip it, and the log says so.
const WAITING: usize = 4096;
/// Log phases that may wait for something of their own at once, so that those after them need not wait for it too.
/// As a rule a phase waits for nothing, and one after the other they take no more than their turn. A policy has
/// 64 instances at most as it comes: this is enough for several slow ones.
const AT_ONCE: usize = 256;

/// The queue, and the task that works it off.
#[derive(Clone)]
pub(crate) struct LogPhases {
    queue: mpsc::Sender<LogPhase>,
    skipped: Rc<Cell<u64>>,
}

type LogPhase = Pin<Box<dyn Future<Output = ()>>>;

impl LogPhases {
    /// Starts the task, which ends with the last clone and what it left in the queue.
    pub(crate) fn start() -> Self {
        let (queue, waiting) = mpsc::channel::<LogPhase>(WAITING);
        spawn_local(work_off(waiting));
        Self { queue, skipped: Rc::default() }
    }

    /// A place in the queue; `None`, and that is counted, if it is full.
    pub(super) fn reserve(&self) -> Option<Reserved<'_>> {
        let place = self.queue.try_reserve().ok();
        if place.is_none() {
            self.skipped.set(self.skipped.get() + 1);
        }
        place.map(Reserved)
    }

    /// How many were skipped since this was asked last.
    pub(crate) fn take_skipped(&self) -> u64 {
        self.skipped.take()
    }
}

/// Begins the phases in their order; those that wait go on beside the ones that follow.
async fn work_off(mut waiting: mpsc::Receiver<LogPhase>) {
    let mut slow = JoinSet::new();
    loop {
        tokio::select! {
            next = waiting.recv(), if slow.len() < AT_ONCE => {
                let Some(mut log_phase) = next else { break };
                // Nearly every one is over then, and needs no task of its own. One that panics ends alone; the
                // message is out already.
                let begin = |task: &mut Context<'_>| {
                    let polled = catch_unwind(AssertUnwindSafe(|| log_phase.as_mut().poll(task)));
                    Poll::Ready(polled.unwrap_or(Poll::Ready(())))
                };
                if poll_fn(begin).await.is_pending() {
                    slow.spawn_local(log_phase);
                }
            }
            Some(_) = slow.join_next() => {}
        }
    }
    while slow.join_next().await.is_some() {}
}

/// A place in the queue.
pub(super) struct Reserved<'a>(mpsc::Permit<'a, LogPhase>);

impl Reserved<'_> {
    pub(super) fn queue(self, log_phase: impl Future<Output = ()> + 'static) {
        self.0.send(Box::pin(log_phase));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::sync::Notify;
    use tokio::task::LocalSet;

    use super::*;

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_phase_that_waits_holds_up_none_and_so_many_wait_at_once() {
        let work = async {
            let phases = LogPhases::start();
            let (ended, go): (Rc<RefCell<Vec<usize>>>, Rc<Notify>) = Default::default();
            let queue = |number: usize, waits: bool| {
                let (ended, go) = (ended.clone(), go.clone());
                phases.reserve().expect("there is room").queue(async move {
                    if waits {
                        go.notified().await;
                    }
                    ended.borrow_mut().push(number);
                });
            };
            phases.reserve().expect("there is room").queue(async { panic!("on purpose") });
            queue(0, true);
            queue(1, false);
            settled().await;
            assert_eq!(*ended.borrow(), [1], "what follows a phase that waits does not wait for it");
            for number in 2..=AT_ONCE {
                queue(number, true);
            }
            queue(AT_ONCE + 1, false);
            settled().await;
            assert_eq!(*ended.borrow(), [1], "so many at once, and no more");
            go.notify_one();
            settled().await;
            let ended_now = ended.borrow().clone();
            assert_eq!((ended_now.len(), ended_now[2]), (3, AT_ONCE + 1), "one goes, one comes");
            go.notify_waiters();
        };
        LocalSet::new().run_until(work).await;
    }
}
