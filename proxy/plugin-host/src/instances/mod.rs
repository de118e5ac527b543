//! The instances of one plugin on one worker.

mod slot;
mod starts;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, timeout};

pub use self::slot::Slot;
use self::starts::Starts;
pub use self::starts::settle;
use crate::bodies::{BodyMode, Side};
use crate::callout::Callouts;
use crate::capacity::{Capacity, Permit};
use crate::chunk::Chunk;
use crate::error::{CallError, LoadError};
use crate::exchange::Exchange;
use crate::instance::Instance;
use crate::memo::Memo;
use crate::phase::{Phase, Verdict};
use crate::plugin::{Plugin, finish_now};
use crate::services::Defined;
use crate::settings::Isolation;
use crate::state::Stage;

/// The instances of one plugin on one worker; for that worker's thread only.
pub struct Instances {
    plugin: Plugin,
    /// The plugin's, with caches of this worker.
    defined: Arc<Defined>,
    /// The one used last is used next: it is in the caches.
    #[expect(clippy::vec_box, reason = "taken and put back at every call: one pointer instead of the whole")]
    idle: RefCell<Vec<Box<Instance>>>,
    capacity: Arc<Capacity>,
    /// Of a plugin that is slow to start.
    starts: Arc<Starts>,
    /// For a plugin that promised to be pure.
    memo: Option<Memo>,
}

/// The instances of one plugin on one worker, in numbers.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Those that live.
    pub instances: usize,
    /// Bytes of linear memory and tables they have, about.
    pub memory: usize,
    /// Calls that were not made as the decision was remembered.
    pub remembered: u64,
}

impl Instances {
    /// No instance yet; the first call makes one, or [`Instances::warm`].
    pub fn new(plugin: Plugin) -> Self {
        let defined = Arc::new(plugin.defined().clone());
        let memo = plugin.activation().is_pure().then(|| Memo::new(plugin.shared().clone(), defined.clone()));
        Self {
            plugin,
            defined,
            idle: RefCell::default(),
            capacity: Arc::default(),
            starts: Arc::default(),
            memo,
        }
    }

    /// What there is of them, and how many calls were saved since this was asked last.
    pub fn figures(&self) -> Figures {
        let (instances, idle) = (self.capacity.alive(), self.idle.borrow());
        let busy = instances.saturating_sub(idle.len());
        // What a busy one has grown to is not known until it is back.
        let memory =
            idle.iter().map(|instance| instance.memory()).sum::<usize>() + busy * self.plugin.memory();
        let remembered = self.memo.as_ref().map_or(0, Memo::take_recalled);
        Figures { instances, memory, remembered }
    }

    /// Whose they are.
    pub fn plugin(&self) -> &Plugin {
        &self.plugin
    }

    /// Makes an instance ready unless there is one. A failure shows in the first call. Call it where no request waits:
    /// [`Instances::prepare`] is for where some do.
    ///
    /// Does nothing for a plugin that may wait ([`Plugin::is_async`]) or gets a fresh instance for
    /// each exchange.
    pub fn warm(&self) {
        let shared = self.plugin.shared();
        let worthwhile = !self.plugin.is_async() && shared.isolation == Isolation::Worker;
        if worthwhile
            && self.idle.borrow().is_empty()
            && let Some(permit) = self.permit()
            && let Ok(instance) = finish_now(fresh(&self.plugin, self.defined.clone(), permit))
        {
            self.idle.borrow_mut().push(instance);
        }
    }

    /// The same beside the traffic, for a plugin whose instances hold it up while they are made.
    pub fn prepare(&self) {
        if !self.plugin.is_slow_to_start() {
            self.warm();
        } else if self.plugin.shared().isolation == Isolation::Worker && self.idle.borrow().is_empty() {
            self.start_successor();
        }
    }

