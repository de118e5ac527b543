//! All metrics of the proxy, as `/metrics` shows them. The table in `docs/operations.md` has the same, and a test sees to it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_plugin_host::Services;
use tidegate_telemetry::{BOUNDS, Distribution, Exposition, Format, Labels, Number, Type};

use super::process::Process;
use crate::metrics::{CLASSES, METHODS, Metrics, RESUMED, Sums, TLS_VERSIONS};
use crate::reload::{End, Handle, PolicyState, Status};

/// The proxy's own metrics, then those that policies define.
pub(super) fn write(format: Format, control: &Handle, services: &Services, metrics: &Metrics) -> String {
    let mut out = Exposition::new(format);
    let (sums, status) = (metrics.sums(), control.status());
    requests(&mut out, &sums);
    connections(&mut out, &sums);
    upstreams(&mut out, &sums, &status);
    servers(&mut out, &sums, &status);
    caches(&mut out, &sums, &status);
    policies(&mut out, &sums, &status);
    reloads(&mut out, control);
    certificates(&mut out, control);
    held(&mut out, control);
    of_process(&mut out, metrics, &sums);
    services.metrics.write(&mut out);
    out.finish()
}

/// A family with its samples.
struct Family<'a> {
    out: &'a mut Exposition,
    name: &'static str,
}

impl<'a> Family<'a> {
    fn new(out: &'a mut Exposition, shown_type: Type, name: &'static str, help: &str) -> Self {
        out.family(name, help, shown_type);
        Self { out, name }
    }

    fn counter(out: &'a mut Exposition, name: &'static str, help: &str) -> Self {
        Self::new(out, Type::Counter, name, help)
    }

    fn gauge(out: &'a mut Exposition, name: &'static str, help: &str) -> Self {
        Self::new(out, Type::Gauge, name, help)
    }

    fn histogram(out: &'a mut Exposition, name: &'static str, help: &str) -> Self {
        Self::new(out, Type::Histogram, name, help)
    }

    fn add(&mut self, labels: &Labels, value: impl Into<Number>) {
        self.out.sample(self.name, labels, value);
    }

    /// What never happened has no line: most words of a list are never counted.
    fn add_some(&mut self, labels: &Labels, count: u64) {
        if count > 0 {
            self.add(labels, count);
        }
    }

    fn distribution(&mut self, labels: &Labels, distribution: &Distribution) {
        self.out.histogram(self.name, labels, &BOUNDS, distribution.shown(), distribution.seconds());
    }
}

fn label(name: &str, value: &str) -> Labels {
    Labels::default().and(name, value)
}

fn requests(out: &mut Exposition, sums: &Sums) {
    let to = |listener: &str, destination: &str| label("listener", listener).and("destination", destination);
    let mut family = Family::counter(
        out,
        "tidegate_requests_total",
        "Requests that were answered or given up, by listener, destination (empty: none), method and class of the status \
         (none: the client left before there was one).",
    );
    for ([listener, destination], traffic) in &sums.traffic {
        for (method, counts) in METHODS.iter().zip(&traffic.requests) {
            for (class, count) in CLASSES.iter().zip(counts) {
                family
                    .add_some(&to(listener, destination).and("method", method).and("status", class), *count);
            }
        }
    }
    let mut family =
        Family::gauge(out, "tidegate_requests_in_flight", "Requests whose response is not yet through.");
    for (listener, sum) in &sums.listeners {
        family.add(&label("listener", listener), sum.in_flight());
    }
    let mut family = Family::counter(
        out,
        "tidegate_request_failures_total",
        "Requests that failed, by the name of the failure in the access log.",
    );
    for ([listener, destination], traffic) in &sums.traffic {
        for (failure, count) in &traffic.failures {
            family.add_some(&to(listener, destination).and("failure", failure), *count);
        }
    }
    let mut family = Family::histogram(
        out,
        "tidegate_request_duration_seconds",
        "From the complete head of the request to the last byte of the response.",
    );
    for ([listener, destination], traffic) in &sums.traffic {
        family.distribution(&to(listener, destination), &traffic.duration);
    }
    let mut family = Family::counter(out, "tidegate_request_body_bytes_total", "Bytes of request bodies.");
    for ([listener, destination], traffic) in &sums.traffic {
        family.add(&to(listener, destination), traffic.received);
    }
    let mut family = Family::counter(out, "tidegate_response_body_bytes_total", "Bytes of response bodies.");
    for ([listener, destination], traffic) in &sums.traffic {
        family.add(&to(listener, destination), traffic.sent);
    }
}

