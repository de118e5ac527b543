//! The bodies of a request and a response while they stream through, with their limits and waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tidegate_config::Buffer;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::buffer::{self, Place, Reader, Refused, Stored};
use crate::error::Error;
use crate::upstream::Lease;

/// hyper asks for no more of a body's error than that it can be boxed.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body on its way to the client. Dropping it gives the upstream's connection up.
pub(crate) struct Body {
    source: Source,
    bytes: u64,
    on_end: Option<Box<dyn FnOnce(End)>>,
    /// Why it is broken off, as soon as what came before it is on its way.
    broken: Option<BoxError>,
}

enum Source {
    Full(Bytes),
    /// What comes out of a stage that another body went into.
    Staged(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError>>>),
    Upstream {
        incoming: Incoming,
        /// Given back after the last byte.
        lease: Option<Lease>,
        idle: Idle,
        deadline: Option<Pin<Box<Sleep>>>,
    },
}

/// How a response body ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Bytes handed to the client's connection.
    pub(crate) bytes: u64,
    /// False if the upstream or the client broke it off.
    pub(crate) complete: bool,
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }

    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self { source: Source::Full(bytes.into()), bytes: 0, on_end: None, broken: None }
    }

    /// What a stage makes, as a rule of another body: buffered, filtered, coded.
    pub(crate) fn staged(stage: impl http_body::Body<Data = Bytes, Error = BoxError> + 'static) -> Self {
        Self { source: Source::Staged(Box::pin(stage)), bytes: 0, on_end: None, broken: None }
    }

    /// A body that was taken in, with the trailers it had.
    pub(crate) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        match trailers {
            None => Self::full(bytes),
            Some(trailers) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Self::staged(Full::new(bytes).with_trailers(trailers).map_err(|never| match never {}))
            }
        }
    }

    /// The rest of a body, after pieces that were taken of it.
    pub(crate) fn prefixed(first: Vec<Bytes>, rest: Self) -> Self {
        if first.is_empty() { rest } else { Self::staged(Prefixed { first: first.into(), rest }) }
    }

    /// Streams from an upstream, over the connection `lease`, which is kept for the next exchange after
    /// the last byte. The upstream is given up when it sends nothing for `idle`, or is not done at
    /// `deadline`. Back-pressure is that of the client's connection: it is polled only when there is
    /// room.
    pub(crate) fn upstream(
        incoming: Incoming,
        lease: Lease,
        idle: Duration,
        deadline: Option<Instant>,
    ) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        let source = Source::Upstream { incoming, lease: Some(lease), idle: Idle::new(idle), deadline };
        Self { source, bytes: 0, on_end: None, broken: None }
    }

    /// Calls `on_end` once: after the last byte was taken, on a failure, or when the body is dropped.
    pub(crate) fn on_end(&mut self, on_end: impl FnOnce(End) + 'static) {
        self.on_end = Some(Box::new(on_end));
    }

    /// Gives the upstream so much longer: its body was not read meanwhile.
    pub(crate) fn extend(&mut self, time: Duration) {
        if let Source::Upstream { deadline: Some(deadline), .. } = &mut self.source {
            let later = deadline.deadline() + time;
            deadline.as_mut().reset(later);
        }
    }

    fn end(&mut self, complete: bool) {
        if let Source::Upstream { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
            && complete
        {
            lease.release();
        }
        if let Some(on_end) = self.on_end.take() {
            // What stages have to note they note before the exchange ends.
            self.source = Source::Full(Bytes::new());
            on_end(End { bytes: self.bytes, complete });
        }
    }
}

