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
    FilePath, HostField, Percent, RequestTarget, ServerAddress, Size, StatusCodes, Text, TlsName,
};
use crate::{Address, Balance, Protocol, ProxyProtocol};

/// A group of servers that answer the same requests.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Upstream {
    /// "host:port", "unix:/run/app.sock" or { address = "host:port", weight = 2, backup = true }. A
    /// host name stands for all its addresses.
    #[schemars(length(min = 1))]
    pub servers: Vec<Server>,
    /// How a server is chosen.
    #[serde(default = "least_requests")]
    pub balance: Balance,
    /// Active checks of every server.
    pub health: Option<Health>,
    /// Whether a server that keeps failing requests is not chosen for a while, and when.
    #[serde(default = "eject")]
    pub eject: Switch<Eject>,
    /// How long the share of a server grows that comes back or is new; "0s" = its full share at
    /// once.
    #[serde(default = "half_a_minute")]
    #[schemars(extend("x-minimum" = "0s"))]
    pub slow_start: Text<Duration>,
    /// Requests in flight to all servers together; beyond it they queue.
    #[serde(default = "max_in_flight")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_in_flight: usize,
    /// Requests that queue for their turn; beyond it: 503 with retry-after. 0 = no queue.
    #[serde(default = "max_queued")]
    #[schemars(range(max = 1_000_000))]
    pub max_queued: usize,
    /// How long the proxy waits for a server.
    #[serde(default)]
    pub timeouts: UpstreamTimeouts,
    /// Connections kept for reuse.
    #[serde(default)]
    pub pool: Pool,
    /// Further servers tried after a failed attempt.
    #[serde(default = "one")]
    #[schemars(range(max = 10))]
    pub retries: u32,
    /// Retries in proportion to the requests of the last 10 s; 3 a second are always allowed.
    #[serde(default = "retry_budget")]
    pub retry_budget: Text<Percent>,
    /// Bytes of a request body kept to be sent again; a request with more is not retried.
    #[serde(default = "retry_buffer")]
    pub retry_buffer: Text<Size>,
    /// Takes a response from its server as fast as that sends, and keeps what the client has not
    /// taken yet; false = the client's pace is the server's.
    #[serde(default = "buffer")]
    pub buffer: Switch<Buffer>,
    /// Takes the body of a request whole before a server is asked; over memory and disk: 413.
    #[serde(default = "no_buffer")]
    pub buffer_requests: Switch<Buffer>,
    /// Which HTTP is spoken to the servers.
    #[serde(default = "auto")]
    pub protocol: Protocol,
    /// TLS towards the servers; true = with the roots of the system and the host of each server.
    #[serde(default = "clear_text")]
    pub tls: Switch<UpstreamTls>,
    /// Begins every connection with a PROXY protocol header of this version that carries the
    /// client's address. Such a connection serves one client only, so none is kept.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether responses are compressed as [compression] says.
    #[serde(default = "yes")]
    pub compression: bool,
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
    /// Bytes of one body beyond those, in a temporary file; "0B" = no file.
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
    /// host:port, IP:port, [IPv6]:port or unix:PATH. A path is relative to this file.
    pub address: Text<ServerAddress>,
    /// Its share of the requests, in proportion to the other weights.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1000))]
    pub weight: u32,
    /// Whether it is used only while no other server can be.
    #[serde(default)]
    pub backup: bool,
}

/// Active checks of every server: over HTTP with path, or of the connection alone with tcp = true.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Health {
    /// Asked for over HTTP; may have a query.
    pub path: Option<Text<RequestTarget>>,
    /// Whether a connection that is accepted is enough.
    #[serde(default)]
    pub tcp: bool,
    /// Method of the request.
    #[schemars(extend("default" = "GET"))]
    pub method: Option<HealthMethod>,
    /// Host field of the request; without it the server's own address.
    pub host: Option<Text<HostField>>,
    /// Status codes that are good: single ones or ranges.
    #[schemars(length(min = 1), extend("default" = ["200-299"]))]
    pub status: Option<Vec<Text<StatusCodes>>>,
    /// Text that the response body must contain; with the method GET only.
    pub body: Option<String>,
    /// From one check of a server to the next.
    #[serde(default = "health_interval")]
    #[schemars(extend("x-minimum" = "100ms"))]
    pub interval: Text<Duration>,
    /// For one check, at most interval; over it the check has failed.
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
    /// How long it stays out the first time; the n-th time in a row n times as long.
    pub time: Text<Duration>,
    /// The longest it stays out, at least time.
    pub max_time: Text<Duration>,
    /// Share of the servers that may be ejected at a time, in percent; never the last one.
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
    /// For a connection to be established.
    pub connect: Text<Duration>,
    /// From the end of the request to the head of the response; over it: 504.
    pub response: Text<Duration>,
    /// Between two pieces of a response body.
    pub idle: Text<Duration>,
    /// For a request's turn when max-in-flight is reached; over it: 503 with retry-after.
    pub queue: Text<Duration>,
}

impl Default for UpstreamTimeouts {
    fn default() -> Self {
        Self { connect: seconds(3), response: seconds(30), idle: seconds(60), queue: seconds(3) }
    }
}

/// `pool.idle` where it is not written, unless something else says that none is kept.
pub(crate) const DEFAULT_IDLE: usize = 64;

/// Connections kept for reuse.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Pool {
    /// Idle connections per server and worker; 0 = no reuse. With proxy-protocol it is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100_000), extend("default" = DEFAULT_IDLE))]
    pub idle: Option<usize>,
    /// How long one may stay idle.
    pub idle_time: Text<Duration>,
    /// How old one may grow.
    pub age: Text<Duration>,
    /// Concurrent requests on one HTTP/2 connection; the server's own limit holds as well.
    #[schemars(range(min = 1, max = 10_000))]
    pub streams: u32,
}

impl Default for Pool {
    fn default() -> Self {
        Self { idle: None, idle_time: seconds(60), age: seconds(3600), streams: 100 }
    }
}

/// TLS towards the servers.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct UpstreamTls {
    /// PEM file of the authorities that sign the servers' certificates; without it those of the
    /// system.
    #[schemars(extend("examples" = ["certs/ca.pem"]))]
    pub ca: Option<Text<FilePath>>,
    /// Sent as SNI and looked for in the certificate; without it the host of the server. Required
    /// for Unix sockets, which have none.
    pub server_name: Option<Text<TlsName>>,
    /// Shown to a server that asks for one.
    pub client_certificate: Option<Certificate>,
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
