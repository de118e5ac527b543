//! Connections to one server: made, lent to an exchange, kept for the next one.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tidegate_config::Pool;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::timeout;

use crate::body::RequestBody;

/// What is read from a server at once. hyper would grow to 400 KiB, and each piece that waits for a slow
/// client keeps the whole buffer it was read into: sixteen of those were 17 MiB for one client.
const READ_BUFFER: usize = 64 << 10;

/// A server and the idle connections one worker keeps to it.
pub(crate) struct Server {
    pub(crate) address: Arc<str>,
    bounds: Pool,
    response_headers: usize,
    /// Last in, first out: the least used ones grow old and are closed.
    idle: RefCell<Vec<Connection>>,
}

struct Connection {
    sender: SendRequest<RequestBody>,
    made: Instant,
    idle_since: Instant,
}

/// A connection on loan to one exchange. Dropping it closes the connection; [`Lease::release`] keeps it.
pub(crate) struct Lease {
    server: Rc<Server>,
    connection: Connection,
    /// It served an exchange before, so the server may have closed it by now.
    pub(crate) reused: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Timeout,
    Failed(String),
}

impl Server {
    pub(crate) fn new(address: Arc<str>, bounds: Pool, response_headers: usize) -> Self {
        Self { address, bounds, response_headers, idle: RefCell::default() }
    }

    /// Lends an idle connection, or makes one within `connect`. With `fresh` it always makes one.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        connect: Duration,
        fresh: bool,
    ) -> Result<Lease, ConnectError> {
        while !fresh && let Some(mut connection) = self.take_idle() {
            // The connection's task may not have seen yet that its last exchange is over.
            let ready = connection.sender.is_ready()
                || matches!(timeout(connect, connection.sender.ready()).await, Ok(Ok(())));
            if ready {
                return Ok(Lease { server: self.clone(), connection, reused: true });
            }
        }
        match timeout(connect, self.connect()).await {
            Ok(Ok(sender)) => {
                let now = Instant::now();
                let connection = Connection { sender, made: now, idle_since: now };
                Ok(Lease { server: self.clone(), connection, reused: false })
            }
            Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    /// Closes what has been idle for too long or grown too old.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain(|connection| self.may_keep(connection));
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop()).find(|connection| self.may_keep(connection))
    }

    fn may_keep(&self, connection: &Connection) -> bool {
        let now = Instant::now();
        !connection.sender.is_closed()
            && now - connection.idle_since < self.bounds.idle_time
            && now - connection.made < self.bounds.max_age
    }

    async fn connect(&self) -> io::Result<SendRequest<RequestBody>> {
        // A host name stands for all its addresses; they are tried in turn.
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_header_size(self.response_headers)
            .max_buf_size(READ_BUFFER.max(self.response_headers))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // The task ends when the sender is dropped or the server closes the connection; how an
        // exchange on it failed, the exchange is told itself.
        spawn_local(async move {
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }
}

impl Lease {
    pub(crate) fn sender(&mut self) -> &mut SendRequest<RequestBody> {
        &mut self.connection.sender
    }

    pub(crate) fn server(&self) -> &Arc<str> {
        &self.server.address
    }

    /// Keeps the connection for the next exchange, if the bounds of the pool allow.
    pub(crate) fn release(self) {
        let Self { server, mut connection, .. } = self;
        let mut idle = server.idle.borrow_mut();
        if idle.len() < server.bounds.max_idle {
            connection.idle_since = Instant::now();
            idle.push(connection);
        }
    }
}