fn connections(out: &mut Exposition, sums: &Sums) {
    let mut family =
        Family::counter(out, "tidegate_connections_total", "Connections of clients that were admitted.");
    for (listener, sum) in &sums.listeners {
        family.add(&label("listener", listener), sum.connections);
    }
    let mut family = Family::gauge(out, "tidegate_connections", "Connections of clients that are open.");
    for (listener, sum) in &sums.listeners {
        family.add(&label("listener", listener), sum.open());
    }
    let mut family = Family::counter(
        out,
        "tidegate_connections_refused_total",
        "Connections that were closed at once, by the limit they were over.",
    );
    for (listener, sum) in &sums.listeners {
        for (reason, count) in &sum.refused_connections {
            family.add_some(&label("listener", listener).and("reason", reason), *count);
        }
    }
    let mut family = Family::counter(
        out,
        "tidegate_requests_refused_total",
        "What the HTTP parser refused before it was a request, by the name of the failure in the access log.",
    );
    for (listener, sum) in &sums.listeners {
        for (reason, count) in &sum.refused_requests {
            family.add_some(&label("listener", listener).and("reason", reason), *count);
        }
    }
    let mut family = Family::counter(
        out,
        "tidegate_tls_handshakes_total",
        "TLS handshakes that succeeded, by version and by whether a session was resumed.",
    );
    for (listener, sum) in &sums.listeners {
        for (version, counts) in TLS_VERSIONS.iter().zip(&sum.handshakes) {
            for (resumed, count) in RESUMED.iter().zip(counts) {
                let labels = label("listener", listener).and("version", version).and("resumed", resumed);
                family.add_some(&labels, *count);
            }
        }
    }
    let mut family = Family::counter(
        out,
        "tidegate_tls_failures_total",
        "TLS handshakes that failed, by reason: timeout, closed (by the client), not-tls, alert (of the client), \
         incompatible (no version, suite or group in common), no-certificate, certificate (of the client), alpn, name (no certificate is to be had for it), other.",
    );
    for (listener, sum) in &sums.listeners {
        for (reason, count) in &sum.tls_failures {
            family.add_some(&label("listener", listener).and("reason", reason), *count);
        }
    }
    let to = |listener: &str, upstream: &str| label("listener", listener).and("upstream", upstream);
    let mut family = Family::counter(
        out,
        "tidegate_tcp_connections_total",
        "Connections that were forwarded at layer 4 and have ended, by listener and upstream (empty: none).",
    );
    for ([listener, upstream], sum) in &sums.forwarded {
        family.add(&to(listener, upstream), sum.connections);
    }
    let mut family = Family::counter(
        out,
        "tidegate_tcp_failures_total",
        "Those of them that failed, by the name of the failure.",
    );
    for ([listener, upstream], sum) in &sums.forwarded {
        for (failure, count) in &sum.failures {
            family.add_some(&to(listener, upstream).and("failure", failure), *count);
        }
    }
    let mut family =
        Family::counter(out, "tidegate_tcp_received_bytes_total", "Bytes from clients of those connections.");
    for ([listener, upstream], sum) in &sums.forwarded {
        family.add(&to(listener, upstream), sum.received);
    }
    let mut family =
        Family::counter(out, "tidegate_tcp_sent_bytes_total", "Bytes to clients of those connections.");
    for ([listener, upstream], sum) in &sums.forwarded {
        family.add(&to(listener, upstream), sum.sent);
    }
}

