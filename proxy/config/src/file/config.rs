//! `tidegate.toml`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{
    DnsServer, FieldName, FilePath, Form, HostField, LineForm, LogFieldName, Name, Size, Text,
};
use super::{Acme, Cache, Certificate, Compression, Explain, Files, Listener, State, Upstream};
use crate::{Ambiguous, CollectorUrl, LogFormat, LogLevel, TraceParents};

/// The configuration of tidegate.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "tidegate.toml")]
pub(crate) struct Config {
    /// Further files that are read as if they stood here, in this order: names, or names with `*`, which stand for all files that fit, in alphabetical
    /// order; those that begin with a dot are left out. Each value stands in one of them; tables may be in parts. Paths in them start in the directory of this file, and they include no others.
    #[schemars(extend("examples" = [["conf.d/*.toml"]]))]
    pub include: Vec<Text<FilePath>>,
    /// The upstream or file root of requests that no policy routed. Without it the proxy answers them with
    /// 404 (`no-route`).
    pub default_upstream: Option<String>,
    /// Threads that serve; `0`: one for each core this process may use. Read at the start only.
    #[schemars(range(max = 1024))]
    pub workers: usize,
    /// Peers whose `X-Forwarded-For` and `Forwarded` the proxy believes, or what a listener's `client-address` names,
    /// and whose PROXY protocol header on a listener with `proxy-protocol = true`.
    pub trusted_proxies: Vec<Text<IpNet>>,
    /// Further fields that say who the client is. Those of others than `trusted-proxies` are removed, as are
    /// `X-Forwarded-*`, `X-Real-IP`, `Client-Cert*` (RFC 9440), `X-Client-Cert*`, `SSL-Client-*` and `X-SSL-Client-*`.
    #[schemars(extend("uniqueItems" = true))]
    pub identity_headers: Vec<Text<FieldName>>,
    /// Where the temporary files are for bodies that do not fit in memory. The directory must exist and be
    /// writable. Without this key it is the system's: `$TMPDIR`, else `/tmp`; if the proxy cannot write
    /// there, it warns and keeps bodies in memory only. The files have no name: nothing is left of them,
    /// however the proxy ends.
    #[schemars(extend("examples" = ["/var/lib/tidegate"]))]
    pub temporary_directory: Option<Text<FilePath>>,
    /// Where the proxy looks up the host names in `servers` of upstreams.
    pub resolver: Resolver,
    /// Where policies come from.
    pub plugins: Plugins,
    /// Addresses the proxy accepts connections on, by name. At least one is needed.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub listener: BTreeMap<String, Listener>,
    /// Groups of servers that answer the same requests, by name.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub upstream: BTreeMap<String, Upstream>,
    /// Directories whose files the proxy serves itself, by name. Requests are routed to them as to
    /// upstreams, so none may have the name of an upstream. Connections cannot be forwarded to them.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub files: BTreeMap<String, Files>,
    /// Responses that the proxy keeps, and answers by; by name, which upstreams refer to.
    #[schemars(extend("propertyNames" = name_schema()))]
    pub cache: BTreeMap<String, Cache>,
    /// Compression of responses for clients that accept it (`Accept-Encoding`, RFC 9110 §12.5.3). Without
    /// this table it is off; an empty one turns it on.
    pub compression: Option<Compression>,
    /// Sizes and counts, and what the proxy does beyond them.
    pub limits: Limits,
    /// How long the proxy waits on the side of the client. Each upstream has its own for the side of the
    /// servers.
    pub timeouts: Timeouts,
    /// One line for each exchange.
    pub access_log: AccessLog,
    /// What `/metrics` of the admin interface shows.
    pub metrics: Metrics,
    /// The proxy's own log, on stderr.
    pub log: Log,
    /// How the proxy obtains the certificates of the names in `tls.acme` of listeners (ACME, RFC 8555).
    pub acme: Acme,
    /// Where policies keep what they share: limits and stores. Read at the start only.
    #[schemars(extend("x-secret" = true))]
    pub state: State,
    /// The admin interface. Without this table it is off. Read at the start only.
    pub admin: Option<Admin>,
    /// Requests of clients of which the proxy keeps what its policies asked and did, for the admin interface. Without this
    /// table there are none.
    pub explain: Option<Explain>,
    /// When `/readyz` of the admin interface says no, beside what it always looks at.
    pub ready: Ready,
    /// Spans of exchanges, for a collector of OpenTelemetry. Without this table there are none, and `traceparent` passes as it comes.
    pub tracing: Option<Tracing>,
}

