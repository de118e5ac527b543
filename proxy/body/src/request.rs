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
use tokio::time::{Instant, Sleep, sleep_until};

use crate::any::{Body, BoxError};
use crate::arriving::{Arriving, Position, Window};
use crate::buffer::{self, Reader, Refused, TemporaryFiles};
use crate::error::RequestBodyError;
use crate::memory::{MemoryUsedUp, Payer};
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
    bounded: Bounded,
    /// On whose account the body is kept.
    pub(crate) payer: Payer,
    pub(crate) progress: Rc<Advance>,
}

/// What a client's body has to keep to.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes until the response begins: `limits.request-body`. What a client says after it is no upload.
    pub limit: u64,
    /// Time between two chunks: `timeouts.body-idle`.
    pub idle: Duration,
    /// The same once the response has begun: `timeouts.stream-idle`.
    pub stream_idle: Duration,
    /// Bytes in a second of waiting for the client: `limits.min-rate`; 0 = no bound.
    pub min_rate: u64,
    /// Waiting that is free.
    pub min_rate_after: Duration,
    /// Bytes the connection may hold of it before they are asked for: the window of a stream of HTTP/2.
    pub window: usize,
}

impl Bounds {
    /// How long a client is waited for that was waited for before, and what it is then.
    fn patience(&self, progress: &Advance, waited: Duration) -> (Duration, RequestBodyError) {
        if progress.answered.get() {
            // It sends when it has something to say.
            return (self.stream_idle, RequestBodyError::Idle);
        }
        let earned = progress.bytes.get().checked_div(self.min_rate).map(Duration::from_secs);
        let left = earned.map(|earned| (self.min_rate_after + earned).saturating_sub(waited));
        match left.filter(|left| *left < self.idle) {
            Some(left) => (left, RequestBodyError::Slow),
            None => (self.idle, RequestBodyError::Idle),
        }
    }
}

#[derive(Default)]
struct Bounded {
    /// Exists only once a chunk had to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client is waited for.
    waits_since: Option<Instant>,
    /// How long it was waited for before.
    waited: Duration,
}

impl Bounded {
    /// Ready when the client is not waited for any longer.
    fn poll_expired(&mut self, progress: &Advance, cx: &mut Context<'_>) -> Poll<RequestBodyError> {
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        loop {
            let Some(bounds) = progress.bounds.get() else { return Poll::Pending };
            let (patience, error) = bounds.patience(progress, self.waited);
            let due = since + patience;
            if due <= Instant::now() {
                return Poll::Ready(error);
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() > due || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            // One that was set for a shorter patience, or for an earlier wait, is set anew.
            ready!(timer.as_mut().poll(cx));
        }
    }

    fn progress(&mut self) {
        if let Some(since) = self.waits_since.take() {
            self.waited += since.elapsed();
        }
    }
}

pub(crate) enum Origin {
    /// It is still coming. `position`: what of it this handle has sent.
    Arriving { body: Rc<RefCell<Arriving>>, position: Position },
    /// It is here.
    Stored(Reader),
}

impl RequestBody {
    /// What a client sends.
    ///
    /// # Errors
    /// There is no memory for what the connection may hold of it.
    pub fn new<B>(incoming: B, bounds: Bounds, payer: impl FnOnce() -> Payer) -> Result<Self, MemoryUsedUp>
    where
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<BoxError>,
    {
        if incoming.is_end_stream() {
            return Ok(Self(None));
        }
        let payer = payer();
        let most = incoming.size_hint().upper().and_then(|most| usize::try_from(most).ok());
        let window = Window::new(bounds.window.min(most.unwrap_or(usize::MAX)), &payer)?;
        let incoming = http_body_util::BodyExt::map_err(incoming, |_| RequestBodyError::Broken.into());
        let body = Self::arriving(Body::boxed(incoming), window, payer);
        body.progress().bind(bounds);
        Ok(body)
    }

    /// No body.
    pub fn empty() -> Self {
        Self(None)
    }

    /// What a stage makes of another request body, which keeps to the bounds, or a body of the proxy's own.
    pub fn of(body: Body, payer: Payer) -> Self {
        if body.is_end_stream() { Self(None) } else { Self::arriving(body, None, payer) }
    }

    fn arriving(body: Body, window: Option<Window>, payer: Payer) -> Self {
        let body = Rc::new(RefCell::new(Arriving::new(body, window, &payer)));
        let origin = Origin::Arriving { body, position: Position::default() };
        Self(Some(Box::new(Handle {
            origin,
            turn: 0,
            bounded: Bounded::default(),
            payer,
            progress: Rc::default(),
        })))
    }

