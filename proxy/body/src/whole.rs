//! A body taken in whole.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;

use crate::any::{Body, BoxError};
use crate::buffer::Chunks;
use crate::memory::{Held, MemoryUsedUp};

/// What came of taking a body in.
#[derive(Debug)]
pub enum Collected {
    /// All of it, and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// It has more than was to be taken; this was taken of it.
    Larger(Vec<Bytes>),
    /// There is no memory for it.
    UsedUp(MemoryUsedUp),
}

/// Takes a body in, up to `limit` bytes and one chunk, which are `held`.
///
/// # Errors
/// The body broke off.
pub async fn collect(body: &mut Body, limit: usize, held: &mut Held) -> Result<Collected, BoxError> {
    let mut chunks = Chunks::default();
    let mut trailers = None;
    if body.size_hint().lower() > limit as u64 {
        return Ok(Collected::Larger(Vec::new()));
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => {
                chunks.push(data);
                if let Err(used_up) = held.set(chunks.len()) {
                    return Ok(Collected::UsedUp(used_up));
                }
                if chunks.len() > limit {
                    return Ok(Collected::Larger(chunks.into_vec()));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let size = chunks.len();
    let mut chunks = chunks.into_vec();
    let bytes = match chunks.len() {
        1 => chunks.swap_remove(0),
        _ => {
            let mut whole = BytesMut::with_capacity(size);
            for chunk in chunks {
                whole.extend_from_slice(&chunk);
            }
            whole.freeze()
        }
    };
    Ok(Collected::Whole(bytes, trailers))
}
