//! Accepts connections until told to stop.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

/// The pause after the system refused to accept, doubled up to the longest: it is out of file
/// descriptors or memory, and trying again at once would only take CPU time as well.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A socket on which connections are accepted until this is dropped. Connections that the kernel has
/// already taken are accepted then, not reset; but for [`Listening::leave`].
pub(crate) struct Listening {
    task: AbortHandle,
    backlog: std::net::TcpListener,
    /// Somebody else accepts what the kernel takes.
    left: bool,
    connected: Box<dyn Fn(TcpStream, SocketAddr)>,
}

/// Calls `connected` for every connection on `socket`.
pub(crate) fn listen(
    socket: std::net::TcpListener,
    connected: impl Fn(TcpStream, SocketAddr) + Clone + 'static,
) -> io::Result<Listening> {
    let backlog = socket.try_clone()?;
    let listener = TcpListener::from_std(socket)?;
    let each = connected.clone();
    let task = spawn_local(async move {
        let mut pause = SHORTEST_PAUSE;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    pause = SHORTEST_PAUSE;
                    each(stream, peer);
                }
                // The client gave up while it waited to be accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::error!(target: "listener", "cannot accept: {error}; trying again in {pause:?}");
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    });
    Ok(Listening { task: task.abort_handle(), backlog, left: false, connected: Box::new(connected) })
}

impl Listening {
    /// The same socket, for another process to accept on as well.
    pub(crate) fn lend(&self) -> io::Result<std::net::TcpListener> {
        self.backlog.try_clone()
    }

    /// Accepts no more: another process has the socket, and accepts.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
        if self.left {
            return;
        }
        // The socket does not block: this ends with the backlog.
        while let Ok((stream, peer)) = self.backlog.accept() {
            let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
            if let Ok(stream) = stream {
                (self.connected)(stream, peer);
            }
        }
    }
}
