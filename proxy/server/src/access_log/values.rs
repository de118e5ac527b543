//! What a line can tell, and how it is written: as JSON or as text.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderName, HeaderValue};
use serde::Serialize;
use tidegate_config::{AccessLog, LineFormat, LinePiece, LogField};
use tidegate_message::UNKNOWN;
use tidegate_upstream::{AttemptEnd, Attempts};

use super::Cached;
use super::clock::Clock;
use crate::policy::Step;

/// What is known of one exchange or connection. What it cannot have is `None`.
pub(super) struct Values<'a> {
    pub(super) id: u64,
    pub(super) request_id: Option<&'a [u8]>,
    pub(super) trace_id: Option<&'a str>,
    pub(super) listener: &'a str,
    pub(super) client: IpAddr,
    pub(super) peer: SocketAddr,
    pub(super) version: &'static str,
    pub(super) method: Option<&'a str>,
    pub(super) scheme: Option<&'static str>,
    pub(super) host: Option<&'a [u8]>,
    pub(super) server_name: Option<&'a str>,
    pub(super) target: Option<&'a str>,
    pub(super) status: Option<u16>,
    pub(super) route: Option<&'a str>,
    pub(super) server: Option<&'a str>,
    pub(super) attempts: Option<&'a Attempts>,
    pub(super) failure: Option<&'static str>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) duration_us: u64,
    pub(super) upstream_us: Option<u64>,
    pub(super) cache: Option<Cached>,
    pub(super) user_agent: Option<&'a [u8]>,
    /// As [`Format::headers`] asks for them.
    pub(super) headers: &'a [Option<HeaderValue>],
    pub(super) attributes: &'a [(String, String)],
    pub(super) policies: &'a [Step],
}

/// How lines are written.
pub(super) struct Format {
    kind: Kind,
    /// Of connections that are forwarded.
    of_connections: Kind,
    mask_query: Vec<String>,
    /// Fields of requests that lines tell, beside `User-Agent`.
    headers: Vec<HeaderName>,
}

enum Kind {
    /// Each with `,"name":` in front.
    Json(Vec<(Vec<u8>, Value)>),
    Text(Vec<Piece>),
}

enum Piece {
    Text(Vec<u8>),
    Value(Value),
}

/// A value that may be a field of the request, by its place.
enum Value {
    Of(LogField),
    Header(usize),
    /// A field that is an URL, whose query may have secrets.
    Url(usize),
    Masked,
}

/// The keys of a line of JSON about a connection that is forwarded.
const OF_CONNECTIONS: [LogField; 13] = [
    LogField::Time,
    LogField::Id,
    LogField::Listener,
    LogField::Client,
    LogField::Peer,
    LogField::Version,
    LogField::ServerName,
    LogField::Route,
    LogField::Server,
    LogField::Failure,
    LogField::BytesIn,
    LogField::BytesOut,
    LogField::DurationUs,
];

const MASK: &str = "***";

/// Bytes of a line; longer ones are no harm.
const USUAL: usize = 1 << 10;

impl Format {
    pub(super) fn new(log: &AccessLog) -> Self {
        let mut headers: Vec<HeaderName> = Vec::new();
        let mut value = |field: &LogField| {
            let name = match field {
                LogField::Header(name) => name.as_str(),
                LogField::UserAgent => "user-agent",
                LogField::Referer => "referer",
                field => return Value::Of(field.clone()),
            };
            if log.mask_headers.iter().any(|masked| masked == name) {
                return Value::Masked;
            }
            let (LogField::Header(_) | LogField::Referer, Ok(header)) = (field, HeaderName::try_from(name))
            else {
                return Value::Of(field.clone());
            };
            let known = headers.iter().position(|known| *known == header);
            let at = known.unwrap_or_else(|| {
                headers.push(header);
                headers.len() - 1
            });
            if *field == LogField::Referer { Value::Url(at) } else { Value::Header(at) }
        };
        let mut json =
            |fields: &[LogField]| Kind::Json(fields.iter().map(|field| (key(field), value(field))).collect());
        let (kind, of_connections) = match &log.line {
            LineFormat::Json(fields) if *fields == LogField::usual() => (json(fields), json(&OF_CONNECTIONS)),
            LineFormat::Json(fields) => (json(fields), json(fields)),
            LineFormat::Text(pieces) => {
                let mut all = || {
                    let piece = |piece: &LinePiece| match piece {
                        LinePiece::Text(text) => Piece::Text(text.clone().into_bytes()),
                        LinePiece::Field(field) => Piece::Value(value(field)),
                    };
                    Kind::Text(pieces.iter().map(piece).collect())
                };
                (all(), all())
            }
        };
        Self { kind, of_connections, mask_query: log.mask_query.clone(), headers }
    }

