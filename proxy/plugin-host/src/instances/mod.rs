//! The instances of one plugin on one worker.

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::code::Phase;
use crate::error::{CallError, LoadError};
use crate::exchange::Exchange;
use crate::instance::{Instance, Subject, Verdict};
use crate::matching::Matchers;
use crate::memo::Memo;
use crate::piece::Piece;
use crate::plugin::{Isolation, Plugin, finish_now};
use crate::state::Stage;

/// The instances of one plugin on one worker; for that worker's thread only.
pub struct Instances {
    plugin: Plugin,
    /// The plugin's, with caches of this worker.
    matchers: Arc<Matchers>,
    /// The one used last is used next: it is in the caches.
    #[expect(clippy::vec_box, reason = "taken and put back at every call: one pointer instead of the whole")]
    idle: RefCell<Vec<Box<Instance>>>,
    slots: Arc<Slots>,
    /// For a plugin that promised to be pure.
    memo: Option<Memo>,
}

impl Instances {
    /// No instance yet; the first call makes one, or [`Instances::warm`].
    pub fn new(plugin: Plugin) -> Self {
        let matchers = Arc::new(plugin.matchers().clone());
        let memo =
            plugin.activation().is_pure().then(|| Memo::new(plugin.shared().clone(), matchers.clone()));
        Self { plugin, matchers, idle: RefCell::default(), slots: Arc::default(), memo }
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
            && let Some(slot) = self.slots.take(shared.limits.instances)
            && let Ok(instance) = finish_now(self.fresh(slot))
        {
            self.idle.borrow_mut().push(instance);
        }
    }

    /// Calls the policy about an exchange, in a phase without body.
    ///
    /// A plugin without the phase, and a response or log phase without a response, decide
    /// [`Verdict::Next`]. So does the log phase always. After [`Verdict::Fail`] and errors the
    /// exchange is as it was before the call.
    ///
    /// Dropping the future while it waits drops the exchange and the instance.
    ///
    /// # Errors
    ///
    /// When there is no verdict; see [`CallError`] for the causes. The instance is dropped unless
    /// it merely stored no response.
    pub async fn call(
        &self,
        phase: Phase,
        exchange: Box<Exchange>,
    ) -> (Box<Exchange>, Result<Verdict, CallError>) {
        let (Subject { exchange, .. }, result) = self.ask(phase, Subject { exchange, piece: None }).await;
        (exchange, result)
    }

    /// Calls the policy about a body or a piece of one, in a phase that sees it; the verdict concerns this
    /// policy alone. Otherwise as [`Instances::call`]: after [`Verdict::Fail`] and errors the piece, too, is
    /// as it was before.
    ///
    /// # Errors
    ///
    /// As [`Instances::call`]; and when the policy held back more than it may, which leaves the instance
    /// usable as well.
    pub async fn call_body(
        &self,
        phase: Phase,
        exchange: Box<Exchange>,
        piece: Piece,
    ) -> (Box<Exchange>, Piece, Result<Verdict, CallError>) {
        let (Subject { exchange, piece }, result) =
            self.ask(phase, Subject { exchange, piece: Some(piece) }).await;
        (exchange, piece.expect("a call gives back what it was given"), result)
    }

    async fn ask(&self, phase: Phase, mut subject: Subject) -> (Subject, Result<Verdict, CallError>) {
        let lacks_response = phase.needs_response() && subject.exchange.response.is_none();
        if lacks_response || !self.plugin.has(phase) {
            return (subject, Ok(Verdict::Next));
        }
        let shared = self.plugin.shared();
        let kept = match shared.isolation {
            Isolation::Worker => None,
            Isolation::Request => subject.exchange.take_instance(shared.id),
        };
        let (mut instance, waited) = match kept {
            Some(instance) => (instance, Duration::ZERO),
            None => match self.take().await {
                Ok(taken) => taken,
                Err(error) => return (subject, Err(error)),
            },
        };
        let (mut subject, result) = instance.serve(phase, subject, waited).await;
        if instance.is_usable() {
            match shared.isolation {
                Isolation::Worker => self.put_back(instance),
                Isolation::Request => subject.exchange.keep_instance(shared.id, instance),
            }
        }
        (subject, result)
    }