fn upstreams(out: &mut Exposition, sums: &Sums, status: &Status) {
    let figures: Vec<_> =
        status.upstreams.iter().map(|cluster| (cluster.name.clone(), cluster.figures())).collect();
    let of = |upstream: &str| label("upstream", upstream);
    let is_upstream = |name: &Arc<str>| figures.iter().any(|(upstream, _)| upstream == name);
    // The traffic of all listeners together.
    let mut attempts = std::collections::BTreeMap::new();
    for ([_, destination], traffic) in sums.traffic.iter().filter(|([_, to], _)| is_upstream(to)) {
        let sum: &mut (Vec<u64>, u64, Distribution) = attempts.entry(destination).or_default();
        sum.0.resize(traffic.attempts.len(), 0);
        sum.0.iter_mut().zip(&traffic.attempts).for_each(|(sum, (_, count))| *sum += count);
        sum.1 += traffic.retries;
        sum.2.merge(&traffic.upstream);
    }
    let outcomes: Vec<&str> = sums
        .traffic
        .values()
        .next()
        .into_iter()
        .flat_map(|sum| &sum.attempts)
        .map(|(word, _)| *word)
        .collect();
    let mut family = Family::counter(
        out,
        "tidegate_upstream_attempts_total",
        "Tries to have a request answered by a server: answered, or the name of the failure, or given-up (the client left, \
         or a policy answered).",
    );
    for (upstream, (counts, ..)) in &attempts {
        for (outcome, count) in outcomes.iter().zip(counts) {
            family.add_some(&of(upstream).and("outcome", outcome), *count);
        }
    }
    let mut family =
        Family::counter(out, "tidegate_upstream_retries_total", "Tries after the first one of a request.");
    for (upstream, (_, retries, _)) in &attempts {
        family.add(&of(upstream), *retries);
    }
    let mut family = Family::histogram(
        out,
        "tidegate_upstream_duration_seconds",
        "From the first try at a server to the head of the response; waits for a place among max-in-flight included.",
    );
    for (upstream, (.., duration)) in &attempts {
        family.distribution(&of(upstream), duration);
    }
    let mut family = Family::gauge(
        out,
        "tidegate_upstream_in_flight",
        "Requests and forwarded connections that servers have.",
    );
    figures.iter().for_each(|(upstream, figures)| family.add(&of(upstream), u64::from(figures.in_flight)));
    let mut family =
        Family::gauge(out, "tidegate_upstream_queued", "Requests that wait for a place among max-in-flight.");
    figures.iter().for_each(|(upstream, figures)| family.add(&of(upstream), u64::from(figures.queued)));
    let mut family = Family::gauge(out, "tidegate_upstream_tunnels", "Connections that were upgraded.");
    figures.iter().for_each(|(upstream, figures)| family.add(&of(upstream), u64::from(figures.tunnels)));
    let mut family = Family::gauge(
        out,
        "tidegate_upstream_idle_connections",
        "Connections to servers that are kept and not in use; to a server of several upstreams, for each of them.",
    );
    sums.idle.iter().for_each(|(upstream, idle)| family.add(&of(upstream), *idle));
    let mut family = Family::gauge(
        out,
        "tidegate_upstream_servers",
        "Servers, by state: up, down, ejected, draining, disabled.",
    );
    for (upstream, figures) in &figures {
        for state in ["up", "down", "ejected", "draining", "disabled"] {
            let count = figures.servers.iter().filter(|server| server.state == state).count();
            family.add(&of(upstream).and("state", state), count as u64);
        }
    }
    let mut family = Family::counter(
        out,
        "tidegate_upstream_ejections_total",
        "How often a server was taken out as its requests failed.",
    );
    figures.iter().for_each(|(upstream, figures)| family.add(&of(upstream), figures.ejections));
    let mut family = Family::counter(
        out,
        "tidegate_upstream_health_changes_total",
        "How often health checks took a server out (down) or back (up).",
    );
    for (upstream, figures) in &figures {
        family.add(&of(upstream).and("to", "down"), figures.went_down);
        family.add(&of(upstream).and("to", "up"), figures.came_up);
    }
}

