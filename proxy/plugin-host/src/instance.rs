//! One running copy of a plugin.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{ComponentNamedList, Lift, Lower, TypedFunc};
use wasmtime::{Store, Trap, WasmBacktrace};

use crate::activation::Narrowing;
use crate::callout::Callouts;
use crate::capacity::{Permit, Share};
use crate::code::Code;
use crate::error::{CallError, LoadError};
use crate::exchange::Exchange;

use crate::chunk::{Chunk, Draft, HeldTooMuch};
use crate::contract::Exports;
use crate::limits::{Breach, Meter};
use crate::memo::Memo;
use crate::phase::{Phase, Verdict};
use crate::services::Defined;
use crate::settings::Shared;
use crate::state::{Stage, State};

/// CPU time to instantiate, to describe and to configure, each. Configuring may compile thousands of
/// patterns; but a fresh instance can be needed in the middle of traffic, so it cannot be much.
const START_CPU: Duration = Duration::from_secs(1);
/// The same with everything it waits for.
const START_TIME: Duration = Duration::from_secs(10);
/// What one call into the host may hand over at least, bytes, and at most all of the plugin's memory: more can only
/// be the same bytes many times over. Most of it is looked at where it lies; how much an edit takes is its own
/// business ([`crate::edit::MAX_COPY`]), and refused as an edit, while to go over this ends the call.
const HOSTCALL_BYTES: usize = 16 << 20;
/// Handles a plugin may hold at once: a request, a response, and those of WASI.
const MAX_HANDLES: usize = 64;

/// Calls before the last for which its successor is made.
const NEARLY: u64 = 100;

/// One running copy of a plugin, with memory of its own. Dropped after anything but a verdict: what
/// a crash leaves in its memory is not to be trusted.
pub(crate) struct Instance {
    store: Store<State>,
    exports: Exports,
    /// Calls left until it is replaced.
    calls_left: u64,
    /// False during a call, and for good after anything but a verdict.
    is_sound: bool,
    waits: bool,
    /// `None` for the first instance of a plugin, which no worker counts.
    permit: Option<Permit>,
    /// Of the client whose exchange holds it.
    share: Option<Share>,
}

impl Instance {
    /// Instantiates the code, within [`START_CPU`] and [`START_TIME`].
    pub(crate) async fn start(
        code: &Code,
        shared: &Arc<Shared>,
        defined: Arc<Defined>,
    ) -> Result<Self, LoadError> {
        let (waits, wasi) = (code.is_async(), code.has_wasi());
        let code = &*code.0;
        let mut store = Store::new(code.host.engine(), State::new(shared.clone(), defined, wasi));
        store.limiter(|state| &mut state.memory);
        store.epoch_deadline_callback(|store| Ok(store.data().budget.tick()));
        store.set_hostcall_fuel(shared.limits.memory.max(HOSTCALL_BYTES));
        store.set_max_component_handles(MAX_HANDLES);
        begin(&mut store, START_CPU, START_TIME);
        store.data().budget.count();
        let during = "instantiate";
        let instance = if waits {
            let meter = store.data().budget.meter.clone();
            let started = metered(&meter, code.pre.instantiate_async(&mut store));
            match tokio::time::timeout(START_TIME, started).await {
                Ok(result) => result,
                Err(_) => return Err(too_slow(during)),
            }
        } else {
            code.pre.instantiate(&mut store)
        };
        let instance = instance.map_err(|error| failed_load(&mut store, during, &error))?;

        let mismatch = |error: wasmtime::Error| LoadError::Mismatch(format!("{error:#}"));
        let exports = code.exports.load(&mut store, &instance).map_err(mismatch)?;
        let calls_left = draw_calls(shared.limits.reuse, code.phases());
        Ok(Self { store, exports, calls_left, is_sound: true, waits, permit: None, share: None })
    }

    /// Counts as one of its worker's instances from here on.
    pub(crate) fn occupy(&mut self, permit: Permit) {
        self.store.data_mut().capacity = Some(permit.capacity().clone());
        self.permit = Some(permit);
    }

