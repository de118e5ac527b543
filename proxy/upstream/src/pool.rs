//! Connections to one server: made, lent to an exchange, kept for the next one.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use tidegate_config::{Pool, Protocol};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::driver::Driver;
use crate::health::Health;
use crate::limit::Permit;
use crate::target::{Offer, Target};
use tidegate_body::RequestBody;
use tidegate_io::Millis;
use tidegate_io::proxy_protocol::Header;

/// What is read from a server at once. hyper would grow to 400 KiB, and each piece that waits for a slow
/// client keeps the whole buffer it was read into: sixteen of those were 17 MiB for one client.
const READ_BUFFER: usize = 64 << 10;

/// What a server may send on one HTTP/2 stream before it is taken (RFC 9113 §6.9.2). The protocol's own
/// 64 KiB would slow down every response over a long link. A connection may have as much for each of its
/// streams: with less, a few clients that do not read would hold up all others.
const STREAM_WINDOW: u32 = 256 << 10;
/// Connections to a server that belong to connections of one client.
const OWNED_BY_ONE: usize = 8;
/// Fields of a head that hyper takes at most where it is not told otherwise.
const HTTP1_FIELDS: usize = 100;
/// Stands for the number of streams that a server allows until it has said it in its SETTINGS; no server
/// says this one.
const UNSETTLED: usize = 65_521;
/// RFC 9113 §6.9.1.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// What became of a request that was sent.
pub(crate) type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A request on its way, by the version it is sent with.
pub(crate) enum Sending<H1, H2> {
    Http1(H1),
    Http2(H2),
}

/// How connections to a server are kept, and what is spoken on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) pool: Pool,
    pub(crate) protocol: Protocol,
    /// Bytes of a response head, and its fields.
    pub(crate) response_headers: usize,
    pub(crate) response_header_count: usize,
    pub(crate) title_case: bool,
}

/// A server and the connections one worker has to it.
pub(crate) struct Server {
    pub(crate) target: Arc<Target>,
    pub(crate) bounds: Bounds,
    /// HTTP/1.1, idle. Last in, first out: those that the load did not need for `pool.idle-time` are closed, and no
    /// others.
    #[expect(clippy::vec_box, reason = "lent and returned with every request: one pointer")]
    idle: RefCell<Vec<Box<Http1>>>,
    /// For the idle ones beyond [`ALWAYS`], to all servers of the worker.
    spare: Rc<Spare>,
    /// HTTP/1.1, idle, and each for one client's connection alone.
    #[expect(clippy::vec_box, reason = "as above")]
    owned: RefCell<Vec<Box<Http1>>>,
    /// HTTP/2, idle or not.
    shared: RefCell<Vec<Rc<Http2>>>,
    /// What ALPN chose last; `None` before the first connection.
    speaks_http2: Cell<Option<bool>>,
    /// Held while a connection is made that others may share.
    connecting: tokio::sync::Mutex<()>,
}

/// Idle connections to one server that are kept whatever there is to others.
const ALWAYS: usize = 64;

/// How many more idle connections one worker keeps, to all servers, where the operator says nothing.
#[derive(Debug)]
pub(crate) struct Spare {
    limit: usize,
    kept: Cell<usize>,
}

impl Spare {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self { limit, kept: Cell::new(0) })
    }

    /// The idle ones of one server were `before` and are `after`.
    fn count(&self, before: usize, after: usize) {
        let beyond = |count: usize| count.saturating_sub(ALWAYS);
        self.kept.set(self.kept.get() + beyond(after) - beyond(before));
    }
}

struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    driver: Driver,
    /// Set once for many exchanges: as a rule an answer comes long before it is due.
    timer: Pin<Box<Sleep>>,
    made: Millis,
    idle_since: Millis,
    /// The client's connection that it belongs to: the server has authenticated that one, not each request.
    owner: Option<Owner>,
}

/// Whom a server has authenticated: a connection of a client, and if a proxy's connection carries several, one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) connection: u64,
    pub(crate) client: IpAddr,
}

