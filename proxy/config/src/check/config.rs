//! `tidegate.toml`: from the file struct to [`Config`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Report, acme, admin, cache, compression, explain, files, listener, path, state, upstream};
use crate::document::Document;
use crate::{
    AccessLog, CompileCache, Config, Limits, LineFormat, Log, LogField, LogOutput, LogSample, Metrics,
    MinRate, Positions, Problems, Ready, Resolver, Timeouts, Tracing, file, suggest,
};

/// `file` is where relative paths start.
pub(crate) fn check(document: Document<file::Config>, file: &Path) -> Result<Config, Problems> {
    let Document { mut content, positions } = document;
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut report = Report::new(&positions);
    if let Some(name) = &content.default_upstream {
        known_destination("default-upstream", name, &content, &mut report);
    }
    addresses(&content, &mut report);
    for (name, value) in &content.listener {
        listener::check(&format!("listener.{name}"), value, &content, &mut report);
    }
    for (name, value) in &content.upstream {
        upstream::check(&format!("upstream.{name}"), value, directory, &mut report);
        if let Some(cache) = &value.cache {
            cache::known(&format!("upstream.{name}.cache"), cache, &content, &mut report);
        }
    }
    for name in content.files.keys() {
        files::check(name, &content, &mut report);
    }
    cache::check(&content, directory, &mut report);
    if let Some(value) = &content.compression {
        compression::check(value, &mut report);
    }
    state::check(&content.state, &mut report);
    acme::check(&content, &mut report);
    if content.access_log.fields.is_some() && !matches!(content.access_log.format.0, file::LineForm::Json) {
        let message = "access-log.fields: they are those of JSON, and access-log.format is another one";
        report.add("access-log.fields", message, "leave one of the two out");
    }
    for (index, name) in content.identity_headers.iter().enumerate() {
        let at = format!("identity-headers[{index}]");
        let name = &name.0.0;
        if name.contains('*') {
            let message = format!("{at}: {name:?} stands for one field, whose name has a `*`");
            report.add(&at, message, "write the names one by one");
        } else if matches!(name.as_str(), "host" | "content-length" | "transfer-encoding" | "connection") {
            let message = format!("{at}: {name:?} says nothing of who the client is");
            report.add(&at, message, "leave it out: the proxy sees to it");
        }
    }
    for (index, pattern) in content.include.iter().enumerate() {
        let folder = pattern.0.0.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder.contains('*') {
            let at = format!("include[{index}]");
            let message = format!("{at}: `*` stands in the name of a file, and not in that of a folder");
            report.add(&at, message, "write the folders one by one");
        }
    }
    for (index, name) in content.ready.upstreams.iter().enumerate() {
        known_upstream(&format!("ready.upstreams[{index}]"), name, &content, &mut report);
    }
    explain::check(&content, &mut report);
    if let Some(admin) = &content.admin {
        admin::check(admin, &mut report);
    }
    header_sizes(&content, &mut report);
    report.finish()?;
    let shown = show(&content, &positions);

    let acme = acme::convert(&mut content, directory);
    let file::Config {
        include,
        default_upstream,
        workers,
        trusted_proxies,
        identity_headers,
        temporary_directory,
        resolver,
        plugins,
        listener: listeners,
        upstream: upstreams,
        files: roots,
        cache: caching,
        compression: compressing,
        limits,
        timeouts,
        access_log,
        metrics,
        log,
        state: sharing,
        admin,
        explain: explaining,
        ready,
        acme: _,
        tracing,
    } = content;
    let trusted_proxies: Vec<_> = trusted_proxies.into_iter().map(|network| network.0).collect();
    Ok(Config {
        includes: include.into_iter().map(|pattern| path(directory, pattern)).collect(),
        default_upstream,
        workers,
        identity_headers: identity_headers.into_iter().map(|name| name.0.0).collect(),
        temporary_directory: temporary_directory.map(|path| directory.join(path.0.0)),
        resolver: Resolver {
            servers: resolver.servers.into_iter().map(|server| server.0.0).collect(),
            timeout: resolver.timeout.0,
        },
        plugin_directory: directory.join(plugins.directory.0.0),
        compile_cache: match plugins.compile_cache.as_ref().map(|path| path.0.0.as_str()) {
            None => CompileCache::System,
            Some("off") => CompileCache::Off,
            Some(path) => CompileCache::Directory(directory.join(path)),
        },
        listeners: listeners
            .into_iter()
            .map(|(name, value)| (name, listener::convert(value, &trusted_proxies, directory)))
            .collect(),
        trusted_proxies,
        upstreams: upstreams
            .into_iter()
            .map(|(name, value)| (name, upstream::convert(value, directory)))
            .collect(),
        files: roots.into_iter().map(|(name, value)| (name, files::convert(value, directory))).collect(),
        caches: caching.into_iter().map(|(name, value)| (name, cache::convert(value, directory))).collect(),
        compression: compressing.map(compression::convert),
        limits: self::limits(&limits),
        timeouts: Timeouts {
            request_headers: timeouts.request_headers.0,
            tls_handshake: timeouts.tls_handshake.0,
            stream_idle: timeouts.stream_idle.0,
            body_idle: timeouts.body_idle.0,
            keep_alive: timeouts.keep_alive.0,
            connection_age: timeouts.connection_age.0,
            tunnel_idle: timeouts.tunnel_idle.0,
            drain: timeouts.drain.0,
            drain_tunnels: timeouts.drain_tunnels.0,
            drain_delay: timeouts.drain_delay.0,
            upgrade: timeouts.upgrade.0,
        },
        access_log: self::access_log(access_log, directory),
        metrics: Metrics { servers: metrics.servers },
        log: Log { level: log.level, format: log.format },
        explain: explaining.map(|explain| explain::convert(explain, directory)),
        acme,
        state: state::convert(sharing, directory),
        ready: Ready { upstreams: ready.upstreams, certificates: ready.certificates },
        tracing: tracing.map(|tracing| Tracing {
            otlp: tracing.otlp.map(|url| url.0),
            share: tracing.share,
            parents: tracing.parents,
            service_name: tracing.service_name,
        }),
        shown: Arc::new(shown),
        admin: admin.map(|admin| admin::convert(admin, directory)),
        positions,
    })
}