    /// The usual line of JSON, with nothing masked.
    pub(super) fn plain() -> Self {
        let value = |field: &LogField| (key(field), Value::Of(field.clone()));
        let kind = || Kind::Json(LogField::usual().iter().map(value).collect());
        Self { kind: kind(), of_connections: kind(), mask_query: Vec::new(), headers: Vec::new() }
    }

    /// The fields of the request whose values lines tell, beside `User-Agent`.
    pub(super) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    /// Appends a line about an exchange, and its end.
    pub(super) fn write(&self, values: &Values<'_>, clock: &Clock, out: &mut Vec<u8>) {
        self.write_as(&self.kind, values, clock, out);
    }

    /// The same about a connection.
    pub(super) fn write_connection(&self, values: &Values<'_>, clock: &Clock, out: &mut Vec<u8>) {
        self.write_as(&self.of_connections, values, clock, out);
    }

    fn write_as(&self, kind: &Kind, values: &Values<'_>, clock: &Clock, out: &mut Vec<u8>) {
        out.reserve(USUAL);
        match kind {
            Kind::Json(fields) => {
                let begin = out.len();
                for (key, value) in fields {
                    let before = out.len();
                    out.extend_from_slice(key);
                    if !self.value(value, values, clock, &mut Json(out)) {
                        // Left out.
                        out.truncate(before);
                    }
                }
                // In place of the first comma.
                match out.get_mut(begin) {
                    Some(first) => *first = b'{',
                    None => out.push(b'{'),
                }
                out.extend_from_slice(b"}\n");
            }
            Kind::Text(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.extend_from_slice(text),
                        Piece::Value(value) => {
                            self.value(value, values, clock, &mut Text(out));
                        }
                    }
                }
                out.push(b'\n');
            }
        }
    }

    /// False if there is nothing to be written, not even that there is nothing.
    fn value(&self, value: &Value, values: &Values<'_>, clock: &Clock, out: &mut impl Writing) -> bool {
        let header = |at: usize| values.headers.get(at).and_then(Option::as_ref);
        let field = match value {
            Value::Of(field) => field,
            Value::Header(at) => {
                out.bytes(header(*at).map(HeaderValue::as_bytes));
                return true;
            }
            Value::Url(at) => {
                self.query(header(*at).and_then(|value| value.to_str().ok()), out);
                return true;
            }
            Value::Masked => {
                out.text(Some(MASK));
                return true;
            }
        };
        match field {
            LogField::Time => clock.rfc3339(|time| out.plain(time.as_bytes())),
            LogField::TimeClf => clock.common(|time| out.plain(time.as_bytes())),
            LogField::Id => out.id(values.id),
            LogField::RequestId => out.bytes(values.request_id),
            LogField::TraceId => match values.trace_id {
                Some(id) => out.plain(id.as_bytes()),
                None => return out.absent(),
            },
            LogField::Listener => out.text(Some(values.listener)),
            LogField::Client if values.client == UNKNOWN => out.plain(b"unknown"),
            LogField::Client => out.address(values.client, None),
            LogField::Peer => out.address(values.peer.ip(), Some(values.peer.port())),
            LogField::Version => out.plain(values.version.as_bytes()),
            LogField::Method => out.text(values.method),
            LogField::Scheme => out.text(values.scheme),
            LogField::Host => out.bytes(values.host),
            LogField::ServerName => out.text(values.server_name),
            LogField::Target => self.query(values.target, out),
            LogField::Path => {
                out.text(values.target.map(|target| target.split_once('?').map_or(target, |(path, _)| path)));
            }
            LogField::Query => match values.target.and_then(|target| target.split_once('?')) {
                None => out.text(None),
                Some((_, query)) if self.mask_query.is_empty() => out.text(Some(query)),
                Some((_, query)) => out.text(Some(&self.masked(query))),
            },
            LogField::Status => out.number(values.status.map(u64::from)),
            LogField::Route => out.text(values.route),
            LogField::Server => out.text(values.server),
            LogField::Attempts => {
                let Some(attempts) = values.attempts.filter(|attempts| attempts.iter().nth(1).is_some())
                else {
                    return out.absent();
                };
                out.json(&tried(attempts));
            }
            LogField::Failure => out.text(values.failure),
            LogField::BytesIn => out.number(Some(values.bytes_in)),
            LogField::BytesOut => out.number(Some(values.bytes_out)),
            LogField::DurationUs => out.number(Some(values.duration_us)),
            LogField::UpstreamUs => out.number(values.upstream_us),
            LogField::Cache => match values.cache {
                Some(cached) => out.plain(cached.result.as_bytes()),
                None => return out.absent(),
            },
            LogField::CacheReason => match values.cache.and_then(|cached| cached.reason) {
                Some(reason) => out.plain(reason.as_bytes()),
                None => return out.absent(),
            },
            LogField::UserAgent => out.bytes(values.user_agent),
            LogField::Attributes => {
                if values.attributes.is_empty() {
                    return out.absent();
                }
                let sorted: std::collections::BTreeMap<_, _> =
                    values.attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
                out.json(&sorted);
            }
            LogField::Policies => out.steps(values.policies),
            // Both are found by their place.
            LogField::Referer | LogField::Header(_) => out.text(None),
        }
        true
    }

    /// An URL or a target, with its secrets masked.
    fn query(&self, target: Option<&str>, out: &mut impl Writing) {
        match target.and_then(|target| target.split_once('?')) {
            Some((path, query)) if !self.mask_query.is_empty() => {
                out.text(Some(&format!("{path}?{}", self.masked(query))));
            }
            _ => out.text(target),
        }
    }

    fn masked(&self, query: &str) -> String {
        let parameter = |parameter: &str| match parameter.split_once('=') {
            Some((name, _)) if self.mask_query.iter().any(|masked| masked == name) => {
                format!("{name}={MASK}")
            }
            _ => parameter.to_owned(),
        };
        query.split('&').map(parameter).collect::<Vec<_>>().join("&")
    }
}

