//! A body that is still coming, and what of it is kept to be sent again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use crate::any::{Body, BoxError, longer};
use crate::buffer::Chunks;
use crate::memory::{Held, MemoryUsedUp, Payer};

pub(crate) struct Arriving {
    body: Body,
    /// Small chunks are copied together: each would keep the buffer it was read into.
    kept: Chunks,
    trailers: Option<HeaderMap>,
    /// Bytes that may still be kept; `None` = the body is too large, or was never to be kept.
    room: Option<usize>,
    /// What is kept, on the client's account.
    held: Held,
    window: Option<Window>,
    /// What was looked at before it was asked for, and whether that is all.
    ahead: VecDeque<Frame<Bytes>>,
    all_ahead: bool,
}

/// What a client may have sent although it was not asked for: counted as held while nobody knows better.
pub(crate) struct Window {
    held: Held,
    size: usize,
}

/// Windows up to this size are not counted: with every stream of a connection they are as much as its other buffers.
const SMALL_WINDOW: usize = 16 << 10;

impl Window {
    /// `None` for one that is not counted.
    pub(crate) fn new(size: usize, payer: &Payer) -> Result<Option<Self>, MemoryUsedUp> {
        if size <= SMALL_WINDOW {
            return Ok(None);
        }
        let mut window = Self { held: payer.hold(), size };
        window.held.set(size)?;
        Ok(Some(window))
    }

    /// The body was asked for what it had.
    fn look(&mut self, polled: &Poll<Option<Result<Frame<Bytes>, BoxError>>>) -> Result<(), MemoryUsedUp> {
        let size = if matches!(polled, Poll::Ready(Some(Ok(_)))) { self.size } else { 0 };
        self.held.set(size)
    }
}

/// What is looked at ahead, about.
const AHEAD: usize = 16 << 10;

/// A body that broke off.
struct Failed(Option<BoxError>);

impl http_body::Body for Failed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

/// How much of a body was sent by one handle to it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    bytes: usize,
    trailers: bool,
}

impl Arriving {
    /// Nothing of it is kept until [`Arriving::keep`].
    pub(crate) fn new(body: Body, window: Option<Window>, payer: &Payer) -> Self {
        Self {
            body,
            kept: Chunks::default(),
            trailers: None,
            room: None,
            held: payer.hold(),
            window,
            ahead: VecDeque::new(),
            all_ahead: false,
        }
    }

