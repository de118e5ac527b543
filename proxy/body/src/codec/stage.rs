//! A body that goes through a codec on its way: in chunks, as fast as they are taken.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use crate::any::BoxError;
use tidegate_message::representation::remove_digests;

/// The largest chunk that comes out, and as much as a codec is given at a time.
const CHUNK: usize = 16 << 10;

/// Bytes that go in and out before the worker's other tasks get their turn: about half a millisecond of
/// the slowest codec with its default level.
const TURN: usize = 64 << 10;

/// What turns one sequence of bytes into another.
pub(super) trait Codec {
    /// Whether it may keep back what went in until it is told to flush.
    const KEEPS_BACK: bool;

    /// Takes bytes from the front of `input` and appends to `output` no more than there is room for. True
    /// once the task is done; if it is not, `output` is full or there is more input.
    fn run(&mut self, task: Task, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Take all of the input in.
    Process,
    /// Give out all that was taken in. No input.
    Flush,
    /// Give out the end. No input.
    Finish,
}

/// A body before and a codec, which together are the body after.
///
/// When the body before has to be waited for, all that came of it so far is flushed, so that a page or an
/// event that a server sends early is not held back. Trailers pass. The body before is given up after its
/// last byte, the codec once it gave out its own.
pub(super) struct Stage<B, C, F> {
    source: Option<Pin<Box<B>>>,
    codec: Lazy<C, F>,
    state: State,
    /// What of a chunk of the source was not taken in yet.
    input: Bytes,
    /// Whether something went in since the codec was flushed.
    kept_back: bool,
    /// Bytes in and out since other tasks had their turn.
    spent: usize,
    /// Room for a chunk that comes out.
    room: usize,
    /// That chunk; empty whenever the stage is left alone.
    output: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// A codec that is made when it is needed: a body that fails before, or is never asked for, needs none.
enum Lazy<C, F> {
    Not(F),
    Made(C),
    Gone,
}

#[derive(Clone, Copy)]
enum State {
    /// A chunk of the source is needed.
    Read,
    Run(Task),
    /// Nothing is left but trailers.
    Over,
}

impl<B, C, F> Stage<B, C, F>
where
    B: Body<Data = Bytes, Error = BoxError>,
    C: Codec,
    F: FnOnce() -> Result<C, BoxError>,
{
    /// `codec` makes the codec before the first byte goes in.
    pub(super) fn new(source: B, codec: F) -> Self {
        let length = source.size_hint().exact().and_then(|length| usize::try_from(length).ok());
        Self {
            source: Some(Box::pin(source)),
            codec: Lazy::Not(codec),
            state: State::Read,
            input: Bytes::new(),
            kept_back: false,
            spent: 0,
            // What comes out of a small body as a rule fits in as many bytes.
            room: length.map_or(CHUNK, |length| length.clamp(256, CHUNK)),
            output: Vec::new(),
            trailers: None,
        }
    }

    /// Polls the source for something to do. `Pending` if there is nothing.
    fn read(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let Some(source) = &mut self.source else {
            self.state = State::Run(Task::Finish);
            return Poll::Ready(Ok(()));
        };
        let frame = match source.as_mut().poll_frame(cx) {
            Poll::Pending if self.kept_back => {
                self.state = State::Run(Task::Flush);
                return Poll::Ready(Ok(()));
            }
            Poll::Pending => return Poll::Pending,
            Poll::Ready(frame) => frame.transpose()?,
        };
        match frame.map(Frame::into_data) {
            Some(Ok(data)) => {
                self.input = data;
                self.state = State::Run(Task::Process);
                if source.is_end_stream() {
                    self.source = None;
                }
            }
            Some(Err(frame)) => {
                self.trailers = frame.into_trailers().ok().map(|mut trailers| {
                    remove_digests(&mut trailers);
                    trailers
                });
                self.source = None;
            }
            None => self.source = None,
        }
        Poll::Ready(Ok(()))
    }

    /// Lets the codec go on with its task.
    fn run(&mut self, task: Task) -> Result<(), BoxError> {
        if let Lazy::Not(_) = self.codec
            && let Lazy::Not(make) = std::mem::replace(&mut self.codec, Lazy::Gone)
        {
            self.codec = Lazy::Made(make()?);
        }
        let Lazy::Made(codec) = &mut self.codec else { return Err("a codec was asked for more".into()) };
        let output = &mut self.output;
        if output.capacity() == 0 {
            output.reserve_exact(self.room);
        }
        let before = output.len();
        let mut input = &self.input[..self.input.len().min(CHUNK)];
        let given = input.len();
        let done = codec.run(task, &mut input, output)?;
        let (taken, made) = (given - input.len(), output.len() - before);
        self.input.advance(taken);
        self.spent += taken + made;
        self.kept_back |= C::KEEPS_BACK && taken > 0;
        if done && self.input.is_empty() {
            self.state = match task {
                Task::Process => State::Read,
                Task::Flush => {
                    self.kept_back = false;
                    State::Read
                }
                Task::Finish => {
                    self.codec = Lazy::Gone;
                    State::Over
                }
            };
        } else if taken + made == 0 && output.len() < output.capacity() {
            // It would be asked the same for ever.
            return Err("a codec makes no progress".into());
        }
        Ok(())
    }

    fn give(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let output = std::mem::take(&mut self.output);
        // A chunk that fills little of its buffer does not take all of that along: it may have to wait.
        let little = output.len() < output.capacity() / 2;
        let chunk = if little { Bytes::copy_from_slice(&output) } else { output.into() };
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    /// Gives everything up: the body is broken off.
    fn fail(&mut self, error: BoxError) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        (self.source, self.codec, self.state) = (None, Lazy::Gone, State::Over);
        (self.input, self.output, self.trailers) = (Bytes::new(), Vec::new(), None);
        Poll::Ready(Some(Err(error)))
    }
}

impl<B, C, F> Body for Stage<B, C, F>
where
    B: Body<Data = Bytes, Error = BoxError>,
    C: Codec + Unpin,
    F: FnOnce() -> Result<C, BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let (some, full) = (!this.output.is_empty(), this.output.len() == this.output.capacity());
            let late = this.spent >= TURN;
            if some && (full || late || matches!(this.state, State::Over)) {
                return this.give();
            }
            match this.state {
                State::Over => {
                    let trailers = this.trailers.take().filter(|trailers| !trailers.is_empty());
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                _ if late => {
                    this.spent = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                State::Read => match this.read(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return this.fail(error),
                    Poll::Pending if some => return this.give(),
                    Poll::Pending => {
                        this.spent = 0;
                        return Poll::Pending;
                    }
                },
                State::Run(task) => {
                    if let Err(error) = this.run(task) {
                        return this.fail(error);
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Over) && self.trailers.as_ref().is_none_or(HeaderMap::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}
