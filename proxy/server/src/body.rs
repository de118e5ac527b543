//! The bodies of a request and a response while they stream through, with their limits and waits.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::error::Error;
use crate::upstream::Lease;

/// hyper asks for no more of a body's error than that it can be boxed.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A response body on its way to the client. Dropping it gives the upstream's connection up.
pub(crate) struct Body {
    source: Source,
    bytes: u64,
    on_end: Option<Box<dyn FnOnce(End)>>,
}

enum Source {
    Full(Bytes),
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
        Self { source: Source::Full(bytes.into()), bytes: 0, on_end: None }
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
        Self { source, bytes: 0, on_end: None }
    }

    /// Calls `on_end` once: after the last byte was taken, on a failure, or when the body is dropped.
    pub(crate) fn on_end(&mut self, on_end: impl FnOnce(End) + 'static) {
        self.on_end = Some(Box::new(on_end));
    }

    fn end(&mut self, complete: bool) {
        if let Source::Upstream { lease, .. } = &mut self.source
            && let Some(lease) = lease.take()
            && complete
        {
            lease.release();
        }
        if let Some(on_end) = self.on_end.take() {
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
        let frame = match &mut this.source {
            Source::Full(bytes) if bytes.is_empty() => None,
            Source::Full(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
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
            Some(Err(_)) => this.end(false),
            None => this.end(true),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Full(bytes) => bytes.is_empty(),
            Source::Upstream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
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

/// A request body on its way to an upstream, held to `limits.request-body` and `timeouts.body-idle`.
pub(crate) struct RequestBody {
    /// `None` = there is none, which can be sent any number of times.
    incoming: Option<Incoming>,
    idle: Idle,
    limit: u64,
    progress: Rc<Progress>,
}

/// What the exchange knows of its request body while the upstream's connection owns it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    bytes: Cell<u64>,
    ended: Cell<Option<Instant>>,
    failure: RefCell<Option<Error>>,
}

impl Progress {
    /// Bytes taken from the client.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// When the body had been sent whole, or was given up.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.get()
    }

    /// Why the client's body could not be passed on.
    pub(crate) fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone()
    }
}

impl RequestBody {
    pub(crate) fn new(incoming: Incoming, limit: u64, idle: Duration) -> Self {
        let incoming = (!incoming.is_end_stream()).then_some(incoming);
        Self { incoming, idle: Idle::new(idle), limit, progress: Rc::default() }
    }

    pub(crate) fn progress(&self) -> Rc<Progress> {
        self.progress.clone()
    }

    /// Another body like this one, if there is nothing in it.
    pub(crate) fn replay(&self) -> Option<Self> {
        let empty = self.incoming.is_none();
        empty.then(|| Self {
            incoming: None,
            idle: Idle::new(self.idle.after),
            limit: self.limit,
            progress: self.progress.clone(),
        })
    }

    fn fail(&self, error: Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let message = error.to_string();
        *self.progress.failure.borrow_mut() = Some(error);
        self.end();
        Poll::Ready(Some(Err(message.into())))
    }

    fn end(&self) {
        if self.progress.ended.get().is_none() {
            self.progress.ended.set(Some(Instant::now()));
        }
    }
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Some(incoming) = &mut this.incoming else { return Poll::Ready(None) };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.idle.poll_expired(cx));
                this.fail(Error::BodyTimeout)
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(_))) => this.fail(Error::BodyBroken),
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.progress();
                let bytes = this.progress.bytes() + frame.data_ref().map_or(0, |data| data.len() as u64);
                this.progress.bytes.set(bytes);
                if bytes > this.limit {
                    return this.fail(Error::BodyTooLarge);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.incoming.is_some() {
            self.end();
        }
    }
}

/// A wait for the next piece of a body. The timer exists only once a piece had to be waited for.
struct Idle {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    fn new(after: Duration) -> Self {
        Self { after, sleep: None, armed: false }
    }

    fn progress(&mut self) {
        self.armed = false;
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.after)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }
}