/// The upstream or file root with the name that stands at `path` must be there.
fn known_destination(path: &str, name: &str, content: &file::Config, report: &mut Report<'_>) {
    if content.upstream.contains_key(name) || content.files.contains_key(name) {
        return;
    }
    let known = content.upstream.keys().chain(content.files.keys()).map(String::as_str);
    let help = match suggest::nearest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if known.clone().next().is_none() => "add [upstream.NAME] with its servers".to_owned(),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    let what = if content.files.is_empty() { "upstream" } else { "upstream or file root" };
    report.add(path, format!("{path}: there is no {what} {name:?}"), help);
}

/// The upstream with the name that stands at `path`; connections cannot be forwarded to a file root.
pub(super) fn known_upstream<'c>(
    path: &str,
    name: &str,
    content: &'c file::Config,
    report: &mut Report<'_>,
) -> Option<&'c file::Upstream> {
    let upstream = content.upstream.get(name);
    if upstream.is_some() {
        return upstream;
    }
    let known = content.upstream.keys().map(String::as_str);
    let help = match suggest::nearest(name, known.clone()) {
        _ if content.files.contains_key(name) => {
            format!("{name:?} is a file root, which serves HTTP: name an upstream")
        }
        Some(meant) => format!("did you mean {meant:?}?"),
        None if content.upstream.is_empty() => "add [upstream.NAME] with its servers".to_owned(),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    report.add(path, format!("{path}: there is no upstream {name:?}"), help);
    None
}

fn addresses(content: &file::Config, report: &mut Report<'_>) {
    if content.listener.is_empty() {
        let help = "add [listener.NAME] with address = \"0.0.0.0:8080\"";
        report.add("listener", "nothing to listen on", help);
    }
    let listeners = content
        .listener
        .iter()
        .map(|(name, listener)| (format!("listener.{name}.address"), listener.address.0));
    let admin = content.admin.iter().map(|admin| ("admin.address".to_owned(), admin.address.0));
    let probes =
        content.admin.iter().filter_map(|admin| Some(("admin.probes".to_owned(), admin.probes.as_ref()?.0)));
    let mut taken: Vec<(String, SocketAddr)> = listeners.chain(admin).chain(probes).collect();
    // The one further down in the file is the one to complain about.
    taken.sort_by_key(|(path, _)| report.positions.at(path));
    for (index, (path, address)) in taken.iter().enumerate() {
        if let Some((other, earlier)) = taken[..index].iter().find(|(_, earlier)| overlap(*earlier, *address))
        {
            let section = other.rsplit_once('.').map_or(&**other, |(section, _)| section);
            let message = if earlier == address {
                format!("{path}: {address} is taken by [{section}]")
            } else {
                format!("{path}: {address} is taken by [{section}] with {earlier}")
            };
            report.add(path, message, "write another port or another address");
        }
    }
}

