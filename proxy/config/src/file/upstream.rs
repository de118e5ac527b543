//! `[upstream.NAME]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.
//!
//! A field with a published default is an `Option` where it matters whether it was written.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Certificate;
use super::config::seconds;
use super::text::{
    FilePath, Fingerprint, HostField, Percent, RequestTarget, ServerAddress, Size, StatusCodes, Text, TlsName,
};
use crate::{Address, Balance, Protocol, ProxyProtocol};

/// A group of servers that answer the same requests.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Upstream {
    /// Each server once. A host name stands for all its addresses, and the proxy follows the TTL of its
    /// records.
    #[schemars(length(min = 1))]
    pub servers: Vec<Server>,
    /// How the proxy chooses a server, always in proportion to their weights.
    #[serde(default = "least_requests")]
    pub balance: Balance,
    /// Active checks of every server. Without them only requests tell that a server is dead.
    pub health: Option<Health>,
    /// Passive ejection: a server that fails requests is not chosen for a while. `true` stands for the
    /// defaults below.
    #[serde(default = "eject")]
    pub eject: Switch<Eject>,
    /// Over this time the share of a server grows that comes back or is new; `"0s"`: its full share at
    /// once.
    #[serde(default = "half_a_minute")]
    #[schemars(extend("x-minimum" = "0s"))]
    pub slow_start: Text<Duration>,
    /// Requests and forwarded connections in flight to all servers together. Beyond it they queue.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: usize,
    /// Requests that queue. Beyond it: 503 (`queue-full`) with `retry-after`. `0`: no queue.
    #[serde(default = "max_queued")]
    #[schemars(range(max = 1_000_000))]
    pub max_queued: usize,
    /// How long the proxy waits for a server.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Connections kept for reuse.
    #[serde(default)]
    pub pool: Pool,
    /// How often the proxy repeats a failed attempt, each time on a server that it has not tried yet. When
    /// it has tried all of them, the next round begins.
    #[serde(default = "one")]
    #[schemars(range(max = 10))]
    pub retries: u32,
    /// Retries of this upstream in proportion to its requests, both in the last 10 s. Beyond it the failure
    /// goes to the client. 30 in 10 s are always allowed: `"0%"` means these alone.
    #[serde(default = "retry_budget")]
    pub retry_budget: Text<Percent>,
    /// In place of `request-body` of [`[limits]`](#limits).
    pub request_body: Option<Text<Size>>,
    /// Tunnels through upgraded connections (WebSocket). They do not count as in flight once the server has switched
    /// protocols. Beyond it: 503 (`tunnels-full`) with `retry-after`.
    #[serde(default = "max_tunnels")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_tunnels: usize,
    /// Bytes of a request body kept to be sent again. A request with more is not retried.
    #[serde(default = "retry_buffer")]
    pub retry_buffer: Text<Size>,
    /// The proxy takes responses as fast as a server sends them, and keeps them for slow clients. `true`
    /// stands for the defaults below; `false`: the client's pace is the server's.
    #[serde(default = "buffer")]
    pub buffer: Switch<Buffer>,
    /// The proxy takes the body of a request whole before it asks a server. `true` stands for the defaults
    /// below.
    #[serde(default = "no_buffer")]
    pub buffer_requests: Switch<Buffer>,
    /// Which HTTP the proxy speaks to the servers.
    #[serde(default = "auto")]
    pub protocol: Protocol,
    /// TLS towards the servers. `true` stands for an empty table.
    #[serde(default = "clear_text")]
    pub tls: Switch<UpstreamTls>,
    /// Every connection begins with a PROXY protocol header of this version, which carries the client's
    /// address, before TLS if there is any. Such a connection serves one request and is not kept, not even
    /// for the same client, and `protocol` is HTTP/1.1. Not with `protocol = "h2"`.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Requests name the proxy in `Via` (RFC 9110 §7.6.3). `false`: they have no `Via` at all, not even that of proxies
    /// before: servers such as nginx do not compress for a client behind one (`gzip_proxied`).
    #[serde(default = "yes")]
    pub via: bool,
    /// How the names of fields are written in HTTP/1.1; they mean the same (RFC 9110 §5.1).
    #[serde(default)]
    pub header_case: HeaderCase,
    /// The [cache](#cachename) in which responses of the servers are kept; without it none are.
    pub cache: Option<String>,
    /// Responses of the servers are compressed as `[compression]` says; without that table nothing is.
    #[serde(default = "yes")]
    pub compression: bool,
}

