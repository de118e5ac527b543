//! The log phases of one worker's exchanges: off the latency path, one after the other, as many as may wait.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;

/// Exchanges of one worker that may wait for their log phase; more skip it, and the log says so.
const WAITING: usize = 4096;

/// The queue, and the task that works it off.
#[derive(Clone)]
pub(crate) struct LogPhases {
    queue: mpsc::Sender<LogPhase>,
    skipped: Rc<Cell<u64>>,
}

type LogPhase = Pin<Box<dyn Future<Output = ()>>>;

impl LogPhases {
    /// Starts the task, which ends with the last clone.
    pub(crate) fn start() -> Self {
        let (queue, mut waiting) = mpsc::channel::<LogPhase>(WAITING);
        spawn_local(async move {
            while let Some(log_phase) = waiting.recv().await {
                log_phase.await;
            }
        });
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

/// A place in the queue.
pub(super) struct Reserved<'a>(mpsc::Permit<'a, LogPhase>);

impl Reserved<'_> {
    pub(super) fn queue(self, log_phase: impl Future<Output = ()> + 'static) {
        self.0.send(Box::pin(log_phase));
    }
}
