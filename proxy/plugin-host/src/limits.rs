//! What one plugin may use, and how the use is measured.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{ResourceLimiter, UpdateDeadline};

use crate::clock::Pulse;
use crate::matching::{OverBudget, Watch};

/// Budgets of one plugin. A breach ends the call and drops the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Processor time of one call, checked every millisecond. Default 10 ms.
    pub cpu: Duration,
    /// Time of one call with everything it waits for, a free instance included. Default 1 s.
    pub time: Duration,
    /// Linear memory and tables of one instance, bytes. Default 32 MiB.
    pub memory: usize,
    /// Instances of the plugin alive at once on each worker, at least 1. Default 64.
    pub instances: usize,
    /// Exchanges an instance serves before a fresh one takes its place, at least 1; each instance
    /// draws 75 to 100 % of it, so that they are not all replaced at once. Default 10,000.
    pub reuse: u32,
    /// Calls that may wait at once on each worker, for callouts and passwords. Default 48.
    pub waiting: usize,
    /// Callouts of one exchange, or of one timer call. Default 8.
    pub callouts: u32,
    /// Bytes of the body of a callout's response. Default 1 MiB.
    pub callout_response: usize,
    /// Longest time of one callout. Default 500 ms.
    pub callout_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_millis(10),
            time: Duration::from_secs(1),
            memory: 32 << 20,
            instances: 64,
            reuse: 10_000,
            waiting: 48,
            callouts: 8,
            callout_response: 1 << 20,
            callout_timeout: Duration::from_millis(500),
        }
    }
}

/// Which budget a call exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breach {
    Cpu,
    Time,
}

/// Time of the call in progress.
///
/// Wasm code asks at each tick of the engine's clock ([`crate::clock::TICK`]). Ticks are wall
/// time, and a thread that lost its core must not be blamed, so what counts is the thread's own CPU
/// clock. Reading it is a system call: the first tick of a call takes the baseline, and the ordinary
/// call, over within microseconds, sees no tick and pays nothing. A function of the host that may take long takes the
/// baseline itself, and looks again and again ([`Watch`]): no tick interrupts it.
///
/// Atomic only because the poll of an asynchronous call looks at it from outside of the store.
#[derive(Debug)]
pub(crate) struct Meter {
    pulse: Arc<Pulse>,
    /// CPU clock of the thread when counting began, ns; 0 = not counting.
    since: AtomicU64,
    /// Counted in earlier polls of the call, ns.
    used: AtomicU64,
    /// The call is in the middle of a function that waits for others.
    waits: AtomicBool,
}

impl Meter {
    fn begin(&self) {
        self.pulse.beat();
        self.since.store(0, Ordering::Relaxed);
        self.used.store(0, Ordering::Relaxed);
        self.waits.store(false, Ordering::Relaxed);
    }

    pub(crate) fn begin_wait(&self) {
        self.waits.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_wait(&self) {
        self.waits.store(false, Ordering::Relaxed);
    }

    /// Whether the call waits, or was given up when it did.
    pub(crate) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// CPU time of the call so far; starts counting at the first question.
    fn read(&self) -> Duration {
        let now = thread_cpu_time();
        let used = self.used.load(Ordering::Relaxed);
        match self.since.load(Ordering::Relaxed) {
            0 => {
                self.since.store(now.max(1), Ordering::Relaxed);
                Duration::from_nanos(used)
            }
            since => Duration::from_nanos(used + now.saturating_sub(since)),
        }
    }

    /// The call goes on after it waited.
    pub(crate) fn resume(&self) {
        self.pulse.beat();
    }

    /// The call waits: the thread's time belongs to others from here on.
    pub(crate) fn pause(&self) {
        let since = self.since.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.used.fetch_add(thread_cpu_time().saturating_sub(since), Ordering::Relaxed);
        }
    }
}

pub(crate) fn thread_cpu_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or(0)
}

/// Bytes of which hashing and the like takes longer than a look at the clock.
const MANY: usize = 16 << 10;

/// Budgets of the call in progress.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) meter: Arc<Meter>,
    cpu: Duration,
    time: Duration,
    /// When the first tick was seen, at most one tick after the call began.
    first_tick: Cell<Option<Instant>>,
    breach: Cell<Option<Breach>>,
}

impl Budget {
    pub(crate) fn new(pulse: Arc<Pulse>) -> Self {
        let meter =
            Meter { pulse, since: AtomicU64::new(0), used: AtomicU64::new(0), waits: AtomicBool::new(false) };
        Self {
            meter: Arc::new(meter),
            cpu: Duration::ZERO,
            time: Duration::ZERO,
            first_tick: Cell::default(),
            breach: Cell::default(),
        }
    }

    pub(crate) fn begin(&mut self, cpu: Duration, time: Duration) {
        self.meter.begin();
        self.cpu = cpu;
        self.time = time;
        self.first_tick.set(None);
        self.breach.set(None);
    }

    /// Counts from here on, not only from the first tick: for work the length of which is no matter of microseconds.
    pub(crate) fn count(&self) {
        self.meter.read();
    }

    /// The same if this is work on so many bytes that it is.
    pub(crate) fn count_bytes(&self, bytes: usize) {
        if bytes > MANY {
            self.count();
        }
    }

    /// Which budget ended the call, if one did.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.breach.get()
    }

    /// At a tick: go on, or end the call.
    pub(crate) fn tick(&self) -> UpdateDeadline {
        self.meter.resume();
        match self.look() {
            Ok(()) => UpdateDeadline::Continue(1),
            Err(OverBudget) => UpdateDeadline::Interrupt,
        }
    }
}

impl Watch for Budget {
    fn look(&self) -> Result<(), OverBudget> {
        let first = self.first_tick.get().unwrap_or_else(Instant::now);
        self.first_tick.set(Some(first));
        if self.meter.read() >= self.cpu {
            self.breach.set(Some(Breach::Cpu));
        } else if first.elapsed() >= self.time {
            self.breach.set(Some(Breach::Time));
        }
        if self.breach.get().is_some() { Err(OverBudget) } else { Ok(()) }
    }
}

/// Processor time for what the host does without a call. Costs nothing until it is looked at.
#[derive(Debug)]
pub(crate) struct Allowance {
    cpu: Duration,
    /// CPU clock of the thread at the first look, ns.
    since: Cell<Option<u64>>,
}

impl Allowance {
    pub(crate) fn new(cpu: Duration) -> Self {
        Self { cpu, since: Cell::default() }
    }
}

impl Watch for Allowance {
    fn look(&self) -> Result<(), OverBudget> {
        let now = thread_cpu_time();
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        if Duration::from_nanos(now.saturating_sub(since)) >= self.cpu { Err(OverBudget) } else { Ok(()) }
    }
}

/// Memory of one instance: all linear memories and tables together.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    /// A growth was refused: what fails after it fails for lack of memory.
    refused: bool,
}

impl MemoryLimiter {
    /// Core instances, memories and tables of one component. A component made by wit-component has
    /// 3 core instances; language runtimes bring up to about 40.
    const PARTS: usize = 200;

    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0, refused: false }
    }

    pub(crate) fn begin(&mut self) {
        self.refused = false;
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        const ELEMENT: usize = size_of::<usize>();
        Ok(self.grow(current.saturating_mul(ELEMENT), desired.saturating_mul(ELEMENT)))
    }

    fn instances(&self) -> usize {
        Self::PARTS
    }

    fn tables(&self) -> usize {
        Self::PARTS
    }

    fn memories(&self) -> usize {
        Self::PARTS
    }
}
