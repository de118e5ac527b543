//! One thread that serves requests: its listeners, connections, instances and pools, shared with nobody.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Version};
use tidegate_config::Serves;
use tidegate_message::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time::{interval, sleep};

use crate::access_log::{ConnectionRecord, Record};
use crate::exchange::{self, Finished, Peer};
use crate::http::connection::{self, Bounds};
use crate::listener::{self, Admission, Admitted};
use crate::snapshot::{Generation, Snapshot};
use crate::upstream::Servers;
use crate::{tcp, tls};
use tidegate_io::proxy_protocol::{self, Header};

/// Exchanges of one worker that may wait for their log phase; more skip it, and the log says so.
const LOG_PHASES: usize = 4096;

/// Threads of one worker that wait for the disk, each with one piece of one body. Writes to the page cache
/// leave most of them idle; when the disk is slow, more would only wait for each other.
const DISK_THREADS: usize = 8;

/// What the control side tells a worker.
pub(crate) enum Command {
    /// Serve by this generation from now on. `done` is dropped when the worker does.
    Serve {
        snapshot: Arc<Snapshot>,
        opened: Vec<(Arc<str>, StdListener)>,
        closed: Vec<Arc<str>>,
        done: oneshot::Sender<()>,
    },
    /// Take no new connections, finish what is in flight within `limit`, and end.
    Drain { limit: Duration },
}

/// The control side's end of a worker.
pub(crate) struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts worker number `index`; it does nothing until it is given a generation.
pub(crate) fn start(index: usize, process: u64, admission: Arc<Admission>) -> std::io::Result<Handle> {
    // Bounded, and commands are rare: the control side waits for each one's effect.
    let (commands, queue) = mpsc::channel(4);
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(DISK_THREADS)
            .build_local(Default::default())
        {
            Ok(runtime) => runtime,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        run(&runtime, index, process, admission, queue);
    })?;
    match started.recv() {
        Ok(Ok(())) => Ok(Handle { commands, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(std::io::Error::other("a worker ended while it started")),
    }
}

/// What every task of a worker shares.
pub(crate) struct Worker {
    index: usize,
    process: u64,
    next_id: Cell<u64>,
    /// `None` only before the first command.
    generation: RefCell<Option<Rc<Generation>>>,
    servers: Rc<Servers>,
    admission: Arc<Admission>,
    draining: watch::Sender<bool>,
    /// Connections and tunnels.
    open: Cell<usize>,
    log_phases: mpsc::Sender<Finished>,
    skipped_log_phases: Cell<u64>,
}

/// Counts a connection or a tunnel as open.
pub(crate) struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

impl Worker {
    /// Unique among the processes that may share an upstream, as far as chance goes.
    pub(crate) fn process(&self) -> u64 {
        self.process
    }

    /// The log line of a new exchange, with a number unique in this process.
    pub(crate) fn record<B>(
        &self,
        generation: &Generation,
        connection: &Connection,
        request: &Request<B>,
    ) -> Record {
        let scheme = if connection.tls.is_some() { "https" } else { "http" };
        Record::begin(generation.access_log.clone(), self.next_id(), connection, scheme, request)
    }

    /// The log line of a connection that is forwarded, with a number of the same kind.
    pub(crate) fn connection_record(
        &self,
        generation: &Generation,
        connection: &Connection,
    ) -> ConnectionRecord {
        ConnectionRecord::begin(generation.access_log.clone(), self.next_id(), connection)
    }

    fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Queues the log phase of an exchange.
    pub(crate) fn log_phase(&self, finished: Finished) {
        if let Err(error) = self.log_phases.try_send(finished) {
            error.into_inner().write();
            self.skipped_log_phases.set(self.skipped_log_phases.get() + 1);
        }
    }

    /// Counts something that outlives its connection, until it is dropped.
    pub(crate) fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(self.clone())
    }
}

fn run(
    runtime: &LocalRuntime,
    index: usize,
    process: u64,
    admission: Arc<Admission>,
    mut queue: mpsc::Receiver<Command>,
) {
    let (log_phases, mut finished) = mpsc::channel::<Finished>(LOG_PHASES);
    let worker = Rc::new(Worker {
        index,
        process,
        // The upper 16 bits are the worker's, the rest lasts for 10^14 requests.
        next_id: Cell::new(((index as u64) << 48) + 1),
        generation: RefCell::default(),
        servers: Rc::default(),
        admission,
        draining: watch::Sender::new(false),
        open: Cell::new(0),
        log_phases,
        skipped_log_phases: Cell::new(0),
    });
    runtime.block_on(async {
        spawn_local(async move {
            while let Some(finished) = finished.recv().await {
                finished.log().await;
            }
        });
        spawn_local(housekeeping(worker.clone()));
        let mut listening: HashMap<Arc<str>, listener::Listening> = HashMap::new();
        while let Some(command) = queue.recv().await {
            match command {
                Command::Serve { snapshot, opened, closed, done } => {
                    worker.adopt(&snapshot);
                    for name in closed {
                        listening.remove(&name);
                    }
                    for (name, socket) in opened {
                        let worker = worker.clone();
                        let listener = name.clone();
                        let accept = move |stream, peer| {
                            spawn_local(serve_connection(worker.clone(), listener.clone(), stream, peer));
                        };
                        match listener::listen(socket, accept) {
                            Ok(accepting) => drop(listening.insert(name, accepting)),
                            Err(error) => {
                                tracing::error!(target: "listener", listener = %name, "cannot listen: {error}");
                            }
                        }
                    }
                    drop(done);
                }
                Command::Drain { limit } => {
                    drop(listening);
                    worker.draining.send_replace(true);
                    worker.drained(limit).await;
                    return;
                }
            }
        }
    });
}

