//! What changes, told once a second to all who follow: one sum, however many they are.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_io::clock::unix_seconds;
use tidegate_telemetry::Distribution;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{MissedTickBehavior, interval};

use super::status::{caches, not_ready, reload};
use super::{Body, Inside};
use crate::metrics::{ListenerSum, Metrics, PolicySum, ServerSum, Sums, TrafficSum};
use crate::reload::{Handle, Status};

/// Who follow at a time.
const FOLLOWERS: usize = 16;
/// Events that a follower may leave untaken; one that takes less is let go, and comes again.
const UNTAKEN: usize = 4;
const TURN: Duration = Duration::from_secs(1);
/// The hour behind, a point for each so many turns.
const POINT: u32 = 10;
const POINTS: usize = 360;

/// The followers, and what was told in the last hour.
pub(super) struct Events(Arc<Shared>);

#[derive(Default)]
struct Shared {
    followers: Mutex<Vec<mpsc::Sender<Bytes>>>,
    /// The last event, for who begins to follow.
    last: Mutex<Bytes>,
    points: Mutex<VecDeque<Value>>,
}

impl Events {
    pub(super) fn start(inside: &Inside) -> Self {
        let shared = Arc::<Shared>::default();
        tokio::spawn(run(shared.clone(), inside.control.clone(), inside.metrics.clone()));
        Self(shared)
    }

    /// A response that goes on; `None` if there are as many as may be.
    pub(super) fn follow(&self) -> Option<Response<Body>> {
        let mut followers = self.0.followers.lock().unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| !follower.is_closed());
        if followers.len() >= FOLLOWERS {
            return None;
        }
        let (sender, events) = mpsc::channel(UNTAKEN);
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // There is room in a new one.
        let _ = sender.try_send(Bytes::from_static(b"retry: 2000\n\n"));
        if !last.is_empty() {
            let _ = sender.try_send(last);
        }
        followers.push(sender);
        let mut response = Response::new(Stream(events).boxed_unsync());
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        Some(response)
    }

    /// The last hour, in points of ten seconds.
    pub(super) fn history(&self) -> Value {
        let points = self.0.points.lock().unwrap_or_else(PoisonError::into_inner);
        json!({ "seconds": POINT, "points": points.iter().collect::<Vec<_>>() })
    }
}

/// What follows of one follower.
struct Stream(mpsc::Receiver<Bytes>);

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

async fn run(shared: Arc<Shared>, control: Handle, metrics: Arc<Metrics>) {
    let mut turns = interval(TURN);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut before, mut at_point) = (Taken::now(&metrics), Taken::now(&metrics));
    let mut turn = 0;
    loop {
        turns.tick().await;
        turn += 1;
        let is_followed = {
            let mut followers = shared.followers.lock().unwrap_or_else(PoisonError::into_inner);
            followers.retain(|follower| !follower.is_closed());
            !followers.is_empty()
        };
        let is_point = turn % POINT == 0;
        // Nobody looks: there is nothing to add up.
        if !is_followed && !is_point {
            continue;
        }
        let now = Taken::now(&metrics);
        if is_point {
            let mut points = shared.points.lock().unwrap_or_else(PoisonError::into_inner);
            if points.len() == POINTS {
                points.pop_front();
            }
            points.push_back(now.point(&at_point));
            at_point = now.clone();
        }
        if is_followed {
            // Followed anew: the rates are those of a second, not of the time in between.
            if now.at.duration_since(before.at).unwrap_or_default() < 5 * TURN {
                let event = now.event(&before, &control);
                let event = Bytes::from(format!("data: {event}\n\n"));
                *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = event.clone();
                let mut followers = shared.followers.lock().unwrap_or_else(PoisonError::into_inner);
                followers.retain(|follower| {
                    !matches!(follower.try_send(event.clone()), Err(TrySendError::Full(_)))
                });
            }
            before = now;
        }
    }
}

