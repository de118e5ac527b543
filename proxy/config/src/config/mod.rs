//! The checked content of `tidegate.toml`: what the rest of the proxy is built from.
//!
//! Default, range and what happens at a limit stand where a key is declared, in `file`, and in the guide
//! (docs/configuration.md). Here stands what whoever uses a value can rely on.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Positions;

mod access_log;
mod acme;
mod cache;
mod compression;
mod explain;
mod files;
mod listener;
mod state;
mod tracing;
mod upstream;

pub use access_log::{AccessLog, LineFormat, LinePiece, LogField, LogOutput, LogSample};
pub use acme::{
    Acme, AcmeAuthority, AcmeShare, AllowedBy, ChallengeKind, DnsHook, ExternalAccount, HookBy, KeyType,
    OnDemand,
};
pub use cache::{Cache, CacheDisk};
pub use compression::{Coding, Compression, Levels, MediaRange};
pub use explain::Explain;
pub use files::{CacheControl, Files};
pub use listener::{
    Certificate, CipherSuite, ClientAuth, Group, HttpVersions, Listener, Passthrough, Serves, Tls, TlsVersion,
};
pub use state::{Credentials, Password, Redis, RedisTls, State, StateBackend};
pub use tracing::{CollectorUrl, TraceParents, Tracing};
pub use upstream::{
    Address, Balance, Buffer, Eject, Health, HttpProbe, Pool, Probe, Protocol, ProxyProtocol, Retries,
    Server, Upstream, UpstreamTimeouts, UpstreamTls,
};

/// The checked content of `tidegate.toml`.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What was read with it: names or patterns, already joined with the directory of the file.
    pub includes: Vec<PathBuf>,
    /// Where a request goes that no policy routed; `None` answers it with 404. Names an upstream or a file
    /// root.
    pub default_upstream: Option<String>,
    /// Threads that serve requests; 0 = one per core this process may use.
    pub workers: usize,
    /// Peers whose `X-Forwarded-For` and `Forwarded` are believed, and whose PROXY protocol header where a
    /// listener expects one. A single address is a network of its own; host bits are cleared.
    pub trusted_proxies: Vec<IpNet>,
    /// In lower case: further fields that say who the client is, believed of trusted proxies alone.
    pub identity_headers: Vec<String>,
    /// Where bodies are kept that do not fit in memory, already joined with the directory of the file.
    /// `None` = the system's directory for temporary files.
    pub temporary_directory: Option<PathBuf>,
    /// Who is asked for the addresses of host names.
    pub resolver: Resolver,
    /// The chain. Absolute or relative to the working directory, already joined with the directory of the
    /// file.
    pub plugin_directory: PathBuf,
    /// Where compiled plugins are kept.
    pub compile_cache: CompileCache,
    /// By name; never empty.
    pub listeners: BTreeMap<String, Listener>,
    /// By name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// By name, which no upstream has.
    pub files: BTreeMap<String, Files>,
    /// By name.
    pub caches: BTreeMap<String, Cache>,
    /// `[compression]`; `None` = off.
    pub compression: Option<Compression>,
    /// Sizes and counts.
    pub limits: Limits,
    /// Waits on the client's side; those towards servers are in [`Upstream`].
    pub timeouts: Timeouts,
    /// `[access-log]`.
    pub access_log: AccessLog,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[log]`: the proxy's own log, on stderr.
    pub log: Log,
    /// `[acme]`: how certificates are obtained.
    pub acme: Acme,
    /// Where policies keep what they share.
    pub state: State,
    /// `[admin]`; `None` = off.
    pub admin: Option<Admin>,
    /// `[explain]`; `None` = no request is.
    pub explain: Option<Explain>,
    /// When `/readyz` says no.
    pub ready: Ready,
    /// `[tracing]`; `None` = off.
    pub tracing: Option<Tracing>,
    /// Where each key of the file stands.
    pub positions: Positions,
    /// All of it, as the admin interface shows it.
    pub shown: Arc<Value>,
}

impl Config {
    /// The names a request can be routed to: those of upstreams and of file roots.
    pub fn destinations(&self) -> impl Iterator<Item = &String> {
        self.upstreams.keys().chain(self.files.keys())
    }

    /// The names whose certificates the proxy obtains by itself, for whichever listener.
    pub fn acme_names(&self) -> BTreeSet<&String> {
        let tables = self.listeners.values().filter_map(|listener| listener.tls.as_ref());
        tables.flat_map(|tls| &tls.acme).collect()
    }

    /// Who decides which names clients can have certificates for, where a listener obtains some on demand.
    pub fn on_demand(&self) -> Option<&OnDemand> {
        let mut tables = self.listeners.values().filter_map(|listener| listener.tls.as_ref());
        self.acme.on_demand.as_ref().filter(|_| tables.any(|tls| tls.on_demand))
    }

    /// Whether the proxy obtains certificates: of names that it knows, or on demand.
    pub fn obtains_certificates(&self) -> bool {
        self.on_demand().is_some() || !self.acme_names().is_empty()
    }

    /// The servers of an upstream, as JSON has what `servers` in the file has. No host names: whoever writes this knows
    /// the addresses.
    ///
    /// # Errors
    /// What is wrong, a sentence each.
    pub fn servers(json: &Value) -> Result<Vec<Server>, Vec<String>> {
        crate::check::servers(json)
    }
}

/// `plugins.compile-cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CompileCache {
    /// Where such things are kept for whoever runs the proxy, if there is such a place.
    System,
    /// Plugins are compiled at every start.
    Off,
    /// Already joined with the directory of the file.
    Directory(PathBuf),
}