/// Spans of exchanges, for a collector of OpenTelemetry.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Tracing {
    /// Where they go: OTLP over HTTP, as protobuf. Without this key `$OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or
    /// `$OTEL_EXPORTER_OTLP_ENDPOINT` says it, else it is `http://127.0.0.1:4318`.
    pub otlp: Option<Text<CollectorUrl>>,
    /// Per cent of the exchanges that have spans, where no parent decides. Without this key `$OTEL_TRACES_SAMPLER` and
    /// `$OTEL_TRACES_SAMPLER_ARG` say it, else it is 1. Chosen by the number of the trace, so that all who do it so choose the same.
    #[schemars(range(max = 100))]
    pub share: Option<u8>,
    /// Whose decision (`traceparent`) counts before that.
    pub parents: TraceParents,
    /// The name of the proxy in traces. Without this key `$OTEL_SERVICE_NAME` says it, else it is `tidegate`.
    pub service_name: Option<String>,
}

impl Default for Tracing {
    fn default() -> Self {
        Self { otlp: None, share: None, parents: TraceParents::Trusted, service_name: None }
    }
}

/// When `/readyz` says no.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Ready {
    /// Upstreams of each of which a server must be up: with `health` one that has passed a check, without it one whose
    /// requests do not fail.
    #[schemars(extend("uniqueItems" = true))]
    pub upstreams: Vec<String>,
    /// Listeners with `tls.acme` and without `tls.certificates` must each have got the certificate of at least one name. Write
    /// `false` if the authority can reach the proxy only once it is ready, as behind a balancer that looks at `/readyz`.
    pub certificates: bool,
}

impl Default for Ready {
    fn default() -> Self {
        Self { upstreams: Vec::new(), certificates: true }
    }
}

/// Where the proxy looks up the host names in `servers` of upstreams.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Resolver {
    /// DNS servers that the proxy asks; empty: those of the system, in `/etc/resolv.conf`.
    #[schemars(extend("uniqueItems" = true))]
    pub servers: Vec<Text<DnsServer>>,
    /// How long the proxy waits for one answer of one server; over it, it asks the next one. When none
    /// answers, the last good addresses stay.
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
    /// The chain: every `NAME.wasm` in this directory is one policy, and their order is that of the file
    /// names. It may be empty; only the default one may be missing.
    #[schemars(extend("examples" = ["plugins"]))]
    pub directory: Text<FilePath>,
    /// Where compiled plugins are kept, so that the next start need not compile them: a directory of the proxy's own that
    /// nobody else may write to, at most 512 MiB; `"off"`: nowhere. Without this key it is `$CACHE_DIRECTORY` (which systemd
    /// sets for `CacheDirectory=`), else `tidegate` in `$XDG_CACHE_HOME`, else `~/.cache/tidegate`. Read at the start only.
    #[schemars(extend("examples" = ["/var/cache/tidegate", "off"]))]
    pub compile_cache: Option<Text<FilePath>>,
}

impl Default for Plugins {
    fn default() -> Self {
        Self { directory: Text(FilePath("plugins".to_owned())), compile_cache: None }
    }
}

