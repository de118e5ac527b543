//! A body that is still coming, and what of it is kept to be sent again.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::any::{Body, BoxError, longer};

/// A body that is still coming, and what of it is kept to be sent again.
pub(crate) struct Arriving {
    body: Body,
    kept: Vec<Chunk>,
    /// Bytes that may still be kept; `None` = the body is too large, or was never to be kept.
    pub(crate) room: Option<usize>,
}

#[derive(Clone)]
enum Chunk {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Chunk {
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

impl Arriving {
    /// Nothing of it is kept unless a [`Replay`] asks for that.
    pub(crate) fn new(body: Body) -> Self {
        Self { body, kept: Vec::new(), room: None }
    }

    /// What is kept at `position`, which moves on.
    pub(crate) fn again(&self, position: &mut usize) -> Option<Frame<Bytes>> {
        let chunk = self.kept.get(*position)?;
        *position += 1;
        Some(chunk.clone().into_frame())
    }

    /// What comes next. It is kept if all before it is and there is room; `position` is behind it then.
    pub(crate) fn poll_next(
        &mut self,
        position: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.keep(frame);
            *position = self.kept.len();
        }
        polled
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(room) = self.room else { return };
        let chunk = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Chunk::Data(data.clone()),
            (None, Some(trailers)) => Chunk::Trailers(trailers.clone()),
            (None, None) => return,
        };
        self.room = room.checked_sub(chunk.len());
        if self.room.is_some() {
            self.kept.push(chunk);
        } else {
            self.kept = Vec::new();
        }
    }

    pub(crate) fn is_end_stream(&self, position: usize) -> bool {
        position >= self.kept.len() && self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self, position: usize) -> SizeHint {
        let again: usize = self.kept.iter().skip(position).map(Chunk::len).sum();
        longer(self.body.size_hint(), again)
    }
}
