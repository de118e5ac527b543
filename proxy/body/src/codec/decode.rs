//! The codings, undone: for those who have to read a coded body.
//!
//! A body may have been compressed to a thousandth or less. It is therefore never held: it comes out in
//! chunks of 16 KiB at most, as they are asked for. What a decoder itself holds is its window: 32 KiB for
//! gzip and deflate, up to 8 MiB for zstd (RFC 9659) and 16 MiB for brotli (RFC 7932 §9.1), as few bytes can
//! ask for. It is on the client's account.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState, SliceWrapper};
use bytes::Bytes;
use flate2::{Decompress, FlushDecompress, Status};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tidegate_message::Coding;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::stage::{Codec, Stage, Task};
use crate::any::BoxError;
use crate::memory::{Held, Payer};

/// What a decoder of gzip, deflate or brotli takes; of brotli, window and trees come on top.
const STATE: usize = 48 << 10;

/// Bits of the largest window of zstd (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;

/// How much may come of a coded body, and who pays for the decoders.
#[derive(Debug, Clone)]
pub struct DecodeBounds {
    /// Bytes: `limits.decoded-body`.
    pub limit: u64,
    /// The client.
    pub payer: Payer,
}

/// Beyond so many decoded bytes, no more than [`MAX_RATIO`] may come of one coded byte. Text is compressed to a tenth,
/// logs to a fiftieth; what goes far beyond is made to.
const FREE: u64 = 1 << 20;
const MAX_RATIO: u64 = 100;

/// More came of a coded body than may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodedTooLarge {
    /// Than `limits.decoded-body`.
    #[error("the decoded body is over limits.decoded-body")]
    Limit,
    /// Than a hundred times what was sent.
    #[error("the decoded body is more than 100 times the coded one")]
    Ratio,
}

/// The body without its codings. It fails where it is not what they make: corrupt, with something behind its
/// end, or at an end that comes too early; with [`DecodedTooLarge`] where more comes of it than may, and with
/// [`MemoryUsedUp`](crate::MemoryUsedUp) where there is no memory for the windows. Of nothing at all comes nothing.
/// Trailers pass, but for digests.
pub fn decode(
    body: impl Body<Data = Bytes, Error = BoxError> + 'static,
    codings: Vec<Coding>,
    bounds: DecodeBounds,
) -> impl Body<Data = Bytes, Error = BoxError> {
    let taken = Rc::new(Cell::new(0));
    let coded = taken.clone();
    let count = move |frame: &Frame<Bytes>| {
        coded.set(coded.get() + frame.data_ref().map_or(0, |data| data.len() as u64))
    };
    let mut body: Boxed = Box::pin(body.inspect_frame(count));
    for coding in codings.into_iter().rev() {
        let held = bounds.payer.hold();
        body = Box::pin(Stage::new(body, move || Decoder::new(coding, held)));
    }
    Bounded { body: Some(body), taken, made: 0, limit: bounds.limit }
}

type Boxed = Pin<Box<dyn Body<Data = Bytes, Error = BoxError>>>;

/// Counts the decoded bytes, and breaks off where there are too many.
struct Bounded {
    /// `None` once it was broken off.
    body: Option<Boxed>,
    /// Coded bytes.
    taken: Rc<Cell<u64>>,
    made: u64,
    limit: u64,
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(body.as_mut().poll_frame(cx));
        let Some(Ok(Some(data))) = frame.as_ref().map(|frame| frame.as_ref().map(Frame::data_ref)) else {
            return Poll::Ready(frame);
        };
        self.made += data.len() as u64;
        let (made, taken) = (self.made, self.taken.get());
        let error = match () {
            () if made > self.limit => DecodedTooLarge::Limit,
            () if made > FREE && made > taken.saturating_mul(MAX_RATIO) => DecodedTooLarge::Ratio,
            () => return Poll::Ready(frame),
        };
        self.body = None;
        Poll::Ready(Some(Err(error.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), |body| body.size_hint())
    }
}

struct Decoder {
    kind: Kind,
    progress: Progress,
    held: Held,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing went in.
    Nothing,
    Within,
    /// What went in is whole.
    Ended,
}