/// The next piece of what a server sends, its connection driven as far as it takes.
fn poll_incoming(
    incoming: &mut Incoming,
    lease: &mut Option<Lease>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
    let Some(lease) = lease else { return Pin::new(incoming).poll_frame(cx) };
    if let Poll::Ready(frame) = lease.quietly(|| Pin::new(&mut *incoming).poll_frame(cx)) {
        return Poll::Ready(frame);
    }
    lease.poll_driver(cx);
    lease.quietly(|| Pin::new(incoming).poll_frame(cx))
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(error) = this.broken.take() {
            this.end(false);
            return Poll::Ready(Some(Err(error)));
        }
        let frame = match &mut this.source {
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            Source::Staged(stage) => ready!(stage.as_mut().poll_frame(cx)),
            Source::Upstream { incoming, lease, idle, deadline } => {
                match poll_incoming(incoming, lease, cx) {
                    Poll::Ready(frame) => {
                        idle.progress();
                        frame.map(|frame| frame.map_err(BoxError::from))
                    }
                    Poll::Pending => {
                        let late =
                            deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
                        if !late {
                            ready!(idle.poll_expired(cx));
                        }
                        Some(Err("the upstream did not send its body in time".into()))
                    }
                }
            }
        };
        match &frame {
            Some(Ok(frame)) => this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64),
            // An error makes hyper drop what it has not written yet, the head among it. It writes when there is
            // nothing to read.
            Some(Err(_)) if this.on_end.is_some() => {
                this.broken = frame.and_then(Result::err);
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Some(Err(_)) => this.end(false),
            None => this.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Staged(stage) => stage.is_end_stream(),
            Source::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Staged(stage) => stage.size_hint(),
            Source::Upstream { incoming, .. } => incoming.size_hint(),
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        let complete = self.is_end_stream();
        self.end(complete);
    }
}

/// Pieces of a body that were taken, and the body they were taken of.
struct Prefixed {
    first: VecDeque<Bytes>,
    rest: Body,
}

/// The hint of a body before which there are `more` bytes.
fn longer(rest: SizeHint, more: usize) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(more as u64));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(more as u64));
    }
    hint
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.first.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer(self.rest.size_hint(), self.first.iter().map(Bytes::len).sum())
    }
}

/// A request body on its way to an upstream, held to `limits.request-body` and `timeouts.body-idle`.
///
/// `None`: there is no body, which can be sent any number of times. Boxed, as it is moved from hand to hand with
/// every request, and most have none.
pub(crate) struct RequestBody(Option<Box<Handle>>);

/// One handle to a request body. Of several that stand for one ([`Replay`]) only the newest moves.
struct Handle {
    source: RequestSource,
    /// Which of the handles this is.
    turn: u32,
    idle: Idle,
    limit: u64,
    progress: Rc<Advance>,
}

enum RequestSource {
    /// It is still coming. `position`: pieces of what is kept of it that were sent.
    Client { body: Rc<RefCell<ClientBody>>, position: usize },
    /// It is here.
    Stored(Reader),
}

/// What is still coming, and what of it is kept to be sent again.
struct ClientBody {
    upload: Upload,
    kept: Vec<Piece>,
    /// Bytes that may still be kept; `None` = the body is too large, or was never to be kept.
    room: Option<usize>,
}

/// Where a request body comes from.
enum Upload {
    /// The client.
    Client(Incoming),
    /// What comes out of a stage.
    Staged(Box<Body>),
}

impl Upload {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self {
            Self::Client(incoming) => Pin::new(incoming)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(|_| Error::BodyBroken))),
            Self::Staged(body) => Pin::new(body)
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(Error::of_request_body))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(incoming) => incoming.is_end_stream(),
            Self::Staged(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(incoming) => incoming.size_hint(),
            Self::Staged(body) => body.size_hint(),
        }
    }
}

#[derive(Clone)]
enum Piece {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(data) => Frame::data(data),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }
}

impl ClientBody {
    /// Keeps a piece that was just read, if all before it were kept and there is room.
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(room) = self.room else { return };
        let piece = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Piece::Data(data.clone()),
            (None, Some(trailers)) => Piece::Trailers(trailers.clone()),
            (None, None) => return,
        };
        self.room = room.checked_sub(piece.len());
        if self.room.is_some() {
            self.kept.push(piece);
        } else {
            self.kept = Vec::new();
        }
    }
}

/// A request body that can be sent again; `None`: there is none.
pub(crate) struct Replay(Option<Again>);

struct Again {
    source: ReplaySource,
    idle: Duration,
    limit: u64,
    progress: Rc<Advance>,
}

