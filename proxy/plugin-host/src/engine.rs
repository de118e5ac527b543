//! The engine all plugins share, and the clock that bounds their time.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use wasmtime::component::Linker;
use wasmtime::{Config, Engine};

use crate::error::HostError;
use crate::imports;
use crate::state::State;

/// How often running plugins look at their budgets. Ten looks within the default CPU budget; each
/// costs the process one wake-up.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Deepest recursion of a plugin, bytes of stack. Fits a thread of 2 MiB several times over.
const WASM_STACK: usize = 512 << 10;

/// Stack of a plugin that waits: its own recursion and the host's functions on top.
const ASYNC_STACK: usize = 1 << 20;

/// Frames named when a plugin crashes.
const BACKTRACE: NonZeroUsize = NonZeroUsize::new(8).expect("is not zero");

/// The sandbox: one per process, cheap to clone.
///
/// It owns a thread that ticks every millisecond while plugins run. The thread ends when the last clone is dropped;
/// [`Code`](crate::Code) and [`Plugin`](crate::Plugin) hold one.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    engine: Engine,
    /// Links the contract.
    plain: Linker<State>,
    /// Links the contract and WASI; its functions may wait.
    wasi: Linker<State>,
    /// Origin of the plugins' monotonic clock.
    started: Instant,
    next_id: AtomicU64,
    /// Dropped last.
    clock: Clock,
}

impl Host {
    /// Sets up the engine and starts its clock.
    ///
    /// # Errors
    ///
    /// When this machine cannot run WebAssembly or cannot start another thread.
    pub fn new() -> Result<Self, HostError> {
        let set_up = |error: wasmtime::Error| HostError::Engine(format!("{error:#}"));
        let engine = Engine::new(&config()).map_err(set_up)?;
        let mut plain = Linker::new(&engine);
        imports::link(&mut plain).map_err(set_up)?;
        let mut wasi = plain.clone();
        imports::link_wasi(&mut wasi).map_err(set_up)?;
        let clock = Clock::start(engine.clone()).map_err(HostError::Clock)?;
        Ok(Self(Arc::new(Inner {
            engine,
            plain,
            wasi,
            started: Instant::now(),
            next_id: AtomicU64::new(1),
            clock,
        })))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn linker(&self, wasi: bool) -> &Linker<State> {
        if wasi { &self.0.wasi } else { &self.0.plain }
    }

    /// Keeps the clock of the budgets going.
    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.0.clock.pulse
    }

    pub(crate) fn started(&self) -> Instant {
        self.0.started
    }

    /// A number no other plugin of this host has.
    pub(crate) fn next_id(&self) -> u64 {
        self.0.next_id.fetch_add(1, Ordering::Relaxed)
    }
}

/// Instances are allocated on demand, not from a pool: they are kept warm anyway, and a pool would
/// put one size on all plugins and on the tables and core instances of every language's runtime.
fn config() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        // Adds half a microsecond to every call. Said here too in case a dependency switches the
        // cargo feature on.
        .concurrency_support(false)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(ASYNC_STACK)
        .wasm_backtrace_max_frames(Some(BACKTRACE))
        // Only offsets into the code would come of it.
        .generate_address_map(false)
        // A reload happens beside the traffic: compiling on all cores would be felt there, on one
        // it takes a fraction of a second longer and nobody waits for it.
        .parallel_compilation(false);
    config
}

/// Ticks until it is dropped, but only while plugins run.
struct Clock {
    pulse: Arc<Pulse>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the clock that a plugin runs. It sleeps when it was not told for [`QUIET`]: a proxy that is
/// idle, or whose policies are decided from memory, is not woken a thousand times a second.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    running: AtomicBool,
    asleep: AtomicBool,
    stopped: AtomicBool,
    clock: OnceLock<Thread>,
}

/// Ticks without a sign of a plugin after which the clock sleeps.
const QUIET: u32 = 100;

impl Pulse {
    /// A plugin runs now; to be repeated while it does, which it is at each tick. Without it, the
    /// plugin's budgets are not looked at.
    pub(crate) fn beat(&self) {
        // In one order with the clock's own steps: either it sees this, or this sees it asleep.
        self.running.store(true, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if let Some(clock) = self.clock.get() {
            clock.unpark();
        }
    }

    fn tick(&self, engine: &Engine) {
        let mut quiet = 0;
        while !self.stopped.load(Ordering::SeqCst) {
            thread::park_timeout(TICK);
            engine.increment_epoch();
            quiet = if self.running.swap(false, Ordering::SeqCst) { 0 } else { quiet + 1 };
            if quiet < QUIET {
                continue;
            }
            self.asleep.store(true, Ordering::SeqCst);
            if !self.running.load(Ordering::SeqCst) && !self.stopped.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
            quiet = 0;
        }
    }
}

impl Clock {
    fn start(engine: Engine) -> std::io::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let beaten = pulse.clone();
        let tick = move || beaten.tick(&engine);
        let thread = thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick)?;
        // Before this a beat finds nobody to wake, and the clock does not sleep yet.
        let _ = pulse.clock.set(thread.thread().clone());
        Ok(Self { pulse, thread: Some(thread) })
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.pulse.stopped.store(true, Ordering::SeqCst);
        self.pulse.wake();
        if let Some(thread) = self.thread.take() {
            // It cannot panic: it only counts.
            let _ = thread.join();
        }
    }
}