enum Kind {
    Zstd(DCtx<'static>),
    Br(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Gzip(Decompress),
    /// `None` until its first byte tells what it is.
    Deflate(Option<Decompress>),
}

impl Kind {
    /// Bytes that the decoder takes.
    fn memory(&self) -> usize {
        match self {
            Self::Zstd(context) => context.sizeof(),
            Self::Br(state) => {
                let groups = [&state.literal_hgroup, &state.insert_copy_hgroup, &state.distance_hgroup];
                let trees =
                    groups.map(|group| size_of_val(group.htrees.slice()) + size_of_val(group.codes.slice()));
                let maps = [&state.context_map, &state.dist_context_map, &state.context_modes];
                let window = usize::try_from(state.ringbuffer_size).unwrap_or_default();
                STATE
                    + window
                    + trees.iter().sum::<usize>()
                    + maps.iter().map(|map| map.slice().len()).sum::<usize>()
            }
            Self::Gzip(_) | Self::Deflate(_) => STATE,
        }
    }
}

impl Decoder {
    fn new(coding: Coding, held: Held) -> Result<Self, BoxError> {
        let kind = match coding {
            Coding::Zstd => {
                let mut context = DCtx::try_create().ok_or("zstd: there is no memory for a context")?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW)).map_err(zstd_error)?;
                Kind::Zstd(context)
            }
            Coding::Brotli => {
                let [bytes, words, codes] = std::array::from_fn(|_| StandardAlloc::default());
                Kind::Br(Box::new(BrotliState::new_strict(bytes, words, codes)))
            }
            Coding::Gzip => Kind::Gzip(gzip_member()),
            Coding::Deflate => Kind::Deflate(None),
        };
        Ok(Self { kind, progress: Progress::Nothing, held })
    }
}

fn gzip_member() -> Decompress {
    Decompress::new_gzip(15)
}

/// `deflate` is zlib's format (RFC 9110 §8.4.1.2), but some send it without zlib's head. That begins with
/// 8 in its lower half, as a raw body of any encoder known does not.
fn deflate(first: u8) -> Decompress {
    Decompress::new(first & 0x0f == 8 && first >> 4 <= 7)
}

impl Codec for Decoder {
    const KEEPS_BACK: bool = false;

    fn run(&mut self, task: Task, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError> {
        if task == Task::Finish {
            return match self.progress {
                Progress::Within => Err("the coded body ends too early".into()),
                Progress::Nothing | Progress::Ended => Ok(true),
            };
        }
        if self.progress == Progress::Ended {
            let Some(first) = input.first() else { return Ok(true) };
            match &mut self.kind {
                // Both may consist of several parts.
                Kind::Gzip(state) if *first == 0x1f => *state = gzip_member(),
                Kind::Zstd(_) => {}
                _ => return Err("something follows the end of the coded body".into()),
            }
        }
        if self.progress != Progress::Within && !input.is_empty() {
            self.progress = Progress::Within;
        }
        let ended = match &mut self.kind {
            Kind::Zstd(context) => zstd(context, input, output)?,
            Kind::Br(state) => br(state, input, output)?,
            Kind::Gzip(state) => inflate(state, input, output)?,
            Kind::Deflate(state) => match input.first() {
                Some(first) => inflate(state.get_or_insert_with(|| deflate(*first)), input, output)?,
                None => match state {
                    Some(state) => inflate(state, input, output)?,
                    None => false,
                },
            },
        };
        self.held.set(self.kind.memory())?;
        if ended {
            self.progress = Progress::Ended;
        }
        // With room left, nothing more can come of what went in.
        Ok(input.is_empty() && (ended || output.len() < output.capacity()))
    }
}

fn zstd(context: &mut DCtx<'_>, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError> {
    let start = output.len();
    let mut out = OutBuffer::around_pos(output, start);
    let mut given = InBuffer::around(input);
    let expected = context.decompress_stream(&mut out, &mut given).map_err(zstd_error)?;
    let taken = given.pos();
    *input = &input[taken..];
    Ok(expected == 0)
}

fn zstd_error(code: usize) -> BoxError {
    format!("zstd: {}", zstd_safe::get_error_name(code)).into()
}

fn br(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: &mut &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let (mut left, mut taken) = (input.len(), 0);
    let (mut written, start) = (0, output.len());
    let mut room = output.capacity() - start;
    output.resize(start + room, 0);
    let made = &mut output[start..];
    let result =
        BrotliDecompressStream(&mut left, &mut taken, input, &mut room, &mut written, made, &mut 0, state);
    output.truncate(start + written);
    *input = &input[taken..];
    match result {
        BrotliResult::ResultSuccess => Ok(true),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(false),
        BrotliResult::ResultFailure => Err("brotli: the body is corrupt".into()),
    }
}

fn inflate(state: &mut Decompress, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError> {
    let before = state.total_in();
    let status = state.decompress_vec(input, output, FlushDecompress::None)?;
    let taken = usize::try_from(state.total_in() - before).unwrap_or(input.len());
    *input = &input[taken..];
    Ok(status == Status::StreamEnd)
}