enum ReplaySource {
    Client(Rc<RefCell<ClientBody>>),
    Stored(Rc<Stored>),
}

impl Replay {
    /// The body from its beginning, unless more of it was sent than was to be kept. What was sent of it
    /// before ends.
    pub(crate) fn body(&self) -> Option<RequestBody> {
        let Some(again) = &self.0 else { return Some(RequestBody(None)) };
        let source = match &again.source {
            ReplaySource::Client(body) => {
                body.borrow().room?;
                RequestSource::Client { body: body.clone(), position: 0 }
            }
            ReplaySource::Stored(stored) => RequestSource::Stored(Reader::new(stored.clone())),
        };
        Some(RequestBody::next(source, again.idle, again.limit, &again.progress))
    }
}

/// What the exchange knows of its request body while the upstream's connection owns it. `None`: there is no body.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Option<Rc<Advance>>);

/// How far a body has come, and how that ended.
#[derive(Debug, Default)]
struct Advance {
    bytes: Cell<u64>,
    /// The handle to the body that may move.
    turn: Cell<u32>,
    ended: Cell<Option<Instant>>,
    failure: RefCell<Option<Error>>,
}

impl Progress {
    /// Bytes taken from the client.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |advance| advance.bytes.get())
    }

    /// When the body had been sent whole, or was given up.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|advance| advance.ended.get())
    }

    /// Why the client's body could not be passed on.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.0.as_ref().and_then(|advance| advance.failure.borrow().clone())
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: u64, idle: Duration) -> Self {
        Self::coming((!incoming.is_end_stream()).then_some(Upload::Client(incoming)), limit, idle)
    }

    /// What a stage makes of another request body, which keeps to the limits and waits.
    pub(crate) fn staged(body: Body) -> Self {
        Self::coming(
            (!body.is_end_stream()).then_some(Upload::Staged(Box::new(body))),
            u64::MAX,
            Duration::ZERO,
        )
    }

    fn coming(upload: Option<Upload>, limit: u64, idle: Duration) -> Self {
        let Some(upload) = upload else { return Self(None) };
        let body = ClientBody { upload, kept: Vec::new(), room: None };
        let source = RequestSource::Client { body: Rc::new(RefCell::new(body)), position: 0 };
        let handle = Handle { source, turn: 0, idle: Idle::new(idle), limit, progress: Rc::default() };
        Self(Some(Box::new(handle)))
    }

    /// A new handle to a body of which there were others.
    fn next(source: RequestSource, idle: Duration, limit: u64, progress: &Rc<Advance>) -> Self {
        let turn = progress.turn.get() + 1;
        progress.turn.set(turn);
        progress.ended.set(None);
        let handle = Handle { source, turn, idle: Idle::new(idle), limit, progress: progress.clone() };
        Self(Some(Box::new(handle)))
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress(self.0.as_ref().map(|handle| handle.progress.clone()))
    }

    /// Takes the body whole, so that it can be sent any number of times. Nothing is kept of one that fails.
    /// `upstream` is whose `buffer-requests` it is.
    pub(crate) async fn stored(
        mut self,
        buffer: Buffer,
        place: &Place,
        upstream: &Arc<str>,
    ) -> Result<Self, Error> {
        if http_body::Body::is_end_stream(&self) {
            return Ok(self);
        }
        let stored = buffer::store(&mut self, buffer, place).await.map_err(|refused| match refused {
            Refused::TooLarge => Error::BodyOverBuffer { upstream: upstream.clone() },
            Refused::NoSpace => Error::TemporarySpace,
            Refused::Disk(error) => Error::TemporaryFile { cause: error.to_string() },
            Refused::Broken => self.progress().failure().unwrap_or(Error::BodyBroken),
        })?;
        let Some(handle) = self.0.as_ref().filter(|_| !stored.is_empty()) else { return Ok(Self(None)) };
        let source = RequestSource::Stored(Reader::new(Rc::new(stored)));
        Ok(Self::next(source, handle.idle.after, handle.limit, &handle.progress))
    }

    /// Whether fields follow it, which HTTP/1.1 can only send after chunks (RFC 9112 §7.1.2).
    pub(crate) fn has_trailers(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| match &handle.source {
            RequestSource::Client { .. } => false,
            RequestSource::Stored(reader) => reader.stored().has_trailers(),
        })
    }

    /// What it takes to send this body again. From now on up to `bytes` of it are kept, unless all of it is
    /// already; to be called before anything of it is sent.
    pub(crate) fn replay(&self, bytes: usize) -> Replay {
        Replay(self.0.as_ref().map(|handle| {
            let source = match &handle.source {
                RequestSource::Client { body, .. } => {
                    body.borrow_mut().room = Some(bytes);
                    ReplaySource::Client(body.clone())
                }
                RequestSource::Stored(reader) => ReplaySource::Stored(reader.stored().clone()),
            };
            let progress = handle.progress.clone();
            Again { source, idle: handle.idle.after, limit: handle.limit, progress }
        }))
    }
}