/// Each server alone, if the operator asks for it.
fn servers(out: &mut Exposition, sums: &Sums, status: &Status) {
    let shown = status.config.as_ref().is_some_and(|config| config.metrics.servers);
    let of = |upstream: &str, server: &str| label("upstream", upstream).and("server", server);
    let upstreams = if shown { &*status.upstreams } else { &[] };
    let figures: Vec<_> = upstreams
        .iter()
        .flat_map(|cluster| {
            cluster.figures().servers.into_iter().map(|server| (cluster.name.clone(), server))
        })
        .collect();
    let mut family = Family::gauge(
        out,
        "tidegate_server_up",
        "1 where the server is up. With metrics.servers = true, as all tidegate_server_*.",
    );
    for (upstream, server) in &figures {
        family.add(&of(upstream, &server.address), u64::from(server.state == "up"));
    }
    let mut family =
        Family::gauge(out, "tidegate_server_in_flight", "Requests and forwarded connections that it has.");
    for (upstream, server) in &figures {
        family.add(&of(upstream, &server.address), u64::from(server.in_flight));
    }
    let counted = || sums.servers.iter().filter(|_| shown);
    let mut family = Family::counter(
        out,
        "tidegate_server_attempts_total",
        "As tidegate_upstream_attempts_total, of one server.",
    );
    for ([upstream, server], sum) in counted() {
        for (outcome, count) in &sum.attempts {
            family.add_some(&of(upstream, server).and("outcome", outcome), *count);
        }
    }
    let mut family =
        Family::counter(out, "tidegate_server_responses_total", "Its answers, by class of the status.");
    for ([upstream, server], sum) in counted() {
        for (class, count) in CLASSES.iter().zip(&sum.answers) {
            family.add_some(&of(upstream, server).and("status", class), *count);
        }
    }
    let mut family = Family::histogram(
        out,
        "tidegate_server_duration_seconds",
        "As tidegate_upstream_duration_seconds, of requests that it answered.",
    );
    for ([upstream, server], sum) in counted() {
        family.distribution(&of(upstream, server), &sum.duration);
    }
}

fn caches(out: &mut Exposition, sums: &Sums, status: &Status) {
    let mut family = Family::counter(
        out,
        "tidegate_cache_requests_total",
        "Requests to destinations with a cache, by result (hit, stale, revalidated, collapsed, miss, pass, bypass) and by why it \
         was no hit, or why nothing is kept of the response.",
    );
    for (destination, counts) in &sums.caching {
        for ((result, reason), count) in counts {
            family
                .add(&label("destination", destination).and("result", result).and("reason", reason), *count);
        }
    }
    let figures: Vec<_> = status
        .caches
        .iter()
        .map(|(name, settings)| (label("cache", name), settings.store.figures()))
        .collect();
    let mut family = Family::gauge(out, "tidegate_cache_urls", "URLs of which a cache keeps a response.");
    figures.iter().for_each(|(of, figures)| family.add(of, figures.urls));
    let mut family = Family::gauge(
        out,
        "tidegate_cache_memory_bytes",
        "Bytes of heads and bodies that a cache has in memory.",
    );
    figures.iter().for_each(|(of, figures)| family.add(of, figures.memory));
    let mut family = Family::gauge(out, "tidegate_cache_disk_bytes", "Bytes that a cache has on its disk.");
    figures.iter().for_each(|(of, figures)| family.add(of, figures.disk));
    let mut family = Family::counter(out, "tidegate_cache_stored_total", "Responses that were stored.");
    figures.iter().for_each(|(of, figures)| family.add(of, figures.stored));
    let mut family = Family::counter(
        out,
        "tidegate_cache_evicted_total",
        "Bodies that had to leave the memory, and files that had to leave the disk.",
    );
    figures.iter().for_each(|(of, figures)| family.add(of, figures.evicted));
    let mut family = Family::counter(
        out,
        "tidegate_cache_purged_total",
        "Responses that were purged, or invalidated by a request.",
    );
    figures.iter().for_each(|(of, figures)| family.add(of, figures.purged));
    let mut family =
        Family::counter(out, "tidegate_cache_disk_failures_total", "Times that the disk of a cache failed.");
    figures.iter().for_each(|(of, figures)| family.add(of, figures.disk_failures));
}

