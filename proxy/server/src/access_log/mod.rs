//! JSON lines about what was served, written by a thread of their own so that a slow disk holds up no request.

mod connection;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use serde::{Serialize, Serializer};
use tidegate_config::{AccessLog, Config, Problem};
use tidegate_message::{Connection, UNKNOWN};
use tidegate_upstream::{AttemptEnd, Attempts};

pub(crate) use self::connection::ConnectionRecord;
use crate::explain::Explained;
use crate::lines::{self, Item, Lines, Queue};
use crate::metrics::{Counting, Serving, Traffic, method_index};
use crate::policy::Step;

/// Lines that may wait for the disk, and bytes of them; more are counted and dropped, and the proxy's log says so. A
/// line has some hundred bytes, and policies can note 256 KiB in one.
const QUEUE: usize = 16 << 10;
const QUEUE_BYTES: usize = 16 << 20;

/// What nginx writes for a client that went away before there was a response.
const CLIENT_CLOSED: u16 = 499;

/// A running access log. Dropping the last handle lets its thread finish what is queued and end.
#[derive(Clone)]
pub(crate) struct Handle(Lines<Reopen>);

#[derive(Clone, Copy)]
struct Reopen;

/// Opens the log and starts its thread; `None` where the operator turned it off.
pub(crate) fn start(log: &AccessLog, lost: Arc<AtomicU64>) -> io::Result<Option<(Handle, JoinHandle<()>)>> {
    let output = match log {
        AccessLog::Off => return Ok(None),
        AccessLog::Stdout => Output::Stdout(io::stdout()),
        AccessLog::File(path) => Output::File(BufWriter::new(open(path)?), path.clone()),
    };
    let (lines, queue) = lines::queue(QUEUE, QUEUE_BYTES, lost);
    let thread = std::thread::Builder::new()
        .name("access-log".to_owned())
        .spawn(move || write_lines(&queue, output))?;
    Ok(Some((Handle(lines), thread)))
}

impl Handle {
    /// Opens the file by its name again, after it was renamed by log rotation.
    pub(crate) fn reopen(&self) {
        // A full queue is being written to the old file; the next signal finds it shorter.
        let _ = self.0.ask(Reopen);
    }

    fn line(&self, line: &impl Serialize) {
        // Strings and numbers always serialise.
        let Ok(mut line) = serde_json::to_vec(line) else { return };
        line.push(b'\n');
        self.0.push(line);
    }
}

enum Output {
    Stdout(io::Stdout),
    File(BufWriter<File>, PathBuf),
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether the file of `access-log` can be written, without making it.
pub(crate) fn check(config: &Config) -> Option<Problem> {
    let AccessLog::File(path) = &config.access_log else { return None };
    let error = match OpenOptions::new().append(true).open(path) {
        Ok(_) => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            rustix::fs::access(parent, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
                .err()?
                .into()
        }
        Err(error) => error,
    };
    let message = format!("access-log.path: cannot write {}: {error}", path.display());
    Some(config.positions.problem("access-log.path", message))
}

fn write_lines(queue: &Queue<Reopen>, mut output: Output) {
    // Reported once, until writing works again.
    let mut failing = false;
    while let Ok(item) = queue.items.recv() {
        // What is queued is written in one go, then flushed.
        let mut next = Some(item);
        let mut result = Ok(());
        while let Some(item) = next {
            result = result.and(output.take(&item));
            next = queue.items.try_recv().ok();
        }
        result = result.and(output.flush());
        match result {
            Err(error) if !failing => {
                failing = true;
                tracing::error!(target: "access_log", "cannot write: {error}; lines are lost until this is mended");
            }
            Ok(()) => failing = false,
            Err(_) => {}
        }
        let lost = queue.take_lost();
        if lost > 0 {
            tracing::warn!(target: "access_log", lost, "lines were lost: the output is slower than the traffic");
        }
    }
}

impl Output {
    fn take(&mut self, item: &Item<Reopen>) -> io::Result<()> {
        match (item, self) {
            (Item::Line(line), Self::Stdout(stdout)) => stdout.lock().write_all(&line.text),
            (Item::Line(line), Self::File(file, _)) => file.write_all(&line.text),
            (Item::Command(Reopen), Self::Stdout(_)) => Ok(()),
            (Item::Command(Reopen), Self::File(file, path)) => {
                file.flush()?;
                *file = BufWriter::new(open(path)?);
                Ok(())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file, _) => file.flush(),
        }
    }
}

/// The line of one exchange in the making. It is written when it is dropped, so that an exchange the
/// client abandons has one as well.
pub(crate) struct Record {
    log: Option<Rc<Handle>>,
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
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) policies: Vec<Step>,
    /// What is kept of a request that is explained.
    pub(crate) explained: Option<Box<Explained>>,
}

/// The request as it came.
struct Asked {
    version: Version,
    /// `None` if there was no request.
    method: Option<Method>,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
}

