//! A line for each exchange and each forwarded connection: put together by the worker, handed over many at a time, and
//! written by a thread of its own.
//!
//! `values` is what a line can tell, and how; `writer` is a worker's end, `output` where lines go.

mod clock;
mod connection;
mod output;
mod values;
mod writer;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use tidegate_config::{AccessLog, LogSample};
use tidegate_io::clock::unix_seconds;
use tidegate_message::Connection;
use tidegate_upstream::{AttemptEnd, Attempts};

use self::clock::Clock;
pub(crate) use self::connection::ConnectionRecord;
use self::output::Output;
pub(crate) use self::output::check;
use self::values::{Format, Values};
pub(crate) use self::writer::Writer;
use crate::error::Unparsed;
use crate::explain::Explained;
use crate::lines::{self, Lines};
use crate::metrics::{Caching, Counting, Failure, Serving, Traffic, method_index};
use crate::policy::Step;
use crate::trace::{self, Trace};

/// Batches that may wait for the disk, and bytes of them; the lines of more are counted and dropped, and the proxy's log
/// says so. A line has some hundred bytes, and policies can note 256 KiB in one.
const QUEUE: usize = 4 << 10;
const QUEUE_BYTES: usize = 16 << 20;

/// What nginx writes for a client that went away before there was a response.
const CLIENT_CLOSED: u16 = 499;

/// A running access log. Dropping the last handle lets its thread finish what is queued and end.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Shared>);

struct Shared {
    lines: Lines<Reopen>,
    format: Format,
    sample: LogSample,
}

#[derive(Clone, Copy)]
struct Reopen;

/// Opens the log and starts its thread; `None` where the operator turned it off.
pub(crate) fn start(log: &AccessLog, lost: Arc<AtomicU64>) -> io::Result<Option<(Handle, JoinHandle<()>)>> {
    let Some(output) = Output::open(log)? else { return Ok(None) };
    let (lines, queue) = lines::queue(QUEUE, QUEUE_BYTES, lost);
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || output::write_lines(&queue, output))?;
    let shared = Shared { lines, format: Format::new(log), sample: log.sample };
    Ok(Some((Handle(Arc::new(shared)), thread)))
}

impl Handle {
    /// Opens the file by its name again, after it was renamed by log rotation.
    pub(crate) fn reopen(&self) {
        // A full queue is being written to the old file; the next signal finds it shorter.
        let _ = self.0.lines.ask(Reopen);
    }

    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The line of one exchange in the making. It is written when it is dropped, so that an exchange the
/// client abandons has one as well.
pub(crate) struct Record {
    log: Option<Rc<Writer>>,
    counting: Rc<Counting>,
    begun: Instant,
    id: u64,
    listener: Arc<str>,
    peer: SocketAddr,
    /// As metrics have it; `None` if there was no request.
    method: Option<u8>,
    /// Copied only for a log that is on.
    asked: Option<Asked>,
    pub(crate) client: IpAddr,
    pub(crate) scheme: &'static str,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) status: Option<StatusCode>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) attempts: Attempts,
    pub(crate) failure: Option<&'static str>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// From the complete request head to the first try at a server.
    pub(crate) forwarded: Option<Duration>,
    /// From the complete request head to the head of the upstream's response.
    pub(crate) upstream: Option<Duration>,
    /// How the cache met it; `None` where there is none.
    pub(crate) cache: Option<Cached>,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) policies: Vec<Step>,
    /// Where it belongs, and where its spans go.
    pub(crate) trace: Option<(Trace, trace::Handle)>,
    /// What is kept of a request that is explained.
    pub(crate) explained: Option<Box<Explained>>,
}

/// How a cache met a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cached {
    /// In one word.
    pub(crate) result: &'static str,
    /// Why it did not do so by itself, or why nothing is kept of the response.
    pub(crate) reason: Option<&'static str>,
}

/// The request as it came.
struct Asked {
    version: Version,
    /// `None` if there was no request.
    method: Option<Method>,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    /// Further fields that the log tells.
    headers: Vec<Option<HeaderValue>>,
}

impl Asked {
    fn of<B>(request: &Request<B>, log: Option<&Writer>) -> Self {
        let headers = request.headers();
        let told = log.map_or(&[][..], |log| log.headers());
        Self {
            version: request.version(),
            method: Some(request.method().clone()),
            uri: request.uri().clone(),
            host: headers.get(header::HOST).cloned(),
            user_agent: headers.get(header::USER_AGENT).cloned(),
            headers: told.iter().map(|name| headers.get(name).cloned()).collect(),
        }
    }

