//! Serves the requests of one client connection and ends it when a limit or a wait says so.

use std::any::Any;
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_config::{HttpVersions, Limits, Timeouts};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;
use tokio::time::{sleep_until, timeout};

use super::io::{Activity, Io};
use super::leftover::{ClientBody, Leftover};
use super::stream::{Patience, Pieces, Turn};
use tidegate_body::{BoxError, ResponseBody, longer};
use tidegate_io::Millis;
use tidegate_io::wake::Beside;
use tidegate_message::fields::Marks;

/// What bounds a connection. It keeps those of the generation it was accepted under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) versions: HttpVersions,
    /// The client is a trusted proxy: its connection carries the requests of many.
    pub(crate) many_clients: bool,
    /// Names of fields in title case, for clients of HTTP/1.1 that compare them byte by byte.
    pub(crate) title_case: bool,
}

/// What the driver tells the handler of a request, beside the request.
pub(crate) struct Arrival {
    /// `Content-Length` lines in the head of an HTTP/1 request that has a body; the parser hides
    /// repeated ones and those beside `Transfer-Encoding` (RFC 9112 §6.1, §6.3).
    pub(crate) content_lengths: usize,
    pub(crate) marks: Marks,
    state: Rc<State>,
}

impl Arrival {
    /// Keeps the connection in use until this is dropped, for what goes on after the response: hyper drops
    /// the body of the one that begins a tunnel on a stream of HTTP/2, and the connection would be idle.
    pub(crate) fn hold(&self) -> Held {
        let in_flight = InFlight::begin(self.state.clone());
        in_flight.answered.set(true);
        in_flight.upgraded.set(true);
        Held { _in_flight: in_flight }
    }
}

/// See [`Arrival::hold`].
pub(crate) struct Held {
    _in_flight: InFlight,
}

/// HTTP/2 streams the client may open and reset before they are answered, in `RESET_WINDOW`: beyond what h2 bounds
/// itself. If they are more than half of its streams, the connection takes no new ones, and with twice as many it is cut.
const MAX_EARLY_RESETS: u64 = 100;
const RESET_WINDOW: Duration = Duration::from_secs(10);

/// What is read at once, and what waits to be written; hyper would take 400 KiB of either.
const HTTP1_BUFFER: usize = 64 << 10;

/// Fields of a head that hyper takes at most where it is not told otherwise.
const HTTP1_FIELDS: usize = 100;

/// RFC 9113 §6.9.2: 64 KiB is the protocol's default and slows uploads over long links.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
/// The largest there is.
const HTTP2_WINDOW: u32 = (1 << 31) - 1;

