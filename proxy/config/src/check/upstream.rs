//! `[upstream.NAME]`: from the file struct to [`Upstream`].

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::{Report, certificate, path};
use crate::file::text::Form;
use crate::{
    Address, Buffer, Eject, Health, HttpProbe, Pool, Probe, Protocol, Retries, Server, Upstream,
    UpstreamTimeouts, UpstreamTls, file, units,
};

/// `path` is `upstream.NAME`.
pub(super) fn check(path: &str, upstream: &file::Upstream, directory: &Path, report: &mut Report<'_>) {
    servers(&format!("{path}.servers"), upstream, directory, report);
    if let Some(health) = &upstream.health {
        self::health(&format!("{path}.health"), health, report);
    }
    if let file::Switch::With(eject) = &upstream.eject {
        let path = format!("{path}.eject");
        at_most(&path, ("time", eject.time.0), ("max-time", eject.max_time.0), report);
    }
    server_name(path, upstream, report);
    if let file::Switch::With(tls) = &upstream.tls {
        let is_written = [("ca", tls.ca.is_some()), ("fingerprints", !tls.fingerprints.is_empty())];
        let trust: Vec<&str> = is_written.iter().filter(|(_, is)| *is).map(|(key, _)| *key).collect();
        let path = format!("{path}.tls");
        if trust.len() == 2 {
            let message = format!("{path}: fingerprints cannot stand beside ca");
            report.add(&format!("{path}.fingerprints"), message, "leave one of them out");
        } else if let (false, [key]) = (tls.verify, &trust[..]) {
            let message = format!("{path}: {key} is of no use with verify = false");
            report.add(&format!("{path}.{key}"), message, "leave verify out, so that it is looked at");
        }
    }
    proxy_protocol(path, upstream, report);
}

/// The longest path of a Unix socket on Linux: `sun_path` has 108 bytes, the last of which is NUL.
const MAX_SOCKET_PATH: usize = 107;

fn servers(path: &str, upstream: &file::Upstream, directory: &Path, report: &mut Report<'_>) {
    let mut seen = BTreeMap::new();
    for (index, server) in upstream.servers.iter().enumerate() {
        let (written, at) = match server {
            file::Server::Address(address) => (&address.0.0, format!("{path}[{index}]")),
            file::Server::Detailed(server) => (&server.address.0.0, format!("{path}[{index}].address")),
        };
        let address = address(directory, written.clone());
        if let Address::Unix(socket) = &address
            && let length = socket.as_os_str().len()
            && length > MAX_SOCKET_PATH
        {
            report.add(
                &at,
                format!("{path}[{index}]: the path of the socket has {length} bytes with the directory of this file"),
                format!("the system allows {MAX_SOCKET_PATH}: write a shorter one"),
            );
        }
        if let Some(first) = seen.get(&address) {
            let message = format!("{path}[{index}]: {written} stands in {path}[{first}] already");
            report.add(&at, message, "write it once, with a weight if it is to get more requests");
        } else {
            seen.insert(address, index);
        }
    }
    let is_backup = |server: &file::Server| matches!(server, file::Server::Detailed(server) if server.backup);
    if upstream.servers.iter().all(is_backup) {
        let message = format!("{path}: every server is a backup, so there is none to stand in for");
        report.add(path, message, "leave backup = true out where it serves in ordinary times");
    }
}

fn health(path: &str, health: &file::Health, report: &mut Report<'_>) {
    match (&health.path, health.tcp) {
        (None, false) => report.add(
            path,
            format!("{path} does not say what to check"),
            "add path = \"/healthz\" to check over HTTP, or tcp = true to check that a server can be reached",
        ),
        (Some(_), true) => report.add(
            &format!("{path}.tcp"),
            format!("{path}: tcp = true cannot stand beside path"),
            "leave tcp out to check over HTTP, or path to check that a server can be reached",
        ),
        _ => {}
    }
    for (key, is_written) in [
        ("method", health.method.is_some()),
        ("host", health.host.is_some()),
        ("status", health.status.is_some()),
        ("body", health.body.is_some()),
    ] {
        if is_written && health.path.is_none() {
            let message = format!("{path}: {key} is of no use without path");
            report.add(
                &format!("{path}.{key}"),
                message,
                "only a check over HTTP has it: add path or leave it out",
            );
        }
    }
    let method = health.method.unwrap_or(file::HealthMethod::Get);
    match &health.body {
        Some(text) if text.is_empty() => report.add(
            &format!("{path}.body"),
            format!("{path}.body is empty, which every body contains"),
            "write the text to look for, or leave body out",
        ),
        Some(_) if method != file::HealthMethod::Get => report.add(
            &format!("{path}.body"),
            format!("{path}: body is looked at with method = \"GET\" only, not with {:?}", method.name()),
            "leave method or body out",
        ),
        _ => {}
    }
    at_most(path, ("timeout", health.timeout.0), ("interval", health.interval.0), report);
}