    /// Has up to `bytes` kept from now on.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.room = Some(bytes);
    }

    /// Whether all that came is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.room.is_some()
    }

    /// What is kept at `position`, which moves on.
    pub(crate) fn again(&self, position: &mut Position) -> Option<Frame<Bytes>> {
        if let Some(chunk) = self.kept.read(position.bytes) {
            position.bytes += chunk.len();
            return Some(Frame::data(chunk));
        }
        let trailers = self.trailers.clone().filter(|_| !position.trailers)?;
        position.trailers = true;
        Some(Frame::trailers(trailers))
    }

    /// What comes next. It is kept if all before it is and there is room; `position` is behind it then.
    pub(crate) fn poll_next(
        &mut self,
        position: &mut Position,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match self.ahead.pop_front() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None if self.all_ahead => Poll::Ready(None),
            None => Pin::new(&mut self.body).poll_frame(cx),
        };
        if let Some(Err(error)) = self.window.as_mut().map(|window| window.look(&polled)) {
            return Poll::Ready(Some(Err(error.into())));
        }
        if let (Poll::Ready(Some(Ok(frame))), Some(room)) = (&polled, self.room) {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let may_hold = self.held.set(self.kept.len() + length).is_ok();
            self.room = room.checked_sub(length).filter(|_| may_hold);
            match (self.room, frame.data_ref(), frame.trailers_ref()) {
                (None, _, _) => {
                    (self.kept, self.trailers) = (Chunks::default(), None);
                    let _ = self.held.set(0);
                }
                (_, Some(data), _) => self.kept.push(data.clone()),
                (_, None, trailers) => self.trailers = trailers.cloned(),
            }
            *position = Position { bytes: self.kept.len(), trailers: self.trailers.is_some() };
        }
        polled
    }

    /// Takes what of the body is there already, up to [`AHEAD`]: of one that is all there the length is known then.
    pub(crate) fn look_ahead(&mut self, cx: &mut Context<'_>) {
        let mut length = 0;
        while length < AHEAD && !self.all_ahead {
            match Pin::new(&mut self.body).poll_frame(cx) {
                // One with trailers goes in chunks anyway.
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                    self.ahead.push_back(frame);
                    return;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    length += frame.data_ref().map_or(0, Bytes::len);
                    self.ahead.push_back(frame);
                    self.all_ahead = self.body.is_end_stream();
                }
                Poll::Ready(None) => self.all_ahead = true,
                // It is broken for whoever asks next.
                Poll::Ready(Some(Err(error))) => {
                    self.body = Body::boxed(Failed(Some(error)));
                    return;
                }
                Poll::Pending => return,
            }
        }
    }

    fn length_ahead(&self) -> usize {
        self.ahead.iter().filter_map(Frame::data_ref).map(Bytes::len).sum()
    }

    pub(crate) fn is_end_stream(&self, position: Position) -> bool {
        let again = position.bytes < self.kept.len() || self.trailers.is_some() && !position.trailers;
        !again && self.ahead.is_empty() && (self.all_ahead || self.body.is_end_stream())
    }

    pub(crate) fn size_hint(&self, position: Position) -> SizeHint {
        let rest = if self.all_ahead { SizeHint::with_exact(0) } else { self.body.size_hint() };
        longer(rest, self.length_ahead() + self.kept.len().saturating_sub(position.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body that comes byte by byte, each a slice of one buffer of 64 KiB.
    struct Trickle(Bytes);

    impl http_body::Body for Trickle {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let left = !self.0.is_empty();
            Poll::Ready(left.then(|| Ok(Frame::data(self.0.split_to(1)))))
        }
    }

    fn take(arriving: &mut Arriving, position: &mut Position) -> Option<Bytes> {
        if let Some(frame) = arriving.again(position) {
            return frame.into_data().ok();
        }
        let task = &mut Context::from_waker(std::task::Waker::noop());
        match arriving.poll_next(position, task) {
            Poll::Ready(frame) => frame?.expect("it does not break off").into_data().ok(),
            Poll::Pending => panic!("it does not wait"),
        }
    }

    #[test]
    fn a_trickle_is_kept_once_and_read_by_several() {
        let text: Bytes = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        let mut arriving = Arriving::new(Body::boxed(Trickle(text.clone())), None, &Payer::rich());
        arriving.keep(64 << 10);
        let mut first = Position::default();
        for expected in &text[..30_000] {
            assert_eq!(take(&mut arriving, &mut first).as_deref(), Some(&[*expected][..]));
        }
        let (mut second, mut read) = (Position::default(), Vec::new());
        while let Some(chunk) = take(&mut arriving, &mut second) {
            read.extend_from_slice(&chunk);
        }
        assert_eq!(read, text);
        assert!(arriving.is_end_stream(second) || arriving.is_kept());
    }

    #[test]
    fn what_is_kept_does_not_hold_the_buffers_it_was_read_into() {
        let read = Bytes::from(vec![7; 64 << 10]);
        let mut arriving = Arriving::new(Body::boxed(Trickle(read.slice(..5000))), None, &Payer::rich());
        arriving.keep(64 << 10);
        let mut position = Position::default();
        while take(&mut arriving, &mut position).is_some() {}
        // The first byte alone goes through uncopied.
        arriving.kept.pop();
        arriving.body = Body::empty();
        assert!(read.is_unique(), "nothing but this holds it");
    }

    #[test]
    fn a_body_with_more_than_there_is_room_for_is_not_kept() {
        let mut arriving =
            Arriving::new(Body::boxed(Trickle(Bytes::from(vec![1; 100]))), None, &Payer::rich());
        arriving.keep(99);
        let mut position = Position::default();
        while take(&mut arriving, &mut position).is_some() {}
        assert!(!arriving.is_kept());
        assert!(arriving.again(&mut Position::default()).is_none());
    }
}