/// How the names of fields are written in HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HeaderCase {
    /// `content-type`.
    #[default]
    Lower,
    /// `Content-Type`, for peers that compare names byte by byte: each part begins with a capital (`Etag`, `Www-Authenticate`).
    Title,
}

/// Off, on, or on with settings.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Switch<T> {
    Is(bool),
    With(T),
}

impl<T: Default> Switch<T> {
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self, Self::Is(false))
    }

    /// The settings, if it is on.
    pub(crate) fn on(self) -> Option<T> {
        match self {
            Self::Is(on) => on.then(T::default),
            Self::With(settings) => Some(settings),
        }
    }
}

/// Where a body is kept, and how much of it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Buffer {
    /// Bytes of one body in memory.
    #[schemars(extend("x-minimum" = "16KiB"))]
    pub memory: Text<Size>,
    /// Bytes of one body beyond those, in a temporary file; `"0B"`: no file. Beyond both, a response waits
    /// for its client, and a request gets 413 (`body-too-large`).
    pub disk: Text<Size>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { memory: Text(Size(256 << 10)), disk: Text(Size(1 << 30)) }
    }
}

/// One server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Server {
    Address(Text<ServerAddress>),
    Detailed(DetailedServer),
}

impl Server {
    pub(crate) fn address(&self) -> &Address {
        match self {
            Self::Address(address) => &address.0.0,
            Self::Detailed(server) => &server.address.0.0,
        }
    }
}

/// A server with what is particular about it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DetailedServer {
    /// As above. The path of a socket has at most 107 bytes with the directory of this file.
    pub address: Text<ServerAddress>,
    /// Its share of the requests, in proportion to the other weights.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// The proxy uses it only while it can use none of the other servers. Not all may be backups.
    #[serde(default)]
    pub backup: bool,
}

/// Active checks of every server: over HTTP with path, or of the connection alone with tcp = true.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Health {
    /// What a check over HTTP asks for. Either this or `tcp = true` is needed, not both.
    pub path: Option<Text<RequestTarget>>,
    /// It is enough that a server accepts the connection.
    #[serde(default)]
    pub tcp: bool,
    /// Method of the request. With `path` only.
    #[schemars(extend("default" = "GET"))]
    pub method: Option<HealthMethod>,
    /// The `Host` field of the request; without it the server's address. With `path` only.
    pub host: Option<Text<HostField>>,
    /// Responses that are good; with any other the check has failed. With `path` only.
    #[schemars(length(min = 1), extend("default" = ["200-299"]))]
    pub status: Option<Vec<Text<StatusCodes>>>,
    /// Text that the response body must contain, or the check has failed. A body over 64 KiB fails it, too.
    /// With `path` and `GET` only.
    pub body: Option<String>,
    /// From one check of a server to the next.
    #[serde(default = "health_interval")]
    #[schemars(extend("x-minimum" = "100ms"))]
    pub interval: Text<Duration>,
    /// For one check, connecting included; at most `interval`. Over it the check has failed.
    #[serde(default = "health_timeout")]
    pub timeout: Text<Duration>,
    /// Failed checks in a row that take a server out.
    #[serde(default = "health_fall")]
    #[schemars(range(min = 1, max = 100))]
    pub fall: u32,
    /// Good checks in a row that bring it back.
    #[serde(default = "health_rise")]
    #[schemars(range(min = 1, max = 100))]
    pub rise: u32,
}

/// The method of a health check: one that changes nothing on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HealthMethod {
    /// RFC 9110 §9.3.1.
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.7.
    Options,
}

impl HealthMethod {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }
}

/// When a server that keeps failing requests is not chosen, and for how long.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Eject {
    /// Failures in a row that eject a server: connect errors, 502, 503, 504.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: u32,
    /// How long it stays out; the n-th time in a row n times as long. At most `max-time`.
    pub time: Text<Duration>,
    /// The longest it stays out.
    pub max_time: Text<Duration>,
    /// Share of the servers that may be out at a time, in percent, and never the last. Beyond it a server
    /// that fails stays in.
    #[schemars(range(min = 1, max = 100))]
    pub max_percent: u32,
}

impl Default for Eject {
    fn default() -> Self {
        Self { failures: 5, time: seconds(30), max_time: seconds(300), max_percent: 50 }
    }
}

