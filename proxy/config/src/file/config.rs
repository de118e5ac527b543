//! `tidegate.toml`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{DnsServer, FilePath, Form, Name, Size, Text};
use super::{Compression, Files, Listener, Upstream};
use crate::{LogFormat, LogLevel};

/// The configuration of tidegate.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "tidegate.toml")]
pub(crate) struct Config {
    /// Where a request goes that no policy routed: the name of an upstream or a file root. Without
    /// it such a request is answered with 404.
    pub default_upstream: Option<String>,
    /// Threads that serve requests; 0 = one per core this process may use.
    #[schemars(range(max = 1024))]
    pub workers: usize,
    /// Peers whose X-Forwarded-For and Forwarded are believed, and whose PROXY protocol header
    /// where a listener expects one: networks or single addresses.
    pub trusted_proxies: Vec<Text<IpNet>>,
    /// Where bodies are kept that do not fit in memory; without it the system's directory for
    /// temporary files. The files have no name: nothing is left after a crash.
    #[schemars(extend("examples" = ["/var/lib/tidegate"]))]
    pub temporary_directory: Option<Text<FilePath>>,
    /// Who is asked for the addresses of host names.
    pub resolver: Resolver,
    /// Where policies come from.
    pub plugins: Plugins,
    /// Addresses the proxy accepts connections on, by name. At least one is needed.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub listener: BTreeMap<String, Listener>,
    /// Groups of servers that answer the same requests, by name.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub upstream: BTreeMap<String, Upstream>,
    /// Directories whose files are served, by name. Requests are routed to them as to upstreams, so
    /// no name may be that of an upstream.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub files: BTreeMap<String, Files>,
    /// Compression of responses for clients that accept it; off when absent.
    pub compression: Option<Compression>,
    /// Sizes and counts, and what happens beyond them.
    pub limits: Limits,
    /// How long the proxy waits on the client's side.
    pub timeouts: Timeouts,
    /// One JSON line per exchange.
    pub access_log: AccessLog,
    /// The proxy's own log, on stderr.
    pub log: Log,
    /// The admin interface; off when absent.
    pub admin: Option<Admin>,
}

/// Who is asked for the addresses of host names.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Resolver {
    /// DNS servers, IP or IP:port with port 53 by default. None = those of the system, in
    /// /etc/resolv.conf.
    #[schemars(extend("uniqueItems" = true))]
    pub servers: Vec<Text<DnsServer>>,
    /// For one answer of one server; then the next one is asked.
    pub timeout: Text<Duration>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { servers: Vec::new(), timeout: seconds(2) }
    }
}

/// Where policies come from.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Plugins {
    /// The chain: every NAME.wasm in this directory is one policy, and their order is that of
    /// the file names. Relative to this file.
    #[schemars(extend("examples" = ["plugins"]))]
    pub directory: Text<FilePath>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { directory: Text(FilePath("plugins".to_owned())) }
    }
}

/// Sizes and counts, and what happens beyond them.
//
// Upper bounds are where a larger number would not limit anything, or where the machinery ends:
// HTTP/2 counts header bytes in 32 bits and `http::HeaderMap` holds at most 24,576 fields.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Bytes of a request line and its fields; over it: 431.
    #[schemars(extend("x-minimum" = "8KiB", "x-maximum" = "16MiB"))]
    pub request_headers: Text<Size>,
    /// Bytes of a request target, at most request-headers; over it: 414.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "16MiB"))]
    pub request_target: Text<Size>,
    /// Fields of a request; over it: 431.
    #[schemars(range(min = 1, max = 10_000))]
    pub request_header_count: usize,
    /// Bytes of a response's status line and fields; over it: 502.
    #[schemars(extend("x-minimum" = "8KiB", "x-maximum" = "16MiB"))]
    pub response_headers: Text<Size>,
    /// Bytes of a request body; over it: 413.
    pub request_body: Text<Size>,
    /// Bytes of a body that a policy sees whole, over it: the policy's body-overflow; also what a
    /// policy may grow a body or a piece of one to, and what it may hold back of it.
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "1GiB"))]
    pub policy_body: Text<Size>,
    /// Bytes of all temporary files together; over it responses are held back, and requests that
    /// would have to be kept get 503.
    pub temporary_space: Text<Size>,
    /// Client connections in all; over it a new one is closed at once.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub connections: usize,
    /// Client connections from one address, trusted proxies excepted; over it a new one is closed
    /// at once.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub connections_per_client: usize,
    /// Requests on one client connection before it is closed in an orderly way.
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub requests_per_connection: u64,
    /// Concurrent HTTP/2 streams on one connection; over it: REFUSED_STREAM.
    #[schemars(range(min = 1, max = 100_000))]
    pub http2_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_headers: Text(Size(32 << 10)),
            request_target: Text(Size(8 << 10)),
            request_header_count: 100,
            response_headers: Text(Size(64 << 10)),
            request_body: Text(Size(16 << 20)),
            policy_body: Text(Size(1 << 20)),
            temporary_space: Text(Size(4 << 30)),
            connections: 10_000,
            connections_per_client: 256,
            requests_per_connection: 10_000,
            http2_streams: 100,
        }
    }
}

/// How long the proxy waits on the client's side.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// For the head of a request; over it: 408 and close.
    pub request_headers: Text<Duration>,
    /// For the TLS handshake; over it: close.
    pub tls_handshake: Text<Duration>,
    /// Without a byte of a body moving, in either direction; over it: 408 or reset.
    pub body_idle: Text<Duration>,
    /// Of a connection without a request; over it: close.
    pub keep_alive: Text<Duration>,
    /// Age of a client connection before it is closed in an orderly way.
    pub connection_age: Text<Duration>,
    /// Of an upgraded (WebSocket) or forwarded (tcp, tls-passthrough) connection without a byte in
    /// either direction; over it: close.
    pub tunnel_idle: Text<Duration>,
    /// For exchanges in flight when the proxy is told to stop; then they are cut. "0s" cuts them
    /// at once.
    #[schemars(extend("x-minimum" = "0s"))]
    pub drain: Text<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_headers: seconds(10),
            tls_handshake: seconds(10),
            body_idle: seconds(30),
            keep_alive: seconds(75),
            connection_age: seconds(3600),
            tunnel_idle: seconds(3600),
            drain: seconds(30),
        }
    }
}

/// One JSON line per exchange.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AccessLog {
    /// "stdout", "off", or a file that is appended to and reopened on SIGHUP. Relative to this file.
    #[schemars(extend("examples" = ["/var/log/tidegate/access.log"]))]
    pub path: Text<FilePath>,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { path: Text(FilePath("stdout".to_owned())) }
    }
}

/// The proxy's own log, on stderr.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Log {
    /// The least important message that is written.
    pub level: LogLevel,
    /// The form of a log line.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// The admin interface.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Admin {
    /// IP address and port. It has no authentication: keep it off public addresses.
    pub address: Text<SocketAddr>,
}

fn name_schema() -> schemars::Schema {
    key_schema::<Name>()
}

/// The schema of keys of the form `T`.
pub(super) fn key_schema<T: Form>() -> schemars::Schema {
    let mut schema = Text::<T>::json_schema(&mut schemars::SchemaGenerator::default());
    // Whatever a key is, it is a string.
    schema.remove("type");
    schema
}

pub(super) fn seconds(seconds: u64) -> Text<Duration> {
    Text(Duration::from_secs(seconds))
}