    fn host(&self) -> Option<&[u8]> {
        let authority = self.uri.authority().map(|host| host.as_str().as_bytes());
        authority.or_else(|| self.host.as_ref().map(HeaderValue::as_bytes))
    }

    fn target(&self) -> &str {
        self.uri.path_and_query().filter(|_| self.method.is_some()).map_or("", |target| target.as_str())
    }
}

impl Record {
    pub(crate) fn begin<B>(
        log: Option<Rc<Writer>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
        scheme: &'static str,
        request: &Request<B>,
        is_looked_at: bool,
    ) -> Self {
        let asked = (log.is_some() || is_looked_at).then(|| Asked::of(request, log.as_deref()));
        counting.listener(&connection.listener, |listener| listener.begun.add(1));
        let method = Some(method_index(request.method().as_str()));
        Self::with(log, counting, id, connection, scheme, method, asked)
    }

    /// The line of something that did not become a request.
    pub(crate) fn unparsed(
        log: Option<Rc<Writer>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
        scheme: &'static str,
        refusal: Unparsed,
    ) -> Self {
        let Unparsed { version, status, failure } = refusal;
        let asked = Asked {
            version,
            method: None,
            uri: Uri::default(),
            host: None,
            user_agent: None,
            headers: Vec::new(),
        };
        let asked = log.is_some().then_some(asked);
        let mut record = Self::with(log, counting, id, connection, scheme, None, asked);
        (record.status, record.failure) = (Some(status), Some(failure));
        record
    }

    fn with(
        log: Option<Rc<Writer>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
        scheme: &'static str,
        method: Option<u8>,
        asked: Option<Asked>,
    ) -> Self {
        Self {
            log,
            counting,
            begun: Instant::now(),
            id,
            listener: connection.listener.clone(),
            peer: connection.peer,
            method,
            asked,
            client: connection.source.ip().to_canonical(),
            scheme,
            request_id: None,
            status: None,
            route: None,
            attempts: Attempts::default(),
            failure: None,
            bytes_in: 0,
            bytes_out: 0,
            forwarded: None,
            upstream: None,
            cache: None,
            attributes: Vec::new(),
            policies: Vec::new(),
            trace: None,
            explained: None,
        }
    }

    /// The exchange's number, unique in this process.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The last one tried; `None` if it was sent to none, or not in the end.
    pub(crate) fn server(&self) -> Option<&Arc<str>> {
        self.attempts.last().filter(|_| self.upstream.is_some()).map(|attempt| &attempt.server)
    }

    /// The server that was asked last; empty if none was.
    pub(crate) fn server_name(&self) -> Arc<str> {
        self.server().cloned().unwrap_or_default()
    }

    /// Whether somebody will read what policies did.
    pub(crate) fn is_kept(&self) -> bool {
        self.log.is_some() || self.is_traced()
    }

    fn is_traced(&self) -> bool {
        self.trace.as_ref().is_some_and(|(trace, _)| trace.is_sampled())
    }

    /// When the request head was complete.
    pub(crate) fn begun(&self) -> Instant {
        self.begun
    }

    /// The whole response, of so many bytes, is on its way: there is nothing more to note.
    pub(crate) fn sent(mut self, bytes: u64) {
        self.bytes_out = bytes;
    }

    /// Since the request head was complete.
    pub(crate) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        self.count(took);
        if let Some(asked) = &self.asked {
            self.write(asked, took);
        }
    }
}

impl Record {
    fn count(&self, took: Duration) {
        let Self { counting, listener, .. } = self;
        let Some(method) = self.method else {
            let failure = self.failure.unwrap_or_default();
            return counting.listener(listener, |listener| listener.refused_requests.add(failure));
        };
        counting.listener(listener, |listener| listener.ended.add(1));
        let destination = self.route.as_ref().unwrap_or(&counting.nobody);
        let answered_in = self.forwarded.zip(self.upstream).map(|(from, to)| to.saturating_sub(from));
        counting.traffic.with(listener, destination, Traffic::default, |traffic| {
            traffic.count(method, self.status);
            traffic.duration.add(took);
            traffic.received.add(self.bytes_in);
            traffic.sent.add(self.bytes_out);
            if let Some(failure) = self.failure() {
                traffic.failures.add(failure);
            }
            for (count, attempt) in self.attempts.iter().enumerate() {
                traffic.attempts.add(outcome(attempt.end));
                traffic.retries.add(u64::from(count > 0));
            }
            if let Some(answered_in) = answered_in {
                traffic.upstream.add(answered_in);
            }
        });
        if let Some(Cached { result, reason }) = self.cache {
            counting.caching.with(destination, &counting.nobody, Caching::default, |caching| {
                caching.count(result, reason);
            });
        }
        let last = self.attempts.iter().count();
        for (count, attempt) in self.attempts.iter().enumerate() {
            counting.servers.with(destination, &attempt.server, Serving::default, |server| {
                match attempt.end {
                    AttemptEnd::Answered(status) => {
                        server.answered(status);
                        // Of those before it the time is not known.
                        if let Some(answered_in) = answered_in.filter(|_| count + 1 == last) {
                            server.duration.add(answered_in);
                        }
                    }
                    AttemptEnd::Failed(failure) => server.failed(failure),
                    AttemptEnd::UnderWay => server.attempts.add(outcome(attempt.end)),
                }
            });
        }
        if let Some(failure) = self.failure() {
            counting.keep_failure(|| self.failed(failure));
        }
    }

