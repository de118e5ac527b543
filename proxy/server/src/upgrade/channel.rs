//! Messages and open files between two processes, over a Unix stream.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Files that go with one byte; the kernel takes 253.
const FILES: usize = 64;
/// Bytes of a message: more is sent by nobody who speaks this.
const LARGEST: u32 = 16 << 20;

/// One end. What is sent on it waits for the other end until the moment that is named.
pub(super) struct Channel(UnixStream);

impl Channel {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }

    pub(super) fn send(&self, message: &impl Serialize, until: Instant) -> io::Result<()> {
        let text = serde_json::to_vec(message)?;
        let length = u32::try_from(text.len()).ok().filter(|length| *length <= LARGEST);
        let length = length.ok_or_else(|| io::Error::other("a message that is too long"))?;
        self.0.set_write_timeout(Some(left(until)?))?;
        (&self.0).write_all(&length.to_be_bytes()).and_then(|()| (&self.0).write_all(&text)).map_err(in_time)
    }

    /// The next message; [`ErrorKind::UnexpectedEof`] if the other process has ended.
    pub(super) fn receive<T: DeserializeOwned>(&self, until: Instant) -> io::Result<T> {
        let mut length = [0; 4];
        self.read(&mut length, until)?;
        let length = u32::from_be_bytes(length);
        if length > LARGEST {
            return Err(io::Error::other("this is no message of an upgrade"));
        }
        let mut text = vec![0; length as usize];
        self.read(&mut text, until)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// Hands over copies of open files, which are told apart by their order.
    pub(super) fn send_files(&self, files: &[BorrowedFd<'_>], until: Instant) -> io::Result<()> {
        for some in files.chunks(FILES) {
            self.0.set_write_timeout(Some(left(until)?))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(some)) {
                return Err(io::Error::other("no room for so many open files"));
            }
            sendmsg(&self.0, &[IoSlice::new(b".")], &mut beside, SendFlags::empty())
                .map_err(|error| in_time(error.into()))?;
        }
        Ok(())
    }

    /// As many as the other end sends.
    pub(super) fn receive_files(&self, count: usize, until: Instant) -> io::Result<Vec<OwnedFd>> {
        let mut files = Vec::with_capacity(count);
        while files.len() < count {
            self.0.set_read_timeout(Some(left(until)?))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut into = [IoSliceMut::new(&mut byte)];
            let received = recvmsg(&self.0, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)
                .map_err(|error| in_time(error.into()))?;
            let before = files.len();
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(some) = message {
                    files.extend(some);
                }
            }
            if received.bytes == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if files.len() == before {
                return Err(io::Error::other("open files are missing: this process may have no more"));
            }
        }
        Ok(files)
    }

    /// Waits until the other process has let go of its end.
    pub(super) fn until_closed(&self, until: Instant) {
        // Whatever comes: nothing is expected.
        while self.read(&mut [0], until).is_ok() {}
    }

    /// Nothing is read beyond what is asked for: files come with the very byte that they were sent with.
    fn read(&self, mut into: &mut [u8], until: Instant) -> io::Result<()> {
        while !into.is_empty() {
            self.0.set_read_timeout(Some(left(until)?))?;
            match (&self.0).read(into) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => into = &mut into[count..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(in_time(error)),
            }
        }
        Ok(())
    }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    // A timeout of zero would be none.
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// The system calls a timeout of a socket by another name.
fn in_time(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    fn pair() -> [Channel; 2] {
        let (one, other) = UnixStream::pair().expect("two sockets");
        [Channel::new(one), Channel::new(other)]
    }

    #[test]
    fn messages_and_files_arrive_in_their_order() {
        let [one, other] = pair();
        let folder = tempfile::tempdir().expect("a folder");
        let files: Vec<File> = (0..150)
            .map(|n| {
                let path = folder.path().join(n.to_string());
                std::fs::write(&path, n.to_string()).expect("a new file");
                File::open(path).expect("it is there")
            })
            .collect();
        let borrowed: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        one.send(&"before", soon()).expect("room");
        one.send_files(&borrowed, soon()).expect("room");
        one.send(&"after", soon()).expect("room");
        assert_eq!(other.receive::<String>(soon()).expect("a message"), "before");
        let received = other.receive_files(150, soon()).expect("files");
        for (n, file) in received.into_iter().enumerate() {
            let mut text = String::new();
            File::from(file).read_to_string(&mut text).expect("a file");
            assert_eq!(text, n.to_string());
        }
        assert_eq!(other.receive::<String>(soon()).expect("a message"), "after");
    }

    #[test]
    fn who_is_silent_or_gone_is_told_apart() {
        let [one, other] = pair();
        let now = Instant::now() + Duration::from_millis(5);
        let kind = |result: io::Result<String>| result.expect_err("no message").kind();
        assert_eq!(kind(one.receive(now)), ErrorKind::TimedOut);
        drop(other);
        assert_eq!(kind(one.receive(soon())), ErrorKind::UnexpectedEof);
    }
}