fn policies(out: &mut Exposition, sums: &Sums, status: &Status) {
    let of = |policy: &str| label("policy", policy);
    let mut family = Family::counter(
        out,
        "tidegate_plugin_calls_total",
        "Calls of a policy, or what stood in their place, by phase and verdict (skipped: on-error decided).",
    );
    for (policy, sum) in &sums.policies {
        for ((phase, verdict), count) in &sum.calls {
            family.add(&of(policy).and("phase", phase).and("verdict", verdict), *count);
        }
    }
    let mut family = Family::counter(
        out,
        "tidegate_plugin_faults_total",
        "Calls without a decision, by the name of the error in the access log.",
    );
    for (policy, sum) in &sums.policies {
        for (fault, count) in &sum.faults {
            family.add_some(&of(policy).and("fault", fault), *count);
        }
    }
    let mut family = Family::histogram(
        out,
        "tidegate_plugin_duration_seconds",
        "How long calls take, waits included: one of 16 is timed.",
    );
    for (policy, sum) in &sums.policies {
        family.distribution(&of(policy), &sum.duration);
    }
    let mut family = Family::counter(
        out,
        "tidegate_plugin_remembered_total",
        "Those of the calls that were decided from memory, as the policy is pure.",
    );
    sums.policies.iter().for_each(|(policy, sum)| family.add(&of(policy), sum.remembered));
    let mut family = Family::gauge(out, "tidegate_plugin_instances", "Instances of all workers.");
    sums.policies.iter().for_each(|(policy, sum)| family.add(&of(policy), sum.instances));
    let mut family = Family::gauge(out, "tidegate_plugin_memory_bytes", "Memory of these instances, about.");
    sums.policies.iter().for_each(|(policy, sum)| family.add(&of(policy), sum.memory));
    let mut family = Family::gauge(
        out,
        "tidegate_plugin_generation",
        "The generation in which the version that serves began to; none where no version serves.",
    );
    for plugin in &status.plugins {
        if let Some(generation) = plugin.generation {
            family.add(&of(&plugin.name), generation);
        }
    }
    let mut family = Family::gauge(
        out,
        "tidegate_plugin_state",
        "1 for the state that the policy is in: serving, refused, quarantined, failing, disabled.",
    );
    for plugin in &status.plugins {
        for state in PolicyState::ALL {
            family.add(&of(&plugin.name).and("state", state.as_str()), u64::from(plugin.state == state));
        }
    }
    shadows(out, status);
}

const SHADOWS: [(&str, &str); 4] = [
    ("tidegate_shadow_requests_total", "Requests that a shadow was compared with its policy for."),
    ("tidegate_shadow_differences_total", "Those of them that it would have treated otherwise."),
    ("tidegate_shadow_failures_total", "Those of them for which it failed."),
    (
        "tidegate_shadow_left_out_total",
        "Requests among its share that a shadow did not look at: it takes too long.",
    ),
];

fn shadows(out: &mut Exposition, status: &Status) {
    let shadows =
        status.plugins.iter().filter_map(|plugin| Some((&plugin.name, plugin.shadow.as_ref()?.counts())));
    let shadows: Vec<_> = shadows.collect();
    for (index, (name, help)) in SHADOWS.into_iter().enumerate() {
        let mut family = Family::counter(out, name, help);
        shadows.iter().for_each(|(policy, counts)| family.add(&label("policy", policy), counts[index]));
    }
}

fn reloads(out: &mut Exposition, control: &Handle) {
    let history = control.history();
    let mut family = Family::counter(
        out,
        "tidegate_reloads_total",
        "Times that files were loaded, by result: changed, unchanged, refused (nothing changed), rolled-back (a policy).",
    );
    for end in End::ALL {
        family.add(&label("result", end.as_str()), history.count(end));
    }
    let reports = history.reports();
    let last = reports.last();
    let mut family = Family::gauge(
        out,
        "tidegate_reload_problems",
        "Problems of the files as they are now; older versions serve in place of what cannot be used.",
    );
    family.add(&Labels::default(), last.map_or(0, |report| report.problems.len() as u64));
    let mut family = Family::gauge(out, "tidegate_generation", "The number of the generation that serves.");
    family.add(&Labels::default(), last.map_or(0, |report| report.generation));
    let mut family = Family::gauge(
        out,
        "tidegate_reload_success_timestamp_seconds",
        "When files were last loaded without a problem, as Unix time.",
    );
    let good = reports.iter().rev().find(|report| report.problems.is_empty() && report.end != End::Refused);
    if let Some(good) = good {
        family.add(&Labels::default(), unix(good.at));
    }
}

