//! The instances of one plugin on one worker.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bodies::{BodyMode, Side};
use crate::capacity::{Capacity, Permit};
use crate::chunk::Chunk;
use crate::error::{CallError, LoadError};
use crate::exchange::Exchange;
use crate::instance::Instance;
use crate::matching::Matchers;
use crate::memo::Memo;
use crate::phase::{Phase, Verdict};
use crate::plugin::{Plugin, finish_now};
use crate::settings::Isolation;
use crate::slot::Slot;
use crate::state::Stage;

/// The instances of one plugin on one worker; for that worker's thread only.
pub struct Instances {
    plugin: Plugin,
    /// The plugin's, with caches of this worker.
    matchers: Arc<Matchers>,
    /// The one used last is used next: it is in the caches.
    #[expect(clippy::vec_box, reason = "taken and put back at every call: one pointer instead of the whole")]
    idle: RefCell<Vec<Box<Instance>>>,
    capacity: Arc<Capacity>,
    /// For a plugin that promised to be pure.
    memo: Option<Memo>,
}

impl Instances {
    /// No instance yet; the first call makes one, or [`Instances::warm`].
    pub fn new(plugin: Plugin) -> Self {
        let matchers = Arc::new(plugin.matchers().clone());
        let memo =
            plugin.activation().is_pure().then(|| Memo::new(plugin.shared().clone(), matchers.clone()));
        Self { plugin, matchers, idle: RefCell::default(), capacity: Arc::default(), memo }
    }

    /// Whose they are.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Makes an instance ready unless there is one. A failure shows in the first call.
    ///
    /// Does nothing for a plugin that may wait ([`Plugin::is_async`]) or gets a fresh instance for
    /// each exchange.
    pub fn warm(&self) {
        let shared = self.plugin.shared();
        let worthwhile = !self.plugin.is_async() && shared.isolation == Isolation::Worker;
        if worthwhile
            && self.idle.borrow().is_empty()
            && let Some(permit) = self.capacity.take(shared.limits.instances)
            && let Ok(instance) = finish_now(self.fresh(permit))
        {
            self.idle.borrow_mut().push(instance);
        }
    }

    /// Calls the policy about an exchange, in a phase that sees a body with a chunk of it.
    ///
    /// A plugin without the phase, and a response or log phase without a response, decide
    /// [`Verdict::Next`]. So does the log phase always. After [`Verdict::Fail`] and errors the
    /// exchange and the chunk are as they were before the call. A verdict about a body concerns this policy alone.
    ///
    /// Dropping the future while it waits drops the exchange, the chunk and the instance.
    ///
    /// # Errors
    ///
    /// When there is no verdict; see [`CallError`] for the causes. The instance is dropped unless
    /// it merely stored no response, or held back more of the body than it may.
    pub async fn call(
        &self,
        phase: Phase,
        slot: &mut Slot,
        chunk: Option<&mut Chunk>,
    ) -> Result<Verdict, CallError> {
        let lacks_response = phase.needs_response() && slot.response.is_none();
        if lacks_response || !self.plugin.has(phase) {
            return Ok(Verdict::Next);
        }
        let shared = self.plugin.shared();
        let kept = match shared.isolation {
            Isolation::Worker => None,
            Isolation::Request => slot.take_instance(shared.id),
        };
        let (mut instance, waited) = match kept {
            Some(instance) => (instance, Duration::ZERO),
            None => self.take().await?,
        };
        let is_last = chunk.as_ref().is_some_and(|chunk| chunk.is_last());
        let result = instance.serve(phase, slot.exchange_mut(), chunk, waited).await;
        if instance.is_usable() {
            match shared.isolation {
                Isolation::Worker => self.put_back(instance),
                Isolation::Request => {
                    let has_seen_all = is_last || result == Ok(Verdict::Finish);
                    if phase == Phase::RequestChunk && has_seen_all {
                        slot.bodies.set_mode(Side::Request, shared.id, BodyMode::Skip);
                    }
                    if self.needs_more(phase, slot, has_seen_all) {
                        slot.keep_instance(shared.id, instance);
                    }
                }
            }
        }
        result
    }

