//! Policies that run beside the chain and decide nothing: what one would make of a request is compared with what is made of
//! it.
//!
//! A shadow sees a copy of the request as the policy at its place saw it, after that one has decided. So it costs the worker
//! its own time and the copy, and the request nothing but its turn.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_plugin_host::{Callouts, Exchange, Instances, Phase, Slot, Verdict};

use super::Link;
use super::effects::Effects;
use crate::log;
use crate::sample::Sample;

/// Shadows of one worker that may be under way at once, and that wait for something: more are left out, and counted.
const AT_ONCE: usize = 256;
/// What is longer has the shadow rest, so many times as long: whatever it does, it takes a quarter of a worker's time at most.
const LONG: Duration = Duration::from_millis(1);
const RESTS: u32 = 3;
/// Differences that are kept to be shown.
const KEPT: usize = 16;

/// What makes a link a shadow.
#[derive(Clone)]
pub(crate) struct Shadow {
    /// The policy whose next version it may be; `None`: it is compared with nothing being done.
    pub(crate) of: Option<Arc<str>>,
    /// Per cent of the requests.
    pub(crate) share: u8,
    pub(crate) tally: Arc<Tally>,
}

/// What came of it on all workers.
#[derive(Default)]
pub(crate) struct Tally {
    compared: AtomicU64,
    differed: AtomicU64,
    failed: AtomicU64,
    left_out: AtomicU64,
    last: Mutex<VecDeque<Difference>>,
}

/// One request that a shadow would have treated otherwise.
#[derive(Clone, Serialize)]
struct Difference {
    id: String,
    request: String,
    differences: Vec<String>,
}

/// For the admin interface.
#[derive(Clone, Serialize)]
pub(crate) struct Report {
    of: Option<String>,
    share: u8,
    compared: u64,
    differed: u64,
    failed: u64,
    left_out: u64,
    last: Vec<Difference>,
}

impl Report {
    /// Requests that were compared; those of them that would have been treated otherwise, and those for which it failed; and
    /// those that it did not look at although they were among its share.
    pub(crate) fn counts(&self) -> [u64; 4] {
        [self.compared, self.differed, self.failed, self.left_out]
    }
}

impl Shadow {
    pub(crate) fn report(&self) -> Report {
        let tally = &self.tally;
        Report {
            of: self.of.as_deref().map(str::to_owned),
            share: self.share,
            compared: tally.compared.load(Relaxed),
            differed: tally.differed.load(Relaxed),
            failed: tally.failed.load(Relaxed),
            left_out: tally.left_out.load(Relaxed),
            last: tally.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect(),
        }
    }
}

/// A shadow on one worker.
pub(super) struct Beside {
    link: Link,
    shadow: Shadow,
    instances: Rc<Instances>,
    under_way: Cell<usize>,
    sample: Sample,
    /// A call was long: the next copy is made after this.
    rests_until: Cell<Option<Instant>>,
    lines: log::Rate,
}

/// A copy of a request for a shadow.
pub(super) struct Fork {
    beside: Rc<Beside>,
    slot: Slot,
}

impl Beside {
    pub(super) fn new(link: Link, shadow: Shadow, instances: Rc<Instances>) -> Rc<Self> {
        Rc::new(Self {
            link,
            sample: Sample::new(shadow.share),
            shadow,
            instances,
            under_way: Cell::new(0),
            rests_until: Cell::new(None),
            lines: log::Rate::default(),
        })
    }

    pub(super) fn instances(&self) -> &Rc<Instances> {
        &self.instances
    }

    /// A copy to look at, unless the request is not among its share.
    pub(super) fn fork(self: &Rc<Self>, exchange: &Exchange) -> Option<Fork> {
        if !self.sample.takes() || !self.instances.plugin().has(Phase::Request) {
            return None;
        }
        let rests = self.rests_until.get().is_some_and(|until| Instant::now() < until);
        if rests || self.under_way.get() >= AT_ONCE {
            self.shadow.tally.left_out.fetch_add(1, Relaxed);
            return None;
        }
        self.under_way.set(self.under_way.get() + 1);
        Some(Fork { beside: self.clone(), slot: Slot::new(exchange.fork()) })
    }
}

impl Fork {
    /// Lets the shadow look, and compares.
    pub(super) async fn compare(mut self, served: Effects, door: Option<Arc<dyn Callouts>>) {
        let Beside { link, shadow, instances, lines, .. } = &*self.beside;
        let tally = &shadow.tally;
        let began = Instant::now();
        let verdict = match instances.plugin().activation().applies(&self.slot) {
            true => instances.call(Phase::Request, &mut self.slot, None, door.as_ref()).await,
            false => Ok(Verdict::Next),
        };
        let verdict = match verdict {
            Ok(verdict) => verdict.as_str(),
            Err(error) => {
                tally.failed.fetch_add(1, Relaxed);
                error.as_str()
            }
        };
        let took = began.elapsed();
        self.beside.rests_until.set((took > LONG).then(|| Instant::now() + took * RESTS));
        let shadowed = Effects::of(&self.slot, verdict);
        let differences = served.differences(&shadowed, "the shadow");
        tally.compared.fetch_add(1, Relaxed);
        if differences.is_empty() {
            return;
        }
        tally.differed.fetch_add(1, Relaxed);
        let request = &self.slot.request;
        let difference = Difference {
            id: format!("{:016x}", self.slot.id),
            request: format!("{} {}{}", request.method, request.authority, request.received().path()),
            differences,
        };
        if lines.allows(&link.name) {
            let Difference { id, request, differences } = &difference;
            let differences = differences.join("; ");
            tracing::info!(target: "shadow", policy = %link.name, id, request, "{differences}");
        }
        let mut last = tally.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == KEPT {
            last.pop_front();
        }
        last.push_back(difference);
    }
}

impl Drop for Fork {
    fn drop(&mut self) {
        self.beside.under_way.set(self.beside.under_way.get() - 1);
    }
}
