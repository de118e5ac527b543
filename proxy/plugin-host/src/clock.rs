//! The clock of the budgets: one thread, which ticks while plugins run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// How often running plugins look at their budgets. Ten looks within the default CPU budget; each
/// costs the process one wake-up.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Ticks until it is dropped, but only while plugins run.
pub(crate) struct Clock {
    pub(crate) pulse: Arc<Pulse>,
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
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let pulse = Arc::new(Pulse::default());
        let beaten = pulse.clone();
        let tick = move || beaten.tick(&engine);
        let thread = thread::Builder::new().name("plugin-clock".to_owned()).spawn(tick)?;
        // Before this a beat finds no thread to wake, and the clock does not sleep yet.
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
