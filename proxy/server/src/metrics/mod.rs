//! What the proxy counts of its own work: each worker for itself, without a lock, and added up by whoever looks.
//!
//! `failures` keeps the latest exchanges that failed. `series` is what is counted under one name; which names there are follows from the configuration and from nothing that
//! a client sends. `sums` adds up what the workers counted. How it is shown is the admin interface's.

mod failures;
mod series;
mod sums;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use tidegate_io::Millis;
use tidegate_telemetry::{ByNames, Counter, Shown};

use self::failures::Turn;
pub(crate) use self::failures::{Failure, Failures};
pub(crate) use self::series::{
    CLASSES, Caching, Forwarded, Listening, METHODS, PolicyCalls, RESUMED, Serving, TLS_VERSIONS, Traffic,
    method_index,
};
pub(crate) use self::sums::{ListenerSum, PolicySum, ServerSum, Sums, TrafficSum};

/// What all workers count, for those who read it.
pub(crate) struct Metrics {
    pub(crate) began: SystemTime,
    workers: Box<[Shard]>,
    pub(crate) failures: Arc<Failures>,
    /// What became of spans.
    pub(crate) traces: Arc<TraceCounts>,
    /// Lines that nobody wrote: of the access log, and of the proxy's own.
    pub(crate) access_lines_lost: Arc<AtomicU64>,
    pub(crate) log_lines_lost: Arc<AtomicU64>,
}

impl Metrics {
    pub(crate) fn new(workers: usize, log_lines_lost: Arc<AtomicU64>) -> Arc<Self> {
        let failures = Arc::<Failures>::default();
        let shard = |_| Shard { failures: failures.clone(), ..Shard::default() };
        let workers = (0..workers).map(shard).collect();
        Arc::new(Self {
            began: SystemTime::now(),
            workers,
            failures,
            traces: Arc::default(),
            access_lines_lost: Arc::default(),
            log_lines_lost,
        })
    }

    /// What the worker with this number counts.
    pub(crate) fn shard(&self, worker: usize) -> Shard {
        self.workers[worker].clone()
    }

    pub(crate) fn workers(&self) -> &[Shard] {
        &self.workers
    }

    /// Workers that have not turned over for `limit`, by number, with the time since they did.
    pub(crate) fn stuck(&self, limit: Duration) -> Vec<(usize, Duration)> {
        let since = |shard: &Shard| Millis::now().time_since(Millis(shard.worker.heartbeat.get()));
        let all = self.workers.iter().map(since).enumerate();
        // One that has not begun has none yet.
        let begun = all.filter(|(index, _)| self.workers[*index].worker.heartbeat.get() > 0);
        begun.filter(|(_, since)| *since > limit).collect()
    }
}

/// What became of spans.
#[derive(Default)]
pub(crate) struct TraceCounts {
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// What one worker counts, for readers.
#[derive(Clone, Default)]
pub(crate) struct Shard {
    /// By listener and destination; the latter is empty where a request went nowhere.
    pub(crate) traffic: Shown<Traffic>,
    /// By listener.
    pub(crate) listeners: Shown<Listening>,
    /// By upstream and server.
    pub(crate) servers: Shown<Serving>,
    /// By listener and upstream.
    pub(crate) forwarded: Shown<Forwarded>,
    /// By destination, where it has a cache.
    pub(crate) caching: Shown<Caching>,
    /// By policy.
    pub(crate) policies: Shown<PolicyCalls>,
    /// Idle connections to servers, by upstream.
    pub(crate) idle: Shown<Counter>,
    pub(crate) worker: Arc<OneWorker>,
    /// Of all workers.
    failures: Arc<Failures>,
}

/// What there is once for each worker.
#[derive(Default)]
pub(crate) struct OneWorker {
    /// When it last turned over, in milliseconds of [`Millis`].
    pub(crate) heartbeat: Counter,
    /// Log phases that were skipped.
    pub(crate) skipped: Counter,
}

/// The counting end, of one worker.
pub(crate) struct Counting {
    pub(crate) traffic: ByNames<Traffic>,
    pub(crate) listeners: ByNames<Listening>,
    pub(crate) servers: ByNames<Serving>,
    pub(crate) forwarded: ByNames<Forwarded>,
    pub(crate) caching: ByNames<Caching>,
    pub(crate) policies: ByNames<PolicyCalls>,
    pub(crate) idle: ByNames<Counter>,
    pub(crate) worker: Arc<OneWorker>,
    failures: Arc<Failures>,
    kept_failures: Turn,
    /// Stands where there is no second name, or no name.
    pub(crate) nobody: Arc<str>,
}

impl Counting {
    pub(crate) fn new(shard: Shard) -> Rc<Self> {
        let Shard { traffic, listeners, servers, forwarded, caching, policies, idle, worker, failures } =
            shard;
        Rc::new(Self {
            traffic: ByNames::new(traffic),
            listeners: ByNames::new(listeners),
            servers: ByNames::new(servers),
            forwarded: ByNames::new(forwarded),
            caching: ByNames::new(caching),
            policies: ByNames::new(policies),
            idle: ByNames::new(idle),
            worker,
            failures,
            kept_failures: Turn::default(),
            nobody: "".into(),
        })
    }

    /// Counts about a listener.
    pub(crate) fn listener(&self, name: &Arc<str>, count: impl FnOnce(&Listening)) {
        self.listeners.with(name, &self.nobody, Listening::default, count);
    }

    /// Keeps a failure for people who look, unless there were many just now.
    pub(crate) fn keep_failure(&self, failure: impl FnOnce() -> Failure) {
        if self.kept_failures.takes() {
            self.failures.push(failure());
        }
    }

    /// The series of a policy, for the place that calls it.
    pub(crate) fn policy(&self, name: &Arc<str>) -> Arc<PolicyCalls> {
        self.policies.get(&[name.clone(), self.nobody.clone()], PolicyCalls::default)
    }
}
