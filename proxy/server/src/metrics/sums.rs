//! What all workers counted, added up by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_telemetry::{Distribution, Names, Shown};

use super::{
    CLASSES, Caching, Forwarded, Listening, METHODS, Metrics, PolicyCalls, RESUMED, Serving, Shard,
    TLS_VERSIONS, Traffic,
};

/// Counts by word, in the order in which the words came.
pub(crate) type Counts = Vec<(&'static str, u64)>;

/// All that workers counted until now. Counters of one series may differ by what is counted while it is read.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) traffic: BTreeMap<Names, TrafficSum>,
    pub(crate) listeners: BTreeMap<Arc<str>, ListenerSum>,
    pub(crate) servers: BTreeMap<Names, ServerSum>,
    pub(crate) forwarded: BTreeMap<Names, ForwardedSum>,
    /// By destination: requests by result and reason.
    pub(crate) caching: BTreeMap<Arc<str>, CachingSum>,
    pub(crate) policies: BTreeMap<Arc<str>, PolicySum>,
    /// Idle connections, by upstream.
    pub(crate) idle: BTreeMap<Arc<str>, u64>,
    pub(crate) log_phases_skipped: u64,
}

#[derive(Default, Clone)]
pub(crate) struct TrafficSum {
    /// By method and class of the status.
    pub(crate) requests: [[u64; CLASSES.len()]; METHODS.len()],
    pub(crate) failures: Counts,
    pub(crate) duration: Distribution,
    pub(crate) upstream: Distribution,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) attempts: Counts,
    pub(crate) retries: u64,
}

#[derive(Default, Clone)]
pub(crate) struct ListenerSum {
    pub(crate) connections: u64,
    pub(crate) closed: u64,
    pub(crate) refused_connections: Counts,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) refused_requests: Counts,
    pub(crate) handshakes: [[u64; RESUMED.len()]; TLS_VERSIONS.len()],
    pub(crate) tls_failures: Counts,
}

