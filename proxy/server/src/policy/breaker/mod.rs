//! Takes a policy out of service whose calls fail almost without exception, instead of paying for each failure.
//!
//! Clients choose what a policy is asked about, so failures alone say little: a breaker opens only when leaving the
//! policy out changes almost nothing, and closes with the first call that works again. The same numbers say whether a
//! version that was just loaded is worse than the one before it.

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidegate_config::OnError;
use tidegate_io::Millis;
use tidegate_message::network;
use tidegate_plugin_host::{CallError, Phase};
use tokio::sync::mpsc;

/// Calls within [`WINDOW`] that say anything about a policy.
const CALLS: u64 = 20;
const WINDOW: Duration = Duration::from_secs(10);
/// Clients that must have had failures: no one decides for the others. (It is as many as [`Clients`] remembers.)
const CLIENTS: usize = 3;
/// The n-th quarantine in a row lasts n times this …
const QUARANTINE: Duration = Duration::from_secs(30);
/// … but no longer than this.
const LONGEST: Duration = Duration::from_secs(300);
/// How often a call tries whether a policy in quarantine works again.
const PROBE: Duration = Duration::from_secs(1);
/// For so long every call of a new version is counted: one that fails more than the last good one is put back.
const TRIAL: Duration = Duration::from_secs(60);
/// A share of failures is clearly larger when it is larger by this.
const CLEARLY: f64 = 0.25;

/// What is true of a policy whose counters need not be touched.
const CALM: u8 = 0;
/// Calls are counted: the version is on trial, or one failed within the last [`WINDOW`].
const COUNTING: u8 = 1;
/// It fails almost always.
const OPEN: u8 = 2;

/// The state of one version of a policy, shared by all workers.
pub(crate) struct Breaker {
    born: Millis,
    /// One of [`CALM`], [`COUNTING`] and [`OPEN`]: all that a call reads of a policy that behaves.
    state: AtomicU8,
    /// Milliseconds after `born` until which calls are counted, or refused when it is open.
    until: AtomicU64,
    /// Requests and responses apart.
    sides: [Side; 2],
    /// What is written when a call fails, which costs more than a lock.
    failures: Mutex<Failures>,
    /// A failed request is denied whatever the policy does to its response: `deny` looks at the sides apart.
    on_error: OnError,
    /// What the last good version did, to compare a new one with.
    baseline: Shares,
    /// It failed so much more than `baseline` that it is to be put back.
    bad: AtomicBool,
    /// Tells the control side the number of a version that is to be put back.
    bad_version: mpsc::Sender<u64>,
    version: u64,
}

/// Calls about one side of exchanges since `born`, as far as they were counted.
#[derive(Default)]
struct Side {
    succeeded: AtomicU64,
    /// Failed through no fault of the policy.
    excused: AtomicU64,
    failed: AtomicU64,
    /// Milliseconds after `born` of the next call that tries whether it works again.
    probe_at: AtomicU64,
}

#[derive(Default)]
struct Failures {
    /// `None` until a call fails.
    window: Option<Window>,
    /// Since `born`.
    trial: [Clients; 2],
    quarantines: u32,
    /// The side whose success closes it; `None` = any.
    opened_by: Option<usize>,
    /// When it was last closed.
    closed_at: Duration,
}

/// The calls since a failure, for no longer than [`WINDOW`].
struct Window {
    since: Duration,
    /// Calls before it that did not fail.
    others_before: [u64; 2],
    failed: [u64; 2],
    clients: [Clients; 2],
}

/// The first few clients among many; an IPv6 network of 64 bits is one.
#[derive(Default)]
struct Clients([Option<IpAddr>; CLIENTS]);

/// What share of its calls failed, for requests and responses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Shares([f64; 2]);

/// Whose fault it is that a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Policy,
    /// The size or content of a body, or too much traffic.
    Others,
}

impl Breaker {
    /// `version` is sent to `bad_version` if it fails clearly more than `baseline` as soon as it is loaded.
    pub(crate) fn new(
        on_error: OnError,
        version: u64,
        baseline: Shares,
        bad_version: mpsc::Sender<u64>,
    ) -> Self {
        Self {
            born: Millis::now(),
            state: AtomicU8::new(COUNTING),
            until: AtomicU64::new(millis(TRIAL)),
            sides: Default::default(),
            failures: Mutex::default(),
            on_error,
            baseline,
            bad: AtomicBool::new(false),
            bad_version,
            version,
        }
    }

