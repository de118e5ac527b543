//! Connections to one server: made, lent to an exchange, kept for the next one.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tidegate_config::Pool;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::driver::{Driver, Stream};
use crate::body::RequestBody;
use crate::clock::Millis;

/// What became of a request that was sent.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

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
    driver: Driver,
    /// Set once for many exchanges: as a rule an answer comes long before it is due.
    timer: Pin<Box<Sleep>>,
    made: Millis,
    idle_since: Millis,
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
            // A task of its own may not have seen yet that the last exchange is over.
            let ready = connection.sender.is_ready()
                || (connection.driver.is_spawned()
                    && matches!(timeout(connect, connection.sender.ready()).await, Ok(Ok(()))));
            if ready {
                return Ok(Lease { server: self.clone(), connection, reused: true });
            }
        }
        match timeout(connect, Box::pin(self.connect())).await {
            Ok(Ok((sender, driver))) => {
                let now = Millis::now();
                let timer = Box::pin(sleep(connect));
                let connection = Connection { sender, driver, timer, made: now, idle_since: now };
                Ok(Lease { server: self.clone(), connection, reused: false })
            }
            Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    /// Closes what has been idle for too long, has grown too old, or was closed by the server.
    pub(crate) fn sweep(&self) {
        self.idle.borrow_mut().retain_mut(|connection| self.may_keep(connection));
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop())
            .find_map(|mut connection| self.may_keep(&mut connection).then_some(connection))
    }

    fn may_keep(&self, connection: &mut Connection) -> bool {
        let now = Millis::now();
        connection.driver.look();
        !connection.sender.is_closed()
            && now.time_since(connection.idle_since) < self.bounds.idle_time
            && now.time_since(connection.made) < self.bounds.max_age
    }

    async fn connect(&self) -> io::Result<(SendRequest<RequestBody>, Driver)> {
        // A host name stands for all its addresses; they are tried in turn.
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_header_size(self.response_headers)
            .max_buf_size(READ_BUFFER.max(self.response_headers))
            .handshake(TokioIo::new(Stream::new(stream)))
            .await
            .map_err(io::Error::other)?;
        Ok((sender, Driver::new(connection)))
    }
}

impl Lease {
    /// Sends a request. The response comes while the connection is driven ([`Lease::poll_driver`]).
    pub(crate) fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Sent> + use<> {
        let Connection { sender, driver, .. } = &mut self.connection;
        driver.quietly(|| sender.try_send_request(request))
    }

    /// Hands the connection over to a task of its own: its request has a body, or it is going to be
    /// upgraded, so it has to move even while nobody waits for the response.
    pub(crate) fn spawn_driver(&mut self) {
        self.connection.driver.spawn();
    }

    /// Moves the connection on, as far as it can, and has `cx` woken when it can again.
    pub(crate) fn poll_driver(&mut self, cx: &Context<'_>) {
        self.connection.driver.poll(cx);
    }

    /// Ready when it is `due`.
    pub(crate) fn poll_due(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = &mut self.connection.timer;
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
        Poll::Pending
    }

    /// Takes something the connection made available, which would only wake whoever takes it.
    pub(crate) fn quietly<T>(&self, take: impl FnOnce() -> T) -> T {
        self.connection.driver.quietly(take)
    }

    pub(crate) fn server(&self) -> &Arc<str> {
        &self.server.address
    }

    /// Keeps the connection for the next exchange, if the bounds of the pool allow.
    pub(crate) fn release(self) {
        let Self { server, mut connection, .. } = self;
        let mut idle = server.idle.borrow_mut();
        if idle.len() < server.bounds.max_idle {
            connection.idle_since = Millis::now();
            idle.push(connection);
        }
    }
}
