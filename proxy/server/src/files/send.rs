//! The body of a response that comes from a file: read piece by piece as the client takes it, from memory
//! if the kernel has it there, else on a thread that may wait for the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use tidegate_message::range::Part;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep};

use super::{PATIENCE, memory};
use tidegate_body::BoxError;

/// Bytes read at once from memory: what a connection takes at once (`http/connection/http1.rs`), and what stays in
/// a core's cache between being read and being sent.
const PIECE: usize = 64 << 10;
/// Bytes read at once from a disk: handing over to another thread costs 10 to 15 µs each time.
const PATIENT_PIECE: usize = 256 << 10;

/// What is sent, in order.
pub(crate) enum Segment {
    Text(Bytes),
    File(Part),
}

impl Segment {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(part) => part.length,
        }
    }
}

/// The body. Dropping it closes the file.
pub(crate) struct FileBody {
    /// The root or the cache that the file is in, for the log.
    root: Arc<str>,
    file: Arc<File>,
    segments: VecDeque<Segment>,
    waiting: Option<Waiting>,
    reads: Reads,
}

/// Who reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// The worker, as far as the kernel says that it need not wait.
    Asking,
    /// The kernel does not say: the worker, as the file is in memory ([`memory`]).
    Here,
    /// The kernel does not say: a thread that may wait.
    Elsewhere,
}

/// A read that may wait for a disk, and until when.
struct Waiting {
    read: JoinHandle<io::Result<Vec<u8>>>,
    deadline: Pin<Box<Sleep>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // If it has begun, it ends by itself and closes the file.
        self.read.abort();
    }
}

impl FileBody {
    /// No segment is empty.
    pub(crate) fn new(root: Arc<str>, file: Arc<File>, segments: impl IntoIterator<Item = Segment>) -> Self {
        let segments = segments.into_iter().collect();
        Self { root, file, segments, waiting: None, reads: Reads::Asking }
    }

    /// Takes what was read at the beginning of `segments` off it.
    fn advance(&mut self, read: usize) {
        if let Some(Segment::File(part)) = self.segments.front_mut() {
            part.first += read as u64;
            part.length -= read as u64;
            if part.length == 0 {
                self.segments.pop_front();
            }
        }
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(Ok(Vec::new())) };
        let result = match Pin::new(&mut waiting.read).poll(cx) {
            Poll::Ready(joined) => joined.unwrap_or_else(|error| Err(io::Error::other(error))),
            Poll::Pending => {
                ready!(waiting.deadline.as_mut().poll(cx));
                Err(io::ErrorKind::TimedOut.into())
            }
        };
        self.waiting = None;
        Poll::Ready(result)
    }
}

/// Reads up to `length` bytes if none of them has to be waited for.
fn read_cached(file: &File, offset: u64, length: usize) -> rustix::io::Result<Vec<u8>> {
    let mut piece = vec![0; length];
    let read = preadv2(file, &mut [IoSliceMut::new(&mut piece)], offset, ReadWriteFlags::NOWAIT)?;
    piece.truncate(read);
    Ok(piece)
}

/// Reads as much as there is room for in `piece`, which is empty, however long that takes.
fn read_patiently(file: &File, offset: u64, mut piece: Vec<u8>) -> rustix::io::Result<Vec<u8>> {
    loop {
        match pread(file, spare_capacity(&mut piece), offset) {
            Err(Errno::INTR) => {}
            result => return result.map(|_| piece),
        }
    }
}