fn certificates(out: &mut Exposition, control: &Handle) {
    let mut family = Family::gauge(
        out,
        "tidegate_certificate_expiry_seconds",
        "When the certificate that the proxy obtained for a name ends to be valid, as Unix time.",
    );
    for name in &control.certificates().status().names {
        if let Some(not_after) = name.not_after {
            family.add(&label("name", &name.name), not_after.0);
        }
    }
}

fn held(out: &mut Exposition, control: &Handle) {
    let held = control.held();
    let none = Labels::default();
    Family::gauge(
        out,
        "tidegate_memory_held_bytes",
        "What requests make the process hold, of limits.memory.",
    )
    .add(&none, held.memory.held());
    Family::gauge(out, "tidegate_memory_limit_bytes", "limits.memory.").add(&none, held.memory.limit());
    Family::gauge(
        out,
        "tidegate_temporary_space_used_bytes",
        "Bytes of temporary files, of limits.temporary-space.",
    )
    .add(&none, held.space.used());
    Family::gauge(out, "tidegate_temporary_space_limit_bytes", "limits.temporary-space.")
        .add(&none, held.space.limit());
}

fn of_process(out: &mut Exposition, metrics: &Metrics, sums: &Sums) {
    let none = Labels::default();
    let mut family = Family::counter(
        out,
        "tidegate_log_lines_lost_total",
        "Lines that came faster than they were written: of the access log, of the proxy's own log.",
    );
    family.add(&label("log", "access"), metrics.access_lines_lost.load(Relaxed));
    family.add(&label("log", "proxy"), metrics.log_lines_lost.load(Relaxed));
    Family::counter(
        out,
        "tidegate_log_phases_skipped_total",
        "Exchanges whose policies were not called in the log phase, as too many waited for it.",
    )
    .add(&none, sums.log_phases_skipped);
    let traces = &metrics.traces;
    Family::counter(out, "tidegate_trace_spans_sent_total", "Spans that a collector has taken.")
        .add(&none, traces.sent.load(Relaxed));
    Family::counter(
        out,
        "tidegate_trace_spans_dropped_total",
        "Spans that came faster than a collector takes them, or that it did not take.",
    )
    .add(&none, traces.dropped.load(Relaxed));
    Family::gauge(out, "tidegate_workers", "Threads that serve.").add(&none, metrics.workers().len() as u64);
    Family::gauge(out, "tidegate_build_info", "1; the version is a label.")
        .add(&label("version", env!("CARGO_PKG_VERSION")), 1_u64);
    let process = Process::now();
    let mut add = |shown_type, name, help, value: Option<Number>| {
        let mut family = Family::new(out, shown_type, name, help);
        if let Some(value) = value {
            family.add(&none, value);
        }
    };
    let (counter, gauge) = (Type::Counter, Type::Gauge);
    add(
        counter,
        "process_cpu_seconds_total",
        "Processor time, of the user and the system.",
        process.cpu_seconds.map(Number::Real),
    );
    add(
        gauge,
        "process_resident_memory_bytes",
        "Memory that is in RAM.",
        process.resident_bytes.map(Number::Whole),
    );
    add(
        gauge,
        "process_virtual_memory_bytes",
        "Addresses that are in use.",
        process.virtual_bytes.map(Number::Whole),
    );
    add(gauge, "process_threads", "Threads.", process.threads.map(Number::Whole));
    add(
        gauge,
        "process_open_fds",
        "Files and sockets that are open.",
        process.open_descriptors.map(Number::Whole),
    );
    add(gauge, "process_max_fds", "How many may be open.", process.max_descriptors.map(Number::Whole));
    add(
        gauge,
        "process_start_time_seconds",
        "When it began, as Unix time.",
        Some(Number::Real(unix(metrics.began))),
    );
}

fn unix(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
