//! The codings, made: zstd (RFC 8878), brotli (RFC 7932) and gzip (RFC 1952), in bounded memory.
//!
//! | coding | window | memory at its default level |
//! |---|---|---|
//! | zstd | 256 KiB | 1.8 MiB, less for a body known to be small |
//! | br | 128 KiB | 2.3 MiB, less for a small body |
//! | gzip | 32 KiB | 0.4 MiB |
//!
//! A window of 4 MiB makes half a megabyte of text smaller by a fiftieth with zstd, and smaller bodies not at
//! all; the memory is that of every response in flight.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderStateStruct};
use flate2::{Compress, Compression, FlushCompress, Status};
use tidegate_message::Coding;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::Permit;
use super::stage::{Codec, Task};
use crate::any::BoxError;

/// Bits of a window's size, a power of two.
const ZSTD_WINDOW: u32 = 18;
const BROTLI_WINDOW: i32 = 17;
const GZIP_WINDOW: u8 = 15;

/// Contexts of zstd that a worker keeps. A response that does not wait for its client or its server is
/// compressed in one go, so few are in use at a time.
const KEPT_CONTEXTS: usize = 4;

/// One response on its way through one of the codings.
pub(super) struct Encoder {
    kind: Kind,
    permit: Permit,
}

enum Kind {
    /// `None` once it was given back.
    Zstd(Option<CCtx<'static>>),
    Br(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Gzip(Compress),
}

impl Encoder {
    /// `length` is that of what will go in, if it is known: exactly so much has to. The level is within
    /// the bounds of the configuration.
    pub(super) fn new(
        coding: Coding,
        level: u8,
        length: Option<u64>,
        permit: Permit,
    ) -> Result<Self, BoxError> {
        let kind = match coding {
            Coding::Zstd => {
                let idle = permit.0.idle.borrow_mut().pop();
                let mut context =
                    idle.or_else(CCtx::try_create).ok_or("zstd: there is no memory for a context")?;
                for parameter in
                    [CParameter::CompressionLevel(level.into()), CParameter::WindowLog(ZSTD_WINDOW)]
                {
                    context.set_parameter(parameter).map_err(zstd_error)?;
                }
                context.set_pledged_src_size(length).map_err(zstd_error)?;
                Kind::Zstd(Some(context))
            }
            Coding::Brotli => {
                let mut state = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
                state.params.quality = level.into();
                state.params.lgwin = BROTLI_WINDOW;
                Kind::Br(state)
            }
            Coding::Gzip => Kind::Gzip(Compress::new_gzip(Compression::new(level.into()), GZIP_WINDOW)),
            Coding::Deflate => return Err("no response is compressed with deflate".into()),
        };
        Ok(Self { kind, permit })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        if let Kind::Zstd(context) = &mut self.kind
            && let Some(mut context) = context.take()
            && let mut idle = self.permit.0.idle.borrow_mut()
            && idle.len() < KEPT_CONTEXTS
            && context.reset(ResetDirective::SessionOnly).is_ok()
        {
            idle.push(context);
        }
    }
}

impl Codec for Encoder {
    const KEEPS_BACK: bool = true;

    fn run(&mut self, task: Task, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError> {
        match &mut self.kind {
            Kind::Zstd(context) => {
                let context = context.as_mut().ok_or("zstd: there is no context")?;
                zstd(context, task, input, output)
            }
            Kind::Br(state) => br(state, task, input, output),
            Kind::Gzip(state) => gzip(state, task, input, output),
        }
    }
}

fn zstd(
    context: &mut CCtx<'_>,
    task: Task,
    input: &mut &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let start = output.len();
    let mut out = OutBuffer::around_pos(output, start);
    let left = match task {
        Task::Process => {
            let mut given = InBuffer::around(input);
            let result = context.compress_stream(&mut out, &mut given);
            let taken = given.pos();
            *input = &input[taken..];
            // What is left inside comes out when it must.
            result.map(|_| input.len())
        }
        Task::Flush => context.flush_stream(&mut out),
        Task::Finish => context.end_stream(&mut out),
    };
    left.map(|left| left == 0).map_err(zstd_error)
}

fn zstd_error(code: usize) -> BoxError {
    format!("zstd: {}", zstd_safe::get_error_name(code)).into()
}

fn br(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    task: Task,
    input: &mut &[u8],
    output: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    let operation = match task {
        Task::Process => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
        Task::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
        Task::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
    };
    // It is given no buffer to write to, as what it made can be copied out of its own.
    let (mut left, mut taken) = (input.len(), 0);
    let (mut room, mut written) = (0, 0);
    let done = state.compress_stream(
        operation,
        &mut left,
        input,
        &mut taken,
        &mut room,
        &mut [],
        &mut written,
        &mut None,
        &mut |_, _, _, _| (),
    );
    if !done {
        return Err("brotli: the encoder failed".into());
    }
    *input = &input[taken..];
    while state.has_more_output() {
        let mut size = output.capacity() - output.len();
        if size == 0 {
            return Ok(false);
        }
        // All of it, of which only `size` bytes count as taken.
        let made = state.take_output(&mut size);
        output.extend_from_slice(&made[..size]);
    }
    Ok(match task {
        Task::Process | Task::Flush => input.is_empty(),
        Task::Finish => state.is_finished(),
    })
}

fn gzip(state: &mut Compress, task: Task, input: &mut &[u8], output: &mut Vec<u8>) -> Result<bool, BoxError> {
    let flush = match task {
        Task::Process => FlushCompress::None,
        Task::Flush => FlushCompress::Sync,
        Task::Finish => FlushCompress::Finish,
    };
    let before = state.total_in();
    let status = state.compress_vec(input, output, flush)?;
    let taken = usize::try_from(state.total_in() - before).unwrap_or(input.len());
    *input = &input[taken..];
    Ok(match task {
        Task::Process => input.is_empty(),
        Task::Flush => output.len() < output.capacity(),
        Task::Finish => status == Status::StreamEnd,
    })
}
