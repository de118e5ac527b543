//! `[access-log]`: where lines go, what stands in them, and which are written.

use std::path::PathBuf;

/// `[access-log]`: one line for each exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub output: LogOutput,
    /// What stands in one.
    pub line: LineFormat,
    /// Parameters of queries whose values are not written.
    pub mask_query: Vec<String>,
    /// Fields of requests whose values are not written, in lower case.
    pub mask_headers: Vec<String>,
    /// Which lines are written.
    pub sample: LogSample,
}

/// Where lines of the access log go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOutput {
    /// `path = "off"`.
    Off,
    /// `path = "stdout"`.
    Stdout,
    /// `path = "FILE"`, appended to; reopened on SIGHUP.
    File(PathBuf),
    /// `path = "syslog"` or `"syslog:SOCKET"`: a datagram for each line (RFC 3164).
    Syslog(PathBuf),
    /// `path = "journald"` or `"journald:SOCKET"`: a datagram for each line.
    Journald(PathBuf),
}

/// What stands in a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON object with these keys, in this order.
    Json(Vec<LogField>),
    /// Text, with values in it.
    Text(Vec<LinePiece>),
}

/// A piece of a line of text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinePiece {
    /// As it stands.
    Text(String),
    /// A value.
    Field(LogField),
}

/// Per cent of the exchanges that have a line, by class of the status. Those that failed always have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct LogSample {
    pub informational: u8,
    pub success: u8,
    pub redirection: u8,
    pub client_error: u8,
    pub server_error: u8,
}

/// A value of a line. What each is, the guide says (docs/operations.md).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogField {
    Time,
    /// As the common log format has it: `10/Oct/2000:13:55:36 +0000`.
    TimeClf,
    Id,
    RequestId,
    TraceId,
    Listener,
    Client,
    Peer,
    Version,
    Method,
    Scheme,
    Host,
    /// What the client asked for in its TLS handshake (SNI).
    ServerName,
    Target,
    /// The target without its query.
    Path,
    /// The query alone.
    Query,
    Status,
    Route,
    Server,
    Attempts,
    Failure,
    BytesIn,
    BytesOut,
    DurationUs,
    UpstreamUs,
    /// How the cache met the request.
    Cache,
    /// Why it did not meet it by itself.
    CacheReason,
    UserAgent,
    Referer,
    Attributes,
    Policies,
    /// A field of the request as the client sent it; the name in lower case.
    Header(String),
}

/// What stands in front of the name of a field of the request.
const HEADER: &str = "header:";

impl LogField {
    const NAMED: [(&'static str, Self); 31] = [
        ("time", Self::Time),
        ("time_clf", Self::TimeClf),
        ("id", Self::Id),
        ("request_id", Self::RequestId),
        ("trace_id", Self::TraceId),
        ("listener", Self::Listener),
        ("client", Self::Client),
        ("peer", Self::Peer),
        ("version", Self::Version),
        ("method", Self::Method),
        ("scheme", Self::Scheme),
        ("host", Self::Host),
        ("server_name", Self::ServerName),
        ("target", Self::Target),
        ("path", Self::Path),
        ("query", Self::Query),
        ("status", Self::Status),
        ("route", Self::Route),
        ("server", Self::Server),
        ("attempts", Self::Attempts),
        ("failure", Self::Failure),
        ("bytes_in", Self::BytesIn),
        ("bytes_out", Self::BytesOut),
        ("duration_us", Self::DurationUs),
        ("upstream_us", Self::UpstreamUs),
        ("cache", Self::Cache),
        ("cache_reason", Self::CacheReason),
        ("user_agent", Self::UserAgent),
        ("referer", Self::Referer),
        ("attributes", Self::Attributes),
        ("policies", Self::Policies),
    ];

    /// What a line has where the operator says nothing.
    pub fn usual() -> Vec<Self> {
        let left_out = [Self::TimeClf, Self::ServerName, Self::Path, Self::Query, Self::Referer];
        Self::NAMED.into_iter().map(|(_, field)| field).filter(|field| !left_out.contains(field)).collect()
    }

    /// All names, but those of fields of the request.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::NAMED.into_iter().map(|(name, _)| name)
    }

    /// The value of this name.
    pub fn named(name: &str) -> Option<Self> {
        if let Some(header) = name.strip_prefix(HEADER) {
            let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            let is_name = !header.is_empty() && header.bytes().all(is_token);
            return is_name.then(|| Self::Header(header.to_ascii_lowercase()));
        }
        Self::NAMED.into_iter().find(|(known, _)| *known == name).map(|(_, field)| field)
    }

    /// Its name: the key in JSON.
    pub fn name(&self) -> String {
        match self {
            Self::Header(name) => format!("{HEADER}{name}"),
            field => {
                let named = Self::NAMED.into_iter().find(|(_, known)| known == field);
                named.map_or("", |(name, _)| name).to_owned()
            }
        }
    }
}