    /// Counts as held by a client, or by nobody.
    pub(crate) fn belong_to(&mut self, share: Option<Share>) {
        self.share = share;
    }

    /// Where its callouts go from here on.
    pub(crate) fn reach(&mut self, door: Option<Arc<dyn Callouts>>) {
        self.store.data_mut().door = door;
    }

    /// What the plugin says about itself.
    pub(crate) async fn describe(&mut self) -> Result<Vec<(String, String)>, LoadError> {
        let describe = self.exports.describe();
        let (description,) = prepare(&mut self.store, self.waits, "describe", describe, ()).await?;
        Ok(description)
    }

    /// Hands the configuration over. `stage` says what becomes of what it defines.
    pub(crate) async fn configure(&mut self, stage: Stage) -> Result<(), LoadError> {
        self.store.data_mut().stage = stage;
        let configure = self.exports.configure();
        let shared = self.store.data().plugin.clone();
        let config = (shared.config.as_str(),);
        let (configured,) = prepare(&mut self.store, self.waits, "configure", configure, config).await?;
        configured.map_err(LoadError::Refused)
    }

    /// Bytes.
    pub(crate) fn memory(&self) -> usize {
        self.store.data().memory.used()
    }

    /// What the first instance of a plugin defined while it was configured.
    pub(crate) fn into_definitions(self) -> (Defined, Narrowing) {
        let state = self.store.into_data();
        let narrowing = match state.stage {
            Stage::Defining(narrowing) => *narrowing,
            Stage::Starting | Stage::Configuring | Stage::Serving => Narrowing::default(),
        };
        (Arc::unwrap_or_clone(state.defined), narrowing)
    }

    /// Lets the policy look at an exchange, and in a phase that sees a body at a chunk of it, within the operator's
    /// limits less the time it waited.
    pub(crate) async fn serve(
        &mut self,
        phase: Phase,
        exchange: &mut Option<Box<Exchange>>,
        mut chunk: Option<&mut Chunk>,
        waited: Duration,
    ) -> Result<Verdict, CallError> {
        if !self.waits {
            return self.serve_now(phase, exchange, chunk, waited, None);
        }
        let time = self.lend(phase, exchange, chunk.as_deref_mut(), waited, false);
        let meter = self.store.data().budget.meter.clone();
        let call = metered(&meter, self.exports.call_async(&mut self.store, phase));
        let called = match tokio::time::timeout(time, call).await {
            Ok(called) => called.map_err(|error| self.diagnose(&error).into()),
            Err(_) if self.store.data().budget.meter.waits() => Err(CallError::Waiting),
            Err(_) => Err(CallError::Time),
        };
        self.take_back(phase, exchange, chunk, called)
    }

    /// The same without a future around it, for a plugin that never waits. What it asks is noted
    /// for `memo`.
    pub(crate) fn serve_now(
        &mut self,
        phase: Phase,
        exchange: &mut Option<Box<Exchange>>,
        mut chunk: Option<&mut Chunk>,
        waited: Duration,
        memo: Option<&Memo>,
    ) -> Result<Verdict, CallError> {
        self.lend(phase, exchange, chunk.as_deref_mut(), waited, memo.is_some());
        let called = match self.exports.call(&mut self.store, phase) {
            Ok(verdict) => Ok(verdict),
            Err(error) => Err(self.diagnose(&error).into()),
        };
        if let (Some(memo), Ok(verdict)) = (memo, &called) {
            memo.learn(phase, self.store.data_mut().call.recorder(), *verdict);
        }
        self.take_back(phase, exchange, chunk, called)
    }

    /// Puts the exchange where the plugin's calls find it. Until it is taken back the instance counts
    /// as not sound, in case the call is dropped. Answers with the time it has.
    fn lend(
        &mut self,
        phase: Phase,
        exchange: &mut Option<Box<Exchange>>,
        chunk: Option<&mut Chunk>,
        waited: Duration,
        remembers: bool,
    ) -> Duration {
        let mut exchange = exchange.take().expect("calls follow each other, and each puts the exchange back");
        exchange.reply = None;
        self.is_sound = false;
        let state = self.store.data_mut();
        let limits = state.plugin.limits;
        state.stage = Stage::Serving;
        state.call.begin(phase, exchange, chunk.map(std::mem::take), remembers);
        let time = limits.time.saturating_sub(waited);
        begin(&mut self.store, limits.cpu, time);
        time
    }

