//! A client's byte stream, watched: what was read of the current request head, and whether writes stall.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{FIRST_WINDOW, HTTP2_PREFACE, Received, Refused, Sent};
use super::linger::Linger;
use tidegate_io::clock::{Millis, in_millis};
use tidegate_io::write_together;

/// What is known of a connection's bytes. Shared by the stream, which hyper owns, and the driver.
///
/// The fields are atomics and a mutex although one thread uses them: hyper asks for a `Send` stream
/// where connections can be upgraded. Neither is ever contended.
#[derive(Debug)]
pub(crate) struct Activity {
    /// When a write began to wait for the client; 0 = none waits.
    write_stalled: AtomicU64,
    /// Milliseconds that writes have waited, without the wait that goes on.
    waited: AtomicU64,
    /// What they had waited when the rate was looked at.
    looked: AtomicU64,
    /// Bytes the client's connection has taken since then.
    taken: AtomicU64,
    bytes_read: AtomicU64,
    /// Whether a request was given up before its end: the rest of it comes all the same.
    unread: AtomicBool,
    /// HTTP/2 frames that let more be sent: WINDOW_UPDATE and SETTINGS.
    window_updates: AtomicU64,
    /// What an HTTP/2 client lets be sent on a new stream, and what it has let be sent on all streams together.
    initial_window: AtomicU64,
    granted: AtomicU64,
    /// Bytes of response bodies that were handed over to be sent.
    handed: AtomicU64,
    /// HTTP/2: something that was sent may be a refusal.
    may_have_refused: AtomicBool,
    is_http2: AtomicBool,
    head: Mutex<Head>,
}

#[derive(Debug, Default)]
struct Head {
    /// `None` for HTTP/1.
    frames: Option<Box<(Received, Sent)>>,
    /// HTTP/1: a request is being served, so what is read now is its body or a pipelined request.
    busy: bool,
    /// Bytes of the head read so far, kept to see what the parser drops (`Content-Length` beside
    /// `Transfer-Encoding`, or repeated). At most `MAX_HEAD`.
    bytes: Vec<u8>,
    /// When the first of them came.
    since: Option<Millis>,
}

/// What is beyond it of a head is not looked at: far more than `limits.request-headers` allows unless it
/// was raised.
const MAX_HEAD: usize = 1 << 20;

