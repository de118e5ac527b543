//! The body of a request, kept whole before a server is asked for anything.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tidegate_config::Buffer;
use tokio::task::{JoinHandle, spawn_blocking};

use super::chunks::Chunks;
use super::file::{Target, TemporaryFile};
use super::space::{Purpose, TemporaryFiles};
use crate::any::BoxError;
use crate::memory::{Held, Payer};

/// A whole body: what did not fit in memory in a file, the rest after it.
#[derive(Debug)]
pub(crate) struct Stored {
    file: Option<Arc<TemporaryFile>>,
    in_file: u64,
    rest: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    length: u64,
    /// What is read from the file at once.
    at_once: usize,
    /// What is in memory, on the client's account.
    _held: Held,
}

/// Why a body was not stored.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is over memory and disk.
    TooLarge,
    /// `limits.temporary-space` is used up.
    NoSpace,
    /// `limits.memory` is, or the client's share of it.
    NoMemory,
    Disk(io::Error),
    /// It did not come as a whole.
    Broken,
}

/// Takes a body whole. In memory there are never more than `buffer.memory` bytes of it and one chunk; a body
/// that has more goes into a temporary file of up to `buffer.disk` bytes, from its beginning.
pub(crate) async fn store<B>(
    mut body: B,
    buffer: Buffer,
    files: &TemporaryFiles,
    payer: &Payer,
) -> Result<Stored, Refused>
where
    B: Body<Data = Bytes, Error = BoxError> + Unpin,
{
    let most = buffer.disk.saturating_add(buffer.memory as u64);
    if body.size_hint().lower() > most {
        return Err(Refused::TooLarge);
    }
    let at_once = buffer.memory / 2;
    let (mut file, mut in_file, mut length) = (None, 0, 0);
    let (mut rest, mut trailers) = (Chunks::default(), None);
    let mut held = payer.hold();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map_err(|_| Refused::Broken)?.into_data() {
            Ok(chunk) => {
                length += chunk.len() as u64;
                rest.push(chunk);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if length > most {
            return Err(Refused::TooLarge);
        }
        let due = if in_file == 0 { rest.len() > buffer.memory } else { rest.len() >= at_once };
        let room = usize::try_from(buffer.disk - in_file).unwrap_or(usize::MAX);
        if due && room > 0 {
            let after = rest.split_off(room);
            let chunks = std::mem::replace(&mut rest, after);
            let written = chunks.len() as u64;
            file = Some(write(file, in_file, chunks, files, payer).await?);
            in_file += written;
        }
        held.set(rest.len()).map_err(|_| Refused::NoMemory)?;
    }
    Ok(Stored {
        file: file.map(Arc::new),
        in_file,
        rest: rest.into_vec(),
        trailers,
        length,
        at_once,
        _held: held,
    })
}

async fn write(
    file: Option<TemporaryFile>,
    at: u64,
    chunks: Chunks,
    files: &TemporaryFiles,
    payer: &Payer,
) -> Result<TemporaryFile, Refused> {
    let end = at + chunks.len() as u64;
    let target = match file {
        None => {
            let reserved = files.reserve(Purpose::Request, payer.client(), end);
            reserved.map(|reserved| Target::New(files.clone(), reserved))
        }
        Some(mut file) => file.make_room(end).then_some(Target::Open(file)),
    };
    let target = target.ok_or(Refused::NoSpace)?;
    let writing = spawn_blocking(move || {
        let file = target.open()?;
        file.write(at, &chunks)?;
        Ok(file)
    });
    writing.await.unwrap_or_else(|ended| Err(io::Error::other(ended))).map_err(Refused::Disk)
}

impl Stored {
    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0 && self.trailers.is_none()
    }

    pub(crate) fn has_trailers(&self) -> bool {
        self.trailers.is_some()
    }
}

/// Reads a stored body from its beginning. Any number of them may read.
#[derive(Debug)]
pub(crate) struct Reader {
    stored: Rc<Stored>,
    /// What of the file was asked for.
    in_file: u64,
    /// What of it is there.
    at_hand: VecDeque<Bytes>,
    work: Option<JoinHandle<io::Result<Vec<Bytes>>>>,
    /// Which chunk of the rest is next.
    in_rest: usize,
    /// Bytes that are still to come.
    left: u64,
    trailers_left: bool,
}

impl Reader {
    pub(crate) fn new(stored: Rc<Stored>) -> Self {
        let (left, trailers_left) = (stored.length, stored.has_trailers());
        Self { stored, in_file: 0, at_hand: VecDeque::new(), work: None, in_rest: 0, left, trailers_left }
    }

