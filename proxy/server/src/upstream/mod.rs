//! Sends an exchange to one of the servers of an upstream over kept connections.
//!
//! What all workers share of an upstream is a [`Cluster`]: its servers as DNS and health checks have
//! them (`supervisor`, `check`), what is known of each (`health`, `eject`), and its limits (`limit`, `budget`).
//! Each worker chooses among the servers by itself (`balance`), with connections of its own (`pool`).

mod balance;
mod budget;
mod check;
mod cluster;
mod driver;
mod eject;
mod forward;
mod health;
mod limit;
mod pool;
mod supervisor;
mod target;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Balance, Buffer, Protocol};
use tokio::time::Instant;

use self::balance::Balancer;
pub(crate) use self::cluster::Cluster;
use self::cluster::Members;
pub(crate) use self::forward::{Answer, Hop, forward};
use self::limit::{Full, Permit};
pub(crate) use self::pool::Lease;
use self::pool::{Bounds, InUse, Server};
pub(crate) use self::supervisor::{Clusters, Supervisor};
use self::target::{Offer, Place, Target};
use crate::error::Error;
use tidegate_io::Millis;
use tidegate_io::Stream;
use tidegate_io::proxy_protocol::Header;

/// An upstream as one worker of one generation uses it.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    cluster: Arc<Cluster>,
    bounds: Bounds,
    view: RefCell<Rc<View>>,
    servers: Rc<Servers>,
    worker: usize,
}

/// The servers of an upstream at one time, as one worker sees them.
struct View {
    members: Arc<Members>,
    balancer: Balancer,
    /// In the order of the members.
    servers: Vec<Rc<Server>>,
}

/// A connection for bytes, held as one request in flight until it is dropped.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// The server's name, for the log.
    pub(crate) server: Arc<str>,
    _in_use: InUse,
    _permit: Permit,
}