/// As much of a part as goes into a piece.
fn piece_of(part: Part, most: usize) -> usize {
    usize::try_from(part.length).map_or(most, |left| left.min(most))
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let piece = if this.waiting.is_some() {
                ready!(this.poll_waiting(cx))
            } else {
                let part = match this.segments.front() {
                    None => return Poll::Ready(None),
                    Some(Segment::File(part)) => *part,
                    Some(Segment::Text(text)) => {
                        let text = text.clone();
                        this.segments.pop_front();
                        return Poll::Ready(Some(Ok(Frame::data(text))));
                    }
                };
                let length = piece_of(part, PIECE);
                let cached = match this.reads {
                    Reads::Asking => read_cached(&this.file, part.first, length),
                    Reads::Here => read_patiently(&this.file, part.first, Vec::with_capacity(length)),
                    Reads::Elsewhere => Err(Errno::AGAIN),
                };
                match cached {
                    Ok(piece) => Ok(piece),
                    Err(Errno::OPNOTSUPP | Errno::NOSYS) if this.reads == Reads::Asking => {
                        let held = memory::holds(&this.file);
                        this.reads = if held { Reads::Here } else { Reads::Elsewhere };
                        continue;
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {
                        let file = this.file.clone();
                        // Allocated here, where it is freed: that costs less memory.
                        let piece = Vec::with_capacity(piece_of(part, PATIENT_PIECE));
                        let read = move || read_patiently(&file, part.first, piece).map_err(io::Error::from);
                        let read = tokio::task::spawn_blocking(read);
                        this.waiting = Some(Waiting { read, deadline: Box::pin(sleep(PATIENCE)) });
                        continue;
                    }
                    Err(error) => Err(error.into()),
                }
            };
            let piece = match piece {
                // A file that became shorter: its length was announced.
                Ok(piece) if piece.is_empty() => Err(io::ErrorKind::UnexpectedEof.into()),
                piece => piece,
            };
            return Poll::Ready(Some(match piece {
                Ok(piece) => {
                    this.advance(piece.len());
                    if this.reads == Reads::Elsewhere && this.segments.is_empty() {
                        memory::note(&this.file);
                    }
                    Ok(Frame::data(piece.into()))
                }
                Err(error) => {
                    let root = &this.root;
                    tracing::warn!(target: "files", %root, "a file cannot be read to its end: {error}");
                    Err(error.into())
                }
            }));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.segments.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.segments.iter().map(Segment::len).sum())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;

    /// A file with this content, which has no name any more.
    fn file(content: &[u8]) -> File {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("file");
        fs::write(&path, content).expect("a new file");
        fs::OpenOptions::new().read(true).write(true).open(path).expect("a file")
    }

    #[tokio::test]
    async fn parts_come_whole_whether_or_not_they_have_to_be_waited_for() {
        let content: Vec<u8> = (0..3 * PATIENT_PIECE).map(|at| (at / 100 % 251) as u8).collect();
        let part = Part { first: 7, length: (2 * PATIENT_PIECE + 5) as u64 };
        for reads in [Reads::Asking, Reads::Here, Reads::Elsewhere] {
            let text = |text: &'static str| Segment::Text(Bytes::from_static(text.as_bytes()));
            let mut body = FileBody::new(
                "www".into(),
                Arc::new(file(&content)),
                [text("before"), Segment::File(part), text("after")],
            );
            body.reads = reads;
            assert!(!body.is_end_stream());
            let announced = body.size_hint().exact();
            let sent = body.collect().await.expect("a whole body").to_bytes();
            let expected = [b"before", &content[7..2 * PATIENT_PIECE + 12], b"after"].concat();
            assert!(sent == expected, "{} bytes, not {}", sent.len(), expected.len());
            assert_eq!(announced, Some(sent.len() as u64));
        }
    }

    #[tokio::test]
    async fn the_end_is_known_with_the_last_piece() {
        let mut body = FileBody::new(
            "www".into(),
            Arc::new(file(b"all")),
            [Segment::File(Part { first: 0, length: 3 })],
        );
        let piece = body.frame().await.expect("a piece").expect("a file that is there").into_data();
        assert_eq!(piece.expect("data"), "all");
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_became_shorter_does_not_end_early() {
        for reads in [Reads::Asking, Reads::Here, Reads::Elsewhere] {
            let file = file(b"shorter");
            file.set_len(3).expect("a writable file");
            let mut body =
                FileBody::new("www".into(), Arc::new(file), [Segment::File(Part { first: 0, length: 7 })]);
            body.reads = reads;
            assert_eq!(
                body.frame().await.expect("a piece").expect("what is there").into_data().expect("data"),
                "sho"
            );
            body.frame().await.expect("an end that is none").expect_err("the rest is not there");
        }
    }
}