/// What stands before a value.
fn key(field: &LogField) -> Vec<u8> {
    format!(",\"{}\":", field.name()).into_bytes()
}

/// One attempt of several.
#[derive(Serialize)]
struct Tried<'a> {
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'static str>,
}

fn tried(attempts: &Attempts) -> Vec<Tried<'_>> {
    let tried = attempts.iter().map(|attempt| {
        let (status, failure) = match attempt.end {
            AttemptEnd::UnderWay => (None, None),
            AttemptEnd::Answered(status) => (Some(status.as_u16()), None),
            AttemptEnd::Failed(failure) => (None, Some(failure)),
        };
        Tried { server: &attempt.server, status, failure }
    });
    tried.collect()
}

/// How values are written, in JSON and in text.
trait Writing {
    /// Text in which nothing has to be escaped.
    fn plain(&mut self, text: &[u8]);
    fn text(&mut self, text: Option<&str>);
    fn json(&mut self, value: &impl Serialize);
    /// There is nothing; what [`Format::value`] gives.
    fn absent(&mut self) -> bool;
    fn number(&mut self, number: Option<u64>);
    fn address(&mut self, ip: IpAddr, port: Option<u16>);
    fn steps(&mut self, steps: &[Step]);

    fn bytes(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            // Nearly all of them.
            Some(bytes) if !bytes.is_empty() && is_plain(bytes) => self.plain(bytes),
            Some(bytes) => self.text(Some(&String::from_utf8_lossy(bytes))),
            None => self.text(None),
        }
    }

    fn id(&mut self, id: u64) {
        let mut digits = [0; 16];
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(id >> (60 - 4 * at) & 15) as usize];
        }
        self.plain(&digits);
    }
}