impl Activity {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            write_stalled: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            looked: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            unread: AtomicBool::new(false),
            window_updates: AtomicU64::new(0),
            initial_window: AtomicU64::new(FIRST_WINDOW),
            granted: AtomicU64::new(FIRST_WINDOW),
            handed: AtomicU64::new(0),
            may_have_refused: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            head: Mutex::default(),
        })
    }

    /// What follows is HTTP/2, from the preface on.
    pub(crate) fn expect_http2(&self) {
        self.is_http2.store(true, Ordering::Relaxed);
        self.head().frames = Some(Box::default());
    }

    /// Whether what came begins as HTTP/2 does, if that was expected.
    pub(super) fn is_http2(&self) -> bool {
        self.head().frames.as_ref().is_some_and(|frames| frames.0.is_http2)
    }

    /// HTTP/2: heads that were refused since this was asked last, if all else that came is handed on as `requests`.
    pub(super) fn refused(&self, requests: u64) -> Vec<Refused> {
        if !self.may_have_refused.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.may_have_refused.store(false, Ordering::Relaxed);
        let mut head = self.head();
        let Some((received, sent)) = head.frames.as_deref_mut() else { return Vec::new() };
        sent.take(received.requests.saturating_sub(requests))
    }

    /// An HTTP/1 head is complete and its request begins. Answers how many `Content-Length` lines were seen
    /// in the head if asked to count them: the parser silently drops repeated ones, and any beside
    /// `Transfer-Encoding`.
    pub(crate) fn begin_request(&self, count_lengths: bool) -> usize {
        let mut head = self.head();
        head.busy = true;
        head.since = None;
        if count_lengths { content_lengths(&head.bytes) } else { 0 }
    }

    /// The response is complete: what is read next is the next head.
    pub(crate) fn end_request(&self) {
        let mut head = self.head();
        head.busy = false;
        head.bytes.clear();
    }

    /// Gives back what was kept of the last head.
    pub(crate) fn forget_head(&self) {
        self.head().bytes = Vec::new();
    }

    /// For how long an incomplete head has been arriving.
    pub(crate) fn head_since(&self) -> Option<Duration> {
        self.head().since.map(|since| Millis::now().time_since(since))
    }

    /// For how long a write has been waiting for the client to read.
    pub(crate) fn write_stalled(&self) -> Option<Duration> {
        match self.write_stalled.load(Ordering::Relaxed) {
            0 => None,
            since => Some(Millis::now().time_since(Millis(since))),
        }
    }

    /// For how long writes have waited for the client in all.
    pub(crate) fn stalled(&self) -> Duration {
        let waited = Duration::from_millis(self.waited.load(Ordering::Relaxed));
        waited + self.write_stalled().unwrap_or_default()
    }

    /// How often an HTTP/2 client has let more be sent.
    pub(crate) fn window_updates(&self) -> u64 {
        self.window_updates.load(Ordering::Relaxed)
    }

    /// Notes bytes of a response body that are handed over; true if the client surely lets them be sent, `before` of the
    /// same stream included. What it has granted single streams later is not known.
    pub(crate) fn hand_over(&self, before: u64, bytes: u64) -> bool {
        let handed = self.handed.load(Ordering::Relaxed) + bytes;
        self.handed.store(handed, Ordering::Relaxed);
        before + bytes <= self.initial_window.load(Ordering::Relaxed)
            && handed <= self.granted.load(Ordering::Relaxed)
    }

    /// Whether more of a request may come than anybody reads.
    pub(crate) fn leaves_unread(&self, unread: bool) {
        self.unread.store(unread, Ordering::Relaxed);
    }

    /// Bytes the client has sent so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    fn head(&self) -> std::sync::MutexGuard<'_, Head> {
        // Nothing panics while it is held.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, bytes: &[u8]) {
        // One thread writes: no read-modify-write is needed.
        self.bytes_read.store(self.bytes_read() + bytes.len() as u64, Ordering::Relaxed);
        let mut head = self.head();
        if let Some((received, _)) = head.frames.as_deref_mut() {
            let incomplete = received.read(bytes);
            self.window_updates.store(received.window_updates, Ordering::Relaxed);
            self.initial_window.store(received.initial_window, Ordering::Relaxed);
            self.granted.store(received.granted, Ordering::Relaxed);
            head.since = incomplete.then(|| head.since.unwrap_or_else(Millis::now));
            return;
        }
        if head.busy || bytes.is_empty() {
            return;
        }
        if head.since.is_none() {
            head.since = Some(Millis::now());
        }
        let room = MAX_HEAD - head.bytes.len();
        head.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What of these pieces was written, as far as `result` says.
    fn sent(&self, result: &Poll<io::Result<usize>>, pieces: &[io::IoSlice<'_>]) {
        let Poll::Ready(Ok(written)) = result else { return };
        if !self.is_http2.load(Ordering::Relaxed) {
            return;
        }
        let mut left = *written;
        let mut head = self.head();
        let Some((_, sent)) = head.frames.as_deref_mut() else { return };
        for piece in pieces {
            let taken = left.min(piece.len());
            if sent.wrote(&piece[..taken]) {
                self.may_have_refused.store(true, Ordering::Relaxed);
            }
            left -= taken;
        }
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        let Poll::Ready(result) = result else {
            if self.write_stalled.load(Ordering::Relaxed) == 0 {
                self.write_stalled.store(Millis::now().0, Ordering::Relaxed);
            }
            return;
        };
        let since = self.write_stalled.load(Ordering::Relaxed);
        if since != 0 {
            self.write_stalled.store(0, Ordering::Relaxed);
            let waited = self.waited.load(Ordering::Relaxed) + Millis::now().since(Millis(since));
            self.waited.store(waited, Ordering::Relaxed);
        }
        if let Ok(bytes) = result {
            self.taken.store(self.taken.load(Ordering::Relaxed) + *bytes as u64, Ordering::Relaxed);
        }
    }

    /// Whether the client takes less than `rate` bytes in a second, on average over the last `after` in which writes
    /// waited for it.
    pub(crate) fn reads_too_slowly(&self, rate: u64, after: Duration) -> bool {
        let stalled = self.stalled();
        let waited = stalled.saturating_sub(Duration::from_millis(self.looked.load(Ordering::Relaxed)));
        if rate == 0 || waited < after {
            return false;
        }
        let taken = self.taken.swap(0, Ordering::Relaxed);
        self.looked.store(in_millis(stalled), Ordering::Relaxed);
        taken < rate.saturating_mul(in_millis(waited)) / 1000
    }
}