    fn take_back(
        &mut self,
        phase: Phase,
        exchange: &mut Option<Box<Exchange>>,
        chunk: Option<&mut Chunk>,
        called: Result<Verdict, CallError>,
    ) -> Result<Verdict, CallError> {
        let state = self.store.data_mut();
        let (lent, draft) = state.call.end();
        state.end_callouts();
        let exchange = exchange.insert(lent.expect("was lent before, and nothing else takes it"));
        if called.is_ok() {
            // An instance lasts for a number of exchanges, each of which may have any number of chunks.
            let counted = u64::from(!phase.sees_chunks());
            self.calls_left = self.calls_left.saturating_sub(counted);
            self.is_sound = true;
        }
        let mut result = match called {
            Ok(Verdict::Respond) if exchange.reply.is_none() => Err(CallError::NoReply),
            other => other,
        };
        if let (Some(draft), Some(chunk)) = (draft, chunk) {
            (*chunk, result) = settle(draft, phase, result);
        }
        if !matches!(result, Ok(Verdict::Respond)) {
            exchange.reply = None;
        }
        match result {
            Ok(Verdict::Fail) | Err(_) => state.call.journal().revert(state.plugin.id, exchange),
            // Of both it can only be one: the response of its own.
            Ok(Verdict::Respond) => {
                state.call.journal().forget_retry(exchange);
                state.call.journal().commit();
            }
            Ok(_) => state.call.journal().commit(),
        }
        result
    }

    /// Lets the plugin do its periodic work, within the operator's limits less the time it waited.
    pub(crate) async fn tick(&mut self, waited: Duration) -> Result<(), CallError> {
        self.is_sound = false;
        let state = self.store.data_mut();
        let limits = state.plugin.limits;
        state.stage = Stage::Serving;
        state.call.begin_alone();
        let time = limits.time.saturating_sub(waited);
        begin(&mut self.store, limits.cpu, time);
        let called = if self.waits {
            let meter = self.store.data().budget.meter.clone();
            let call = metered(&meter, self.exports.call_async(&mut self.store, Phase::Timer));
            match tokio::time::timeout(time, call).await {
                Ok(called) => called,
                Err(_) if meter.waits() => return Err(CallError::Waiting),
                Err(_) => return Err(CallError::Time),
            }
        } else {
            self.exports.call(&mut self.store, Phase::Timer)
        };
        self.store.data_mut().end_callouts();
        let verdict = called.map_err(|error| self.diagnose(&error))?;
        self.calls_left = self.calls_left.saturating_sub(1);
        self.is_sound = true;
        match verdict {
            Verdict::Fail => {
                Err(CallError::Timer(self.store.data_mut().last_words.take().unwrap_or_default()))
            }
            _ => Ok(()),
        }
    }

    fn diagnose(&mut self, error: &wasmtime::Error) -> Failure {
        Failure::of(self.store.data_mut(), error)
    }

    /// Whether it has to be called with [`Instance::serve`].
    pub(crate) fn waits(&self) -> bool {
        self.waits
    }

    /// Whether its successor should be under way.
    pub(crate) fn ends_soon(&self) -> bool {
        self.calls_left < NEARLY
    }

    /// For the next exchange: false after anything but a verdict, and at the end of its calls.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_sound && self.calls_left > 0
    }

    /// For the exchange it has: that may go on with it at the end of its calls.
    pub(crate) fn is_sound(&self) -> bool {
        self.is_sound
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("permit", &self.permit.is_some()).finish_non_exhaustive()
    }
}