    /// Whether the policy is in quarantine.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open_at(self.age())
    }

    fn is_open_at(&self, now: Duration) -> bool {
        self.state.load(Relaxed) == OPEN && millis(now) < self.until.load(Relaxed)
    }

    fn age(&self) -> Duration {
        Millis::now().time_since(self.born)
    }

    /// Whether this call is left out: the policy is in quarantine, and it is not the call that tries whether it works
    /// again. One load where it behaves.
    pub(crate) fn refuses(&self, phase: Phase) -> bool {
        self.state.load(Relaxed) == OPEN && self.refuses_at(phase, self.age())
    }

    fn refuses_at(&self, phase: Phase, now: Duration) -> bool {
        if !self.is_open_at(now) {
            return false;
        }
        let Some(side) = side_of(phase) else { return true };
        let due = self.sides[side].probe_at.load(Relaxed);
        let next = millis(now + PROBE);
        let probes = due <= millis(now)
            && self.sides[side].probe_at.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        !probes
    }

    /// A call gave a verdict.
    pub(crate) fn succeeded(&self, phase: Phase) {
        if self.state.load(Relaxed) != CALM {
            self.succeeded_at(phase, self.age());
        }
    }

    fn succeeded_at(&self, phase: Phase, now: Duration) {
        let Some(side) = side_of(phase) else { return };
        self.sides[side].succeeded.fetch_add(1, Relaxed);
        if self.state.load(Relaxed) == OPEN {
            let mut failures = self.lock();
            if failures.opened_by.is_none_or(|by| by == side) && self.state.load(Relaxed) == OPEN {
                self.close(&mut failures, now);
            }
        } else if millis(now) >= self.until.load(Relaxed) {
            // A failure that is counted right now comes back to this soon enough.
            let _ = self.state.compare_exchange(COUNTING, CALM, Relaxed, Relaxed);
        }
    }

    /// A call gave no verdict. A lock is fine here: failing costs more than this anyway.
    pub(crate) fn failed(&self, phase: Phase, error: &CallError, client: IpAddr) {
        self.failed_at(phase, error, client, self.age());
    }

    fn failed_at(&self, phase: Phase, error: &CallError, client: IpAddr, now: Duration) {
        let Some(side) = side_of(phase) else { return };
        if blame(phase, error) == Blame::Others {
            self.sides[side].excused.fetch_add(1, Relaxed);
            return;
        }
        let mut failures = self.lock();
        if self.state.load(Relaxed) == OPEN && millis(now) >= self.until.load(Relaxed) {
            self.close(&mut failures, now);
        }
        self.sides[side].failed.fetch_add(1, Relaxed);
        failures.trial[side].add(client);
        let current = failures.window.take().filter(|window| now.saturating_sub(window.since) < WINDOW);
        let window = failures.window.insert(current.unwrap_or_else(|| Window {
            since: now,
            others_before: [0, 1].map(|side| self.sides[side].others()),
            failed: [0; 2],
            clients: Default::default(),
        }));
        window.failed[side] += 1;
        window.clients[side].add(client);
        let opens = self.opens(window, side);
        if self.state.load(Relaxed) == OPEN {
            return;
        }
        self.count_until(now + WINDOW);
        if now < TRIAL && self.is_worse(&failures, side) && !self.bad.swap(true, Relaxed) {
            // With a full queue the next failure tells it again.
            let told = self.bad_version.try_send(self.version).is_ok();
            self.bad.store(told, Relaxed);
        }
        if let Some(opened_by) = opens {
            self.open(&mut failures, opened_by, now);
        }
    }

    /// Calls are counted for at least so long.
    fn count_until(&self, until: Duration) {
        self.until.fetch_max(millis(until), Relaxed);
        self.state.store(COUNTING, Relaxed);
    }

    /// Whether it is worse than the last good version: clearly more of its calls fail, and that is not one client's
    /// doing, unless there was no call at all that did not fail.
    fn is_worse(&self, failures: &Failures, side: usize) -> bool {
        let numbers = &self.sides[side];
        let known = numbers.calls() >= CALLS && numbers.share() >= self.baseline.0[side] + CLEARLY;
        known && (failures.trial[side].are_several() || numbers.others() == 0)
    }

    /// The side that has to work again if it is to be opened.
    fn opens(&self, window: &Window, side: usize) -> Option<Option<usize>> {
        let of = |side: usize| (window.failed[side], self.sides[side].others() - window.others_before[side]);
        let (opened_by, (failed, others)) = match self.on_error {
            OnError::Deny => (Some(side), of(side)),
            OnError::Skip => (None, (of(0).0 + of(1).0, of(0).1 + of(1).1)),
        };
        // 95 %: no more than one of twenty was any good.
        let always = failed + others >= CALLS && failed >= 19 * others;
        (always && window.clients[side].are_several()).then_some(opened_by)
    }

    fn open(&self, failures: &mut Failures, opened_by: Option<usize>, now: Duration) {
        // Having behaved for longer than the longest quarantine is a new start.
        let in_a_row = now < failures.closed_at + LONGEST;
        failures.quarantines = if in_a_row { failures.quarantines + 1 } else { 1 };
        failures.opened_by = opened_by;
        let until = now + (QUARANTINE * failures.quarantines).min(LONGEST);
        for side in &self.sides {
            side.probe_at.store(millis(now + PROBE), Relaxed);
        }
        self.until.store(millis(until), Relaxed);
        self.state.store(OPEN, Relaxed);
    }

    fn close(&self, failures: &mut Failures, now: Duration) {
        failures.window = None;
        failures.closed_at = now;
        self.until.store(millis(TRIAL.max(now + WINDOW)), Relaxed);
        self.state.store(COUNTING, Relaxed);
    }

    /// Whether this version is one to go back to: it served some calls, or for a while, and did not fail.
    pub(crate) fn served_well(&self) -> bool {
        let served = self.age() >= TRIAL || self.sides.iter().any(|side| side.good() > 0);
        let fails = self.sides.iter().any(|side| side.share() > 0.5);
        served && !fails && !self.is_open() && !self.bad.load(Relaxed)
    }

    /// What the next version is compared with. Of a version that is on trial no more only the calls around failures
    /// were counted: it looks worse than it is, and the next one is put back for less only if it is really worse.
    pub(crate) fn shares(&self) -> Shares {
        Shares([0, 1].map(|side| self.sides[side].share()))
    }

    fn lock(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Side {
    fn good(&self) -> u64 {
        self.succeeded.load(Relaxed)
    }

    fn others(&self) -> u64 {
        self.good() + self.excused.load(Relaxed)
    }

    fn calls(&self) -> u64 {
        self.others() + self.failed.load(Relaxed)
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of calls, not their number")]
    fn share(&self) -> f64 {
        self.failed.load(Relaxed) as f64 / self.calls().max(1) as f64
    }
}

impl Clients {
    fn add(&mut self, client: IpAddr) {
        let client = network(client);
        let known = self.0.contains(&Some(client));
        if let (false, Some(free)) = (known, self.0.iter_mut().find(|slot| slot.is_none())) {
            *free = Some(client);
        }
    }

    fn are_several(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }
}

/// 0 for what is about a request, 1 for a response. The log and timer phases are not counted: nobody waits for them.
fn side_of(phase: Phase) -> Option<usize> {
    match phase {
        Phase::Request | Phase::RequestBody | Phase::RequestChunk => Some(0),
        Phase::Response | Phase::ResponseBody | Phase::ResponseChunk => Some(1),
        Phase::Log | Phase::Timer => None,
    }
}

/// A response that was forgotten, a crash and a fresh instance that refuses its configuration are the policy's own
/// doing. How much memory it takes, and how long it takes for a body, depends on what it is shown; and instances are
/// short when there is too much traffic.
fn blame(phase: Phase, error: &CallError) -> Blame {
    match error {
        CallError::Trap(_) | CallError::Configure(_) | CallError::NoReply | CallError::Timer(_) => {
            Blame::Policy
        }
        CallError::Cpu | CallError::Time if matches!(phase, Phase::Request | Phase::Response) => {
            Blame::Policy
        }
        CallError::Cpu | CallError::Time => Blame::Others,
        // Whom it asked is slow, or asked too much: that is for the plugin's own time-outs to bear.
        CallError::Waiting | CallError::Memory | CallError::TooLarge | CallError::Instances => Blame::Others,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
