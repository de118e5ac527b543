//! A body taken in whole.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;

use crate::any::{Body, BoxError};

/// What came of taking a body in.
#[derive(Debug)]
pub enum Collected {
    /// All of it, and its trailers.
    Whole(Bytes, Option<HeaderMap>),
    /// It has more than was to be taken; this was taken of it.
    Larger(Vec<Bytes>),
}

/// Takes a body in, up to `limit` bytes and one chunk.
///
/// # Errors
/// The body broke off.
pub async fn collect(body: &mut Body, limit: usize) -> Result<Collected, BoxError> {
    let mut chunks: Vec<Bytes> = Vec::new();
    let mut size = 0;
    let mut trailers = None;
    if body.size_hint().lower() > limit as u64 {
        return Ok(Collected::Larger(chunks));
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => {
                size += data.len();
                chunks.push(data);
                if size > limit {
                    return Ok(Collected::Larger(chunks));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
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
