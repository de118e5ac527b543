//! What systemd is to a service: it is told how the service fares, and keeps sockets for it.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Mutex;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::wait::within;

/// Where a service tells how it fares.
#[derive(Debug)]
pub struct ServiceManager {
    messages: Mutex<mpsc::UnboundedReceiver<Notification>>,
    reading: AbortHandle,
    folder: TempDir,
}

/// One message.
#[derive(Debug)]
pub struct Notification {
    /// Assignments, one a line.
    pub text: String,
    /// What came with it.
    pub files: Vec<OwnedFd>,
}

impl ServiceManager {
    /// On a socket of its own, which is read all the time: a service waits if it is not.
    #[must_use]
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a new socket");
        let (sender, messages) = mpsc::unbounded_channel();
        let reading = tokio::spawn(async move {
            while let Ok(message) = socket.async_io(Interest::READABLE, || receive(&socket)).await {
                let _ = sender.send(message);
            }
        });
        Self { messages: Mutex::new(messages), reading: reading.abort_handle(), folder }
    }

    /// For `NOTIFY_SOCKET`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next message that begins with this; those before it are passed over.
    pub async fn told(&self, beginning: &str) -> Notification {
        within(&format!("{beginning:?} to be told"), async {
            loop {
                let message = std::future::poll_fn(|context| {
                    self.messages.lock().expect("no panic").poll_recv(context)
                });
                let message = message.await.expect("it reads as long as it is there");
                if message.text.starts_with(beginning) {
                    return message;
                }
            }
        })
        .await
    }

    /// What is there already.
    #[must_use]
    pub fn next(&self) -> Option<Notification> {
        self.messages.lock().expect("no panic").try_recv().ok()
    }
}

impl Drop for ServiceManager {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn receive(socket: &UnixDatagram) -> io::Result<Notification> {
    let (mut text, mut space) = ([0; 4096], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))]);
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut text)];
    let received = recvmsg(socket, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let files = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(files) => Some(files),
        _ => None,
    });
    let files = files.flatten().collect();
    Ok(Notification { text: String::from_utf8_lossy(&text[..received.bytes]).into_owned(), files })
}
