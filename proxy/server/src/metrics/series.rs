//! What is counted under one name.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use tidegate_io::clock::unix_seconds;
use tidegate_telemetry::{Counter, Durations, Words};

/// Methods with a name of their own in metrics: a client may send any.
pub(crate) const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "other"];

/// Where a method is in [`METHODS`].
pub(crate) fn method_index(method: &str) -> u8 {
    let at = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
    u8::try_from(at).expect("nine")
}

/// Classes of statuses; the first is of clients that left before there was a response.
pub(crate) const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn class(status: Option<StatusCode>) -> usize {
    match status.map_or(0, |status| status.as_u16() / 100) {
        class @ 1..=5 => usize::from(class),
        _ => 0,
    }
}

/// Why an exchange failed, as the access log has it.
const FAILURES: &[&str] = &[
    "bad-request",
    "target-too-long",
    "headers-too-large",
    "method-refused",
    "expectation-failed",
    "no-route",
    "body-too-large",
    "body-overflow",
    "body-timeout",
    "body-broken",
    "temporary-space",
    "temporary-file",
    "memory",
    "policy",
    "file",
    "no-server",
    "queue-full",
    "queue-timeout",
    "tunnels-full",
    "connect",
    "connect-timeout",
    "response-timeout",
    "bad-response",
    "broken-off",
    "idle-timeout",
    "client-closed",
];

/// What came of one attempt at a server.
const OUTCOMES: &[&str] =
    &["answered", "connect", "connect-timeout", "response-timeout", "bad-response", "given-up"];

/// Why a connection or a request was refused before it was a request.
const REFUSED_CONNECTIONS: &[&str] =
    &["limits.connections", "limits.connections-per-client", "proxy-protocol"];
const REFUSED_REQUESTS: &[&str] = &[
    "bad-request",
    "headers-too-large",
    "request-timeout",
    "http2-preface",
    "http2-protocol",
    "http2-frame-size",
    "http2-flow-control",
    "http2-flood",
    "http2-streams",
];
const TLS_FAILURES: &[&str] = &[
    "timeout",
    "closed",
    "not-tls",
    "alert",
    "incompatible",
    "no-certificate",
    "certificate",
    "alpn",
    "name",
];

pub(crate) const TLS_VERSIONS: [&str; 2] = ["1.2", "1.3"];
pub(crate) const RESUMED: [&str; 2] = ["no", "yes"];

/// Requests that came to one listener and went to one destination.
pub(crate) struct Traffic {
    /// By method and class of the status.
    pub(crate) requests: [[Counter; CLASSES.len()]; METHODS.len()],
    pub(crate) failures: Words,
    /// From the complete head of the request to the last byte of the response.
    pub(crate) duration: Durations,
    /// From the first try at a server to the head of its response.
    pub(crate) upstream: Durations,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
    pub(crate) attempts: Words,
    /// Attempts after the first.
    pub(crate) retries: Counter,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            failures: Words::new(FAILURES),
            duration: Durations::default(),
            upstream: Durations::default(),
            received: Counter::default(),
            sent: Counter::default(),
            attempts: Words::new(OUTCOMES),
            retries: Counter::default(),
        }
    }
}

impl Traffic {
    /// `method` as [`method_index`] has it.
    pub(crate) fn count(&self, method: u8, status: Option<StatusCode>) {
        self.requests[usize::from(method)][class(status)].add(1);
    }
}

/// How a cache met a request, and why it did not do so by itself or keeps nothing of the response.
const MET: [&str; 7] = ["hit", "stale", "revalidated", "collapsed", "miss", "pass", "bypass"];
const REASONS: &[&str] = &[
    "",
    "uri-miss",
    "vary-miss",
    "stale",
    "request",
    "method",
    "origin-failed",
    "only-if-cached",
    "override",
    "body",
    "precondition",
    "upgrade",
    "no-host",
    "policy",
    "not-fresh",
    "no-store",
    "private",
    "set-cookie",
    "authorization",
    "vary",
    "status",
    "not-understood",
    "request-no-store",
    "too-large",
    "stream",
    "no-room",
    "broken-off",
    "purged",
];

/// Requests to one destination behind a cache.
pub(crate) struct Caching {
    met: [Words; MET.len()],
}

impl Default for Caching {
    fn default() -> Self {
        Self { met: MET.map(|_| Words::new(REASONS)) }
    }
}

impl Caching {
    pub(crate) fn count(&self, result: &str, reason: Option<&str>) {
        if let Some(at) = MET.iter().position(|known| *known == result) {
            self.met[at].add(reason.unwrap_or_default());
        }
    }

    /// Requests by result and reason, as far as there were any.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let met = MET.iter().zip(&self.met);
        met.flat_map(|(result, reasons)| reasons.iter().map(|(reason, count)| (*result, reason, count)))
    }
}