/// All sums at one time.
#[derive(Clone)]
struct Taken {
    at: SystemTime,
    sums: Arc<Sums>,
    all: TrafficSum,
    failures: u64,
    last_failures: Arc<Value>,
}

impl Taken {
    fn now(metrics: &Metrics) -> Self {
        let sums = metrics.sums();
        let mut all = TrafficSum::default();
        sums.traffic.values().for_each(|sum| all.merge(sum));
        let failures = all.failures.iter().map(|(_, count)| count).sum();
        let last_failures = Arc::new(json!(metrics.failures.all()));
        Self { at: SystemTime::now(), sums: Arc::new(sums), all, failures, last_failures }
    }

    fn since(&self, before: &Self) -> f64 {
        self.at.duration_since(before.at).unwrap_or(TURN).as_secs_f64().max(0.001)
    }

    /// The traffic in a few numbers.
    fn point(&self, before: &Self) -> Value {
        let rate = Rate(self.since(before));
        let duration = self.all.duration.since(&before.all.duration);
        json!({
            "at": unix_seconds(self.at),
            "rate": rate.of(self.all.count(), before.all.count()),
            "errors": rate.of(self.all.errors(), before.all.errors()),
            "p50-us": duration.quantile(0.5),
            "p99-us": duration.quantile(0.99),
        })
    }

    fn event(&self, before: &Self, control: &Handle) -> Value {
        let rate = Rate(self.since(before));
        let status = control.status();
        let mut event = self.point(before);
        let in_flight: u64 = self.sums.listeners.values().map(ListenerSum::in_flight).sum();
        let connections: u64 = self.sums.listeners.values().map(ListenerSum::open).sum();
        let more = json!({
            "failures": rate.of(self.failures, before.failures),
            "in-flight": in_flight,
            "connections": connections,
            "received": rate.of(self.all.received, before.all.received),
            "sent": rate.of(self.all.sent, before.all.sent),
            "draining": status.draining,
            "reasons": not_ready(&status, control.certificates()),
            "reload": control.history().reports().last().map(reload),
            "listeners": self.listeners(before, rate, &status),
            "upstreams": self.upstreams(before, rate, &status),
            "caches": self.caches(before, rate, &status),
            "policies": self.policies(before, rate, &status),
            "last-failures": *self.last_failures,
        });
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        event
    }

    fn listeners(&self, before: &Self, rate: Rate, status: &Status) -> Vec<Value> {
        let names = status.config.iter().flat_map(|config| config.listeners.keys());
        let listener = |name: &String| {
            let sum = |taken: &Self| taken.sums.listeners.get(name.as_str()).cloned().unwrap_or_default();
            let (now, then) = (sum(self), sum(before));
            let refused = |sum: &ListenerSum| {
                let all =
                    sum.refused_connections.iter().chain(&sum.refused_requests).chain(&sum.tls_failures);
                all.map(|(_, count)| count).sum::<u64>()
            };
            json!({
                "name": name,
                "address": status.listening.get(name.as_str()).map(ToString::to_string),
                "rate": rate.of(now.ended, then.ended),
                "connections": now.open(),
                "in-flight": now.in_flight(),
                "refused": rate.of(refused(&now), refused(&then)),
            })
        };
        names.map(listener).collect()
    }