    pub(crate) fn stored(&self) -> &Rc<Stored> {
        &self.stored
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn is_at_end(&self) -> bool {
        self.left == 0 && !self.trailers_left
    }

    /// # Errors
    /// The file cannot be read.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(chunk) = self.at_hand.pop_front() {
                self.left -= chunk.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if let Some(work) = &mut self.work {
                let read = ready!(Pin::new(work).poll(cx));
                self.work = None;
                match read.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
                    Ok(chunks) => self.at_hand.extend(chunks),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
                continue;
            }
            let stored = &self.stored;
            if let Some(file) = stored.file.clone()
                && self.in_file < stored.in_file
            {
                let (at, there) = (self.in_file, stored.in_file - self.in_file);
                let length = usize::try_from(there).map_or(stored.at_once, |there| there.min(stored.at_once));
                self.in_file += length as u64;
                self.work = Some(spawn_blocking(move || file.read(at, length)));
                continue;
            }
            if let Some(chunk) = stored.rest.get(self.in_rest) {
                self.in_rest += 1;
                self.left -= chunk.len() as u64;
                return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
            }
            let trailers = stored.trailers.clone().filter(|_| std::mem::take(&mut self.trailers_left));
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::super::space::tests::files;
    use super::*;

    const KIB: usize = 1 << 10;

    /// What comes from a client.
    #[derive(Default)]
    struct Frames(VecDeque<Result<Frame<Bytes>, BoxError>>);

    impl Body for Frames {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    fn bytes(length: usize) -> Bytes {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn body(length: usize) -> Frames {
        let mut left = bytes(length);
        let chunks = std::iter::from_fn(|| (!left.is_empty()).then(|| left.split_to(left.len().min(9000))));
        Frames(chunks.map(|chunk| Ok(Frame::data(chunk))).collect())
    }

    fn buffer(memory: usize, disk: usize) -> Buffer {
        Buffer { memory, disk: disk as u64 }
    }

    /// The body and the trailers that a reader gets.
    async fn read(stored: &Rc<Stored>) -> (Vec<u8>, Option<HeaderMap>) {
        let (mut reader, mut read, mut trailers) = (Reader::new(stored.clone()), Vec::new(), None);
        assert_eq!(reader.left(), stored.length);
        while let Some(frame) = poll_fn(|cx| reader.poll_frame(cx)).await {
            match frame.expect("it can be read").into_data() {
                Ok(chunk) => read.extend_from_slice(&chunk),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
            assert_eq!(reader.left(), stored.length - read.len() as u64);
        }
        assert!(reader.is_at_end());
        (read, trailers)
    }

    #[tokio::test]
    async fn a_body_is_kept_whole_and_read_any_number_of_times() {
        for (length, on_disk) in
            [(1, false), (64 * KIB, false), (64 * KIB + 1, true), (500 * KIB, true), (564 * KIB, true)]
        {
            let (files, held) = files(1 << 30);
            let stored = store(body(length), buffer(64 * KIB, 500 * KIB), &files, &Payer::rich())
                .await
                .expect("it fits");
            assert_eq!(held() > 0, on_disk, "{length}");
            let in_memory: usize = stored.rest.iter().map(Bytes::len).sum();
            assert!(held() <= 500 * KIB as u64 && in_memory <= 64 * KIB, "{length}");
            let stored = Rc::new(stored);
            for _ in 0..2 {
                assert!(read(&stored).await.0 == bytes(length), "{length}");
            }
            drop(stored);
            while held() > 0 {
                tokio::task::yield_now().await;
            }
        }
    }

    #[tokio::test]
    async fn trailers_are_kept() {
        let fields = HeaderMap::from_iter([(HeaderName::from_static("a"), HeaderValue::from_static("b"))]);
        let mut frames = body(10);
        frames.0.push_back(Ok(Frame::trailers(fields.clone())));
        let (files, _) = files(0);
        let stored =
            Rc::new(store(frames, buffer(64 * KIB, 0), &files, &Payer::rich()).await.expect("it fits"));
        assert!(stored.has_trailers() && !stored.is_empty());
        for _ in 0..2 {
            assert_eq!(read(&stored).await, (bytes(10).to_vec(), Some(fields.clone())));
        }
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_refused_and_takes_no_space() {
        let mut broken = body(100 * KIB);
        broken.0.push_back(Err("broken off".into()));
        let cases = [
            (body(64 * KIB + 1), buffer(64 * KIB, 0), 1 << 30, "TooLarge"),
            (body(164 * KIB + 1), buffer(64 * KIB, 100 * KIB), 1 << 30, "TooLarge"),
            (body(200 * KIB), buffer(64 * KIB, 1 << 30), 100 * KIB as u64, "NoSpace"),
            (broken, buffer(64 * KIB, 1 << 30), 1 << 30, "Broken"),
        ];
        for (frames, buffer, limit, expected) in cases {
            let (files, held) = files(limit);
            let refused = store(frames, buffer, &files, &Payer::rich()).await.expect_err(expected);
            assert_eq!(format!("{refused:?}"), expected);
            while held() > 0 {
                tokio::task::yield_now().await;
            }
        }
        let (mut files, held) = files(1 << 30);
        files.directory = std::path::Path::new("/nowhere").into();
        let refused = store(body(100 * KIB), buffer(64 * KIB, 1 << 30), &files, &Payer::rich()).await;
        assert!(matches!(refused, Err(Refused::Disk(_))), "{refused:?}");
        assert_eq!(held(), 0);
    }

    #[tokio::test]
    async fn a_body_is_kept_on_the_account_of_its_client() {
        let payer = Payer::with(400 * KIB as u64);
        let (files, _) = files(1 << 30);
        let refused =
            store(body(64 * KIB), buffer(64 * KIB, 0), &files, &payer).await.expect_err("over a tenth");
        assert!(matches!(refused, Refused::NoMemory), "{refused:?}");
        assert_eq!(payer.held(), 0);
        let stored = store(body(30 * KIB), buffer(64 * KIB, 0), &files, &payer).await.expect("it fits");
        assert_eq!(payer.held(), 30 * KIB as u64);
        drop(stored);
        assert_eq!(payer.held(), 0);
    }
}