/// One listener.
pub(crate) struct Listening {
    pub(crate) connections: Counter,
    pub(crate) closed: Counter,
    pub(crate) refused_connections: Words,
    /// Exchanges that began, and that ended.
    pub(crate) begun: Counter,
    pub(crate) ended: Counter,
    pub(crate) refused_requests: Words,
    /// By version, and by whether a session was resumed.
    pub(crate) handshakes: [[Counter; RESUMED.len()]; TLS_VERSIONS.len()],
    pub(crate) tls_failures: Words,
}

impl Default for Listening {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            closed: Counter::default(),
            refused_connections: Words::new(REFUSED_CONNECTIONS),
            begun: Counter::default(),
            ended: Counter::default(),
            refused_requests: Words::new(REFUSED_REQUESTS),
            handshakes: Default::default(),
            tls_failures: Words::new(TLS_FAILURES),
        }
    }
}

/// One server of one upstream.
pub(crate) struct Serving {
    pub(crate) attempts: Words,
    /// By class of the status.
    pub(crate) answers: [Counter; CLASSES.len()],
    /// Of exchanges that it answered, as [`Traffic::upstream`].
    pub(crate) duration: Durations,
    /// Unix time, and the place of the word; 0: none.
    last_failure: (Counter, Counter),
}

impl Default for Serving {
    fn default() -> Self {
        Self {
            attempts: Words::new(OUTCOMES),
            answers: Default::default(),
            duration: Durations::default(),
            last_failure: Default::default(),
        }
    }
}

impl Serving {
    pub(crate) fn answered(&self, status: StatusCode) {
        self.attempts.add("answered");
        self.answers[class(Some(status))].add(1);
    }

    pub(crate) fn failed(&self, failure: &str) {
        self.attempts.add(failure);
        if let Some(at) = OUTCOMES.iter().position(|known| *known == failure) {
            self.last_failure.0.set(unix_seconds(SystemTime::now()));
            self.last_failure.1.set(at as u64);
        }
    }

    /// When it failed last, in Unix time, and how.
    pub(crate) fn last_failure(&self) -> Option<(u64, &'static str)> {
        let at = Some(self.last_failure.0.get()).filter(|at| *at > 0)?;
        let word = usize::try_from(self.last_failure.1.get()).ok()?;
        Some((at, OUTCOMES.get(word)?))
    }
}

/// Connections of one listener forwarded to one upstream at layer 4.
pub(crate) struct Forwarded {
    pub(crate) connections: Counter,
    pub(crate) failures: Words,
    pub(crate) received: Counter,
    pub(crate) sent: Counter,
}

impl Default for Forwarded {
    fn default() -> Self {
        Self {
            connections: Counter::default(),
            failures: Words::new(FAILURES),
            received: Counter::default(),
            sent: Counter::default(),
        }
    }
}

/// In the order of an exchange.
const PHASES: [&str; 8] = [
    "request",
    "request-body",
    "request-chunk",
    "response",
    "response-body",
    "response-chunk",
    "log",
    "timer",
];
const VERDICTS: &[&str] = &["next", "finish", "respond", "fail", "skipped"];
const FAULTS: &[&str] = &[
    "fail",
    "cpu",
    "time",
    "waiting",
    "memory",
    "trap",
    "instances",
    "configure",
    "no-reply",
    "timer",
    "too-large",
    "refused",
    "quarantined",
];

/// One call in so many is timed: looking at the clock costs as much as a small policy.
const TIMED: u64 = 16;

/// What one policy did on one worker.
pub(crate) struct PolicyCalls {
    /// By phase.
    calls: [Words; PHASES.len()],
    pub(crate) faults: Words,
    /// Of every [`TIMED`]th call.
    pub(crate) duration: Durations,
    /// Decided from memory, without a call into the sandbox.
    pub(crate) remembered: Counter,
    pub(crate) instances: Counter,
    /// Bytes of all instances.
    pub(crate) memory: Counter,
    /// Of all calls.
    count: Counter,
}

impl Default for PolicyCalls {
    fn default() -> Self {
        Self {
            calls: PHASES.map(|_| Words::new(VERDICTS)),
            faults: Words::new(FAULTS),
            duration: Durations::default(),
            remembered: Counter::default(),
            instances: Counter::default(),
            memory: Counter::default(),
            count: Counter::default(),
        }
    }
}

impl PolicyCalls {
    /// Whether the call that is about to begin is to be timed.
    pub(crate) fn is_timed(&self) -> bool {
        self.count.get().is_multiple_of(TIMED)
    }

    /// A call that ended, or what stood in its place.
    pub(crate) fn count(&self, phase: &str, verdict: &str, fault: Option<&str>, took: Option<Duration>) {
        self.count.add(1);
        if let Some(at) = PHASES.iter().position(|known| *known == phase) {
            self.calls[at].add(verdict);
        }
        if let Some(fault) = fault {
            self.faults.add(fault);
        }
        if let Some(took) = took {
            self.duration.add(took);
        }
    }

    /// Calls by phase and verdict, as far as there were any.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let phases = PHASES.iter().zip(&self.calls);
        phases.flat_map(|(phase, verdicts)| verdicts.iter().map(|(verdict, count)| (*phase, verdict, count)))
    }
}
