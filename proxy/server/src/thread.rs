//! One thread that serves: its runtime, its listeners and its connections.

use std::collections::HashMap;
use std::future::Future;
use std::hint::black_box;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Version;
use tidegate_config::Serves;
use tidegate_message::Connection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::LocalRuntime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::interval;

use crate::exchange::{self, LogPhases, Peer};
use crate::http::connection::{self, Bounds};
use crate::listener::{self, Admitted};
use crate::snapshot::{Generation, Snapshot};
use crate::worker::{Beginning, Drain, Worker};
use crate::{tcp, tls};
use tidegate_io::proxy_protocol::{self, Header};

/// Threads of one worker that wait for the disk, each with one piece of one body. Writes to the page cache
/// leave most of them idle; when the disk is slow, more would only wait for each other.
const DISK_THREADS: usize = 8;

/// Sockets with the names of their listeners.
type Lent = Vec<(Arc<str>, StdListener)>;

/// What the control side tells a worker.
pub(crate) enum Command {
    /// Serve by this generation from now on. `done` is dropped when the worker does.
    Serve { snapshot: Arc<Snapshot>, closed: Vec<Arc<str>>, done: oneshot::Sender<()> },
    /// Accept on these sockets as well, for listeners of the generation. `done` as above.
    Listen { opened: Vec<(Arc<str>, StdListener)>, done: oneshot::Sender<()> },
    /// Copies of all sockets that are accepted on.
    Lend(oneshot::Sender<io::Result<Lent>>),
    /// Accept no more on the sockets of these listeners: another process does. `done` as above.
    Leave { listeners: Arc<[Arc<str>]>, done: oneshot::Sender<()> },
    /// Take no new connections, finish what is in flight within these bounds, and end; at once if it drains already.
    Drain(Drain),
}

/// The control side's end of a worker.
pub(crate) struct Handle {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts a worker; it does nothing until it is given a generation.
pub(crate) fn start(beginning: Beginning) -> io::Result<Handle> {
    // Bounded, and commands are rare: the control side waits for each one's effect.
    let (commands, queue) = mpsc::channel(4);
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let name = format!("worker-{}", beginning.index);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
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
        run(&runtime, beginning, queue);
    })?;
    match started.recv() {
        Ok(Ok(())) => Ok(Handle { commands, thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("a worker ended while it started")),
    }
}

fn run(runtime: &LocalRuntime, beginning: Beginning, mut queue: mpsc::Receiver<Command>) {
    let worker = Worker::new(beginning);
    runtime.block_on(async {
        let log_phases = LogPhases::start();
        spawn_local(housekeeping(worker.clone(), log_phases.clone()));
        let mut listening: HashMap<Arc<str>, Vec<listener::Listening>> = HashMap::new();
        while let Some(command) = queue.recv().await {
            match command {
                Command::Serve { snapshot, closed, done } => {
                    worker.adopt(&snapshot);
                    for name in closed {
                        listening.remove(&name);
                    }
                    drop(done);
                }
                Command::Listen { opened, done } => {
                    for (name, socket) in opened {
                        let (worker, log_phases) = (worker.clone(), log_phases.clone());
                        let listener = name.clone();
                        let accept = move |stream, peer| {
                            let (worker, log_phases) = (worker.clone(), log_phases.clone());
                            spawn_local(serve_connection(worker, log_phases, listener.clone(), stream, peer));
                        };
                        match listener::listen(socket, accept) {
                            Ok(accepting) => listening.entry(name).or_default().push(accepting),
                            Err(error) => {
                                tracing::error!(target: "listener", listener = %name, "cannot listen: {error}");
                            }
                        }
                    }
                    drop(done);
                }
                Command::Lend(reply) => {
                    let all = listening
                        .iter()
                        .flat_map(|(name, sockets)| sockets.iter().map(|socket| (name.clone(), socket)));
                    // Who asked waits for it.
                    let _ = reply.send(all.map(|(name, socket)| Ok((name, socket.lend()?))).collect());
                }
                Command::Leave { listeners, done } => {
                    let left = listeners.iter().filter_map(|name| listening.remove(name));
                    left.flatten().for_each(listener::Listening::leave);
                    drop(done);
                }
                Command::Drain(drain) => {
                    drop(listening);
                    worker.draining.send_replace(true);
                    tokio::select! {
                        () = worker.drained(drain) => {}
                        _ = queue.recv() => {}
                    }
                    return;
                }
            }
        }
    });
}