    /// Whether a phase is to come that has to see what this one left in the memory of its instance. The log phase has
    /// not: it may come hours later, and an instance that waits for it is one that others do not get.
    fn needs_more(&self, phase: Phase, exchange: &Exchange, has_seen_all: bool) -> bool {
        let asks = |side| self.plugin.body_mode(exchange, side);
        // The rest of the request's body may still pass when the response is there.
        let of_request = match (asks(Side::Request), phase) {
            (BodyMode::Skip, _) => false,
            (BodyMode::Whole, _) => phase == Phase::Request,
            (BodyMode::Chunks, _) => true,
        };
        let of_response = match phase {
            Phase::Request | Phase::RequestBody | Phase::RequestChunk => {
                exchange.response.is_none() && self.plugin.has(Phase::Response)
            }
            Phase::Response => asks(Side::Response) != BodyMode::Skip,
            Phase::ResponseChunk => !has_seen_all,
            Phase::ResponseBody | Phase::Log => false,
        };
        of_request || of_response
    }

    /// [`Instances::call`] without a future around it, where there is nothing to wait for: the plugin
    /// never waits, exchanges share its instances, and one is idle. `None` otherwise.
    ///
    /// A pure plugin is not called for facts that it decided on before; what it decides about a body is never
    /// remembered.
    pub fn call_now(
        &self,
        phase: Phase,
        slot: &mut Slot,
        chunk: Option<&mut Chunk>,
    ) -> Option<Result<Verdict, CallError>> {
        let lacks_response = phase.needs_response() && slot.response.is_none();
        if lacks_response || self.plugin.shared().isolation != Isolation::Worker {
            return None;
        }
        let memo = self.memo.as_ref().filter(|_| chunk.is_none());
        if let Some(verdict) = memo.and_then(|memo| memo.recall(phase, slot)) {
            return Some(Ok(verdict));
        }
        let mut instance = self.idle.borrow_mut().pop_if(|instance| !instance.waits())?;
        let result = instance.serve_now(phase, slot.exchange_mut(), chunk, Duration::ZERO, memo);
        if instance.is_usable() {
            self.put_back(instance);
        }
        Some(result)
    }

    /// An idle instance, a fresh one, or, when there are as many as may be, the next that is free;
    /// and how long that was waited for.
    async fn take(&self) -> Result<(Box<Instance>, Duration), CallError> {
        if let Some(taken) = self.try_take().await {
            return Ok((taken?, Duration::ZERO));
        }
        let _waiting = self.capacity.wait();
        let began = Instant::now();
        let deadline = began + self.plugin.limits().time;
        loop {
            let freed = self.capacity.freed.notified();
            if tokio::time::timeout_at(deadline, freed).await.is_err() {
                return Err(CallError::Instances);
            }
            let waited = began.elapsed();
            if let Some(taken) = self.try_take().await {
                return Ok((taken?, waited));
            }
        }
    }

    /// `None` when all are busy.
    async fn try_take(&self) -> Option<Result<Box<Instance>, CallError>> {
        if let Some(instance) = self.idle.borrow_mut().pop() {
            return Some(Ok(instance));
        }
        let permit = self.capacity.take(self.plugin.limits().instances)?;
        Some(self.fresh(permit).await)
    }

    async fn fresh(&self, permit: Permit) -> Result<Box<Instance>, CallError> {
        let refused = |error: LoadError| CallError::Configure(error.to_string());
        let (code, shared) = (self.plugin.code(), self.plugin.shared());
        let mut instance = Instance::start(code, shared, self.matchers.clone()).await.map_err(refused)?;
        instance.configure(Stage::Configuring).await.map_err(refused)?;
        instance.occupy(permit);
        Ok(Box::new(instance))
    }

    fn put_back(&self, instance: Box<Instance>) {
        self.idle.borrow_mut().push(instance);
        self.capacity.tell();
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}