/// Whether a connection could belong to both. IPv4 and IPv6 stay apart: `[::]` is IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && (wide || a.ip() == b.ip())
}

fn header_sizes(content: &file::Config, report: &mut Report<'_>) {
    let (target, headers) = (content.limits.request_target.0.0, content.limits.request_headers.0.0);
    if target > headers {
        let path = if report.positions.has("limits.request-target") {
            "limits.request-target"
        } else {
            "limits.request-headers"
        };
        let (target, headers) = (crate::units::print_size(target), crate::units::print_size(headers));
        report.add(
            path,
            format!(
                "limits.request-target is {target}, more than limits.request-headers, which is {headers}"
            ),
            "the request target is part of the request headers: raise one or lower the other",
        );
    }
}

/// The whole configuration, defaults included, and where each value that was written stands.
fn show(content: &file::Config, positions: &Positions) -> Value {
    // What is read can be written; the password of a store is none of it.
    let values = serde_json::to_value(content).unwrap_or_default();
    let mut written = Map::new();
    find_written("", &values, positions, &mut written);
    json!({ "file": positions.file().display().to_string(), "values": values, "written": written })
}

fn find_written(path: &str, value: &Value, positions: &Positions, written: &mut Map<String, Value>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let dot = if path.is_empty() { "" } else { "." };
                let path = format!("{path}{dot}{}", Positions::segment(key));
                find_written(&path, value, positions, written);
            }
        }
        _ if positions.has(path) => {
            if let Some(position) = positions.at(path) {
                written.insert(path.to_owned(), json!(format!("{}:{}", position.line, position.column)));
            }
        }
        _ => {}
    }
}

/// Fields with which clients prove who they are.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "x-api-key"];

fn access_log(log: file::AccessLog, directory: &Path) -> AccessLog {
    let file::AccessLog { path, format, fields, mask_query, mask_headers, sample } = log;
    let output = match path.0.0.as_str() {
        "off" => LogOutput::Off,
        "stdout" => LogOutput::Stdout,
        "syslog" => LogOutput::Syslog("/dev/log".into()),
        "journald" => LogOutput::Journald("/run/systemd/journal/socket".into()),
        path => match path.split_once(':') {
            Some(("syslog", socket)) => LogOutput::Syslog(directory.join(socket)),
            Some(("journald", socket)) => LogOutput::Journald(directory.join(socket)),
            _ => LogOutput::File(directory.join(path)),
        },
    };
    let fields = fields.map(|fields| fields.into_iter().map(|field| field.0.0).collect());
    let mask_headers = mask_headers.into_iter().map(|name| name.0.0);
    AccessLog {
        output,
        line: match format.0.pieces() {
            Some(pieces) => LineFormat::Text(pieces),
            None => LineFormat::Json(fields.unwrap_or_else(LogField::usual)),
        },
        mask_query,
        mask_headers: mask_headers.chain(SECRET_HEADERS.map(str::to_owned)).collect(),
        sample: LogSample {
            informational: sample.informational,
            success: sample.success,
            redirection: sample.redirection,
            client_error: sample.client_error,
            server_error: sample.server_error,
        },
    }
}

fn limits(limits: &file::Limits) -> Limits {
    let decoded_body = limits.decoded_body.as_ref().map(|size| size.0.0);
    Limits {
        request_headers: limits.request_headers.0.in_memory(),
        ambiguous_paths: limits.ambiguous_paths,
        request_target: limits.request_target.0.in_memory(),
        request_header_count: limits.request_header_count,
        response_headers: limits.response_headers.0.in_memory(),
        response_header_count: limits.response_header_count.unwrap_or(limits.request_header_count),
        request_body: limits.request_body.0.0,
        decoded_body: decoded_body.unwrap_or(limits.request_body.0.0.saturating_mul(10)),
        policy_body: limits.policy_body.0.in_memory(),
        memory: limits.memory.as_ref().map(|size| size.0.0),
        temporary_space: limits.temporary_space.0.0,
        min_rate: MinRate {
            request: limits.min_rate.request.0.0,
            request_after: limits.min_rate.request_after.0,
            response: limits.min_rate.response.0.0,
            response_after: limits.min_rate.response_after.0,
        },
        connections: limits.connections,
        connections_per_client: limits.connections_per_client,
        requests_per_connection: limits.requests_per_connection,
        http2_streams: limits.http2_streams,
    }
}

/// Without its port.
pub(super) fn host_alone(host: String) -> String {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.to_owned()
        }
        _ => host,
    }
}
