//! Bodies: known beforehand, large, or sent chunk by chunk as a test goes on.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::answer::Answer;
use crate::wait::within;

/// Any body.
pub type BoxBody = http_body_util::combinators::BoxBody<Bytes, io::Error>;

/// A body of bytes known beforehand.
pub fn body(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// No body.
#[must_use]
pub fn empty() -> BoxBody {
    body(Bytes::new())
}

/// A text with the coding `gzip`.
#[must_use]
pub fn gzipped(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// A body that, like those of tonic, must not be shared between threads.
pub fn exclusive<B>(body: B) -> BoxBody
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    Exclusive(Mutex::new(body)).boxed()
}

/// The lock is never taken: who polls a body has exclusive access to it.
struct Exclusive<B>(Mutex<B>);

impl<B> Body for Exclusive<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let body = self.0.get_mut().expect("it is never locked");
        Pin::new(body).poll_frame(cx).map_err(io::Error::other)
    }
}

/// A body that a test feeds; dropping [`Chunks`] ends it.
#[must_use]
pub fn chunks() -> (Chunks, BoxBody) {
    let (sender, receiver) = mpsc::channel(1);
    (Chunks { sender }, Fed { receiver }.boxed())
}

/// The feeding end of a body.
#[derive(Debug)]
pub struct Chunks {
    sender: mpsc::Sender<io::Result<Frame<Bytes>>>,
}

impl Chunks {
    /// Sends one chunk as soon as the receiver has taken the one before. False when the receiver has
    /// dropped the body.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        within("the body to be taken", self.sender.send(Ok(Frame::data(bytes.into())))).await.is_ok()
    }

    /// Sends a last chunk, and panics unless the client that has the head of this response gets the whole
    /// body, which is this chunk alone.
    pub async fn complete(self, response: Response<Incoming>) {
        assert!(self.send("the rest").await, "nobody wants the rest of the body");
        drop(self);
        let answer = within("the whole body", Answer::read(response)).await.expect("a whole body");
        assert_eq!(answer.text(), "the rest");
    }

    /// Ends the body with these fields.
    pub async fn trailers(self, fields: HeaderMap) {
        let _ = within("the body to be taken", self.sender.send(Ok(Frame::trailers(fields)))).await;
    }

    /// Ends the body with an error.
    pub async fn break_off(self) {
        let broken = Err(io::Error::other("broken off by the test"));
        let _ = within("the body to be taken", self.sender.send(broken)).await;
    }

    /// Waits until the receiver has dropped the body.
    pub async fn abandoned(&self) {
        within("the body to be given up", self.sender.closed()).await;
    }
}

/// A body that comes in these chunks, without a length.
pub fn chunked(all: impl IntoIterator<Item = impl Into<Bytes>>) -> BoxBody {
    let (feed, body) = chunks();
    let all: Vec<Bytes> = all.into_iter().map(Into::into).collect();
    tokio::spawn(async move {
        for chunk in all {
            if !feed.send(chunk).await {
                return;
            }
        }
    });
    body
}

/// A body of which this chunk comes, and then nothing.
pub fn stalled(chunk: impl Into<Bytes>) -> BoxBody {
    let (feed, body) = chunks();
    let chunk = chunk.into();
    tokio::spawn(async move {
        feed.send(chunk).await;
        feed.abandoned().await;
    });
    body
}

/// The next chunk of a body that is received.
pub async fn next_chunk(body: &mut Incoming) -> Bytes {
    let frame = within("the next chunk", body.frame()).await.expect("a chunk").expect("a whole body");
    frame.into_data().expect("data")
}

struct Fed {
    receiver: mpsc::Receiver<io::Result<Frame<Bytes>>>,
}

impl Body for Fed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.receiver.poll_recv(cx)
    }
}

/// A body of `left` bytes, all zero, never held in memory at once.
#[derive(Debug)]
pub struct Zeros {
    /// How many bytes are still to be sent.
    pub left: u64,
}

impl Body for Zeros {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        static CHUNK: [u8; 64 * 1024] = [0; 64 * 1024];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let length = usize::try_from(self.left).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
        self.left -= length as u64;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK[..length])))))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.left)
    }
}