/// Sizes and counts, and what the proxy does beyond them.
//
// Upper bounds are where a larger number would not limit anything, or where the machinery ends:
// HTTP/2 counts header bytes in 32 bits and `http::HeaderMap` holds at most 24,576 fields.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Bytes of a request line and its fields. Over it: 431, close. Policies cannot add fields beyond it
    /// either.
    #[schemars(extend("x-minimum" = "8KiB", "x-maximum" = "16MiB"))]
    pub request_headers: Text<Size>,
    /// What becomes of requests whose path or host servers read in different ways: `\` and `%5C`, control characters, a
    /// dot segment or an empty one with parameters (`/public/..;/admin`), `%2F` beside a dot segment (`/x/..%2fadmin`) or in
    /// the beginning, what is percent-encoded twice though there is no
    /// reason to (`%252e`), overlong UTF-8 in the path; a host that is no name (`a..`, `%69nternal`, `a;x`).
    pub ambiguous_paths: Ambiguous,
    /// Bytes of a request target, at most `request-headers`. Over it: 414 (`target-too-long`), close.
    #[schemars(extend("x-minimum" = "1B", "x-maximum" = "16MiB"))]
    pub request_target: Text<Size>,
    /// Fields of a request. Over it: 431 (`headers-too-large`), close.
    #[schemars(range(min = 1, max = 10_000))]
    pub request_header_count: usize,
    /// Bytes of the status line and the fields of a response. Over it: 502 (`bad-response`). Policies
    /// cannot add fields beyond it either.
    #[schemars(extend("x-minimum" = "8KiB", "x-maximum" = "16MiB"))]
    pub response_headers: Text<Size>,
    /// Fields of a response; default as `request-header-count`. Over it: 502 (`bad-response`). More than 100 cost a little
    /// with every response.
    #[schemars(range(min = 1, max = 10_000))]
    pub response_header_count: Option<usize>,
    /// Bytes of a request body. Over it: 413 (`body-too-large`), close; at once for a declared length, else
    /// when the body passes it.
    pub request_body: Text<Size>,
    /// Bytes of a request body without its content codings, where a policy has them undone; default 10 ×
    /// `request-body`. Of responses as well. Beyond 1 MiB, no more than 100 decoded bytes may come of one coded
    /// byte. Over either: 413 (`body-too-large`), close; 502 (`bad-response`) for a response.
    pub decoded_body: Option<Text<Size>>,
    /// Bytes of a body that a policy wants to see whole. Over it the policy's `body-overflow` decides. It
    /// also bounds what a policy may make of a body or a piece of one (over it the edit is refused), and
    /// what it may hold back of a piece (over it the call fails).
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "1GiB"))]
    pub policy_body: Text<Size>,
    /// Bytes of memory that all requests together make the proxy hold: bodies kept for retries, for policies and
    /// until they are whole, windows of decoders and of uploads over HTTP/2, heads over 8 KiB, responses for slow
    /// clients; default half of what the machine or the cgroup has, at most 4 GiB. One client (its address behind trusted proxies, of IPv6 the first 64 bits) may
    /// hold a tenth of it. Over either, bodies are not kept for retries, responses wait for their clients, and a
    /// request that has to be kept gets 503 (`memory`).
    #[schemars(extend("x-minimum" = "16MiB", "x-maximum" = "1024GiB"))]
    pub memory: Option<Text<Size>>,
    /// Bytes of all temporary files together. One client may have half of them, responses together three quarters. Over
    /// any of these the proxy holds responses back, and a request whose body would have to be kept gets 503
    /// (`temporary-space`).
    pub temporary_space: Text<Size>,
    /// How slowly a client may send and read.
    pub min_rate: MinRate,
    /// Client connections of all listeners together. Over it the proxy closes a new one at once, without a
    /// response.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub connections: usize,
    /// Client connections of one peer, or of the address in a PROXY protocol header. Trusted proxies are
    /// not counted. Over it the proxy closes a new one at once, without a response.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub connections_per_client: usize,
    /// Requests on one client connection. The response to the last one says `connection: close`; on HTTP/2
    /// the proxy sends GOAWAY.
    #[schemars(range(min = 1, max = 1_000_000_000_000u64))]
    pub requests_per_connection: u64,
    /// Concurrent streams on one HTTP/2 connection of a client. Over it: REFUSED_STREAM (RFC 9113 §5.1.2).
    #[schemars(range(min = 1, max = 100_000))]
    pub http2_streams: u32,
}

/// The slowest clients that are waited for. What counts is the time in which the proxy waits for the client: a server
/// that is slow to take or to send a body costs its client nothing.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct MinRate {
    /// Bytes of a request body in a second, on average, once the proxy waited for them for `request-after`. Under it:
    /// 408 (`body-timeout`), close. Not for gRPC, nor once the response has begun. `"0B"`: no bound but
    /// `timeouts.body-idle`.
    pub request: Text<Size>,
    /// Waiting for a request body that is free.
    pub request_after: Text<Duration>,
    /// Bytes that the client's connection takes in a second, on average over each `response-after` in which the proxy
    /// waited for it. Under it the proxy cuts the connection. The same for each piece of 16 KiB of one stream of HTTP/2,
    /// where the client has left it no window (RFC 9113 §5.2): the proxy resets the stream. `"0B"`: no bound but
    /// `timeouts.body-idle`.
    pub response: Text<Size>,
    /// Waiting for a connection to take what is sent, until its rate is looked at.
    pub response_after: Text<Duration>,
}