impl Handle {
    fn fail(&self, error: Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        *self.progress.failure.borrow_mut() = Some(error.clone());
        self.end();
        Poll::Ready(Some(Err(error.into())))
    }

    fn end(&self) {
        if self.is_current() && self.progress.ended.get().is_none() {
            self.progress.ended.set(Some(Instant::now()));
        }
    }

    fn is_current(&self) -> bool {
        self.progress.turn.get() == self.turn
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(this) = &mut self.0 else { return Poll::Ready(None) };
        if !this.is_current() {
            return Poll::Ready(Some(Err("the request is being sent again".into())));
        }
        let (body, position) = match &mut this.source {
            RequestSource::Client { body, position } => (body, position),
            RequestSource::Stored(reader) => {
                return match ready!(reader.poll_frame(cx)) {
                    Some(Err(error)) => this.fail(Error::TemporaryFile { cause: error.to_string() }),
                    Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
                    None => {
                        this.end();
                        Poll::Ready(None)
                    }
                };
            }
        };
        let mut body = body.borrow_mut();
        if let Some(piece) = body.kept.get(*position) {
            *position += 1;
            return Poll::Ready(Some(Ok(piece.clone().into_frame())));
        }
        let polled = body.upload.poll_frame(cx);
        if polled.is_pending() && matches!(body.upload, Upload::Staged(_)) {
            return Poll::Pending;
        }
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            body.keep(frame);
            *position = body.kept.len();
        }
        drop(body);
        match polled {
            Poll::Pending => {
                ready!(this.idle.poll_expired(cx));
                this.fail(Error::BodyTimeout)
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.fail(error),
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.progress();
                let bytes = this.progress.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64);
                this.progress.bytes.set(bytes);
                if bytes > this.limit {
                    return this.fail(Error::BodyTooLarge);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(handle) = &self.0 else { return true };
        match &handle.source {
            RequestSource::Client { body, position } => {
                let body = body.borrow();
                *position >= body.kept.len() && body.upload.is_end_stream()
            }
            RequestSource::Stored(reader) => reader.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Some(handle) = &self.0 else { return SizeHint::with_exact(0) };
        let (body, position) = match &handle.source {
            RequestSource::Client { body, position } => (body.borrow(), *position),
            // Without an exact length HTTP/1.1 sends it in chunks, and trailers after it.
            RequestSource::Stored(reader) if reader.stored().has_trailers() => {
                let mut hint = SizeHint::new();
                hint.set_lower(reader.left());
                return hint;
            }
            RequestSource::Stored(reader) => return SizeHint::with_exact(reader.left()),
        };
        let again: usize = body.kept.iter().skip(position).map(Piece::len).sum();
        longer(body.upload.size_hint(), again)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

/// A wait for the next piece of a body. The timer exists only once a piece had to be waited for.
pub(crate) struct Idle {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    pub(crate) fn new(after: Duration) -> Self {
        Self { after, sleep: None, armed: false }
    }

    pub(crate) fn progress(&mut self) {
        self.armed = false;
    }

    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.after)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }
}
