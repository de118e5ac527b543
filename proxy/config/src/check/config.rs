//! `tidegate.toml`: from the file struct to [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::Report;
use crate::document::Document;
use crate::file::{self, text};
use crate::{
    AccessLog, Admin, Certificate, ClientAuth, Config, HttpVersions, Limits, Listener, Log, Pool, Problems,
    Server, Timeouts, Tls, Upstream, UpstreamTimeouts, suggest,
};

/// `file` is where relative paths start.
pub(crate) fn check(document: Document<file::Config>, file: &Path) -> Result<Config, Problems> {
    let Document { content, positions } = document;
    let mut report = Report::new(&positions);
    default_upstream(&content, &mut report);
    addresses(&content, &mut report);
    for (name, listener) in &content.listener {
        if let Some(tls) = &listener.tls {
            client_certificates(&format!("listener.{name}.tls"), tls, &mut report);
        }
    }
    for (name, upstream) in &content.upstream {
        servers(&format!("upstream.{name}.servers"), upstream, &mut report);
    }
    header_sizes(&content, &mut report);
    report.finish()?;

    let directory = file.parent().unwrap_or(Path::new(""));
    let file::Config {
        default_upstream,
        workers,
        trusted_proxies,
        plugins,
        listener,
        upstream,
        limits,
        timeouts,
        access_log,
        log,
        admin,
    } = content;
    Ok(Config {
        default_upstream,
        workers,
        trusted_proxies: trusted_proxies.into_iter().map(|network| network.0).collect(),
        plugin_directory: directory.join(plugins.directory.0.0),
        listeners: listener
            .into_iter()
            .map(|(name, value)| (name, self::listener(value, directory)))
            .collect(),
        upstreams: upstream.into_iter().map(|(name, value)| (name, self::upstream(value))).collect(),
        limits: self::limits(&limits),
        timeouts: Timeouts {
            request_headers: timeouts.request_headers.0,
            tls_handshake: timeouts.tls_handshake.0,
            body_idle: timeouts.body_idle.0,
            keep_alive: timeouts.keep_alive.0,
            connection_age: timeouts.connection_age.0,
            tunnel_idle: timeouts.tunnel_idle.0,
            drain: timeouts.drain.0,
        },
        access_log: match access_log.path.0.0.as_str() {
            "off" => AccessLog::Off,
            "stdout" => AccessLog::Stdout,
            path => AccessLog::File(directory.join(path)),
        },
        log: Log { level: log.level, format: log.format },
        admin: admin.map(|admin| Admin { address: admin.address.0 }),
        positions,
    })
}

fn default_upstream(content: &file::Config, report: &mut Report<'_>) {
    let Some(name) = &content.default_upstream else { return };
    if content.upstream.contains_key(name) {
        return;
    }
    let known = content.upstream.keys().map(String::as_str);
    let help = match suggest::nearest(name, known.clone()) {
        Some(meant) => format!("did you mean {meant:?}?"),
        None if content.upstream.is_empty() => "add [upstream.NAME] with its servers".to_owned(),
        None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
    };
    report.add("default-upstream", format!("default-upstream: there is no upstream {name:?}"), help);
}

fn addresses(content: &file::Config, report: &mut Report<'_>) {
    if content.listener.is_empty() {
        let help = "add [listener.NAME] with address = \"0.0.0.0:8080\"";
        report.add("listener", "nothing to listen on", help);
    }
    let listeners =
        content.listener.iter().map(|(name, listener)| (format!("listener.{name}"), listener.address.0));
    let admin = content.admin.iter().map(|admin| ("admin".to_owned(), admin.address.0));
    let mut taken: Vec<(String, SocketAddr)> = listeners.chain(admin).collect();
    // The one further down in the file is the one to complain about.
    taken.sort_by_key(|(section, _)| report.positions.at(&format!("{section}.address")));
    for (index, (section, address)) in taken.iter().enumerate() {
        if let Some((other, earlier)) = taken[..index].iter().find(|(_, earlier)| overlap(*earlier, *address))
        {
            let message = if earlier == address {
                format!("{section}.address: {address} is taken by [{other}]")
            } else {
                format!("{section}.address: {address} is taken by [{other}] with {earlier}")
            };
            report.add(&format!("{section}.address"), message, "write another port or another address");
        }
    }
}

