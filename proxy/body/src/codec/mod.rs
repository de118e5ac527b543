//! Content codings (RFC 9110 §8.4.1) while a body streams: `encode` makes them, `decode` undoes them, and `stage` is
//! the body around either.

mod decode;
mod encode;
mod stage;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use tidegate_message::Coding;
use zstd_safe::CCtx;

pub use self::decode::{DecodeBounds, DecodedTooLarge, decode};
use self::encode::Encoder;
use crate::any::BoxError;

/// What the bodies that one worker codes share; it outlives generations.
#[derive(Default)]
pub struct Encoders {
    in_flight: Cell<usize>,
    /// Contexts of zstd for reuse: to make one takes longer than to compress a small response with it.
    idle: RefCell<Vec<CCtx<'static>>>,
}

/// Allows one body to be coded, until it is dropped.
pub struct Permit(Rc<Encoders>);

impl Encoders {
    /// `None` while `most` bodies are being coded.
    pub fn permit(self: &Rc<Self>, most: usize) -> Option<Permit> {
        let taken = self.in_flight.get();
        (taken < most).then(|| {
            self.in_flight.set(taken + 1);
            Permit(self.clone())
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

/// The body, coded while it streams. What it takes to do so (up to 2 MiB with the default levels) is given up
/// with the last byte that is taken in, or when the body is dropped. It fails for `deflate`, which is only undone,
/// and for a level that the coding does not have.
pub fn encode<B>(
    body: B,
    coding: Coding,
    level: u8,
    permit: Permit,
) -> impl http_body::Body<Data = Bytes, Error = BoxError> + use<B>
where
    B: http_body::Body<Data = Bytes, Error = BoxError> + 'static,
{
    let length = body.size_hint().exact();
    stage::Stage::new(body, move || Encoder::new(coding, level, length, permit))
}
