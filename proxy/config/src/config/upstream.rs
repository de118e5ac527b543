//! The checked `[upstream.NAME]`.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Certificate;

/// `[upstream.NAME]`: a group of servers that answer the same requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Never empty, and at least one is no backup.
    pub servers: Vec<Server>,
    /// How a server is chosen.
    pub balance: Balance,
    /// Active checks; `None` = a server is only judged by the requests it gets.
    pub health: Option<Health>,
    /// Passive ejection; `None` = off.
    pub eject: Option<Eject>,
    /// How long the share of a server grows that comes back or is new; 0 = off.
    pub slow_start: Duration,
    /// Requests in flight to all servers together, at least 1; beyond it they queue.
    pub max_in_flight: usize,
    /// Requests that queue for their turn; beyond it: 503. 0 = no queue.
    pub max_queued: usize,
    /// `timeouts = { … }`.
    pub timeouts: UpstreamTimeouts,
    /// `pool = { … }`: connections kept for reuse.
    pub pool: Pool,
    /// What is done about a failed attempt.
    pub retries: Retries,
    /// Takes responses as fast as servers send them; `None` = the client's pace is the server's.
    pub buffer: Option<Buffer>,
    /// Takes the body of a request whole before a server is asked; `None` = off.
    pub buffer_requests: Option<Buffer>,
    /// Which HTTP is spoken. With [`Self::proxy_protocol`] it is [`Protocol::Http1`], whatever was written,
    /// as one HTTP/2 connection would carry several clients.
    pub protocol: Protocol,
    /// `None` = clear text.
    pub tls: Option<UpstreamTls>,
    /// The header every connection begins with, before TLS. When it is set, [`Pool::max_idle`] is 0: a
    /// connection that carries one client's address is of no use to the next.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Bytes of a request body; `None` = as [`Limits::request_body`](super::Limits::request_body) says.
    pub request_body: Option<u64>,
    /// Tunnels through upgraded connections, at least 1; beyond it: 503.
    pub max_tunnels: usize,
    /// Whether requests have a `Via`.
    pub via: bool,
    /// Names of fields are written in title case in HTTP/1.1.
    pub title_case: bool,
    /// Where its responses are kept; the name of one there is.
    pub cache: Option<String>,
    /// Whether [`Config::compression`](super::Config::compression) holds for its responses.
    pub compression: bool,
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Unique in its upstream.
    pub address: Address,
    /// Its share of the requests, in proportion to the other weights; 1 to 1000.
    pub weight: u32,
    /// Used only while no server that is not a backup can be.
    pub backup: bool,
}

/// Where a server is. In one spelling (host in lower case), so the same server is an equal value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// A DNS name: every address it has, for as long as its TTL says.
    Host {
        /// In lower case; a dot at the end is kept.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// The port is never 0.
    Ip(SocketAddr),
    /// The path of a socket, already joined with the directory of the file.
    Unix(PathBuf),
}

/// As it is written in the file: `host:port`, `IP:port`, `unix:PATH`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { host, port } => write!(f, "{host}:{port}"),
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How an upstream chooses among its servers, always in proportion to their weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Balance {
    /// Each in turn.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// Of two drawn by lot, the one with fewer requests in flight for its weight.
    RandomTwo,
    /// The one that a key leads to: what a policy set with `set-hash-key`, else the client's address. The
    /// same key leads to the same server while the proxy can use that; when one of n servers leaves, about
    /// 1/n of the keys move.
    Hash,
}

/// `health = { … }`: every server is checked, whether or not it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is asked of a server.
    pub probe: Probe,
    /// From one check of a server to the next.
    pub interval: Duration,
    /// For one check, connecting included, at most `interval`; over it the check has failed.
    pub timeout: Duration,
    /// Failed checks in a row that take a server out; at least 1.
    pub fall: u32,
    /// Good checks in a row that bring it back; at least 1.
    pub rise: u32,
}