/// `resolver = { … }`: DNS for the host names in [`Upstream::servers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// Asked instead of the system's (`/etc/resolv.conf`); empty = the system's.
    pub servers: Vec<SocketAddr>,
    /// For one answer of one server.
    pub timeout: Duration,
}

/// `[limits]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request line and its fields; over it: 431.
    pub request_headers: usize,
    /// Requests that servers read in different ways.
    pub ambiguous_paths: Ambiguous,
    /// Bytes of a request target, at most `request_headers`; over it: 414.
    pub request_target: usize,
    /// Fields of a request; over it: 431.
    pub request_header_count: usize,
    /// Bytes of a response's status line and fields; over it: 502.
    pub response_headers: usize,
    /// Fields of a response; over it: 502.
    pub response_header_count: usize,
    /// Bytes of a request body; over it: 413.
    pub request_body: u64,
    /// Bytes of a body without its content codings; over it: 413, or 502 for a response.
    pub decoded_body: u64,
    /// Bytes of a body that a policy sees whole, over it: [`PluginFile::body_overflow`](crate::PluginFile);
    /// also what a policy may grow a body or a piece of one to, and what it may hold back of it.
    pub policy_body: usize,
    /// Bytes of memory that requests make the process hold; `None` = half of what there is, at most 4 GiB. Over it
    /// requests whose body has to be kept get 503.
    pub memory: Option<u64>,
    /// Bytes of all temporary files of the process; over it responses are held back, and requests that
    /// would have to be kept get 503.
    pub temporary_space: u64,
    /// How slowly a client may send and read.
    pub min_rate: MinRate,
    /// Client connections in all, at least 1; over it a new one is closed at once.
    pub connections: usize,
    /// Client connections from one address (trusted proxies excepted), at least 1.
    pub connections_per_client: usize,
    /// Requests on one client connection before it is closed in an orderly way, at least 1.
    pub requests_per_connection: u64,
    /// Concurrent HTTP/2 streams on one connection, at least 1; over it: REFUSED_STREAM.
    pub http2_streams: u32,
}

/// What becomes of a request that could be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ambiguous {
    /// 400 (`bad-request`), close.
    Refuse,
    /// It goes on as it is: rules for paths and hosts then hold for one reading only.
    Pass,
}

/// `limits.min-rate`; a rate of 0 is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinRate {
    /// Bytes of a request body in a second of waiting for it.
    pub request: u64,
    /// Waiting that is free.
    pub request_after: Duration,
    /// Bytes the client's connection takes in a second of waiting for it.
    pub response: u64,
    /// Waiting after which the rate is looked at.
    pub response_after: Duration,
}

/// `[timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the head of a request; over it: 408 and close.
    pub request_headers: Duration,
    /// For the TLS handshake; over it: close.
    pub tls_handshake: Duration,
    /// Without a byte of a body moving, in either direction; over it: 408 or reset.
    pub body_idle: Duration,
    /// The same once the response has begun, and of responses that are streams.
    pub stream_idle: Duration,
    /// Of a connection without a request; over it: close.
    pub keep_alive: Duration,
    /// Age of a client connection before it is closed in an orderly way.
    pub connection_age: Duration,
    /// Of an upgraded (WebSocket) or forwarded ([`Serves::Tcp`], [`Serves::TlsPassthrough`]) connection
    /// without a byte in either direction.
    pub tunnel_idle: Duration,
    /// For exchanges in flight on SIGTERM; then they are cut. May be zero.
    pub drain: Duration,
    /// The same for tunnels. May be zero.
    pub drain_tunnels: Duration,
    /// Between SIGTERM and the end of the listeners. May be zero.
    pub drain_delay: Duration,
    /// For a new process to be ready to take the place of this one, at least a second.
    pub upgrade: Duration,
}

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Whether each server has series of its own.
    pub servers: bool,
}

/// `[log]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least important message that is written.
    pub level: LogLevel,
    /// The form of a line.
    pub format: LogFormat,
}

/// The least important message that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogFormat {
    Text,
    Json,
}

/// `[ready]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Upstreams of each of which a server must be up.
    pub upstreams: Vec<String>,
    /// Whether each listener with names of its own must have the certificate of one.
    pub certificates: bool,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Admin {
    /// `IP:port`.
    pub address: SocketAddr,
    /// For `/livez` and `/readyz` alone.
    pub probes: Option<SocketAddr>,
    /// A Unix socket as well, already joined with the directory of the file.
    pub socket: Option<PathBuf>,
    /// What has to be known to ask, already joined with the directory of the file.
    pub token_file: Option<PathBuf>,
    /// Names under which it is asked, beside addresses and names without a dot.
    pub hosts: Vec<String>,
    /// `None`: clear text. Who shows a certificate of its `client_ca` need not know anything.
    pub tls: Option<Tls>,
}
