//! How the proxy fares, in JSON and in reasons.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_acme::{NameState, Watcher};
use tidegate_config::Config;
use tidegate_io::Millis;
use tidegate_io::clock::unix_seconds;
use tidegate_state::Reach;

use super::Inside;
use super::process::Process;
use crate::cache::{Caches, Settings};
use crate::metrics::Metrics;
use crate::reload::{Handle, PolicyStatus, Report, Status};

/// A worker turns over once a second; one that does not for so long serves nobody.
const TURNS_OVER: Duration = Duration::from_secs(10);

/// Workers that do not turn over, a line each.
pub(super) fn stuck(metrics: &Metrics) -> Vec<String> {
    let stuck = metrics.stuck(TURNS_OVER).into_iter();
    stuck
        .map(|(worker, since)| format!("worker {worker} has not turned over for {} s", since.as_secs()))
        .collect()
}

/// Why requests are not, or not all, served as configured.
pub(super) fn not_ready(status: &Status, certificates: &Watcher) -> Vec<String> {
    let draining = status.draining.then(|| "draining".to_owned());
    let policies = status.plugins.iter().filter_map(PolicyStatus::not_ready);
    let needed = status.config.iter().flat_map(|config| &config.ready.upstreams);
    let down = needed.filter(|name| {
        let mut upstreams = status.upstreams.iter();
        !upstreams.any(|cluster| *cluster.name == ***name && cluster.has_server_up())
    });
    let down = down.map(|name| format!("upstream {name}: no server is up"));
    let missing = status.config.iter().flat_map(|config| without_certificate(config, certificates));
    draining.into_iter().chain(policies).chain(down).chain(missing).collect()
}

/// The listeners that have nothing to show but what the proxy signed itself. A name that has no certificate beside others that
/// have one is no reason: the others would go down with it.
fn without_certificate(config: &Config, certificates: &Watcher) -> Vec<String> {
    let tables = config.listeners.iter().filter_map(|(name, listener)| Some((name, listener.tls.as_ref()?)));
    let mut tables = tables
        .filter(|(_, tls)| config.ready.certificates && tls.certificates.is_empty() && !tls.acme.is_empty())
        .peekable();
    if tables.peek().is_none() {
        return Vec::new();
    }
    let status = certificates.status();
    let of_name = |name: &String| {
        status.names.binary_search_by(|known| known.name.cmp(name)).ok().map(|found| &status.names[found])
    };
    let missing = tables.filter_map(|(listener, tls)| {
        let mut names = tls.acme.iter().filter_map(of_name);
        if names.any(|name| name.state != NameState::Missing) {
            return None;
        }
        let first = of_name(tls.acme.first()?);
        let failure = first.and_then(|name| name.failures.last().map(|failure| failure.error.as_str()));
        let why = failure.or(first.and_then(|name| name.error.as_deref())).unwrap_or("it is being asked for");
        Some(format!("listener {listener}: no certificate yet for {}: {why}", tls.acme[0]))
    });
    missing.collect()
}

pub(super) fn whole(inside: &Inside) -> Value {
    let Inside { control, metrics, log_level, .. } = inside;
    let (status, sums, process) = (control.status(), metrics.sums(), Process::now());
    let reports = control.history().reports();
    let began = metrics.began;
    let workers = metrics.workers().iter().map(|shard| {
        let turned_over = Millis::now().time_since(Millis(shard.worker.heartbeat.get()));
        json!({ "turned-over-ms": u64::try_from(turned_over.as_millis()).unwrap_or(u64::MAX) })
    });
    let configured = status.config.iter().flat_map(|config| config.listeners.keys());
    let listeners: BTreeSet<&str> = configured.map(String::as_str).collect();
    let listeners = listeners.into_iter().map(|name| {
        let sum = sums.listeners.get(name).cloned().unwrap_or_default();
        json!({
            "name": name,
            "address": status.listening.get(name).map(ToString::to_string),
            "connections": sum.open(),
            "in-flight": sum.in_flight(),
            "requests": sum.ended,
        })
    });
    let held = control.held();
    let reasons = not_ready(&status, control.certificates());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "generation": reports.last().map(|report| report.generation),
        "began": unix_seconds(began),
        "uptime-s": began.elapsed().unwrap_or_default().as_secs(),
        "draining": status.draining,
        "problems": reports.last().map(|report| &*report.problems).unwrap_or_default(),
        "ready": reasons.is_empty(),
        "reasons": reasons,
        "log-level": log_level.get(),
        "workers": workers.collect::<Vec<_>>(),
        "listeners": listeners.collect::<Vec<_>>(),
        "memory": { "held": held.memory.held(), "limit": held.memory.limit() },
        "temporary-space": { "used": held.space.used(), "limit": held.space.limit() },
        "process": {
            "pid": std::process::id(),
            "cpu-s": process.cpu_seconds,
            "resident": process.resident_bytes,
            "open-descriptors": process.open_descriptors,
            "max-descriptors": process.max_descriptors,
        },
    })
}

pub(super) fn upstreams(control: &Handle) -> Value {
    json!(control.status().upstreams.iter().map(|cluster| cluster.status()).collect::<Vec<_>>())
}

/// The last reloads, the latest last.
pub(super) fn reloads(control: &Handle) -> Value {
    json!(control.history().reports().iter().map(reload).collect::<Vec<_>>())
}

pub(super) fn reload(report: &Report) -> Value {
    json!({
        "at": unix_seconds(report.at),
        "result": report.end,
        "generation": report.generation,
        "problems": report.problems,
    })
}

/// Where policies keep what they share, and whether that can be reached.
pub(super) fn state(status: &tidegate_state::Status) -> Value {
    let error = status.last_error.as_ref();
    json!({
        "backend": status.backend,
        "reach": match status.reach {
            Reach::Here => "here",
            Reach::Connecting => "connecting",
            Reach::Reachable => "reachable",
            Reach::Unreachable => "unreachable",
        },
        "since": unix_seconds(status.since),
        "last-error": error.map(|(at, text)| json!({ "at": unix_seconds(*at), "error": text })),
    })
}

/// What each cache has, and has done.
pub(super) fn caches(caches: &Caches) -> Value {
    let one = |(name, settings): (&Arc<str>, &Arc<Settings>)| {
        let figures = settings.store.figures();
        json!({
            "name": name,
            "urls": figures.urls,
            "memory": figures.memory,
            "disk": figures.disk,
            "stored": figures.stored,
            "evicted": figures.evicted,
            "purged": figures.purged,
            "disk-failures": figures.disk_failures,
        })
    };
    json!(caches.iter().map(one).collect::<Vec<_>>())
}
