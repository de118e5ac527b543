//! An upstream as one worker of one generation uses it: its servers as the worker sees them, and its limits.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Balance, Buffer, Config, Protocol};
use tidegate_io::proxy_protocol::Header;
use tidegate_io::{Millis, Stream};
use tokio::time::Instant;

use crate::balance::Balancer;
use crate::cluster::{Cluster, Members};
use crate::error::Error;
use crate::limit::{Full, Permit};
use crate::pool::{Bounds, InUse, Server};
use crate::servers::Servers;
use crate::target::Offer;

/// An upstream as one worker of one generation uses it.
pub struct Upstream {
    /// In the configuration.
    pub name: Arc<str>,
    pub(crate) cluster: Arc<Cluster>,
    bounds: Bounds,
    /// How long a stream may be silent.
    pub(crate) stream_idle: Duration,
    view: RefCell<Rc<View>>,
    pub(crate) servers: Rc<Servers>,
    worker: usize,
}

/// The servers of an upstream at one time, as one worker sees them.
pub(crate) struct View {
    pub(crate) members: Arc<Members>,
    balancer: Balancer,
    /// In the order of the members.
    pub(crate) servers: Vec<Rc<Server>>,
}

/// A connection for bytes, held as one request in flight until it is dropped.
pub struct Connected {
    /// To the server, its PROXY header sent and its TLS, if any, established.
    pub stream: Stream,
    /// The server's name, for the log.
    pub server: Arc<str>,
    _in_use: InUse,
    _permit: Permit,
}

impl Upstream {
    /// `worker` is the number of the worker, so that workers do not all begin with the same server.
    pub fn new(cluster: Arc<Cluster>, config: &Config, servers: &Rc<Servers>, worker: usize) -> Self {
        let limits = &config.limits;
        let bounds = Bounds {
            pool: cluster.config.pool,
            protocol: cluster.config.protocol,
            response_headers: limits.response_headers,
            response_header_count: limits.response_header_count,
            title_case: cluster.config.title_case,
        };
        let view = RefCell::new(View::new(&cluster, bounds, servers, worker));
        Self {
            name: cluster.name.clone(),
            stream_idle: cluster.config.timeouts.stream_idle.unwrap_or(config.timeouts.stream_idle),
            cluster,
            bounds,
            view,
            servers: servers.clone(),
            worker,
        }
    }

    /// Idle connections that this worker keeps to its servers. One that several upstreams name counts for each.
    pub fn idle_connections(&self) -> usize {
        self.view.borrow().servers.iter().map(|server| server.idle_connections()).sum()
    }

    /// The names of its servers.
    pub fn server_names(&self) -> Vec<Arc<str>> {
        self.view().members.list.iter().map(|member| member.target.name.clone()).collect()
    }

    /// How its responses are kept for slow clients; `None` = not at all.
    pub fn buffer(&self) -> Option<Buffer> {
        self.cluster.config.buffer
    }

    /// How request bodies are kept until they are whole; `None` = not at all.
    pub fn buffer_requests(&self) -> Option<Buffer> {
        self.cluster.config.buffer_requests
    }

    /// How much of a request body is kept so that it can be sent again, bytes.
    pub fn retry_buffer(&self) -> usize {
        self.cluster.config.retries.buffer
    }

    /// What a request body for it keeps to, of all that `config` and the upstream itself say.
    pub fn bounds(&self, config: &Config, bounds: tidegate_body::Bounds) -> tidegate_body::Bounds {
        let own = &self.cluster.config;
        tidegate_body::Bounds {
            limit: own.request_body.unwrap_or(config.limits.request_body),
            idle: own.timeouts.body_idle.unwrap_or(config.timeouts.body_idle),
            stream_idle: self.stream_idle,
            ..bounds
        }
    }

    /// A connection for bytes from `client`, who connected to `destination`.
    ///
    /// A server is chosen as for a request. As nothing is sent before a server accepts, further servers are
    /// tried, `retries` of them, within the upstream's retry budget.
    pub async fn connect(&self, client: SocketAddr, destination: SocketAddr) -> Result<Connected, Error> {
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
    pub(crate) async fn enter(&self, deadline: Option<Instant>) -> Result<Permit, Error> {
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

    /// Counts a connection that may become a tunnel.
    pub(crate) fn enter_tunnel(&self) -> Result<Permit, Error> {
        let entered = self.cluster.known.tunnels.try_enter();
        entered.ok_or_else(|| Error::TunnelsFull { upstream: self.name.clone() })
    }

    pub(crate) fn may_retry(&self, tried: usize) -> bool {
        let retries = &self.cluster.config.retries;
        tried <= retries.count as usize
            && self.cluster.known.budget.try_retry(retries.budget_percent, Millis::now())
    }

    pub(crate) fn no_server(&self) -> Error {
        Error::NoServer { upstream: self.name.clone() }
    }

    /// What `balance = "hash"` goes by: what a policy set, else the client's address.
    pub(crate) fn hash_key(&self, set: Option<&str>, client: SocketAddr) -> Vec<u8> {
        match (self.cluster.config.balance, set) {
            (Balance::Hash, Some(key)) => key.as_bytes().to_vec(),
            (Balance::Hash, None) => client.ip().to_canonical().to_string().into_bytes(),
            _ => Vec::new(),
        }
    }

    /// The servers as they are now.
    pub(crate) fn view(&self) -> Rc<View> {
        let mut view = self.view.borrow_mut();
        if view.members.version != self.cluster.version() {
            *view = View::new(&self.cluster, self.bounds, &self.servers, self.worker);
        }
        view.clone()
    }

    /// Whether a connection can be upgraded to another protocol.
    pub(crate) fn can_upgrade(&self) -> bool {
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

    pub(crate) fn choose(&self, key: &[u8], tried: &[usize]) -> Option<usize> {
        self.balancer.choose(Millis::now(), key, tried)
    }

    pub(crate) fn use_server(&self, index: usize) -> InUse {
        InUse::new(self.members.list[index].health.clone())
    }
}