impl Record {
    pub(crate) fn begin<B>(
        log: Option<Rc<Handle>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
        scheme: &'static str,
        request: &Request<B>,
        is_explained: bool,
    ) -> Self {
        let asked = (log.is_some() || is_explained).then(|| Asked {
            version: request.version(),
            method: Some(request.method().clone()),
            uri: request.uri().clone(),
            host: request.headers().get(header::HOST).cloned(),
            user_agent: request.headers().get(header::USER_AGENT).cloned(),
        });
        counting.listener(&connection.listener, |listener| listener.begun.add(1));
        let method = Some(method_index(request.method().as_str()));
        Self::with(log, counting, id, connection, scheme, method, asked)
    }

    /// The line of something that did not become a request.
    pub(crate) fn unparsed(
        log: Option<Rc<Handle>>,
        counting: Rc<Counting>,
        id: u64,
        connection: &Connection,
        scheme: &'static str,
        (status, failure): (StatusCode, &'static str),
    ) -> Self {
        let asked = Asked {
            version: Version::HTTP_11,
            method: None,
            uri: Uri::default(),
            host: None,
            user_agent: None,
        };
        let asked = log.is_some().then_some(asked);
        let mut record = Self::with(log, counting, id, connection, scheme, None, asked);
        (record.status, record.failure) = (Some(status), Some(failure));
        record
    }

    fn with(
        log: Option<Rc<Handle>>,
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
            attributes: Vec::new(),
            policies: Vec::new(),
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

    /// Whether there will be a line.
    pub(crate) fn is_kept(&self) -> bool {
        self.log.is_some()
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
                    end => server.attempts.add(outcome(end)),
                }
            });
        }
    }

    fn failure(&self) -> Option<&'static str> {
        self.failure.or_else(|| self.status.is_none().then_some("client-closed"))
    }

    fn write(&self, asked: &Asked, took: Duration) {
        let line = Line {
            time: Timestamp::now().to_string(),
            id: id_text(self.id),
            request_id: self.request_id.as_ref().map(text),
            listener: &self.listener,
            client: self.client,
            peer: self.peer,
            version: version_text(asked.version),
            method: asked.method.as_ref().map(Method::as_str),
            scheme: self.scheme,
            host: asked
                .uri
                .authority()
                .map(|host| host.as_str().into())
                .or_else(|| asked.host.as_ref().map(text)),
            target: asked
                .uri
                .path_and_query()
                .filter(|_| asked.method.is_some())
                .map_or("", |target| target.as_str()),
            status: self.status.map_or(CLIENT_CLOSED, |status| status.as_u16()),
            route: self.route.as_deref(),
            server: self.server().map(|server| &**server),
            attempts: several(&self.attempts),
            failure: self.failure(),
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: micros(took),
            upstream_us: self.upstream.map(micros),
            user_agent: asked.user_agent.as_ref().map(text),
            attributes: self.attributes.iter().map(|(key, value)| (&**key, &**value)).collect(),
            policies: &self.policies,
        };
        if let Some(log) = &self.log {
            log.line(&line);
        }
        if let Some(explained) = &self.explained {
            explained.finish(id_text(self.id), &line);
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    id: String,
    request_id: Option<Cow<'a, str>>,
    listener: &'a str,
    #[serde(serialize_with = "known")]
    client: IpAddr,
    peer: SocketAddr,
    version: &'static str,
    method: Option<&'a str>,
    scheme: &'static str,
    host: Option<Cow<'a, str>>,
    target: &'a str,
    status: u16,
    route: Option<&'a str>,
    server: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    attempts: Vec<Tried<'a>>,
    failure: Option<&'static str>,
    bytes_in: u64,
    bytes_out: u64,
    duration_us: u64,
    upstream_us: Option<u64>,
    user_agent: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'a str, &'a str>,
    policies: &'a [Step],
}

/// As metrics have it.
fn outcome(end: AttemptEnd) -> &'static str {
    match end {
        AttemptEnd::UnderWay => "given-up",
        AttemptEnd::Answered(_) => "answered",
        AttemptEnd::Failed(failure) => failure,
    }
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

/// All attempts, if there was more than one.
fn several(attempts: &Attempts) -> Vec<Tried<'_>> {
    if attempts.iter().nth(1).is_none() {
        return Vec::new();
    }
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

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// The address of a client, if it is known.
fn known<S: Serializer>(client: &IpAddr, serializer: S) -> Result<S::Ok, S::Error> {
    if *client == UNKNOWN { serializer.serialize_str("unknown") } else { client.serialize(serializer) }
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

/// Now in UTC, to the millisecond, as RFC 3339 writes it.
struct Timestamp(time::OffsetDateTime);

impl Timestamp {
    fn now() -> Self {
        Self(SystemTime::now().into())
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (date, time) = (self.0.date(), self.0.time());
        let (hour, minute, second, milli) = time.as_hms_milli();
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}