/// Bytes that get pages of their own from the allocator, whose end has it look for others to give back.
const PAGES: usize = 1 << 20;

/// Once a second: closes upstream connections that were idle for too long, reports what was skipped, and has the
/// allocator give back what was freed a while ago: it looks when pages are freed and at no other time, so that a
/// worker whose connections have all come to rest would keep what they had.
async fn housekeeping(worker: Rc<Worker>, log_phases: LogPhases) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        worker.servers.sweep();
        worker.look_around();
        worker.tasks().reap();
        drop(black_box(Vec::<u8>::with_capacity(PAGES)));
        let skipped = log_phases.take_skipped();
        if skipped > 0 {
            worker.counting.worker.skipped.add(skipped);
            tracing::warn!(target: "policy", skipped, "log phases were skipped: they take longer than the traffic allows");
        }
    }
}

/// What is left to do for a connection, in a box of its own: one that is idle has no room for what came before.
type Serving = Pin<Box<dyn Future<Output = ()>>>;

/// A client connection from accept to close.
async fn serve_connection(
    worker: Rc<Worker>,
    log_phases: LogPhases,
    name: Arc<str>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let _open = worker.open();
    if let Some(serving) = Box::pin(begin_connection(worker, log_phases, name, stream, peer)).await {
        serving.await;
    }
}

/// What comes before what the listener serves: admission, PROXY protocol, TLS. `None` if the connection is over.
async fn begin_connection(
    worker: Rc<Worker>,
    log_phases: LogPhases,
    name: Arc<str>,
    mut stream: TcpStream,
    peer: SocketAddr,
) -> Option<Serving> {
    let generation = worker.generation();
    let config = &generation.config;
    // Removed by a reload between accept and here.
    let listener = config.listeners.get(&*name)?;
    let announces = listener.proxy_protocol.iter().any(|network| network.contains(&peer.ip().to_canonical()));
    let trusted = announces || generation.trusts(peer.ip());
    let admitted = match worker.admission.admit(peer.ip(), &config.limits, trusted) {
        Ok(admitted) => admitted,
        Err(limit) => {
            turned_away(&worker, &name, peer, limit);
            return None;
        }
    };
    let counted = Counted::new(&worker, &name);
    // A socket that is already closed has no address, or fails at its first read.
    let destination = stream.local_addr().ok()?;
    let _ = stream.set_nodelay(true);
    let mut connection = Connection { listener: name, peer, source: peer, destination, tls: None };
    let admitted = match announces {
        true => read_proxy_header(&worker, &generation, &mut stream, &mut connection, admitted).await?,
        false => admitted,
    };
    let Some(tls) = generation.tls.get(&*connection.listener).cloned() else {
        let held = (admitted, counted);
        return serve_stream(worker, log_phases, generation, connection, held, stream, None);
    };
    let on_demand = &*generation.on_demand;
    let obtained = generation.challenges.as_deref().map(|challenges| tls::Obtained { challenges, on_demand });
    match tls::accept(stream, &tls, obtained, config.timeouts.tls_handshake).await {
        // An authority has seen what it wanted to see.
        Ok(None) => None,
        Ok(Some(tls::Accepted { stream, version, facts, resumed })) => {
            let is_1_3 = facts.version == TLS_1_3;
            worker.counting.listener(&connection.listener, |listener| {
                listener.handshakes[usize::from(is_1_3)][usize::from(resumed)].add(1);
            });
            connection.tls = Some(facts);
            let held = (admitted, counted);
            serve_stream(worker, log_phases, generation, connection, held, stream, Some(version))
        }
        Err(tls::Failed { reason, error, name }) => {
            let mut record = worker.connection_record(&generation, &connection);
            record.server_name = name;
            record.no_handshake(reason.failure());
            // Anybody can cause this at any rate: not for the operator's log.
            let Connection { listener, peer, .. } = connection;
            worker.counting.listener(&listener, |listener| listener.tls_failures.add(reason.word()));
            tracing::debug!(target: "tls", %listener, %peer, "handshake failed: {error}");
            None
        }
    }
}