    fn upstreams(&self, before: &Self, rate: Rate, status: &Status) -> Vec<Value> {
        let upstream = |cluster: &Arc<tidegate_upstream::Cluster>| {
            let figures = cluster.figures();
            let traffic = |taken: &Self| {
                let mut all = TrafficSum::default();
                let to_it = taken.sums.traffic.iter().filter(|([_, to], _)| *to == cluster.name);
                to_it.for_each(|(_, sum)| all.merge(sum));
                all
            };
            let (now, then) = (traffic(self), traffic(before));
            let duration = now.upstream.since(&then.upstream);
            let server = |server: &tidegate_upstream::ServerStatus| {
                let key = [cluster.name.clone(), server.address.clone()];
                let sum = |taken: &Self| taken.sums.servers.get(&key).cloned().unwrap_or_default();
                let (now, then): (ServerSum, ServerSum) = (sum(self), sum(before));
                let duration = now.duration.since(&then.duration);
                json!({
                    "address": server.address,
                    "state": server.state,
                    "weight": server.weight,
                    "in-flight": server.in_flight,
                    "rate": rate.of(now.count(), then.count()),
                    "p50-us": duration.quantile(0.5),
                    "p99-us": duration.quantile(0.99),
                    "failures": now.failures(),
                    "last-failure": now.last_failure.map(|(at, failure)| json!({ "at": at, "failure": failure })),
                })
            };
            json!({
                "name": cluster.name,
                "rate": rate.of(now.count(), then.count()),
                "errors": rate.of(now.errors(), then.errors()),
                "p50-us": duration.quantile(0.5),
                "p99-us": duration.quantile(0.99),
                "in-flight": figures.in_flight,
                "queued": figures.queued,
                "retries": rate.of(now.retries, then.retries),
                "idle": self.sums.idle.get(&cluster.name).copied().unwrap_or(0),
                "ejections": figures.ejections,
                "servers": cluster.status().servers.iter().map(server).collect::<Vec<_>>(),
            })
        };
        status.upstreams.iter().map(upstream).collect()
    }

    fn caches(&self, before: &Self, rate: Rate, status: &Status) -> Value {
        // They are counted by where requests go: several destinations may have one cache, and policies may choose it.
        let met = |taken: &Self, results: &[&str]| {
            let counts = taken.sums.caching.values().flatten();
            counts.filter(|((result, _), _)| results.contains(result)).map(|(_, count)| count).sum::<u64>()
        };
        let per_second = |results: &[&str]| rate.of(met(self, results), met(before, results));
        if status.caches.is_empty() {
            return Value::Null;
        }
        json!({
            "hits": per_second(&["hit", "stale", "revalidated", "collapsed"]),
            "misses": per_second(&["miss"]),
            "passed": per_second(&["pass", "bypass"]),
            "all": caches(&status.caches),
        })
    }

    fn policies(&self, before: &Self, rate: Rate, status: &Status) -> Vec<Value> {
        let policy = |plugin: &crate::reload::PolicyStatus| {
            let sum =
                |taken: &Self| taken.sums.policies.get(plugin.name.as_str()).cloned().unwrap_or_default();
            let (now, then): (PolicySum, PolicySum) = (sum(self), sum(before));
            let calls = now.count().saturating_sub(then.count());
            let timed = now.duration.since(&then.duration);
            let verdicts: BTreeMap<&str, u64> = now.verdicts();
            json!({
                "name": plugin.name,
                "state": plugin.state.as_str(),
                "generation": plugin.generation,
                "error": plugin.error,
                "last-good": plugin.last_good,
                "description": plugin.description,
                "calls": rate.of(now.count(), then.count()),
                // Of the calls that are timed to all of them.
                "us-per-second": rate.time(&timed, calls),
                "p99-us": now.duration.quantile(0.99),
                "verdicts": verdicts,
                "faults": now.faults.iter().copied().filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>(),
                "remembered": now.remembered,
                "instances": now.instances,
                "memory": now.memory,
                "shadow": plugin.shadow,
            })
        };
        status.plugins.iter().map(policy).collect()
    }
}

/// Seconds between two looks.
#[derive(Clone, Copy)]
struct Rate(f64);

#[expect(clippy::cast_precision_loss, reason = "rates to be shown")]
impl Rate {
    fn of(self, now: u64, before: u64) -> f64 {
        (now.saturating_sub(before) as f64 / self.0 * 10.0).round() / 10.0
    }

    /// Microseconds in each second, of so many calls of which some were timed.
    fn time(self, timed: &Distribution, calls: u64) -> f64 {
        let count = timed.count();
        if count == 0 { 0.0 } else { (timed.micros() as f64 / count as f64 * calls as f64 / self.0).round() }
    }
}