impl Worker {
    /// The generation new exchanges begin with.
    pub(crate) fn generation(&self) -> Rc<Generation> {
        let generation = self.generation.borrow();
        generation.clone().expect("listeners open only after the first generation was adopted")
    }

    /// Swaps the generation. Exchanges in flight keep theirs.
    fn adopt(&self, snapshot: &Snapshot) {
        let previous = self.generation.borrow().clone();
        let next = Generation::new(snapshot, previous.as_deref(), &self.servers, self.index);
        next.chain.warm();
        *self.generation.borrow_mut() = Some(Rc::new(next));
    }

    async fn drained(&self, limit: Duration) {
        let empty = async {
            while self.open.get() > 0 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(limit, empty).await.is_err() {
            tracing::warn!(target: "shutdown", worker = self.index, connections = self.open.get(), "cut after timeouts.drain");
        }
    }
}

/// Once a second: closes upstream connections that were idle for too long, reports what was skipped.
async fn housekeeping(worker: Rc<Worker>) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        worker.servers.sweep();
        let skipped = worker.skipped_log_phases.take();
        if skipped > 0 {
            tracing::warn!(target: "policy", skipped, "log phases were skipped: they take longer than the traffic allows");
        }
    }
}

/// A client connection from accept to close: admission, PROXY protocol, TLS, and what the listener serves.
async fn serve_connection(worker: Rc<Worker>, name: Arc<str>, mut stream: TcpStream, peer: SocketAddr) {
    let generation = worker.generation();
    let config = &generation.config;
    // Removed by a reload between accept and here.
    let Some(listener) = config.listeners.get(&*name) else { return };
    let trusted = generation.trusts(peer.ip());
    let Some(admitted) = worker.admission.admit(peer.ip(), &config.limits, trusted) else { return };
    let _open = worker.open();
    // A socket that is already closed has no address, or fails at its first read.
    let Ok(destination) = stream.local_addr() else { return };
    let _ = stream.set_nodelay(true);
    let mut connection = Connection { listener: name, peer, source: peer, destination, tls: None };
    let admitted = match listener.proxy_protocol && trusted {
        true => introduce(&generation, &mut stream, &mut connection, admitted).await,
        false => Some(admitted),
    };
    let Some(_admitted) = admitted else { return };
    let Some(tls) = generation.tls.get(&*connection.listener).cloned() else {
        serve_stream(worker, generation, connection, stream, None).await;
        return;
    };
    match tls::accept(stream, tls, config.timeouts.tls_handshake).await {
        Ok(tls::Accepted { stream, version, facts }) => {
            connection.tls = Some(facts);
            serve_stream(worker, generation, connection, stream, Some(version)).await;
        }
        Err(error) => {
            // Anybody can cause this at any rate: not for the operator's log.
            let Connection { listener, peer, .. } = connection;
            tracing::debug!(target: "tls", %listener, %peer, "handshake failed: {error}");
        }
    }
}

/// Reads the PROXY protocol header that a trusted peer has to send, notes whom the connection is made
/// for, and counts it for that client. `None` if the connection is not to be served.
async fn introduce(
    generation: &Generation,
    stream: &mut TcpStream,
    connection: &mut Connection,
    admitted: Admitted,
) -> Option<Admitted> {
    let config = &generation.config;
    match proxy_protocol::read(stream, config.timeouts.tls_handshake).await {
        Ok(Header::Proxied { source, destination }) => {
            (connection.source, connection.destination) = (source, destination);
            if generation.trusts(source.ip()) {
                return Some(admitted);
            }
            admitted.count_for(source.ip(), &config.limits)
        }
        // The peer speaks for itself.
        Ok(Header::Local) => Some(admitted),
        Err(error) => {
            // As with a handshake that fails: a port scan of the peer's would do.
            let Connection { listener, peer, .. } = connection;
            tracing::debug!(target: "listener", %listener, %peer, "{error}");
            None
        }
    }
}

/// Serves the bytes of a connection by the generation it was accepted under. `negotiated` is the version of
/// HTTP that ALPN chose, if any.
async fn serve_stream<S>(
    worker: Rc<Worker>,
    generation: Rc<Generation>,
    connection: Connection,
    stream: S,
    negotiated: Option<Version>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = generation.config.clone();
    let Some(listener) = config.listeners.get(&*connection.listener) else { return };
    let passage = match &listener.serves {
        Serves::Http(versions) => {
            let bounds = Bounds { limits: config.limits, timeouts: config.timeouts, versions: *versions };
            // Each request takes the generation of its own time.
            drop((generation, config));
            let draining = worker.draining.subscribe();
            let peer = Peer::new(connection);
            let handle = move |request, arrival| exchange::serve(worker.clone(), &peer, request, arrival);
            return connection::serve(stream, negotiated, bounds, draining, handle).await;
        }
        Serves::Tcp(upstream) => tcp::forward(&worker, &generation, &connection, stream, upstream).await,
        Serves::TlsPassthrough(names) => {
            tcp::pass_through(&worker, &generation, &connection, stream, names).await
        }
    };
    // The tunnel may outlive many generations, and needs none.
    drop((generation, config));
    if let Some(passage) = passage {
        passage.carry().await;
    }
}