/// Whether a connection could belong to both. IPv4 and IPv6 stay apart: `[::]` is IPv6 only.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let wide = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && a.is_ipv4() == b.is_ipv4() && (wide || a.ip() == b.ip())
}

fn client_certificates(path: &str, tls: &file::Tls, report: &mut Report<'_>) {
    match (&tls.client_ca, tls.client_auth) {
        (None, ClientAuth::Optional | ClientAuth::Required) => report.add(
            &format!("{path}.client-auth"),
            format!("{path}: client-auth needs to know who signs client certificates"),
            "add client-ca = \"FILE.pem\"",
        ),
        (Some(_), ClientAuth::None) => report.add(
            &format!("{path}.client-ca"),
            format!("{path}: client-ca is of no use without client-auth"),
            "add client-auth = \"required\" or \"optional\", or leave client-ca out",
        ),
        _ => {}
    }
}

fn servers(path: &str, upstream: &file::Upstream, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for (index, server) in upstream.servers.iter().enumerate() {
        let (address, at) = match server {
            file::Server::Address(address) => (&address.0.0, format!("{path}[{index}]")),
            file::Server::Weighted(server) => (&server.address.0.0, format!("{path}[{index}].address")),
        };
        if let Some(first) = seen.get(address) {
            let message = format!("{path}[{index}]: {address} stands in {path}[{first}] already");
            report.add(&at, message, "write it once, with a weight if it is to get more requests");
        } else {
            seen.insert(address, index);
        }
    }
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

fn listener(listener: file::Listener, directory: &Path) -> Listener {
    Listener {
        address: listener.address.0,
        http: HttpVersions {
            http1: listener.http.contains(&file::Http::V1),
            http2: listener.http.contains(&file::Http::V2),
        },
        tls: listener.tls.map(|tls| Tls {
            certificates: tls
                .certificates
                .into_iter()
                .map(|pair| Certificate {
                    chain: path(directory, pair.chain),
                    key: path(directory, pair.key),
                })
                .collect(),
            client_ca: tls.client_ca.map(|file| path(directory, file)),
            client_auth: tls.client_auth,
            min_version: tls.min_version,
        }),
    }
}

fn path(directory: &Path, file: text::Text<text::FilePath>) -> PathBuf {
    directory.join(file.0.0)
}

fn upstream(upstream: file::Upstream) -> Upstream {
    let server = |server| match server {
        file::Server::Address(address) => Server { address: address.0.0, weight: 1 },
        file::Server::Weighted(server) => Server { address: server.address.0.0, weight: server.weight },
    };
    Upstream {
        servers: upstream.servers.into_iter().map(server).collect(),
        balance: upstream.balance,
        timeouts: UpstreamTimeouts {
            connect: upstream.timeouts.connect.0,
            response: upstream.timeouts.response.0,
            idle: upstream.timeouts.idle.0,
        },
        pool: Pool {
            max_idle: upstream.pool.idle,
            idle_time: upstream.pool.idle_time.0,
            max_age: upstream.pool.age.0,
        },
        retries: upstream.retries,
    }
}

fn limits(limits: &file::Limits) -> Limits {
    Limits {
        request_headers: limits.request_headers.0.in_memory(),
        request_target: limits.request_target.0.in_memory(),
        request_header_count: limits.request_header_count,
        response_headers: limits.response_headers.0.in_memory(),
        request_body: limits.request_body.0.0,
        connections: limits.connections,
        connections_per_client: limits.connections_per_client,
        requests_per_connection: limits.requests_per_connection,
        http2_streams: limits.http2_streams,
    }
}