impl Default for MinRate {
    fn default() -> Self {
        Self {
            request: Text(Size(500)),
            request_after: Text(Duration::from_secs(20)),
            response: Text(Size(100)),
            response_after: Text(Duration::from_secs(60)),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_headers: Text(Size(32 << 10)),
            ambiguous_paths: Ambiguous::Refuse,
            request_target: Text(Size(8 << 10)),
            request_header_count: 100,
            response_headers: Text(Size(64 << 10)),
            response_header_count: None,
            request_body: Text(Size(16 << 20)),
            decoded_body: None,
            policy_body: Text(Size(1 << 20)),
            memory: None,
            temporary_space: Text(Size(4 << 30)),
            min_rate: MinRate::default(),
            connections: 10_000,
            connections_per_client: 256,
            requests_per_connection: 10_000,
            http2_streams: 100,
        }
    }
}

/// How long the proxy waits on the side of the client.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Timeouts {
    /// How long a request head may take from its first byte to its last. Over it: 408, close. A connection
    /// on which nothing arrives at all is closed without a response. On HTTP/2 it bounds the preface (RFC
    /// 9113 §3.4) and each head, and the connection is closed without an answer.
    pub request_headers: Text<Duration>,
    /// How long a TLS handshake may take. Over it: close. A PROXY protocol header before it may take as
    /// long, and so may the part of a handshake that tells `tls-passthrough` the server name.
    pub tls_handshake: Text<Duration>,
    /// How long the next piece of a request body may take; over it: 408 (`body-timeout`), close. Also how
    /// long a client may take nothing of a response; over it the connection is cut. A stream of HTTP/2 is reset where the
    /// client opened no window meanwhile. The kernel tells of what it has taken for a client in pieces of 32 KiB or so.
    pub body_idle: Text<Duration>,
    /// The same for the request body once the response has begun, and for how long a server may pause in a response of
    /// gRPC, of server-sent events, or beside such a request: streams on which both sides speak when they have something
    /// to say. `limits.request-body` does not hold for what comes after the response has begun.
    pub stream_idle: Text<Duration>,
    /// How long a client connection may be without a request. Over it: close; on HTTP/2 GOAWAY, and a cut
    /// if the client ignores it.
    pub keep_alive: Text<Duration>,
    /// How old a client connection may grow. Then: `connection: close` or GOAWAY; exchanges in flight go on
    /// to their end.
    pub connection_age: Text<Duration>,
    /// How long an upgraded (WebSocket) or forwarded (`tcp`, `tls-passthrough`) connection may be without a
    /// byte either way. Over it: close.
    pub tunnel_idle: Text<Duration>,
    /// How long exchanges and tunnels in flight may go on when the proxy is told to stop. Over it the proxy
    /// cuts them; `"0s"` cuts at once.
    #[schemars(extend("x-minimum" = "0s"))]
    pub drain: Text<Duration>,
    /// How long tunnels (WebSocket, `tcp`, `tls-passthrough`) of these may go on, where that is less: they do not end by
    /// themselves, and who restarts the proxy waits for them.
    #[schemars(extend("x-minimum" = "0s"))]
    pub drain_tunnels: Text<Duration>,
    /// How long `/readyz` says that the proxy drains before it does: whoever balances the load has so long to see it. The
    /// proxy serves as before meanwhile, new connections as well.
    #[schemars(extend("x-minimum" = "0s"))]
    pub drain_delay: Text<Duration>,
    /// How long a process that is started by an upgrade may take until it is ready to serve. Over it: it is killed, and the running
    /// one goes on.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "4m"))]
    pub upgrade: Text<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            request_headers: seconds(10),
            tls_handshake: seconds(10),
            body_idle: seconds(30),
            stream_idle: seconds(300),
            keep_alive: seconds(75),
            connection_age: seconds(3600),
            tunnel_idle: seconds(3600),
            drain: seconds(30),
            drain_tunnels: seconds(5),
            drain_delay: seconds(0),
            upgrade: seconds(60),
        }
    }
}