    /// [`Instances::call`] without a future around it, where there is nothing to wait for: the plugin
    /// never waits, exchanges share its instances, and one is idle. Otherwise the exchange comes back.
    ///
    /// A pure plugin is not called for facts that it decided on before.
    ///
    /// # Errors
    ///
    /// The exchange, to be given to [`Instances::call`].
    #[expect(clippy::type_complexity, reason = "what `call` answers, or its argument")]
    pub fn call_now(
        &self,
        phase: Phase,
        mut exchange: Box<Exchange>,
    ) -> Result<(Box<Exchange>, Result<Verdict, CallError>), Box<Exchange>> {
        let lacks_response = phase.needs_response() && exchange.response.is_none();
        if lacks_response || self.plugin.shared().isolation != Isolation::Worker {
            return Err(exchange);
        }
        if let Some(verdict) = self.memo.as_ref().and_then(|memo| memo.recall(phase, &mut exchange)) {
            return Ok((exchange, Ok(verdict)));
        }
        let subject = Subject { exchange, piece: None };
        match self.ask_now(phase, subject, self.memo.as_ref()) {
            Ok((Subject { exchange, .. }, result)) => Ok((exchange, result)),
            Err(Subject { exchange, .. }) => Err(exchange),
        }
    }

    /// [`Instances::call_body`] as [`Instances::call_now`] is to [`Instances::call`]. What a policy decides
    /// about a body is never remembered.
    ///
    /// # Errors
    ///
    /// Both, to be given to [`Instances::call_body`].
    #[expect(clippy::type_complexity, reason = "what `call_body` answers, or its arguments")]
    pub fn call_body_now(
        &self,
        phase: Phase,
        exchange: Box<Exchange>,
        piece: Piece,
    ) -> Result<(Box<Exchange>, Piece, Result<Verdict, CallError>), (Box<Exchange>, Piece)> {
        let lacks_response = phase.needs_response() && exchange.response.is_none();
        if lacks_response || self.plugin.shared().isolation != Isolation::Worker {
            return Err((exchange, piece));
        }
        let given = |piece: Option<Piece>| piece.expect("a call gives back what it was given");
        match self.ask_now(phase, Subject { exchange, piece: Some(piece) }, None) {
            Ok((Subject { exchange, piece }, result)) => Ok((exchange, given(piece), result)),
            Err(Subject { exchange, piece }) => Err((exchange, given(piece))),
        }
    }

    fn ask_now(
        &self,
        phase: Phase,
        subject: Subject,
        memo: Option<&Memo>,
    ) -> Result<(Subject, Result<Verdict, CallError>), Subject> {
        let idle = self.idle.borrow_mut().pop_if(|instance| !instance.waits());
        let Some(mut instance) = idle else { return Err(subject) };
        let (subject, result) = instance.serve_now(phase, subject, Duration::ZERO, memo);
        if instance.is_usable() {
            self.put_back(instance);
        }
        Ok((subject, result))
    }

    /// An idle instance, a fresh one, or, when there are as many as may be, the next that is free;
    /// and how long that was waited for.
    async fn take(&self) -> Result<(Box<Instance>, Duration), CallError> {
        if let Some(taken) = self.try_take().await {
            return Ok((taken?, Duration::ZERO));
        }
        let _waiting = self.slots.wait();
        let began = Instant::now();
        let deadline = began + self.plugin.limits().time;
        loop {
            let freed = self.slots.freed.notified();
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
        let slot = self.slots.take(self.plugin.limits().instances)?;
        Some(self.fresh(slot).await)
    }

    async fn fresh(&self, slot: Slot) -> Result<Box<Instance>, CallError> {
        let refused = |error: LoadError| CallError::Configure(error.to_string());
        let (code, shared) = (self.plugin.code(), self.plugin.shared());
        let mut instance = Instance::start(code, shared, self.matchers.clone()).await.map_err(refused)?;
        instance.configure(Stage::Configuring).await.map_err(refused)?;
        instance.occupy(slot);
        Ok(Box::new(instance))
    }

    fn put_back(&self, instance: Box<Instance>) {
        self.idle.borrow_mut().push(instance);
        self.slots.tell();
    }
}

impl fmt::Debug for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instances").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

/// How many instances there are. Shared with the instances themselves, some of which live in
/// exchanges.
#[derive(Debug, Default)]
struct Slots {
    alive: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Slots {
    fn take(self: &Arc<Self>, limit: usize) -> Option<Slot> {
        // Only the worker's own thread adds, so nothing comes between the look and the step.
        if self.alive.load(Ordering::Relaxed) >= limit.max(1) {
            return None;
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        Some(Slot(self.clone()))
    }

    fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Something became free.
    fn tell(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// The place of one living instance.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
        self.0.tell();
    }
}

/// The place of one waiting call.
struct Waiting(Arc<Slots>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