/// Of two durations in the table at `path`, `key` must not be longer than `bound`.
fn at_most(path: &str, key: (&str, Duration), bound: (&str, Duration), report: &mut Report<'_>) {
    let ((key, time), (bound, longest)) = (key, bound);
    if time > longest {
        let place = [key, bound].map(|key| format!("{path}.{key}"));
        let place = place.iter().find(|place| report.positions.has(place)).map_or(path, String::as_str);
        let (time, longest) = (units::print_duration(time), units::print_duration(longest));
        report.add(
            place,
            format!("{path}.{key} is {time}, more than {path}.{bound}, which is {longest}"),
            "raise one or lower the other",
        );
    }
}

fn server_name(path: &str, upstream: &file::Upstream, report: &mut Report<'_>) {
    let is_unix = |server: &file::Server| matches!(server.address(), Address::Unix(_));
    let has_name = matches!(&upstream.tls, file::Switch::With(tls) if tls.server_name.is_some());
    if upstream.tls.is_on() && !has_name && upstream.servers.iter().any(is_unix) {
        let path = format!("{path}.tls");
        report.add(
            &path,
            format!("{path}: a Unix socket has no host name that its certificate could be checked for"),
            "add tls.server-name = \"app.internal\" with a name in the certificate",
        );
    }
}

fn proxy_protocol(path: &str, upstream: &file::Upstream, report: &mut Report<'_>) {
    if upstream.proxy_protocol.is_none() {
        return;
    }
    if upstream.protocol == Protocol::H2 {
        report.add(
            &format!("{path}.proxy-protocol"),
            format!("{path}: proxy-protocol cannot stand beside protocol = \"h2\""),
            "one HTTP/2 connection carries many clients, its header one address: leave one out",
        );
    }
    if upstream.pool.idle.is_some_and(|idle| idle != 0) {
        let path = format!("{path}.pool.idle");
        report.add(
            &path,
            format!("{path}: connections that carry one client's address cannot be kept"),
            "with proxy-protocol, leave pool.idle out or write 0",
        );
    }
}

fn server(server: file::Server, directory: &Path) -> Server {
    match server {
        file::Server::Address(text) => {
            Server { address: address(directory, text.0.0), weight: 1, backup: false }
        }
        file::Server::Detailed(server) => Server {
            address: address(directory, server.address.0.0),
            weight: server.weight,
            backup: server.backup,
        },
    }
}

/// Servers that are not in a file; the sentences are for whoever sent them.
pub(crate) fn servers_of(json: &Value) -> Result<Vec<Server>, Vec<String>> {
    let listed = json.as_array().ok_or_else(|| vec!["servers are a list: [\"10.0.0.1:80\"]".to_owned()])?;
    let mut problems = Vec::new();
    let mut servers: Vec<Server> = Vec::new();
    for (index, json) in listed.iter().enumerate() {
        // serde tells of an untagged value only that it is none.
        let written = match json.as_str() {
            Some(text) => {
                file::text::ServerAddress::parse(text).map(drop).map_err(|complaint| complaint.message)
            }
            None => Ok(()),
        };
        let read = written.and_then(|()| {
            file::Server::deserialize(json).map_err(|_| {
                "a server is an address, or { \"address\": …, \"weight\": 1, \"backup\": false }".to_owned()
            })
        });
        match read.map(|one| server(one, Path::new(""))) {
            Err(problem) => problems.push(format!("[{index}]: {problem}")),
            Ok(Server { address: Address::Host { host, .. }, .. }) => {
                problems
                    .push(format!("[{index}]: {host:?} is a name; servers that are set here are addresses"));
            }
            Ok(Server { weight, .. }) if !(1..=1000).contains(&weight) => {
                problems.push(format!("[{index}]: a weight is from 1 to 1000, not {weight}"));
            }
            Ok(Server { address: Address::Unix(path), .. }) if !path.is_absolute() => {
                problems.push(format!(
                    "[{index}]: the path of a socket begins with /, and {} does not",
                    path.display()
                ));
            }
            Ok(one) if servers.iter().any(|other| other.address == one.address) => {
                problems.push(format!("[{index}]: {} stands there twice", one.address));
            }
            Ok(one) => servers.push(one),
        }
    }
    if problems.is_empty() { Ok(servers) } else { Err(problems) }
}