struct Http2 {
    sender: RefCell<http2::SendRequest<RequestBody>>,
    streams: Cell<u32>,
    /// What the server allows (RFC 9113 §5.1.2), as far as it has said so.
    max_streams: Rc<Cell<usize>>,
    /// A response did not come in time: it may be that nothing comes here any more.
    suspect: Cell<bool>,
    made: Millis,
    idle_since: Cell<Millis>,
}

/// A connection, or a share of one, on loan to one exchange. Dropping it closes an HTTP/1.1 connection and
/// resets an HTTP/2 stream; [`Lease::release`] keeps the connection.
pub(crate) struct Lease {
    server: Rc<Server>,
    kind: Kind,
    /// It served an exchange before, so the server may have closed it by now.
    pub(crate) reused: bool,
    _in_use: InUse,
    /// The exchange's place among those in flight to the upstream.
    pub(crate) permit: Option<Permit>,
}

enum Kind {
    /// Boxed once: a lease is moved several times with every request.
    Http1(Box<Http1>),
    Http2(Stream),
}

/// One stream of a shared connection.
struct Stream {
    connection: Rc<Http2>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Counts a request as in flight to a server until it is dropped.
pub(crate) struct InUse(Arc<Health>);

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    Timeout,
    Failed(String),
}

impl InUse {
    pub(crate) fn new(health: Arc<Health>) -> Self {
        health.request_started();
        Self(health)
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

impl Server {
    pub(crate) fn new(target: Arc<Target>, bounds: Bounds, spare: Rc<Spare>) -> Self {
        Self {
            target,
            bounds,
            idle: RefCell::default(),
            spare,
            owned: RefCell::default(),
            shared: RefCell::default(),
            speaks_http2: Cell::new(match bounds.protocol {
                Protocol::H2 => Some(true),
                Protocol::Http1 => Some(false),
                Protocol::Auto => None,
            }),
            connecting: tokio::sync::Mutex::default(),
        }
    }

    /// Lends a kept connection that is ready. `only_http1`: the exchange wants to upgrade, which HTTP/2 cannot.
    ///
    /// # Errors
    ///
    /// `in_use`, to be given to [`Self::lease`].
    pub(crate) fn lend(
        self: &Rc<Self>,
        client: Owner,
        only_http1: bool,
        in_use: InUse,
    ) -> Result<Lease, InUse> {
        if let Some(connection) = self.take_owned(client) {
            return Ok(self.lent(Kind::Http1(connection), true, in_use));
        }
        if !only_http1
            && self.speaks_http2.get() != Some(false)
            && let Some(stream) = self.share()
        {
            return Ok(self.lent(Kind::Http2(stream), true, in_use));
        }
        match self.take_idle() {
            Some(connection) if connection.sender.is_ready() => {
                Ok(self.lent(Kind::Http1(connection), true, in_use))
            }
            Some(connection) => {
                self.put_idle(connection);
                Err(in_use)
            }
            None => Err(in_use),
        }
    }

    /// Lends a connection where [`Self::lend`] has none: waits for one that is kept, or makes one within `connect`.
    /// With `fresh` it always makes one.
    pub(crate) async fn lease(
        self: &Rc<Self>,
        client: Header,
        connect: Duration,
        fresh: bool,
        only_http1: bool,
        in_use: InUse,
    ) -> Result<Lease, ConnectError> {
        while !fresh && let Some(mut connection) = self.take_idle() {
            // A task of its own may not have seen yet that the last exchange is over.
            let ready = connection.sender.is_ready()
                || (connection.driver.is_spawned()
                    && matches!(timeout(connect, connection.sender.ready()).await, Ok(Ok(()))));
            if ready {
                return Ok(self.lent(Kind::Http1(connection), true, in_use));
            }
        }
        let making = async {
            if only_http1 || self.speaks_http2.get() == Some(false) {
                let kind = self.connect(client, only_http1).await?;
                return Ok((kind, false));
            }
            // Requests that come while the first connection is made wait for it: they can share it.
            let _alone = self.connecting.lock().await;
            if !fresh && let Some(stream) = self.share() {
                return Ok((Kind::Http2(stream), true));
            }
            Ok((self.connect(client, false).await?, false))
        };
        let made: Result<io::Result<(Kind, bool)>, _> = timeout(connect, making).await;
        match made {
            Ok(Ok((kind, reused))) => Ok(self.lent(kind, reused, in_use)),
            Ok(Err(error)) => Err(ConnectError::Failed(error.to_string())),
            Err(_) => Err(ConnectError::Timeout),
        }
    }

    fn lent(self: &Rc<Self>, kind: Kind, reused: bool, in_use: InUse) -> Lease {
        Lease { server: self.clone(), kind, reused, _in_use: in_use, permit: None }
    }

    /// Connections that no exchange has.
    pub(crate) fn idle_connections(&self) -> usize {
        let shared = self.shared.borrow();
        let unused = shared.iter().filter(|connection| connection.streams.get() == 0).count();
        self.idle.borrow().len() + self.owned.borrow().len() + unused
    }

    /// Whether a connection waits for this client's connection alone.
    pub(crate) fn has_owned(&self, client: Owner) -> bool {
        self.owned.borrow().iter().any(|connection| connection.owner == Some(client))
    }

    /// A client's connection has ended.
    pub(crate) fn forget(&self, connection: u64) {
        self.owned.borrow_mut().retain(|one| one.owner.is_none_or(|owner| owner.connection != connection));
    }

    fn take_owned(&self, client: Owner) -> Option<Box<Http1>> {
        let mut owned = self.owned.borrow_mut();
        let at = owned.iter().position(|connection| connection.owner == Some(client))?;
        let mut connection = owned.swap_remove(at);
        connection.driver.look();
        (connection.sender.is_ready() && self.may_keep(&connection)).then_some(connection)
    }

    /// Closes what has been idle for too long, has grown too old, or was closed by the server.
    pub(crate) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|connection| {
            connection.driver.look();
            self.may_keep(connection)
        });
        self.spare.count(before, idle.len());
        self.owned.borrow_mut().retain_mut(|connection| {
            connection.driver.look();
            self.may_keep(connection)
        });
        let now = Millis::now();
        self.shared.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0
                && now.time_since(connection.idle_since.get()) >= self.bounds.pool.idle_time;
            !idle && self.may_share(connection, now)
        });
    }

    fn take_idle(&self) -> Option<Box<Http1>> {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        let taken = std::iter::from_fn(|| idle.pop()).find_map(|mut connection| {
            if !connection.driver.is_still() || !connection.sender.is_ready() {
                connection.driver.look();
            }
            self.may_keep(&connection).then_some(connection)
        });
        self.spare.count(before, idle.len());
        taken
    }

    fn put_idle(&self, connection: Box<Http1>) {
        let mut idle = self.idle.borrow_mut();
        idle.push(connection);
        self.spare.count(idle.len() - 1, idle.len());
    }

    /// Whether one more idle connection is kept.
    fn has_room(&self) -> bool {
        let count = self.idle.borrow().len();
        match self.bounds.pool.max_idle {
            Some(most) => count < most,
            None => count < ALWAYS || self.spare.kept.get() < self.spare.limit,
        }
    }

    fn may_keep(&self, connection: &Http1) -> bool {
        let now = Millis::now();
        !connection.sender.is_closed()
            && now.time_since(connection.idle_since) < self.bounds.pool.idle_time
            && now.time_since(connection.made) < self.bounds.pool.max_age
    }

    /// A stream of a connection that has room for one more; the fullest one, so that others become idle.
    fn share(&self) -> Option<Stream> {
        let now = Millis::now();
        let shared = self.shared.borrow();
        let open = shared.iter().filter(|connection| {
            let streams = connection.streams.get();
            self.may_share(connection, now)
                && streams < self.bounds.pool.streams
                && (streams as usize) < connection.max_streams.get()
        });
        open.max_by_key(|connection| connection.streams.get()).map(Stream::new)
    }

    fn may_share(&self, connection: &Http2, now: Millis) -> bool {
        !connection.sender.borrow().is_closed()
            && !connection.suspect.get()
            && now.time_since(connection.made) < self.bounds.pool.max_age
    }

    async fn connect(&self, client: Header, only_http1: bool) -> io::Result<Kind> {
        let offer = if only_http1 { Offer::Http1 } else { Offer::AsConfigured };
        let connected = self.target.connect(client, offer).await?;
        let http2 = match self.bounds.protocol {
            Protocol::H2 if self.target.tls.is_some() && !connected.http2 => {
                return Err(io::Error::other("the server does not offer HTTP/2 (ALPN)"));
            }
            Protocol::H2 => !only_http1,
            Protocol::Auto => connected.http2,
            Protocol::Http1 => false,
        };
        if !only_http1 {
            self.speaks_http2.set(Some(http2));
        }
        let io = TokioIo::new(connected.stream);
        let now = Millis::now();
        if !http2 {
            let mut builder = http1::Builder::new();
            // With a limit of its own hyper prepares the places for fields one by one.
            if self.bounds.response_header_count != HTTP1_FIELDS {
                builder.max_headers(self.bounds.response_header_count);
            }
            let (sender, connection) = builder
                .title_case_headers(self.bounds.title_case)
                .max_header_size(self.bounds.response_headers)
                .max_buf_size(READ_BUFFER.max(self.bounds.response_headers))
                .handshake(io)
                .await
                .map_err(io::Error::other)?;
            let timer = Box::pin(sleep(Duration::ZERO));
            let driver = Driver::new(connection);
            let connection = Http1 { sender, driver, timer, made: now, idle_since: now, owner: None };
            return Ok(Kind::Http1(Box::new(connection)));
        }
        let executor = LocalExecutor::default();
        let (sender, mut connection) = http2::Builder::new(executor.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(
                STREAM_WINDOW.saturating_mul(self.bounds.pool.streams).min(LARGEST_WINDOW),
            )
            .max_header_list_size(u32::try_from(self.bounds.response_headers).unwrap_or(u32::MAX))
            .initial_max_send_streams(UNSETTLED)
            .handshake(io)
            .await
            .map_err(io::Error::other)?;
        // Ends when the last sender is dropped or the server closes the connection.
        let max_streams = Rc::new(Cell::new(connection.current_max_send_streams()));
        let settled = Rc::new(Notify::new());
        let (allowed, settling) = (max_streams.clone(), settled.clone());
        spawn_local(poll_fn(move |cx| {
            let polled = Pin::new(&mut connection).poll(cx);
            allowed.set(connection.current_max_send_streams());
            if allowed.get() != UNSETTLED || polled.is_ready() {
                settling.notify_one();
            } else {
                executor.after_next_poll.replace(Some(cx.waker().clone()));
            }
            polled.map(drop)
        }));
        // Its SETTINGS are the first thing a server sends (RFC 9113 §3.4). Requests that share the connection
        // before would be as many as it turns out not to allow, and wait for each other.
        settled.notified().await;
        if sender.is_closed() {
            return Err(io::Error::other("the server closed the connection before its SETTINGS"));
        }
        let connection = Rc::new(Http2 {
            sender: RefCell::new(sender),
            streams: Cell::new(0),
            max_streams,
            suspect: Cell::new(false),
            made: now,
            idle_since: Cell::new(now),
        });
        self.shared.borrow_mut().push(connection.clone());
        Ok(Kind::Http2(Stream::new(&connection)))
    }
}