/// The chunk as the call leaves it.
fn settle(
    draft: Draft,
    phase: Phase,
    result: Result<Verdict, CallError>,
) -> (Chunk, Result<Verdict, CallError>) {
    match result {
        Ok(Verdict::Fail) | Err(_) => (draft.abandon(), result),
        Ok(verdict) => match draft.finish(phase.sees_chunks() && verdict == Verdict::Next) {
            Ok(chunk) => (chunk, result),
            Err(HeldTooMuch(chunk)) => (chunk, Err(CallError::TooLarge)),
        },
    }
}

/// How many calls an instance serves: as many as `reuse` exchanges make, less up to a quarter by
/// chance. Those about single chunks of a body do not count.
fn draw_calls(reuse: u32, phases: &[Phase]) -> u64 {
    let counted = phases.iter().filter(|phase| !phase.sees_chunks()).count();
    let calls = u64::from(reuse.max(1)).saturating_mul(counted as u64);
    let quarter = calls / 4;
    calls - rand::random::<u64>() % (quarter + 1)
}

/// Starts the budgets of a call. The first tick comes within a millisecond, and from then on the
/// call's time is watched.
fn begin(store: &mut Store<State>, cpu: Duration, time: Duration) {
    let state = store.data_mut();
    state.budget.begin(cpu, time);
    state.memory.begin();
    state.last_words = None;
    store.set_epoch_deadline(1);
}

/// A function of `lifecycle`, within [`START_CPU`] and [`START_TIME`].
async fn prepare<P, R>(
    store: &mut Store<State>,
    waits: bool,
    during: &'static str,
    function: TypedFunc<P, R>,
    parameters: P,
) -> Result<R, LoadError>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    begin(store, START_CPU, START_TIME);
    // Lists of patterns are built by the host, which no tick interrupts.
    store.data().budget.count();
    let called = if waits {
        let meter = store.data().budget.meter.clone();
        let call = metered(&meter, function.call_async(&mut *store, parameters));
        match tokio::time::timeout(START_TIME, call).await {
            Ok(called) => called,
            Err(_) => return Err(too_slow(during)),
        }
    } else {
        function.call(&mut *store, parameters)
    };
    called.map_err(|error| failed_load(store, during, &error))
}

/// Counts CPU time only while the work is polled.
async fn metered<T>(meter: &Meter, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|context| {
        meter.resume();
        let polled = work.as_mut().poll(context);
        meter.pause();
        polled
    })
    .await
}

/// Why a call into a plugin came back without a result.
enum Failure {
    Cpu,
    Time,
    Memory,
    Trap(String),
}

impl Failure {
    fn of(state: &mut State, error: &wasmtime::Error) -> Self {
        match state.budget.breach() {
            Some(Breach::Cpu) => return Self::Cpu,
            Some(Breach::Time) => return Self::Time,
            None if state.memory.refused() => return Self::Memory,
            None => {}
        }
        let mut text = match state.last_words.take() {
            Some(words) => format!("{words} ({})", error.root_cause()),
            None => error.root_cause().to_string(),
        };
        // Names exist unless they were stripped; without words they are all there is to go by.
        if error.downcast_ref::<Trap>().is_some()
            && let Some(backtrace) = error.downcast_ref::<WasmBacktrace>()
        {
            let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
            for (index, name) in names.enumerate() {
                text.push_str(if index == 0 { " in " } else { " < " });
                text.push_str(name);
            }
        }
        Self::Trap(text)
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Cpu => Self::Cpu,
            Failure::Time => Self::Time,
            Failure::Memory => Self::Memory,
            Failure::Trap(text) => Self::Trap(text),
        }
    }
}

fn failed_load(store: &mut Store<State>, during: &'static str, error: &wasmtime::Error) -> LoadError {
    let limit = match Failure::of(store.data_mut(), error) {
        Failure::Trap(trap) => return LoadError::Trap { during, trap },
        Failure::Time => return too_slow(during),
        Failure::Cpu => format!("{START_CPU:?} of processor time"),
        Failure::Memory => format!("{} bytes of memory (`limits.memory`)", store.data().plugin.limits.memory),
    };
    LoadError::Budget { during, limit }
}

fn too_slow(during: &'static str) -> LoadError {
    LoadError::Budget { during, limit: format!("{START_TIME:?}") }
}
