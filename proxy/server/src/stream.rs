//! Writing to byte streams.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// What is copied together at most: a head and a small body.
const SMALL: usize = 2 << 10;

/// Writes several pieces. Small ones are copied together first, which costs less than the system call
/// for several buffers does more.
pub(crate) fn write_together<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [slice] = slices {
        return stream.poll_write(cx, slice);
    }
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    if total > SMALL {
        return stream.poll_write_vectored(cx, slices);
    }
    let mut together = [0; SMALL];
    let mut filled = 0;
    for slice in slices {
        together[filled..filled + slice.len()].copy_from_slice(slice);
        filled += slice.len();
    }
    stream.poll_write(cx, &together[..filled])
}
