//! The body of a response on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use crate::any::{Body, BoxError};

/// A body whose bytes are counted and whose end is reported. Dropping it gives up what it comes from.
pub struct ResponseBody {
    body: Body,
    bytes: u64,
    on_end: Option<Box<dyn FnOnce(End)>>,
    /// Why it is broken off, as soon as what came before it is on its way.
    broken: Option<BoxError>,
}

/// How the body of a response ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Bytes handed to the client's connection.
    pub bytes: u64,
    /// False if the upstream or the client broke it off.
    pub complete: bool,
}

impl ResponseBody {
    /// Calls `on_end` once: after the last byte was taken, on a failure, or when the body is dropped.
    pub fn new(body: Body, on_end: impl FnOnce(End) + 'static) -> Self {
        Self { body, bytes: 0, on_end: Some(Box::new(on_end)), broken: None }
    }

    /// The client took all but the last bytes of what this gave.
    pub fn break_off(&mut self, untaken: usize) {
        self.bytes = self.bytes.saturating_sub(untaken as u64);
        self.end(false);
    }

    fn end(&mut self, complete: bool) {
        if let Some(on_end) = self.on_end.take() {
            // The stages of the body note what they have to note before the exchange ends.
            self.body = Body::empty();
            on_end(End { bytes: self.bytes, complete });
        }
    }
}

/// A body whose end is not reported.
impl From<Body> for ResponseBody {
    fn from(body: Body) -> Self {
        Self { body, bytes: 0, on_end: None, broken: None }
    }
}

impl http_body::Body for ResponseBody {
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
        match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                this.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                Poll::Ready(Some(Ok(frame)))
            }
            // An error makes hyper drop what it has not written yet, the head among it. hyper writes when there
            // is nothing to read, so it is told of the error one turn later.
            Some(Err(error)) => {
                this.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => {
                this.end(true);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        let complete = self.body.is_end_stream();
        self.end(complete);
    }
}