/// One line for each exchange.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct AccessLog {
    /// `"stdout"`, `"off"`, or the path of a file. The proxy appends to the file, and reopens it on SIGHUP. `"syslog"`: a
    /// datagram for each line to `/dev/log` (RFC 3164, facility `local0`, severity `info`), `"syslog:PATH"`: to that socket.
    /// `"journald"`: to systemd's journal, `"journald:PATH"`: to that socket.
    #[schemars(extend("examples" = ["/var/log/tidegate/access.log"]))]
    pub path: Text<FilePath>,
    /// What a line looks like.
    pub format: Text<LineForm>,
    /// The keys of a line with `format = "json"`, in this order; without it all that the guide lists as usual.
    #[schemars(extend("uniqueItems" = true, "examples" = [["time", "client", "method", "path", "status"]]))]
    pub fields: Option<Vec<Text<LogFieldName>>>,
    /// Parameters of queries whose values are written as `***`, for secrets in URLs. `%` escapes in the names of parameters are not
    /// undone.
    #[schemars(extend("uniqueItems" = true, "examples" = [["token", "signature"]]))]
    pub mask_query: Vec<String>,
    /// Fields of requests whose values are written as `***`, as are those of `Authorization`, `Proxy-Authorization`, `Cookie` and
    /// `X-Api-Key`.
    #[schemars(extend("uniqueItems" = true))]
    pub mask_headers: Vec<Text<FieldName>>,
    /// How many of the exchanges have a line.
    pub sample: LogSample,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            path: Text(FilePath("stdout".to_owned())),
            format: Text(LineForm::Json),
            fields: None,
            mask_query: Vec::new(),
            mask_headers: Vec::new(),
            sample: LogSample::default(),
        }
    }
}

/// How many of the exchanges have a line, by class of the status, in per cent. Those that failed always have one.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct LogSample {
    /// Of switches of protocols.
    #[serde(rename = "1xx")]
    #[schemars(range(max = 100))]
    pub informational: u8,
    /// Of successes.
    #[serde(rename = "2xx")]
    #[schemars(range(max = 100))]
    pub success: u8,
    /// Of redirections.
    #[serde(rename = "3xx")]
    #[schemars(range(max = 100))]
    pub redirection: u8,
    /// Of errors of the client, as servers and policies find them.
    #[serde(rename = "4xx")]
    #[schemars(range(max = 100))]
    pub client_error: u8,
    /// Of errors of servers, as they find them.
    #[serde(rename = "5xx")]
    #[schemars(range(max = 100))]
    pub server_error: u8,
}

impl Default for LogSample {
    fn default() -> Self {
        Self { informational: 100, success: 100, redirection: 100, client_error: 100, server_error: 100 }
    }
}

/// What `/metrics` of the admin interface shows.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// `true`: a series for each server of each upstream as well. They are many where there are many servers, and new ones
    /// where host names stand for new addresses.
    pub servers: bool,
}

/// The proxy's own log, on stderr.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Log {
    /// The least important message that is written.
    pub level: LogLevel,
    /// The form of a line. Read at the start only.
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
    /// Where it listens; no listener may overlap. Other addresses than those of the loopback need `token-file` or
    /// `tls.client-ca`.
    pub address: Text<SocketAddr>,
    /// Another address, in clear text, for `/livez` and `/readyz` alone, which need no token: for balancers and orchestrators, where `address` stays
    /// out of reach.
    #[schemars(extend("examples" = ["0.0.0.0:9901"]))]
    pub probes: Option<Text<SocketAddr>>,
    /// A Unix socket where it listens as well: a file that its owner alone may open, who needs no token. One that is left from
    /// before is replaced.
    #[schemars(extend("examples" = ["/run/tidegate/admin.sock"]))]
    pub socket: Option<Text<FilePath>>,
    /// A file with a secret of at least 16 characters. With it, whoever asks has to know it (`Authorization: Bearer SECRET`), but for
    /// `/livez` and `/readyz`, and through `socket`. Without `tls` it crosses the network as it is.
    #[schemars(extend("examples" = ["admin.token"]))]
    pub token_file: Option<Text<FilePath>>,
    /// TLS on `address`, and nothing else there. Its files are read again when they change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<AdminTls>,
    /// Names under which it is asked; ports do not count. Those without a dot, and addresses, need not be among them; with any
    /// other `Host` it answers 403, so that no page elsewhere can ask it through a name of its own (DNS rebinding).
    #[serde(default)]
    #[schemars(extend("uniqueItems" = true, "examples" = [["tidegate.internal.example"]]))]
    pub hosts: Vec<Text<HostField>>,
}

/// TLS on the address of the admin interface.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct AdminTls {
    /// It chooses by server name (SNI), and takes the first when none matches.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// PEM file of the authorities that sign certificates of who may ask. Who shows one needs no token; who shows none gets what
    /// needs no token, and one that does not verify fails the handshake.
    #[schemars(extend("examples" = ["certs/operators.pem"]))]
    pub client_ca: Option<Text<FilePath>>,
    /// PEM file of the revocation lists (RFC 5280 §5) of these authorities, as that of a listener. Needs `client-ca`.
    #[schemars(extend("examples" = ["certs/operators.crl"]))]
    pub client_crl: Option<Text<FilePath>>,
}

pub(super) fn name_schema() -> schemars::Schema {
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