/// How long the proxy waits for a server.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamTimeouts {
    /// How long a connection may take. Over it: another server, then 503 (`connect-timeout`).
    pub connect: Text<Duration>,
    /// How long the head of the response may take from the end of the request on. Over it: another server,
    /// then 504 (`response-timeout`). A policy may set a time in its place.
    pub response: Text<Duration>,
    /// How long a server may pause between two pieces of a response body. Over it the response is broken
    /// off (`broken-off`).
    pub idle: Text<Duration>,
    /// How long a request may queue when `max-in-flight` is reached. Over it: 503 (`queue-timeout`) with
    /// `retry-after`.
    pub queue: Text<Duration>,
    /// In place of `body-idle` of [`[timeouts]`](#timeouts), as far as it is about requests for this upstream.
    pub body_idle: Option<Text<Duration>>,
    /// In place of `stream-idle` of [`[timeouts]`](#timeouts).
    pub stream_idle: Option<Text<Duration>>,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self {
            connect: seconds(3),
            response: seconds(30),
            idle: seconds(60),
            queue: seconds(3),
            body_idle: None,
            stream_idle: None,
        }
    }
}

/// Connections kept for reuse.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Pool {
    /// Idle connections kept per server and worker; `0`: no reuse. Without this key, as many as the last `idle-time`
    /// needed: 64, and more while the idle ones to all servers take no more than a quarter of the file descriptors that the
    /// proxy may have. With `proxy-protocol` it is 0, and nothing else can be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100_000))]
    pub idle: Option<usize>,
    /// How long a connection may stay idle. The proxy looks once a second.
    pub idle_time: Text<Duration>,
    /// How old a connection may grow. The proxy closes it when it is idle.
    pub age: Text<Duration>,
    /// Concurrent requests on one HTTP/2 connection. Beyond it, or beyond what the server allows, the proxy
    /// opens a further one.
    #[schemars(range(min = 1, max = 10_000))]
    pub streams: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle: None, idle_time: seconds(60), age: seconds(3600), streams: 100 }
    }
}

/// TLS towards the servers.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamTls {
    /// PEM file of the authorities that sign the servers' certificates; without it those of the system.
    #[schemars(extend("examples" = ["certs/ca.pem"]))]
    pub ca: Option<Text<FilePath>>,
    /// Sent as SNI, unless it is an IP address (RFC 6066 §3), and looked for in the certificate; without it
    /// the host or IP address of the server. Required if a server is a Unix socket.
    pub server_name: Option<Text<TlsName>>,
    /// SHA-256 fingerprints of the servers' own certificates, of which each server must show one: for certificates that
    /// nobody has signed. Names, validity and authorities are not looked at then. Not beside `ca`.
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true))]
    pub fingerprints: Vec<Text<Fingerprint>>,
    /// `false`: any certificate will do, and whoever stands between can read and change everything. For trials; `check`
    /// and the log warn.
    #[serde(default = "yes")]
    pub verify: bool,
    /// What the proxy shows to a server that asks for a certificate.
    pub client_certificate: Option<Certificate>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, fingerprints: Vec::new(), verify: true, client_certificate: None }
    }
}

fn yes() -> bool {
    true
}

fn least_requests() -> Balance {
    Balance::LeastRequests
}

fn eject() -> Switch<Eject> {
    Switch::Is(true)
}

fn half_a_minute() -> Text<Duration> {
    seconds(30)
}

fn max_in_flight() -> usize {
    1024
}

fn max_queued() -> usize {
    256
}

fn max_tunnels() -> usize {
    10_000
}

fn one() -> u32 {
    1
}

fn retry_budget() -> Text<Percent> {
    Text(Percent(20))
}

fn retry_buffer() -> Text<Size> {
    Text(Size(64 << 10))
}

fn buffer() -> Switch<Buffer> {
    Switch::Is(true)
}

fn no_buffer() -> Switch<Buffer> {
    Switch::Is(false)
}

fn auto() -> Protocol {
    Protocol::Auto
}

fn clear_text() -> Switch<UpstreamTls> {
    Switch::Is(false)
}

fn health_interval() -> Text<Duration> {
    seconds(5)
}

fn health_timeout() -> Text<Duration> {
    seconds(2)
}

fn health_fall() -> u32 {
    3
}

fn health_rise() -> u32 {
    2
}
