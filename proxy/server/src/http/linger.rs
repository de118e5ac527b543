//! Closes a connection in stages.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A connection is closed in stages where its client may still be sending: were it closed at once, what comes would be
/// answered with a reset, and that takes the response with it (RFC 9112 §9.6). nginx waits as long (`lingering_close`).
#[derive(Debug)]
pub(super) struct Linger {
    timer: Pin<Box<Sleep>>,
    until: Instant,
}

/// For the next piece …
const LINGER: Duration = Duration::from_secs(5);
/// … and in all.
const LINGER_AT_MOST: Duration = Duration::from_secs(30);

impl Linger {
    pub(super) fn begin() -> Self {
        Self { timer: Box::pin(sleep(LINGER)), until: Instant::now() + LINGER_AT_MOST }
    }

    /// Ready when the client has closed as well, or is waited for no longer.
    pub(super) fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [MaybeUninit::uninit(); 16 << 10];
        // A client that never stops does not keep others from their turn.
        for _ in 0..16 {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let due = (Instant::now() + LINGER).min(self.until);
                    self.timer.as_mut().reset(due);
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.timer.as_mut().poll(cx),
            }
        }
        if self.until <= Instant::now() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