impl Upstream {
    /// `worker` is the number of the worker, so that workers do not all begin with the same server.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        response_headers: usize,
        servers: &Rc<Servers>,
        worker: usize,
    ) -> Self {
        let bounds =
            Bounds { pool: cluster.config.pool, protocol: cluster.config.protocol, response_headers };
        let view = RefCell::new(View::new(&cluster, bounds, servers, worker));
        Self { name: cluster.name.clone(), cluster, bounds, view, servers: servers.clone(), worker }
    }

    /// Time the upstream has between two pieces of a response body.
    pub(crate) fn idle(&self) -> Duration {
        self.cluster.config.timeouts.idle
    }

    /// How its responses are kept for slow clients; `None` = not at all.
    pub(crate) fn buffer(&self) -> Option<Buffer> {
        self.cluster.config.buffer
    }

    /// How request bodies are kept until they are whole; `None` = not at all.
    pub(crate) fn buffer_requests(&self) -> Option<Buffer> {
        self.cluster.config.buffer_requests
    }

    /// A connection for bytes from `client`, who connected to `destination`.
    ///
    /// A server is chosen as for a request. As nothing is sent before a server accepts, further servers are
    /// tried, `retries` of them, within the upstream's retry budget.
    pub(crate) async fn connect(
        &self,
        client: SocketAddr,
        destination: SocketAddr,
    ) -> Result<Connected, Error> {
        let permit = self.enter(None).await?;
        let view = self.view();
        let key = self.hash_key(None, client);
        let mut tried = Vec::new();
        loop {
            let index = view.choose(&key, &tried).ok_or_else(|| self.no_server())?;
            tried.push(index);
            let target = &view.servers[index].target;
            let in_use = view.use_server(index);
            let header = Header::Proxied { source: client, destination };
            let connecting = target.connect(header, Offer::Nothing);
            let error = match tokio::time::timeout(self.cluster.config.timeouts.connect, connecting).await {
                Ok(Ok(connected)) => {
                    self.cluster.succeeded(&view.members, index);
                    let (stream, server) = (connected.stream, target.name.clone());
                    return Ok(Connected { stream, server, _in_use: in_use, _permit: permit });
                }
                Ok(Err(error)) => Error::Connect { server: target.name.clone(), cause: error.to_string() },
                Err(_) => Error::ConnectTimeout { server: target.name.clone() },
            };
            self.cluster.failed(&view.members, index);
            if !self.may_retry(tried.len()) {
                return Err(error);
            }
        }
    }

    /// Waits for a place among those in flight, until `deadline` at the latest, and counts a request.
    async fn enter(&self, deadline: Option<Instant>) -> Result<Permit, Error> {
        let known = &self.cluster.known;
        known.budget.request(Millis::now());
        if let Some(permit) = known.in_flight.try_enter() {
            return Ok(permit);
        }
        let mut wait = self.cluster.config.timeouts.queue;
        if let Some(deadline) = deadline {
            wait = wait.min(deadline - Instant::now());
        }
        let entered = Box::pin(known.in_flight.enter(wait)).await;
        entered.map_err(|full| match full {
            Full::Queue => Error::QueueFull { upstream: self.name.clone() },
            Full::Time => Error::QueueTimeout { upstream: self.name.clone() },
        })
    }

    fn may_retry(&self, tried: usize) -> bool {
        let retries = &self.cluster.config.retries;
        tried <= retries.count as usize
            && self.cluster.known.budget.try_retry(retries.budget_percent, Millis::now())
    }

    fn no_server(&self) -> Error {
        Error::NoServer { upstream: self.name.clone() }
    }

    /// What `balance = "hash"` goes by: what a policy set, else the client's address.
    fn hash_key(&self, set: Option<&str>, client: SocketAddr) -> Vec<u8> {
        match (self.cluster.config.balance, set) {
            (Balance::Hash, Some(key)) => key.as_bytes().to_vec(),
            (Balance::Hash, None) => client.ip().to_canonical().to_string().into_bytes(),
            _ => Vec::new(),
        }
    }

    /// The servers as they are now.
    fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.members.version != self.cluster.version() {
            *view = View::new(&self.cluster, self.bounds, &self.servers, self.worker);
        }
        view.clone()
    }

    /// Whether a connection can be upgraded to another protocol.
    fn can_upgrade(&self) -> bool {
        self.bounds.protocol != Protocol::H2
    }
}

impl View {
    fn new(cluster: &Cluster, bounds: Bounds, servers: &Servers, worker: usize) -> Rc<Self> {
        let members = cluster.members();
        let balancer = Balancer::new(members.candidates.clone(), cluster.config.slow_start, worker);
        let servers = members.list.iter().map(|member| servers.get(&member.target, bounds)).collect();
        Rc::new(Self { members, balancer, servers })
    }

    fn choose(&self, key: &[u8], tried: &[usize]) -> Option<usize> {
        self.balancer.choose(Millis::now(), key, tried)
    }

    fn use_server(&self, index: usize) -> InUse {
        InUse::new(self.members.list[index].health.clone())
    }
}

/// Every server a worker has connections to. It outlives generations, so that a reload costs no
/// connection; a server that no generation uses any more closes its idle ones.
#[derive(Default)]
pub(crate) struct Servers(RefCell<HashMap<Place, Vec<Weak<Server>>>>);

impl Servers {
    /// Servers at the same place with other bounds or another TLS keep apart.
    fn get(&self, target: &Arc<Target>, bounds: Bounds) -> Rc<Server> {
        let mut servers = self.0.borrow_mut();
        let here = servers.entry(target.place.clone()).or_default();
        let known = here
            .iter()
            .filter_map(Weak::upgrade)
            .find(|server| server.bounds == bounds && server.target.is_same(target));
        known.unwrap_or_else(|| {
            let server = Rc::new(Server::new(target.clone(), bounds));
            here.push(Rc::downgrade(&server));
            server
        })
    }

    /// Closes connections that have been idle for too long or grown too old; called every second.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, here| {
            here.retain(|server| match server.upgrade() {
                Some(server) => {
                    server.sweep();
                    true
                }
                None => false,
            });
            !here.is_empty()
        });
    }
}
