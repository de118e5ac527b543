//! The body of a response that is being stored, as one client reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tidegate_body::BoxError;
use tidegate_cache::store::{Piece, Reader};
use tidegate_message::range::Part;

use crate::files::{FileBody, Segment};

/// Reads behind the one who writes: from memory, or from the file what is not there any more. Dropping it is to leave.
pub(super) struct GrowingBody {
    /// The cache's name, for the log.
    cache: Arc<str>,
    reader: Reader,
    /// What comes from the file before the reader goes on.
    file: Option<FileBody>,
}

impl GrowingBody {
    pub(super) fn new(cache: Arc<str>, reader: Reader) -> Self {
        Self { cache, reader, file: None }
    }
}

impl http_body::Body for GrowingBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            if let Some(file) = &mut this.file {
                match ready!(Pin::new(file).poll_frame(cx)) {
                    None => this.file = None,
                    frame => return Poll::Ready(frame),
                }
            }
            match ready!(this.reader.poll(cx)) {
                Piece::Bytes(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Piece::File(file, first, length) => {
                    let part = Segment::File(Part { first, length });
                    this.file = Some(FileBody::new(this.cache.clone(), file, [part]));
                }
                Piece::End => return Poll::Ready(None),
                Piece::Broken => {
                    return Poll::Ready(Some(Err("the response that is being stored broke off".into())));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.file.is_none() && self.reader.left() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let of_file = self.file.as_ref().map_or(0, |file| file.size_hint().lower());
        match self.reader.left() {
            Some(left) => SizeHint::with_exact(left + of_file),
            None => SizeHint::new(),
        }
    }
}