    /// What is kept of a failure for a while.
    fn failed(&self, failure: &'static str) -> Failure {
        let asked = self.asked.as_ref();
        Failure {
            at: unix_seconds(SystemTime::now()),
            id: id_text(self.id),
            listener: self.listener.to_string(),
            method: asked.and_then(|asked| asked.method.as_ref()).map(Method::to_string),
            path: asked.map(|asked| asked.uri.path().to_owned()),
            status: self.status.map(|status| status.as_u16()),
            failure,
            route: self.route.as_deref().map(str::to_owned),
            server: self.server().map(|server| server.to_string()),
        }
    }

    fn failure(&self) -> Option<&'static str> {
        self.failure.or_else(|| self.status.is_none().then_some("client-closed"))
    }

    fn write(&self, asked: &Asked, took: Duration) {
        let failure = self.failure();
        let trace_id = self.trace.as_ref().map(|(trace, _)| trace.id());
        if let Some(log) = &self.log
            && (failure.is_some() || self.status.is_none_or(|status| log.takes(status)))
        {
            log.line(&self.values(asked, took, trace_id.as_deref()));
        }
        if let Some((trace, handle)) = self.trace.as_ref().filter(|_| self.is_traced()) {
            handle.finish(&trace::Exchange {
                trace: *trace,
                begun: self.begun,
                took,
                id: id_text(self.id),
                request_id: self.request_id.as_ref().and_then(|id| id.to_str().ok()),
                listener: &self.listener,
                client: self.client,
                version: version_text(asked.version),
                method: asked.method.as_ref().map_or("_OTHER", Method::as_str),
                scheme: self.scheme,
                host: asked.host().and_then(|host| str::from_utf8(host).ok()),
                path: asked.uri.path(),
                status: self.status,
                route: self.route.as_deref(),
                failure,
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                upstream: self.upstream,
                attempts: &self.attempts,
                policies: &self.policies,
            });
        }
        if let Some(explained) = &self.explained {
            let mut line = Vec::new();
            PLAIN.write(&self.values(asked, took, None), &Clock::default(), &mut line);
            explained.finish(id_text(self.id), &line);
        }
    }

    fn values<'a>(&'a self, asked: &'a Asked, took: Duration, trace_id: Option<&'a str>) -> Values<'a> {
        Values {
            id: self.id,
            request_id: self.request_id.as_ref().map(HeaderValue::as_bytes),
            trace_id,
            listener: &self.listener,
            client: self.client,
            peer: self.peer,
            version: version_text(asked.version),
            method: asked.method.as_ref().map(Method::as_str),
            scheme: Some(self.scheme),
            host: asked.host(),
            server_name: None,
            target: Some(asked.target()),
            status: Some(self.status.map_or(CLIENT_CLOSED, |status| status.as_u16())),
            route: self.route.as_deref(),
            server: self.server().map(|server| &**server),
            attempts: Some(&self.attempts),
            failure: self.failure(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: micros(took),
            upstream_us: self.upstream.map(micros),
            cache: self.cache,
            user_agent: asked.user_agent.as_ref().map(HeaderValue::as_bytes),
            headers: &asked.headers,
            attributes: &self.attributes,
            policies: &self.policies,
        }
    }
}

/// The usual line, with nothing masked: what is kept of a request that is explained.
static PLAIN: LazyLock<Format> = LazyLock::new(Format::plain);

/// As metrics have it.
fn outcome(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::UnderWay => "given-up",
        AttemptEnd::Answered(_) => "answered",
        AttemptEnd::Failed(failure) => failure,
    }
}

/// As it is in the log.
pub(crate) fn id_text(id: u64) -> String {
    format!("{id:016x}")
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