/// Whether it is ASCII of which nothing has to be escaped, in JSON or in text. Without a way out of the loop, so that it looks
/// at several bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: u8| byte.wrapping_sub(b' ') < 0x5f && byte != b'"' && byte != b'\\';
    bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte))
}

struct Json<'a>(&'a mut Vec<u8>);
struct Text<'a>(&'a mut Vec<u8>);

fn digits(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The usual ones without the machinery of formatting.
fn address(ip: IpAddr, port: Option<u16>, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                digits(octet.into(), out);
            }
        }
        IpAddr::V6(ip) => {
            let _ = if port.is_some() { write!(out, "[{ip}]") } else { write!(out, "{ip}") };
        }
    }
    if let Some(port) = port {
        out.push(b':');
        digits(port.into(), out);
    }
}

impl Writing for Json<'_> {
    fn plain(&mut self, text: &[u8]) {
        // Room for all of it at once.
        self.0.reserve(text.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(text);
        self.0.push(b'"');
    }

    fn text(&mut self, text: Option<&str>) {
        let Some(text) = text else { return self.0.extend_from_slice(b"null") };
        if is_plain(text.as_bytes()) {
            self.plain(text.as_bytes());
        } else {
            self.json(&text);
        }
    }

    fn json(&mut self, value: &impl Serialize) {
        // Strings and numbers always serialise, and memory takes them.
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    fn absent(&mut self) -> bool {
        false
    }

    fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => digits(number, self.0),
            None => self.0.extend_from_slice(b"null"),
        }
    }

    fn address(&mut self, ip: IpAddr, port: Option<u16>) {
        self.0.push(b'"');
        address(ip, port, self.0);
        self.0.push(b'"');
    }

    fn steps(&mut self, steps: &[Step]) {
        self.0.push(b'[');
        for (at, step) in steps.iter().enumerate() {
            self.0.extend_from_slice(if at > 0 { b",{\"policy\":" } else { b"{\"policy\":" });
            self.text(Some(&step.policy));
            for (key, word) in [
                (",\"phase\":", Some(step.phase)),
                (",\"verdict\":", Some(step.verdict)),
                (",\"error\":", step.error),
            ] {
                if let Some(word) = word {
                    self.0.extend_from_slice(key.as_bytes());
                    self.plain(word.as_bytes());
                }
            }
            self.0.extend_from_slice(b",\"us\":");
            digits(step.us, self.0);
            self.0.push(b'}');
        }
        self.0.push(b']');
    }
}

/// As httpd and nginx do it: what would end a value or a line is `\xHH`, and `-` stands for nothing.
impl Writing for Text<'_> {
    fn plain(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    fn text(&mut self, text: Option<&str>) {
        let text = text.filter(|text| !text.is_empty()).unwrap_or("-");
        if is_plain(text.as_bytes()) {
            return self.plain(text.as_bytes());
        }
        for byte in text.bytes() {
            if byte < b' ' || byte == 0x7f || byte == b'"' || byte == b'\\' {
                let _ = write!(self.0, "\\x{byte:02X}");
            } else {
                self.0.push(byte);
            }
        }
    }

    fn json(&mut self, value: &impl Serialize) {
        let _ = serde_json::to_writer(&mut *self.0, value);
    }

    fn absent(&mut self) -> bool {
        self.0.push(b'-');
        true
    }

    fn number(&mut self, number: Option<u64>) {
        match number {
            Some(number) => digits(number, self.0),
            None => self.0.push(b'-'),
        }
    }

    fn address(&mut self, ip: IpAddr, port: Option<u16>) {
        address(ip, port, self.0);
    }

    fn steps(&mut self, steps: &[Step]) {
        if steps.is_empty() {
            self.0.push(b'-');
        }
        for (at, step) in steps.iter().enumerate() {
            if at > 0 {
                self.0.push(b',');
            }
            self.text(Some(&step.policy));
            let _ = write!(self.0, ":{}:{}", step.phase, step.error.unwrap_or(step.verdict));
        }
    }
}
