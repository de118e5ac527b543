//! How many instances of a plugin there may be, and who waits for one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How many instances of one plugin there are on one worker. Shared with the instances themselves, some of which
/// live with their exchange.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    alive: AtomicUsize,
    waiting: AtomicUsize,
    pub(crate) freed: Notify,
}

impl Capacity {
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        // Only the worker's own thread adds, so nothing comes between the look and the step.
        if self.alive.load(Ordering::Relaxed) >= limit.max(1) {
            return None;
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        Some(Permit(self.clone()))
    }

    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Something became free.
    pub(crate) fn tell(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Stands for one living instance.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Capacity>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
        self.0.tell();
    }
}

/// Stands for one waiting call.
pub(crate) struct Waiting(Arc<Capacity>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