/// Lines of the head, before the empty line that ends it, that start with `content-length:`. A head
/// whose beginning came together with the body before it (pipelining) is seen from where it was read
/// on: a line may be missed, never invented. Missing it is harmless, as the parser then decides alone:
/// it obeys `Transfer-Encoding` and closes the connection afterwards (RFC 9112 §6.3), and it refuses
/// lengths that differ.
fn content_lengths(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    head.split(|byte| *byte == b'\n')
        .skip_while(|line| matches!(line, [] | [b'\r']))
        .take_while(|line| !matches!(line, [] | [b'\r']))
        .filter(|line| line.len() >= NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
        .count()
}

/// What is read at once of a connection that nobody serves yet: a head, as a rule.
const FETCHED: usize = 4 << 10;

/// The stream of a client connection.
#[derive(Debug)]
pub(crate) struct Io<S> {
    inner: S,
    /// Bytes that were read before anybody was there to take them.
    prefix: BytesMut,
    activity: Arc<Activity>,
    /// It is closed, and what still comes is thrown away.
    lingers: Option<Linger>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Io<S> {
    pub(crate) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, prefix: BytesMut::new(), activity, lingers: None }
    }

    /// Reads until the client has said whether it speaks HTTP/2 by prior knowledge (RFC 9113 §3.3);
    /// what was read is read again when the stream is served.
    pub(crate) async fn starts_http2(&mut self) -> io::Result<bool> {
        while self.prefix.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&self.prefix) {
            if !self.fetch().await? {
                break;
            }
        }
        Ok(self.prefix.starts_with(HTTP2_PREFACE))
    }

    /// Waits for more bytes and keeps them for who reads next; false if there are no more.
    pub(crate) async fn fetch(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            // On the stack, so that waiting takes no room.
            let mut scratch = [MaybeUninit::uninit(); FETCHED];
            let mut buffer = ReadBuf::uninit(&mut scratch);
            ready!(Pin::new(&mut self.inner).poll_read(cx, &mut buffer))?;
            self.prefix.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(!buffer.filled().is_empty()))
        })
        .await
    }

    /// Whether bytes are there to be read without waiting.
    pub(crate) fn has_more(&self) -> bool {
        !self.prefix.is_empty()
    }

    /// Has `bytes` read again, before what is there.
    pub(crate) fn unread(&mut self, bytes: &[u8]) {
        let rest = std::mem::take(&mut self.prefix);
        self.prefix.extend_from_slice(bytes);
        self.prefix.extend_from_slice(&rest);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.prefix.is_empty() {
            let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
            if result.is_pending() {
                return Poll::Pending;
            }
            self.activity.read(&buffer.filled()[before..]);
            return result;
        }
        let count = self.prefix.len().min(buffer.remaining());
        buffer.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        if self.prefix.is_empty() {
            self.prefix = BytesMut::new();
        }
        self.activity.read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.activity.wrote(&result);
        self.activity.sent(&result, &[io::IoSlice::new(bytes)]);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = write_together(Pin::new(&mut self.inner), cx, slices);
        self.activity.wrote(&result);
        self.activity.sent(&result, slices);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.activity.wrote(&match &result {
            Poll::Ready(_) => Poll::Ready(Ok(0)),
            Poll::Pending => Poll::Pending,
        });
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.lingers.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            if !this.activity.unread.load(Ordering::Relaxed) {
                return Poll::Ready(Ok(()));
            }
        }
        this.lingers.get_or_insert_with(Linger::begin).poll(&mut this.inner, cx).map(Ok)
    }
}
