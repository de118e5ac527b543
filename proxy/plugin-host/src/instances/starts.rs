//! Instances that are made beside the traffic: on threads of their own, where they hold up nobody.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::fresh;
use crate::capacity::{Capacity, Permit};
use crate::error::CallError;
use crate::instance::Instance;
use crate::plugin::{Plugin, finish_now};
use crate::services::Defined;

/// Instances of one plugin that one worker has made at a time.
const AT_ONCE: usize = 2;

/// The instances of one plugin that are being made for one worker.
#[derive(Debug, Default)]
pub(super) struct Starts {
    under_way: AtomicUsize,
    made: Mutex<Vec<Made>>,
}

type Made = Result<Box<Instance>, CallError>;

/// One that is being made. Whatever becomes of it, who waits is told.
struct Start {
    starts: Arc<Starts>,
    capacity: Arc<Capacity>,
}

impl Start {
    fn finish(self, made: Made) {
        match made {
            Ok(instance) => self.starts.made().push(Ok(instance)),
            // Those that wait would all fail in the same way, one after the other.
            Err(error) => {
                let waiting = self.capacity.waiting();
                self.starts.made().extend((0..waiting).map(|_| Err(error.clone())));
                self.capacity.freed.notify_waiters();
            }
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.starts.under_way.fetch_sub(1, Ordering::Release);
        self.capacity.tell();
    }
}

/// Threads of the process that make instances.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// One of them, until all it had is dropped.
struct Running;

impl Running {
    fn begin() -> Self {
        RUNNING.fetch_add(1, Ordering::AcqRel);
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits until no instance is being made, or for `limit`: at the end of the process, which no plugin should outlast.
pub fn settle(limit: Duration) {
    let until = Instant::now() + limit;
    while RUNNING.load(Ordering::Acquire) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Starts {
    /// How many are being made.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Acquire)
    }

    /// One that has been made.
    pub(super) fn take(&self) -> Option<Made> {
        self.made().pop()
    }

    /// Whether one has been made, or is being made.
    pub(super) fn has_any(&self) -> bool {
        self.under_way() > 0 || !self.made().is_empty()
    }

    /// Begins to make one unless several are being made.
    pub(super) fn begin(
        self: &Arc<Self>,
        plugin: &Plugin,
        defined: &Arc<Defined>,
        capacity: &Arc<Capacity>,
        permit: impl FnOnce() -> Option<Permit>,
    ) {
        if self.under_way() >= AT_ONCE {
            return;
        }
        let Some(permit) = permit() else { return };
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let start = Start { starts: self.clone(), capacity: capacity.clone() };
        let (plugin, defined) = (plugin.clone(), defined.clone());
        let runtime = Handle::try_current().ok().filter(|_| plugin.is_async());
        let make = move || {
            let making = fresh(&plugin, defined, permit);
            let made = match runtime {
                Some(runtime) => runtime.block_on(making),
                None => finish_now(making),
            };
            start.finish(made);
        };
        let thread = std::thread::Builder::new().name("plugin-start".to_owned());
        let running = Running::begin();
        let run = move || {
            make();
            drop(running);
        };
        if let Err(error) = thread.spawn(run) {
            self.made()
                .push(Err(CallError::Configure(format!("no thread to start an instance on: {error}"))));
        }
    }

    fn made(&self) -> MutexGuard<'_, Vec<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