/// What a health check asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// `path = "/healthz"`: a request, and what its response must be.
    Http(HttpProbe),
    /// `tcp = true`: that a connection is accepted.
    Tcp,
}

/// The request of a health check, and its expected response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// The request target: begins with `/`, may have a query.
    pub path: String,
    /// `GET`, `HEAD` or `OPTIONS`.
    pub method: String,
    /// The `Host` field, in lower case; `None` = the server's own address.
    pub host: Option<String>,
    /// Status codes that are good, each range within 100 to 599; never empty.
    pub status: Vec<RangeInclusive<u16>>,
    /// Text that the body must contain; only with `GET`, never empty.
    pub body: Option<String>,
}

/// `eject = { … }`: a server that keeps failing requests is not chosen for a while. Connect errors,
/// 502, 503 and 504 are failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row that eject a server; at least 1.
    pub failures: u32,
    /// How long it stays out the first time; the n-th time in a row n times as long.
    pub time: Duration,
    /// The longest it stays out; at least `time`.
    pub max_time: Duration,
    /// Share of the servers that may be ejected at a time, and never the last; 1 to 100.
    pub max_percent: u32,
}

/// Waits towards the servers of an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpstreamTimeouts {
    /// For a connection to be established.
    pub connect: Duration,
    /// From the end of the request to the head of the response.
    pub response: Duration,
    /// Between two pieces of a response body.
    pub idle: Duration,
    /// For a request's turn when [`Upstream::max_in_flight`] is reached; over it: 503.
    pub queue: Duration,
    /// `None` = as [`Timeouts`](super::Timeouts) say.
    pub body_idle: Option<Duration>,
    /// The same.
    pub stream_idle: Option<Duration>,
}

/// How long connections to a server are kept, and what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Idle connections per server and worker; 0 = no reuse, `None` = as many as are needed.
    pub max_idle: Option<usize>,
    /// How long one may stay idle.
    pub idle_time: Duration,
    /// How old one may grow.
    pub max_age: Duration,
    /// Concurrent requests on one HTTP/2 connection, at least 1; the server's own limit holds as well.
    pub streams: u32,
}

/// What is done about a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Further attempts for one request.
    pub count: u32,
    /// Retries of the upstream in percent of its requests, both in the last 10 s; at most 100. Some are
    /// always allowed.
    pub budget_percent: u32,
    /// Bytes of a request body kept to be sent again; a request with more is not retried.
    pub buffer: usize,
}

/// How much of one body is kept, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Bytes in memory; never 0.
    pub memory: usize,
    /// Bytes beyond those in a temporary file; 0 = no file.
    pub disk: u64,
}

/// Which HTTP is spoken to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// With `tls` the server chooses HTTP/2 or HTTP/1.1 by ALPN; on clear text HTTP/1.1.
    Auto,
    /// HTTP/1.1 only.
    Http1,
    /// HTTP/2 only. With `tls` nothing else is offered; on clear text by prior knowledge (RFC 9113 §3.3).
    H2,
}

/// `tls = { … }` of an upstream. The files are read by the server, not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamTls {
    /// PEM file of the authorities that sign the servers' certificates; `None` = the system's.
    pub ca: Option<PathBuf>,
    /// The host name or IP address sent as SNI (names only, RFC 6066 §3) and looked for in the
    /// certificate, in lower case. `None` = the host or IP address of the server; there is a name when
    /// a server is a Unix socket.
    pub server_name: Option<String>,
    /// SHA-256 digests of certificates, of which a server must show one; empty = the authorities decide.
    pub fingerprints: Vec<[u8; 32]>,
    /// `false`: any certificate will do.
    pub verify: bool,
    /// What the proxy shows to a server that asks.
    pub client_certificate: Option<Certificate>,
}

impl Default for UpstreamTls {
    fn default() -> Self {
        Self { ca: None, server_name: None, fingerprints: Vec::new(), verify: true, client_certificate: None }
    }
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyProtocol {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}
