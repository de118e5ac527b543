//! Any body: at hand, or coming out of a stage.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};

use crate::memory::Held;

/// hyper asks for no more of a body's error than that it can be boxed.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A body of either message.
pub struct Body {
    kind: Kind,
    /// What its bytes take, on a client's account; given back with the last of them.
    held: Option<Held>,
}

enum Kind {
    Full(Bytes),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError>>>),
}

impl Body {
    /// No bytes and no trailers.
    pub fn empty() -> Self {
        Self::full(Bytes::new())
    }

    /// These bytes, without trailers.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Full(bytes.into()), held: None }
    }

    /// What a stage makes, as a rule of another body: buffered, filtered, coded.
    pub fn boxed(stage: impl http_body::Body<Data = Bytes, Error = BoxError> + 'static) -> Self {
        Self { kind: Kind::Boxed(Box::pin(stage)), held: None }
    }

    /// A body that was taken in, with the trailers it had.
    pub fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Self {
        match trailers {
            None => Self::full(bytes),
            Some(trailers) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Self::boxed(Full::new(bytes).with_trailers(trailers).map_err(|never| match never {}))
            }
        }
    }

    /// The rest of a body, after chunks that were taken of it and are `held`.
    pub fn prefixed(first: Vec<Bytes>, held: Held, rest: Self) -> Self {
        let held = Some(held);
        if first.is_empty() { rest } else { Self::boxed(Prefixed { first: first.into(), held, rest }) }
    }

    /// The same body, whose bytes are `held` until they were taken or it is dropped.
    pub fn holding(self, held: Held) -> Self {
        Self { held: Some(held), ..self }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.kind {
            Kind::Full(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.held = None;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Kind::Boxed(stage) => stage.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Boxed(stage) => stage.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Boxed(stage) => stage.size_hint(),
        }
    }
}

/// Chunks of a body that were taken, and the body they were taken of.
struct Prefixed {
    first: VecDeque<Bytes>,
    /// Until the last of them was taken.
    held: Option<Held>,
    rest: Body,
}

impl http_body::Body for Prefixed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.first.pop_front() {
            Some(chunk) => {
                if self.first.is_empty() {
                    self.held = None;
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
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

/// The hint of a body before which there are `more` bytes.
pub fn longer(rest: SizeHint, more: usize) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(more as u64));
    if let Some(upper) = rest.upper() {
        hint.set_upper(upper.saturating_add(more as u64));
    }
    hint
}