impl Stream {
    fn new(connection: &Rc<Http2>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection: connection.clone(), timer: None }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.streams.set(connection.streams.get() - 1);
        connection.idle_since.set(Millis::now());
    }
}

impl Lease {
    /// Sends a request. Over HTTP/1.1 the response comes while the connection is driven
    /// ([`Lease::poll_driver`]).
    pub(crate) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Sending<impl Future<Output = Sent> + use<>, impl Future<Output = Sent> + use<>> {
        match &mut self.kind {
            Kind::Http1(connection) => {
                let Http1 { sender, driver, .. } = &mut **connection;
                Sending::Http1(driver.quietly(|| sender.try_send_request(request)))
            }
            Kind::Http2(stream) => {
                Sending::Http2(stream.connection.sender.borrow_mut().try_send_request(request))
            }
        }
    }

    /// Whether the connection speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::Http2(_))
    }

    /// Hands the connection over to a task of its own: its request has a body, or it is going to be
    /// upgraded, so it has to move even while the exchange does not wait for the response.
    pub(crate) fn spawn_driver(&mut self) {
        if let Kind::Http1(connection) = &mut self.kind {
            connection.driver.spawn();
        }
    }

    /// Moves the connection on, as far as it can, and has `cx` woken when it can again.
    pub(crate) fn poll_driver(&mut self, cx: &Context<'_>) {
        if let Kind::Http1(connection) = &mut self.kind {
            connection.driver.poll(cx);
        }
    }

    /// Ready when it is `due`.
    pub(crate) fn poll_due(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.kind {
            Kind::Http1(connection) => &mut connection.timer,
            Kind::Http2(stream) => stream.timer.get_or_insert_with(|| Box::pin(sleep(Duration::ZERO))),
        };
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

    /// Takes something the connection made available, which would only wake the task that takes it.
    pub(crate) fn quietly<T>(&self, take: impl FnOnce() -> T) -> T {
        match &self.kind {
            Kind::Http1(connection) => connection.driver.quietly(take),
            Kind::Http2(_) => take(),
        }
    }

    /// From now on the connection serves this client's connection alone.
    pub(crate) fn belong_to(&mut self, client: Owner) {
        if let Kind::Http1(connection) = &mut self.kind {
            connection.owner = Some(client);
        }
    }

    /// No response came in time: an HTTP/2 connection is not shared any further.
    pub(crate) fn suspect(&self) {
        if let Kind::Http2(stream) = &self.kind {
            stream.connection.suspect.set(true);
        }
    }

    pub(crate) fn server(&self) -> &Arc<str> {
        &self.server.target.name
    }

    /// Keeps the connection for the next exchange, if the bounds of the pool allow.
    pub(crate) fn release(self) {
        let Self { server, kind, .. } = self;
        let Kind::Http1(mut connection) = kind else { return };
        connection.idle_since = Millis::now();
        let Some(owner) = connection.owner else {
            if server.has_room() {
                server.put_idle(connection);
            }
            return;
        };
        let mut owned = server.owned.borrow_mut();
        let of_client = |one: &Http1| one.owner.is_some_and(|other| other.client == owner.client);
        let count = owned.iter().filter(|one| of_client(one)).count();
        // The oldest stand first. One client fills its own places and not those of others.
        if count >= OWNED_BY_ONE
            && let Some(oldest) = owned.iter().position(|one| of_client(one))
        {
            owned.remove(oldest);
        }
        if owned.len() < server.bounds.pool.max_idle.unwrap_or(ALWAYS) {
            owned.push(connection);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.spare.count(self.idle.get_mut().len(), 0);
    }
}

/// Runs what an HTTP/2 connection starts on the worker's own thread. That is where its frames are read; who
/// waits for one is woken after it.
#[derive(Clone, Default)]
struct LocalExecutor {
    after_next_poll: Rc<RefCell<Option<Waker>>>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        let after_next_poll = self.after_next_poll.clone();
        let mut future = Box::pin(future);
        spawn_local(poll_fn(move |cx| {
            let polled = future.as_mut().poll(cx);
            if let Some(waker) = after_next_poll.take() {
                waker.wake();
            }
            polled
        }));
    }
}