pub(super) fn convert(upstream: file::Upstream, directory: &Path) -> Upstream {
    let header = upstream.proxy_protocol.is_some();
    Upstream {
        servers: upstream.servers.into_iter().map(|one| server(one, directory)).collect(),
        balance: upstream.balance,
        health: upstream.health.map(|health| Health {
            interval: health.interval.0,
            timeout: health.timeout.0,
            fall: health.fall,
            rise: health.rise,
            probe: probe(health),
        }),
        eject: upstream.eject.on().map(|eject| Eject {
            failures: eject.failures,
            time: eject.time.0,
            max_time: eject.max_time.0,
            max_percent: eject.max_percent,
        }),
        slow_start: upstream.slow_start.0,
        max_in_flight: upstream.max_in_flight,
        max_queued: upstream.max_queued,
        timeouts: UpstreamTimeouts {
            connect: upstream.timeouts.connect.0,
            response: upstream.timeouts.response.0,
            idle: upstream.timeouts.idle.0,
            queue: upstream.timeouts.queue.0,
            body_idle: upstream.timeouts.body_idle.map(|time| time.0),
            stream_idle: upstream.timeouts.stream_idle.map(|time| time.0),
        },
        pool: Pool {
            max_idle: if header { Some(0) } else { upstream.pool.idle },
            idle_time: upstream.pool.idle_time.0,
            max_age: upstream.pool.age.0,
            streams: upstream.pool.streams,
        },
        retries: Retries {
            count: upstream.retries,
            budget_percent: upstream.retry_budget.0.0,
            buffer: upstream.retry_buffer.0.in_memory(),
        },
        buffer: upstream.buffer.on().map(buffer),
        buffer_requests: upstream.buffer_requests.on().map(buffer),
        protocol: if header { Protocol::Http1 } else { upstream.protocol },
        tls: upstream.tls.on().map(|tls| UpstreamTls {
            ca: tls.ca.map(|file| path(directory, file)),
            server_name: tls.server_name.map(|name| name.0.0),
            fingerprints: tls.fingerprints.into_iter().map(|digest| digest.0.0).collect(),
            verify: tls.verify,
            client_certificate: tls.client_certificate.map(|pair| certificate(directory, pair)),
        }),
        proxy_protocol: upstream.proxy_protocol,
        request_body: upstream.request_body.map(|size| size.0.0),
        max_tunnels: upstream.max_tunnels,
        via: upstream.via,
        title_case: upstream.header_case == file::HeaderCase::Title,
        cache: upstream.cache,
        compression: upstream.compression,
    }
}

fn address(directory: &Path, written: Address) -> Address {
    match written {
        Address::Unix(path) => Address::Unix(directory.join(path)),
        other => other,
    }
}

fn buffer(buffer: file::Buffer) -> Buffer {
    Buffer { memory: buffer.memory.0.in_memory(), disk: buffer.disk.0.0 }
}

fn probe(health: file::Health) -> Probe {
    let Some(path) = health.path else { return Probe::Tcp };
    let status = health.status.map(|codes| codes.into_iter().map(|codes| codes.0.0).collect());
    Probe::Http(HttpProbe {
        path: path.0.0,
        method: health.method.unwrap_or(file::HealthMethod::Get).name().to_owned(),
        host: health.host.map(|host| host.0.0),
        status: status.unwrap_or_else(|| vec![200..=299]),
        body: health.body,
    })
}
