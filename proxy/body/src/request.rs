//! The body of a request on its way to a server.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tidegate_config::Buffer;
use tokio::time::Instant;

use crate::any::{Body, BoxError};
use crate::arriving::Arriving;
use crate::buffer::{self, Reader, Refused, TemporaryFiles};
use crate::error::RequestBodyError;
use crate::idle::Idle;
use crate::progress::{Advance, Progress};

/// A request body, which can be sent again as far as it is kept ([`RequestBody::replay`]).
///
/// `None`: there is no body, which can be sent any number of times. Boxed, as it is moved from hand to hand with
/// every request, and most have none.
pub struct RequestBody(pub(crate) Option<Box<Handle>>);

/// One handle to a request body. Of several that stand for one ([`Replay`](crate::Replay)) only the newest moves.
pub(crate) struct Handle {
    pub(crate) origin: Origin,
    /// Which of the handles this is.
    turn: u32,
    /// Of a body that comes from a client; what stages make of it keeps to them already.
    bounded: Option<Bounded>,
    pub(crate) progress: Rc<Advance>,
}

/// What a client's body has to keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes: `limits.request-body`.
    pub limit: u64,
    /// Time between two chunks: `timeouts.body-idle`.
    pub idle: Duration,
}

struct Bounded {
    bounds: Bounds,
    idle: Idle,
}

pub(crate) enum Origin {
    /// It is still coming. `position`: chunks of what is kept of it that were sent.
    Arriving { body: Rc<RefCell<Arriving>>, position: usize },
    /// It is here.
    Stored(Reader),
}

impl RequestBody {
    /// What a client sends.
    pub fn new<B>(incoming: B, bounds: Bounds) -> Self
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let incoming = http_body_util::BodyExt::map_err(incoming, |_| RequestBodyError::Broken.into());
        let bounded = Bounded { bounds, idle: Idle::new(bounds.idle) };
        Self::arriving(Body::boxed(incoming), Some(bounded))
    }

    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }

    /// What a stage makes of another request body, which keeps to the bounds, or a body of the proxy's own.
    pub fn of(body: Body) -> Self {
        if body.is_end_stream() { Self(None) } else { Self::arriving(body, None) }
    }

    fn arriving(body: Body, bounded: Option<Bounded>) -> Self {
        let body = Rc::new(RefCell::new(Arriving::new(body)));
        let origin = Origin::Arriving { body, position: 0 };
        Self(Some(Box::new(Handle { origin, turn: 0, bounded, progress: Rc::default() })))
    }

    /// A new handle to a body of which there were others.
    pub(crate) fn next(origin: Origin, bounds: Option<Bounds>, progress: &Rc<Advance>) -> Self {
        let turn = progress.turn.get() + 1;
        progress.turn.set(turn);
        progress.ended.set(None);
        let bounded = bounds.map(|bounds| Bounded { bounds, idle: Idle::new(bounds.idle) });
        Self(Some(Box::new(Handle { origin, turn, bounded, progress: progress.clone() })))
    }

    /// How far it has come, from now on.
    pub fn progress(&self) -> Progress {
        Progress(self.0.as_ref().map(|handle| handle.progress.clone()))
    }

    /// Takes the body whole, so that it can be sent any number of times. Nothing is kept of one that fails.
    /// `upstream` is whose `buffer-requests` it is.
    ///
    /// # Errors
    /// The body is too large for the buffer, there is no room for it, or it did not come as a whole.
    pub async fn stored(
        mut self,
        buffer: Buffer,
        files: &TemporaryFiles,
        upstream: &Arc<str>,
    ) -> Result<Self, RequestBodyError> {
        if http_body::Body::is_end_stream(&self) {
            return Ok(self);
        }
        let stored = buffer::store(&mut self, buffer, files).await.map_err(|refused| match refused {
            Refused::TooLarge => RequestBodyError::OverBuffer { upstream: upstream.clone() },
            Refused::NoSpace => RequestBodyError::NoSpace,
            Refused::Disk(error) => RequestBodyError::TemporaryFile { cause: error.to_string() },
            Refused::Broken => self.progress().failure().unwrap_or(RequestBodyError::Broken),
        })?;
        let Some(handle) = self.0.as_ref().filter(|_| !stored.is_empty()) else { return Ok(Self(None)) };
        let origin = Origin::Stored(Reader::new(Rc::new(stored)));
        Ok(Self::next(origin, handle.bounds(), &handle.progress))
    }

    /// Whether fields follow it, which HTTP/1.1 can only send after chunks (RFC 9112 §7.1.2).
    pub fn has_trailers(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| match &handle.origin {
            Origin::Arriving { .. } => false,
            Origin::Stored(reader) => reader.stored().has_trailers(),
        })
    }
}

impl Handle {
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        self.bounded.as_ref().map(|bounded| bounded.bounds)
    }

    fn fail(&self, error: RequestBodyError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
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
        let polled = match &mut this.origin {
            Origin::Stored(reader) => {
                return match ready!(reader.poll_frame(cx)) {
                    Some(Err(error)) => {
                        this.fail(RequestBodyError::TemporaryFile { cause: error.to_string() })
                    }
                    Some(Ok(frame)) => Poll::Ready(Some(Ok(frame))),
                    None => {
                        this.end();
                        Poll::Ready(None)
                    }
                };
            }
            Origin::Arriving { body, position } => {
                let mut body = body.borrow_mut();
                if let Some(frame) = body.again(position) {
                    return Poll::Ready(Some(Ok(frame)));
                }
                body.poll_next(position, cx)
            }
        };
        match polled {
            Poll::Pending => {
                let Some(bounded) = &mut this.bounded else { return Poll::Pending };
                ready!(bounded.idle.poll_expired(cx));
                this.fail(RequestBodyError::Idle)
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.fail(RequestBodyError::of(error)),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = this.progress.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64);
                this.progress.bytes.set(bytes);
                if let Some(bounded) = &mut this.bounded {
                    bounded.idle.progress();
                    if bytes > bounded.bounds.limit {
                        return this.fail(RequestBodyError::TooLarge);
                    }
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(handle) = &self.0 else { return true };
        match &handle.origin {
            Origin::Arriving { body, position } => body.borrow().is_end_stream(*position),
            Origin::Stored(reader) => reader.is_at_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Some(handle) = &self.0 else { return SizeHint::with_exact(0) };
        match &handle.origin {
            Origin::Arriving { body, position } => body.borrow().size_hint(*position),
            // Without an exact length HTTP/1.1 sends it in chunks, and trailers after it.
            Origin::Stored(reader) if reader.stored().has_trailers() => {
                let mut hint = SizeHint::new();
                hint.set_lower(reader.left());
                hint
            }
            Origin::Stored(reader) => SizeHint::with_exact(reader.left()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