/// Serves `stream` until it ends; `negotiated` is the version ALPN chose, if any.
///
/// `counted` is dropped when the connection has ended, and a tunnel that it became.
///
/// `handle` answers one request and is dropped, with the exchange, when the client goes away; `unparsed` learns what
/// was answered to what is no request. When
/// `drain` becomes true the connection finishes what is in flight and closes (HTTP/2: GOAWAY).
pub(crate) async fn serve<S, H, F, U>(
    stream: S,
    negotiated: Option<Version>,
    bounds: Bounds,
    mut drain: watch::Receiver<bool>,
    handle: H,
    unparsed: U,
    counted: Box<dyn Any>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
    U: Fn((StatusCode, &'static str)),
{
    let activity = Activity::new();
    let mut io = Io::new(stream, activity.clone());
    let http2 = match negotiated {
        Some(version) => version == Version::HTTP_2,
        None if !bounds.versions.http1 => true,
        None if !bounds.versions.http2 => false,
        None => tokio::select! {
            biased;
            recognised = timeout(bounds.timeouts.request_headers, io.starts_http2()) => match recognised {
                Ok(Ok(http2)) => http2,
                // Broken, or silent for too long: no client is there to be told.
                Ok(Err(_)) | Err(_) => return,
            },
            // Nothing was asked yet, so nothing is lost.
            _ = drain.wait_for(|draining| *draining) => return,
        },
    };
    let state = Rc::new(State::new(activity, bounds, http2, counted));
    let service = {
        let state = state.clone();
        service_fn(move |request| serve_request(state.clone(), request, &handle))
    };
    if http2 {
        state.activity.expect_http2();
        let limits = &bounds.limits;
        // Room for all streams: uploads that a server does not take must not hold up those beside them.
        let window = HTTP2_STREAM_WINDOW.saturating_mul(limits.http2_streams).min(HTTP2_WINDOW);
        let patience = Patience { idle: bounds.timeouts.body_idle, rate: limits.min_rate };
        let mut connection = pin!(
            http2::Builder::new(Streams { state: state.clone(), patience })
                .initial_stream_window_size(HTTP2_STREAM_WINDOW)
                .initial_connection_window_size(window)
                .max_concurrent_streams(limits.http2_streams)
                .enable_connect_protocol()
                .max_header_list_size(u32::try_from(limits.request_headers).unwrap_or(u32::MAX))
                .serve_connection(TokioIo::new(io), service)
        );
        loop {
            let next = pin!(state.next(&mut drain));
            tokio::select! {
                biased;
                _ = connection.as_mut() => return,
                next = Beside::new(next) => match next {
                    Next::Check => {}
                    Next::Close => connection.as_mut().graceful_shutdown(),
                    Next::Cut | Next::RequestTimeout => return,
                },
            }
        }
    }
    let mut builder = http1::Builder::new();
    // With a limit of its own hyper prepares the places for fields one by one.
    if bounds.limits.request_header_count != HTTP1_FIELDS {
        builder.max_headers(bounds.limits.request_header_count);
    }
    let mut connection = builder
        .max_header_size(bounds.limits.request_headers)
        .max_buf_size(HTTP1_BUFFER.max(bounds.limits.request_headers))
        .title_case_headers(bounds.title_case)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    loop {
        let next = pin!(state.next(&mut drain));
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Some(refusal) = ended.err().as_ref().and_then(refusal) {
                    unparsed(refusal);
                }
                return;
            }
            next = Beside::new(next) => match next {
                Next::Check => {}
                // hyper would wait for a first request.
                Next::Close if state.activity.bytes_read() == 0 => return,
                Next::Close => Pin::new(&mut connection).graceful_shutdown(),
                Next::Cut => return,
                Next::RequestTimeout => break,
            },
        }
    }
    unparsed((StatusCode::REQUEST_TIMEOUT, "request-timeout"));
    if let Some(parts) = connection.into_parts() {
        answer_request_timeout(parts.io.into_inner()).await;
    }
}

/// What hyper answered to something it could not parse, and the name of the failure.
fn refusal(error: &hyper::Error) -> Option<(StatusCode, &'static str)> {
    if error.is_parse_too_large() {
        Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large"))
    } else {
        error.is_parse().then_some((StatusCode::BAD_REQUEST, "bad-request"))
    }
}

/// hyper cannot answer a request it has not parsed, so this is said on the bare stream.
async fn answer_request_timeout<S: AsyncRead + AsyncWrite + Unpin>(mut io: Io<S>) {
    const ANSWER: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let farewell = async {
        io.write_all(ANSWER).await?;
        io.shutdown().await
    };
    // A client that does not even read this is not waited for.
    let _ = timeout(Duration::from_secs(1), farewell).await;
}

fn serve_request<H, F>(
    state: Rc<State>,
    request: Request<Incoming>,
    handle: &H,
) -> impl Future<Output = Result<Response<Watched>, Infallible>> + use<H, F>
where
    H: Fn(Request<ClientBody>, Arrival) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    let requests = state.requests.get() + 1;
    state.requests.set(requests);
    let marks = Marks::of(request.headers());
    let content_lengths = if state.http2 { 0 } else { state.activity.begin_request(marks.framed()) };
    let mut leftover = None;
    let request = request.map(|incoming| {
        let (body, left) = ClientBody::new(incoming, &state.activity);
        leftover = left;
        body
    });
    let turn = state.http2.then(|| Rc::new(Turn::new(leftover.clone())));
    state.begun.set(turn.clone());
    let in_flight = InFlight::begin(state.clone());
    let arrival = Arrival { content_lengths, marks, state };
    // Boxed: hyper keeps room for what is returned with every connection, busy or idle.
    let answer = Box::pin(handle(request, arrival));
    async move {
        let mut response = answer.await;
        let state = &in_flight.state;
        if let Some(left) = leftover.as_ref().filter(|_| !state.http2)
            && !left.is_read(marks.expect, &state.activity).await
        {
            left.forget();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if requests >= state.bounds.limits.requests_per_connection {
            if state.http2 {
                state.order(Next::Close);
            } else {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if !state.http2
            && response.status().canonical_reason().is_none()
            && response.extensions().get::<ReasonPhrase>().is_none()
        {
            // hyper would write `<none>`; the phrase may be empty, and says nothing to anybody (RFC 9112 §4).
            response.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        in_flight.answered.set(true);
        in_flight.upgraded.set(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        let pieces = turn.map(|turn| Pieces::new(turn, state.activity.clone()));
        Ok(response.map(|body| Watched { body, pieces, leftover, _in_flight: in_flight }))
    }
}

/// A response body that keeps its exchange counted as in flight until it is sent or given up.
struct Watched {
    body: ResponseBody,
    /// Over HTTP/2.
    pieces: Option<Pieces>,
    /// Of its request.
    leftover: Option<Rc<Leftover>>,
    _in_flight: InFlight,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, pieces, .. } = &mut *self;
        match pieces {
            Some(pieces) => pieces.poll(body, cx),
            None => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer(self.body.size_hint(), self.rest())
    }
}

impl Watched {
    fn rest(&self) -> usize {
        self.pieces.as_ref().map_or(0, Pieces::rest)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let untaken = self.pieces.as_ref().map_or(0, Pieces::untaken);
        if untaken > 0 {
            self.body.break_off(untaken);
        }
        if let (Some(leftover), None) = (&self.leftover, &self.pieces) {
            leftover.forget();
        }
    }
}

/// One exchange of a connection, from its head to the end of its response.
struct InFlight {
    state: Rc<State>,
    answered: Cell<bool>,
    /// What follows are no more requests: nothing of it is kept.
    upgraded: Cell<bool>,
}

impl InFlight {
    fn begin(state: Rc<State>) -> Self {
        state.in_flight.set(state.in_flight.get() + 1);
        Self { state, answered: Cell::new(false), upgraded: Cell::new(false) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = &self.state;
        state.in_flight.set(state.in_flight.get() - 1);
        if state.http2 {
            if !self.answered.get() {
                state.count_early_reset();
            }
        } else if !self.upgraded.get() {
            state.activity.end_request();
        }
        state.idle_since.set(Millis::now());
    }
}

/// What the driver does next with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing; look again later.
    Check,
    /// Finish what is in flight, take nothing new.
    Close,
    /// Drop it as it is.
    Cut,
    /// Tell the client that its request head took too long, then close.
    RequestTimeout,
}

/// The life of one connection, as far as its bounds depend on it.
struct State {
    activity: Arc<Activity>,
    bounds: Bounds,
    http2: bool,
    opened: Instant,
    requests: Cell<u64>,
    in_flight: Cell<u32>,
    /// The end of the last exchange, or the start of the connection.
    idle_since: Cell<Millis>,
    closing: Cell<bool>,
    early_resets: Cell<Resets>,
    /// An order from an exchange to the driver.
    ordered: Cell<Option<Next>>,
    order: Notify,
    _counted: Box<dyn Any>,
    /// Of the HTTP/2 stream whose request came last, until its task begins.
    begun: Cell<Option<Rc<Turn>>>,
}

/// Streams that were reset before they were answered.
#[derive(Debug, Clone, Copy)]
struct Resets {
    since: Instant,
    /// Requests on the connection before.
    requests: u64,
    resets: u64,
}

/// The client's share of an HTTP/2 handshake: the preface and an empty SETTINGS frame (RFC 9113 §3.4).
const HTTP2_OPENING: u64 = 24 + 9;

impl State {
    fn new(activity: Arc<Activity>, bounds: Bounds, http2: bool, counted: Box<dyn Any>) -> Self {
        let now = Instant::now();
        Self {
            activity,
            bounds,
            http2,
            opened: now,
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(Millis::now()),
            closing: Cell::new(false),
            early_resets: Cell::new(Resets { since: now, requests: 0, resets: 0 }),
            ordered: Cell::new(None),
            order: Notify::new(),
            _counted: counted,
            begun: Cell::default(),
        }
    }

    /// Waits for the next thing the driver has to do. Timers are set to the earliest moment at which
    /// a bound could be reached and looked at again then, so that a request costs none.
    async fn next(&self, drain: &mut watch::Receiver<bool>) -> Next {
        let next = tokio::select! {
            () = sleep_until(self.deadline().into()) => self.check(),
            () = self.order.notified() => self.ordered.take().unwrap_or(Next::Check),
            // An error means that the worker is gone; its runtime drops this task.
            _ = drain.wait_for(|draining| *draining), if !self.closing.get() => Next::Close,
        };
        if next == Next::Close {
            self.closing.set(true);
        }
        next
    }

    fn order(&self, next: Next) {
        self.ordered.set(Some(next));
        self.order.notify_one();
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let timeouts = &self.bounds.timeouts;
        let mut deadline = if self.in_flight.get() > 0 {
            // The exchange may end right away, and then the other bounds count from there.
            let stalled = self.activity.write_stalled().unwrap_or_default();
            let stall = timeouts.body_idle.saturating_sub(stalled);
            let rate = self.bounds.limits.min_rate.response_after;
            now + stall.min(timeouts.keep_alive).min(timeouts.request_headers).min(rate)
        } else {
            now + timeouts.keep_alive.saturating_sub(Millis::now().time_since(self.idle_since.get()))
        };
        if self.http2 || self.in_flight.get() == 0 {
            let head = self.activity.head_since().unwrap_or_default();
            deadline = deadline.min(now + timeouts.request_headers.saturating_sub(head));
        }
        if !self.closing.get() {
            deadline = deadline.min(self.opened + timeouts.connection_age);
        }
        // What is due is handled by `check`; a bound that keeps being due must not spin.
        deadline.max(now + Duration::from_millis(10))
    }

    fn check(&self) -> Next {
        let timeouts = &self.bounds.timeouts;
        if self.activity.write_stalled().is_some_and(|stalled| stalled >= timeouts.body_idle) {
            return Next::Cut;
        }
        let rate = &self.bounds.limits.min_rate;
        if self.activity.reads_too_slowly(rate.response, rate.response_after) {
            return Next::Cut;
        }
        // In HTTP/2 nothing else can come before the rest of a head.
        if (self.http2 || self.in_flight.get() == 0)
            && self.activity.head_since().is_some_and(|since| since >= timeouts.request_headers)
        {
            return Next::RequestTimeout;
        }
        if self.in_flight.get() == 0 {
            let opening = if self.http2 {
                self.activity.bytes_read() < HTTP2_OPENING
            } else {
                self.requests.get() == 0
            };
            if opening && self.opened.elapsed() >= timeouts.request_headers {
                return Next::Cut;
            }
            if Millis::now().time_since(self.idle_since.get()) >= timeouts.keep_alive {
                // A client that ignores GOAWAY is not waited for a second time.
                return if self.closing.get() { Next::Cut } else { Next::Close };
            }
        }
        if !self.closing.get() && self.opened.elapsed() >= timeouts.connection_age {
            return Next::Close;
        }
        Next::Check
    }

    fn count_early_reset(&self) {
        if self.bounds.many_clients {
            // Each of them may go away at any time.
            return;
        }
        let mut counted = self.early_resets.get();
        if counted.since.elapsed() >= RESET_WINDOW {
            counted = Resets { since: Instant::now(), requests: self.requests.get() - 1, resets: 0 };
        }
        counted.resets += 1;
        self.early_resets.set(counted);
        let Resets { requests, resets, .. } = counted;
        if resets > MAX_EARLY_RESETS && resets > (self.requests.get() - requests) / 2 {
            let goes_on = self.closing.get() && resets > 2 * MAX_EARLY_RESETS;
            self.order(if goes_on { Next::Cut } else { Next::Close });
        }
    }
}

/// Runs HTTP/2 streams on the worker's own thread.
#[derive(Clone)]
struct Streams {
    state: Rc<State>,
    patience: Patience,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        // hyper hands over the rest of a stream right after it has called the service with its request.
        match self.state.begun.take() {
            Some(turn) => spawn_local(self.patience.serve(future, turn, self.state.activity.clone())),
            None => spawn_local(future),
        };
    }
}