#[derive(Default, Clone)]
pub(crate) struct ServerSum {
    pub(crate) attempts: Counts,
    pub(crate) answers: [u64; CLASSES.len()],
    pub(crate) duration: Distribution,
    /// Unix time, and how.
    pub(crate) last_failure: Option<(u64, &'static str)>,
}

#[derive(Default, Clone)]
pub(crate) struct ForwardedSum {
    pub(crate) connections: u64,
    pub(crate) failures: Counts,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// Requests by result and reason, those that came.
pub(crate) type CachingSum = BTreeMap<(&'static str, &'static str), u64>;

#[derive(Default, Clone)]
pub(crate) struct PolicySum {
    /// By phase and verdict, those that came.
    pub(crate) calls: BTreeMap<(&'static str, &'static str), u64>,
    pub(crate) faults: Counts,
    pub(crate) duration: Distribution,
    pub(crate) remembered: u64,
    pub(crate) instances: u64,
    pub(crate) memory: u64,
}

impl Metrics {
    pub(crate) fn sums(&self) -> Sums {
        let mut sums = Sums::default();
        for Shard { traffic, listeners, servers, forwarded, caching, policies, idle, worker, .. } in
            self.workers()
        {
            each(traffic, |names, series| sums.traffic.entry(names).or_default().add(series));
            each(listeners, |[name, _], series| sums.listeners.entry(name).or_default().add(series));
            each(servers, |names, series| sums.servers.entry(names).or_default().add(series));
            each(forwarded, |names, series| sums.forwarded.entry(names).or_default().add(series));
            each(caching, |[name, _], series| add_caching(sums.caching.entry(name).or_default(), series));
            each(policies, |[name, _], series| sums.policies.entry(name).or_default().add(series));
            each(idle, |[name, _], count| *sums.idle.entry(name).or_default() += count.get());
            sums.log_phases_skipped += worker.skipped.get();
        }
        sums
    }
}

fn each<V>(shown: &Shown<V>, mut add: impl FnMut(Names, &V)) {
    shown.all().into_iter().for_each(|(names, series)| add(names, &series));
}

fn add_caching(sum: &mut CachingSum, series: &Caching) {
    for (result, reason, count) in series.counts().filter(|(_, _, count)| *count > 0) {
        *sum.entry((result, reason)).or_default() += count;
    }
}

fn add_words(sum: &mut Counts, more: impl Iterator<Item = (&'static str, u64)>) {
    for (at, (word, count)) in more.enumerate() {
        match sum.get_mut(at) {
            Some(known) => known.1 += count,
            None => sum.push((word, count)),
        }
    }
}

impl TrafficSum {
    fn add(&mut self, series: &Traffic) {
        let counts = self.requests.as_flattened_mut().iter_mut().zip(series.requests.as_flattened());
        counts.for_each(|(sum, count)| *sum += count.get());
        add_words(&mut self.failures, series.failures.iter());
        self.duration.add(&series.duration);
        self.upstream.add(&series.upstream);
        self.received += series.received.get();
        self.sent += series.sent.get();
        add_words(&mut self.attempts, series.attempts.iter());
        self.retries += series.retries.get();
    }

    /// Adds another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        let counts = self.requests.as_flattened_mut().iter_mut().zip(other.requests.as_flattened());
        counts.for_each(|(sum, count)| *sum += count);
        add_words(&mut self.failures, other.failures.iter().copied());
        self.duration.merge(&other.duration);
        self.upstream.merge(&other.upstream);
        self.received += other.received;
        self.sent += other.sent;
        add_words(&mut self.attempts, other.attempts.iter().copied());
        self.retries += other.retries;
    }

    pub(crate) fn count(&self) -> u64 {
        self.requests.as_flattened().iter().sum()
    }

    /// Those that ended with 5xx.
    pub(crate) fn errors(&self) -> u64 {
        self.requests.iter().map(|classes| classes[CLASSES.len() - 1]).sum()
    }
}

impl ListenerSum {
    fn add(&mut self, series: &Listening) {
        // What ended is read first: it never seems to be more than what began.
        self.closed += series.closed.get();
        self.connections += series.connections.get();
        add_words(&mut self.refused_connections, series.refused_connections.iter());
        self.ended += series.ended.get();
        self.begun += series.begun.get();
        add_words(&mut self.refused_requests, series.refused_requests.iter());
        let counts = self.handshakes.as_flattened_mut().iter_mut().zip(series.handshakes.as_flattened());
        counts.for_each(|(sum, count)| *sum += count.get());
        add_words(&mut self.tls_failures, series.tls_failures.iter());
    }

    pub(crate) fn open(&self) -> u64 {
        self.connections.saturating_sub(self.closed)
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.ended)
    }
}

impl ServerSum {
    fn add(&mut self, series: &Serving) {
        add_words(&mut self.attempts, series.attempts.iter());
        self.answers.iter_mut().zip(&series.answers).for_each(|(sum, count)| *sum += count.get());
        self.duration.add(&series.duration);
        self.last_failure = self.last_failure.max(series.last_failure());
    }

    pub(crate) fn count(&self) -> u64 {
        self.attempts.iter().map(|(_, count)| count).sum()
    }

    /// Attempts that it did not answer, but for those that were given up.
    pub(crate) fn failures(&self) -> u64 {
        let failed = self.attempts.iter().filter(|(outcome, _)| !["answered", "given-up"].contains(outcome));
        failed.map(|(_, count)| count).sum()
    }
}

impl ForwardedSum {
    fn add(&mut self, series: &Forwarded) {
        self.connections += series.connections.get();
        add_words(&mut self.failures, series.failures.iter());
        self.received += series.received.get();
        self.sent += series.sent.get();
    }
}

impl PolicySum {
    fn add(&mut self, series: &PolicyCalls) {
        for (phase, verdict, count) in series.calls().filter(|(_, _, count)| *count > 0) {
            *self.calls.entry((phase, verdict)).or_default() += count;
        }
        add_words(&mut self.faults, series.faults.iter());
        self.duration.add(&series.duration);
        self.remembered += series.remembered.get();
        self.instances += series.instances.get();
        self.memory += series.memory.get();
    }

    pub(crate) fn count(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Of all phases together.
    pub(crate) fn verdicts(&self) -> BTreeMap<&'static str, u64> {
        let mut verdicts = BTreeMap::new();
        for ((_, verdict), count) in &self.calls {
            *verdicts.entry(*verdict).or_default() += count;
        }
        verdicts
    }
}