    /// Calls the policy about an exchange, in a phase that sees a body with a chunk of it.
    ///
    /// A plugin without the phase, and a response or log phase without a response, decide
    /// [`Verdict::Next`]. So does the log phase always. After [`Verdict::Fail`] and errors the
    /// exchange and the chunk are as they were before the call. A verdict about a body concerns this policy alone.
    ///
    /// A pure plugin is not called for facts that it decided on before; what it decides about a body is never
    /// remembered. Callouts go through `door`; without one they fail.
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
        mut chunk: Option<&mut Chunk>,
        door: Option<&Arc<dyn Callouts>>,
    ) -> Result<Verdict, CallError> {
        let lacks_response = phase.needs_response() && slot.response.is_none();
        if lacks_response || !self.plugin.has(phase) {
            return Ok(Verdict::Next);
        }
        match self.call_now(phase, slot, chunk.as_deref_mut()) {
            Some(result) => result,
            // Boxed: it is large, and moved with every request although few come here.
            None => Box::pin(self.call_later(phase, slot, chunk, door)).await,
        }
    }

    /// Without a future, where there is nothing to wait for: the plugin never waits, exchanges share its instances, and
    /// one is idle. `None` otherwise.
    fn call_now(
        &self,
        phase: Phase,
        slot: &mut Slot,
        chunk: Option<&mut Chunk>,
    ) -> Option<Result<Verdict, CallError>> {
        let shared = self.plugin.shared();
        if shared.isolation != Isolation::Worker || self.plugin.keeps_state() {
            return None;
        }
        let memo = self.memo.as_ref().filter(|_| chunk.is_none());
        if let Some(verdict) = memo.and_then(|memo| memo.recall(phase, slot)) {
            return Some(Ok(verdict));
        }
        let mut instance = self.idle.borrow_mut().pop_if(|instance| !instance.waits())?;
        let result = instance.serve_now(phase, slot.exchange_mut(), chunk, Duration::ZERO, memo);
        if instance.is_sound() && self.needs_more(phase, slot, false) {
            // The first that asks for it; later ones come by `call_later`, which asks for their share first.
            self.plugin.shared().keeps_state.store(true, Ordering::Relaxed);
            instance.belong_to(Some(self.capacity.share(slot.client, self.plugin.limits().instances)));
            slot.keep_instance(self.plugin.shared().id, instance);
        } else {
            self.put_away(instance);
        }
        Some(result)
    }

    /// Lets the plugin do its periodic work, if it has any. To be called on one worker, one call after the other.
    ///
    /// # Errors
    ///
    /// What the plugin could not do, or how it failed.
    pub async fn tick(&self, door: &Arc<dyn Callouts>) -> Result<(), CallError> {
        if !self.plugin.has(Phase::Timer) {
            return Ok(());
        }
        let (mut instance, waited) = self.take(None).await?;
        instance.reach(Some(door.clone()));
        let result = instance.tick(waited).await;
        match self.plugin.shared().isolation {
            Isolation::Worker => self.put_away(instance),
            Isolation::Request => drop(instance),
        }
        result
    }

    async fn call_later(
        &self,
        phase: Phase,
        slot: &mut Slot,
        chunk: Option<&mut Chunk>,
        door: Option<&Arc<dyn Callouts>>,
    ) -> Result<Verdict, CallError> {
        let shared = self.plugin.shared();
        let (mut instance, waited) = match slot.take_instance(shared.id) {
            Some(instance) => (instance, Duration::ZERO),
            None => self.take(Some(slot.client)).await?,
        };
        instance.reach(door.cloned());
        let is_last = chunk.as_ref().is_some_and(|chunk| chunk.is_last());
        let result = instance.serve(phase, slot.exchange_mut(), chunk, waited).await;
        let has_seen_all = is_last || result == Ok(Verdict::Finish) || !instance.is_sound();
        if phase == Phase::RequestChunk && has_seen_all {
            slot.bodies.set_mode(Side::Request, shared.id, BodyMode::Skip);
        }
        if instance.is_sound() && self.needs_more(phase, slot, has_seen_all) {
            slot.keep_instance(shared.id, instance);
        } else if shared.isolation == Isolation::Worker {
            self.put_away(instance);
        }
        result
    }

    /// Whether a phase is to come that has to see what this one left in the memory of its instance. The log phase has
    /// not: it may come hours later, and an instance that waits for it is one that others do not get.
    fn needs_more(&self, phase: Phase, exchange: &Exchange, has_seen_all: bool) -> bool {
        let asks = |side| self.plugin.body_mode(exchange, side);
        let is_alone = self.plugin.shared().isolation == Isolation::Request;
        let sees_chunks = |mode| match mode {
            BodyMode::Chunks => is_alone,
            BodyMode::StatefulChunks => true,
            BodyMode::Skip | BodyMode::Whole => false,
        };
        // The rest of the request's body may still pass when the response is there.
        let has_body = exchange.has_body && exchange.request.content_length != Some(0);
        let of_request = match asks(Side::Request) {
            _ if !has_body => false,
            BodyMode::Whole => is_alone && phase == Phase::Request,
            mode => sees_chunks(mode),
        };
        let of_response = match phase {
            Phase::Request | Phase::RequestBody | Phase::RequestChunk => {
                is_alone && exchange.response.is_none() && self.plugin.has(Phase::Response)
            }
            Phase::Response => {
                let mode = asks(Side::Response);
                sees_chunks(mode) || (is_alone && mode == BodyMode::Whole)
            }
            Phase::ResponseChunk => !has_seen_all && sees_chunks(asks(Side::Response)),
            Phase::ResponseBody | Phase::Log | Phase::Timer => false,
        };
        of_request || of_response
    }

    /// An idle instance, a fresh one, or, when there are as many as may be, the next that is free;
    /// and how long that was waited for.
    async fn take(&self, client: Option<IpAddr>) -> Result<(Box<Instance>, Duration), CallError> {
        let limits = self.plugin.limits();
        let client = client.filter(|_| self.holds_long());
        let mut share = client.map(|client| self.capacity.share(client, limits.instances));
        let waits_for_share = share.as_ref().is_some_and(|share| !share.is_held());
        if !waits_for_share && let Some(mut instance) = self.idle.borrow_mut().pop() {
            instance.belong_to(share);
            return Ok((instance, Duration::ZERO));
        }
        let mut waited = Duration::ZERO;
        if let Some(share) = share.as_mut().filter(|_| waits_for_share) {
            self.wait(&mut waited, share.hold()).await?;
        }
        let _waiting = self.capacity.wait();
        loop {
            let mut freed = pin!(self.capacity.freed.notified());
            freed.as_mut().enable();
            if let Some(taken) = self.try_take().await {
                let mut instance = taken?;
                instance.belong_to(share);
                return Ok((instance, waited));
            }
            if self.starts.under_way() > 0 {
                // That has limits of its own, and does not count: it is no call yet.
                freed.await;
            } else {
                self.wait(&mut waited, freed).await?;
            }
        }
    }

    /// Waits for others to be done, `limits.time` in all.
    async fn wait(&self, waited: &mut Duration, others: impl Future<Output = ()>) -> Result<(), CallError> {
        let began = Instant::now();
        let left = self.plugin.limits().time.saturating_sub(*waited);
        timeout(left, others).await.map_err(|_| CallError::Instances)?;
        *waited += began.elapsed();
        Ok(())
    }

    /// Whether an exchange may have an instance for as long as others take for theirs.
    fn holds_long(&self) -> bool {
        let is_alone = self.plugin.shared().isolation == Isolation::Request;
        is_alone || self.plugin.is_async() || self.plugin.keeps_state()
    }

    /// `None` when all are busy, or until one is made.
    async fn try_take(&self) -> Option<Result<Box<Instance>, CallError>> {
        if let Some(instance) = self.idle.borrow_mut().pop() {
            return Some(Ok(instance));
        }
        if self.plugin.is_slow_to_start() {
            let made = self.starts.take();
            let others = self.capacity.waiting().saturating_sub(usize::from(made.is_some()));
            if self.starts.under_way() < others {
                self.start();
            }
            return made;
        }
        let permit = self.permit()?;
        Some(fresh(&self.plugin, self.defined.clone(), permit).await)
    }

    fn permit(&self) -> Option<Permit> {
        self.capacity.take(self.plugin.limits().instances)
    }

    fn start(&self) {
        self.starts.begin(&self.plugin, &self.defined, &self.capacity, || self.permit());
    }

    /// Begins to make the instance that is used next.
    fn start_successor(&self) {
        if !self.starts.has_any() {
            self.start();
        }
    }

    /// For the next exchange, if it is of use.
    fn put_away(&self, instance: Box<Instance>) {
        if instance.is_usable() {
            self.put_back(instance);
        } else {
            self.replace(instance);
        }
    }

    fn put_back(&self, mut instance: Box<Instance>) {
        if self.plugin.is_slow_to_start() && instance.ends_soon() && self.idle.borrow().is_empty() {
            self.start_successor();
        }
        instance.belong_to(None);
        self.idle.borrow_mut().push(instance);
        self.capacity.tell();
    }

    /// Drops an instance that has done its calls, or failed.
    fn replace(&self, instance: Box<Instance>) {
        drop(instance);
        if self.plugin.is_slow_to_start() && self.idle.borrow().is_empty() {
            self.start_successor();
        }
    }
}

/// An instance that has its configuration.
async fn fresh(plugin: &Plugin, defined: Arc<Defined>, permit: Permit) -> Result<Box<Instance>, CallError> {
    let refused = |error: LoadError| CallError::Configure(error.to_string());
    let mut instance = Instance::start(plugin.code(), plugin.shared(), defined).await.map_err(refused)?;
    instance.configure(Stage::Configuring).await.map_err(refused)?;
    instance.occupy(permit);
    Ok(Box::new(instance))
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}