/// What TLS calls its version 1.3 (RFC 8446 §4.2.1).
const TLS_1_3: u16 = 0x0304;

/// A connection that is counted as open until it is dropped.
struct Counted {
    worker: Rc<Worker>,
    listener: Arc<str>,
}

impl Counted {
    fn new(worker: &Rc<Worker>, listener: &Arc<str>) -> Self {
        worker.counting.listener(listener, |listener| listener.connections.add(1));
        Self { worker: worker.clone(), listener: listener.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.counting.listener(&self.listener, |listener| listener.closed.add(1));
    }
}

/// Says that a connection was closed at once. Its client is told nothing.
fn turned_away(worker: &Worker, listener: &Arc<str>, client: SocketAddr, limit: &'static str) {
    worker.counting.listener(listener, |listener| listener.refused_connections.add(limit));
    if worker.failures.allow(limit) {
        tracing::warn!(target: "listener", %listener, client = %client.ip(), "closed a connection over {limit}");
    }
}

/// Reads the PROXY protocol header that a trusted peer has to send, notes whom the connection is made
/// for, and counts it for that client. `None` if the connection is not to be served.
async fn read_proxy_header(
    worker: &Worker,
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
            let counted = admitted.count_for(source.ip(), &config.limits);
            counted.map_err(|limit| turned_away(worker, &connection.listener, source, limit)).ok()
        }
        // The peer speaks for itself.
        Ok(Header::Local) => Some(admitted),
        Err(error) => {
            let Connection { listener, peer, .. } = connection;
            worker.counting.listener(listener, |listener| listener.refused_connections.add("proxy-protocol"));
            // Only peers that are trusted can cause it: it is a mistake of the operator's, on either side.
            if worker.failures.allow("proxy-protocol") {
                tracing::warn!(target: "listener", %listener, %peer, "closed a connection: {error}");
            }
            None
        }
    }
}

/// What counts a connection as open until it is dropped.
type Held = (Admitted, Counted);

/// Serves the bytes of a connection by the generation it was accepted under. `negotiated` is the version of
/// HTTP that ALPN chose, if any.
fn serve_stream<S>(
    worker: Rc<Worker>,
    log_phases: LogPhases,
    generation: Rc<Generation>,
    connection: Connection,
    held: Held,
    stream: S,
    negotiated: Option<Version>,
) -> Option<Serving>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = generation.config.clone();
    let listener = config.listeners.get(&*connection.listener)?;
    let versions = match &listener.serves {
        Serves::Http(versions) => versions,
        Serves::Tcp(upstream) => {
            let upstream = upstream.clone();
            return Some(Box::pin(async move {
                let tunnel = tcp::forward(&worker, &generation, &connection, stream, &upstream).await;
                carry(&worker, generation, tunnel, held).await;
            }));
        }
        Serves::TlsPassthrough(names) => {
            let names = names.clone();
            return Some(Box::pin(async move {
                let tunnel = tcp::pass_through(&worker, &generation, &connection, stream, &names).await;
                carry(&worker, generation, tunnel, held).await;
            }));
        }
    };
    let bounds = Bounds {
        limits: config.limits,
        timeouts: config.timeouts,
        versions: *versions,
        many_clients: generation.trusts(connection.source.ip()),
        title_case: listener.title_case,
    };
    let draining = worker.draining.subscribe();
    // Each request takes the generation of its own time.
    let peer = Rc::new(Peer::new(&worker, connection, listener, log_phases));
    let unparsed = {
        let (worker, peer) = (worker.clone(), peer.clone());
        move |refusal| exchange::unparsed(&worker, &peer, refusal)
    };
    let handle = move |request, arrival| exchange::serve(worker.clone(), &peer, request, arrival);
    let counted = Box::new(held);
    Some(Box::pin(connection::serve(stream, negotiated, bounds, draining, handle, unparsed, counted)))
}

/// Carries the bytes of a connection that is forwarded, if a server was found for it.
async fn carry<S: AsyncRead + AsyncWrite>(
    worker: &Worker,
    generation: Rc<Generation>,
    tunnel: Option<tcp::Tunnel<S>>,
    held: Held,
) {
    // The tunnel may outlive many generations, and needs none.
    drop(generation);
    if let Some(tunnel) = tunnel {
        tunnel.carry(worker.no_more_tunnels()).await;
    }
    drop(held);
}