    /// A new handle to a body of which there were others.
    pub(crate) fn next(origin: Origin, payer: Payer, progress: &Rc<Advance>) -> Self {
        let turn = progress.turn.get() + 1;
        progress.turn.set(turn);
        progress.ended.set(None);
        let bounded = Bounded::default();
        Self(Some(Box::new(Handle { origin, turn, bounded, payer, progress: progress.clone() })))
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
        let Some(payer) = self.0.as_ref().map(|handle| handle.payer.clone()) else { return Ok(self) };
        let stored =
            buffer::store(&mut self, buffer, files, &payer).await.map_err(|refused| match refused {
                Refused::TooLarge => RequestBodyError::OverBuffer { upstream: upstream.clone() },
                Refused::NoSpace => RequestBodyError::NoSpace,
                Refused::NoMemory => RequestBodyError::NoMemory,
                Refused::Disk(error) => RequestBodyError::TemporaryFile { cause: error.to_string() },
                Refused::Broken => self.progress().failure().unwrap_or(RequestBodyError::Broken),
            })?;
        let Some(handle) = self.0.as_ref().filter(|_| !stored.is_empty()) else { return Ok(Self(None)) };
        let origin = Origin::Stored(Reader::new(Rc::new(stored)));
        Ok(Self::next(origin, handle.payer.clone(), &handle.progress))
    }

    /// Finds out the length of a body that is all there: it goes with a length then, and not in chunks, which some
    /// servers do not take.
    pub fn look_ahead(&self, cx: &mut Context<'_>) {
        if let Some(Handle { origin: Origin::Arriving { body, .. }, .. }) = self.0.as_deref() {
            body.borrow_mut().look_ahead(cx);
        }
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
                let error = ready!(this.bounded.poll_expired(&this.progress, cx));
                this.fail(error)
            }
            Poll::Ready(None) => {
                this.end();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => this.fail(RequestBodyError::of(error)),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = this.progress.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64);
                this.progress.bytes.set(bytes);
                this.bounded.progress();
                let is_upload = !this.progress.answered.get();
                if is_upload && this.progress.bounds.get().is_some_and(|bounds| bytes > bounds.limit) {
                    return this.fail(RequestBodyError::TooLarge);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use super::*;

    /// A client that sends a byte, each after so long.
    struct Slow(VecDeque<Pin<Box<Sleep>>>);

    impl http_body::Body for Slow {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let Some(next) = self.0.front_mut() else { return Poll::Ready(None) };
            ready!(next.as_mut().poll(cx));
            self.0.pop_front();
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    /// A byte each second, and the bytes that pass before the body is given up.
    async fn passed(count: u64, min_rate: u64, after: u64) -> (u64, Option<RequestBodyError>) {
        let begun = Instant::now();
        let bytes = (1..=count).map(|second| Box::pin(sleep_until(begun + Duration::from_secs(second))));
        let bounds = Bounds {
            limit: 1000,
            idle: Duration::from_secs(30),
            stream_idle: Duration::from_secs(30),
            min_rate,
            min_rate_after: Duration::from_secs(after),
            window: 0,
        };
        let mut body = RequestBody::new(Slow(bytes.collect()), bounds, Payer::rich).expect("memory");
        let mut passed = 0;
        loop {
            match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                Some(Ok(_)) => passed += 1,
                Some(Err(_)) => return (passed, body.progress().failure()),
                None => return (passed, None),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_answered_already_is_bound_by_the_idle_time_of_streams_alone() {
        let begun = Instant::now();
        // The response begins while the first byte is waited for.
        let bytes =
            [25, 50, 75, 120].map(|second| Box::pin(sleep_until(begun + Duration::from_secs(second))));
        let (idle, stream_idle) = (Duration::from_secs(9), Duration::from_secs(30));
        let min_rate_after = Duration::from_secs(20);
        let bounds = Bounds { limit: 2, idle, stream_idle, min_rate: 500, min_rate_after, window: 0 };
        let mut body = RequestBody::new(Slow(bytes.into()), bounds, Payer::rich).expect("memory");
        let progress = body.progress();
        let mut passed = 0;
        let mut next = async || poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let (first, ()) = tokio::join!(next(), async {
            sleep_until(begun + Duration::from_secs(5)).await;
            progress.answered();
        });
        assert!(matches!(first, Some(Ok(_))));
        while let Some(Ok(_)) = next().await {
            passed += 1;
        }
        assert_eq!(passed, 2);
        assert!(matches!(progress.failure(), Some(RequestBodyError::Idle)));
        assert_eq!(begun.elapsed().as_secs(), 105);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_slower_than_the_minimum_rate_is_given_up_after_its_grace() {
        let (bytes, error) = passed(100, 500, 20).await;
        assert!((19..=20).contains(&bytes), "{bytes}");
        assert!(matches!(error, Some(RequestBodyError::Slow)), "{error:?}");
        for (min_rate, after) in [(1, 1), (0, 0), (500, 101)] {
            let (bytes, error) = passed(100, min_rate, after).await;
            assert_eq!(bytes, 100, "{min_rate} {after}");
            assert!(error.is_none(), "{error:?}");
        }
    }
}
