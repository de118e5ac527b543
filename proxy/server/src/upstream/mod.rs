//! Sends an exchange to one of the servers of an upstream over kept connections.

mod balance;
mod driver;
mod forward;
mod pool;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tidegate_config as config;

use self::balance::RoundRobin;
pub(crate) use self::forward::{Answer, Hop, forward};
pub(crate) use self::pool::Lease;
use self::pool::Server;

/// An upstream as one worker of one generation uses it.
pub(crate) struct Upstream {
    pub(crate) name: Arc<str>,
    servers: Vec<Rc<Server>>,
    balance: RoundRobin,
    timeouts: config::UpstreamTimeouts,
    retries: u32,
}

impl Upstream {
    /// `worker` is the number of the worker, so that workers do not all begin with the same server.
    pub(crate) fn new(
        name: Arc<str>,
        upstream: &config::Upstream,
        response_headers: usize,
        servers: &Servers,
        worker: usize,
    ) -> Self {
        let config::Balance::RoundRobin = upstream.balance;
        let balance = RoundRobin::new(upstream.servers.iter().map(|server| server.weight), worker);
        let servers = upstream
            .servers
            .iter()
            .map(|server| servers.get(&server.address, upstream.pool, response_headers))
            .collect();
        Self { name, servers, balance, timeouts: upstream.timeouts, retries: upstream.retries }
    }

    /// Time the upstream has between two pieces of a response body.
    pub(crate) fn idle(&self) -> Duration {
        self.timeouts.idle
    }
}

/// Every server a worker has connections to. It outlives generations, so that a reload costs no
/// connection; a server that no generation uses any more closes its idle ones.
#[derive(Default)]
pub(crate) struct Servers(RefCell<HashMap<Key, Weak<Server>>>);

/// Servers with the same address but other bounds keep apart.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: String,
    max_idle: usize,
    idle_time: Duration,
    max_age: Duration,
    response_headers: usize,
}

impl Servers {
    fn get(&self, address: &str, pool: config::Pool, response_headers: usize) -> Rc<Server> {
        let config::Pool { max_idle, idle_time, max_age } = pool;
        let key = Key { address: address.to_owned(), max_idle, idle_time, max_age, response_headers };
        let mut servers = self.0.borrow_mut();
        if let Some(server) = servers.get(&key).and_then(Weak::upgrade) {
            return server;
        }
        let server = Rc::new(Server::new(address.into(), pool, response_headers));
        servers.insert(key, Rc::downgrade(&server));
        server
    }

    /// Closes connections that have been idle for too long or grown too old; called every second.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, server| match server.upgrade() {
            Some(server) => {
                server.sweep();
                true
            }
            None => false,
        });
    }
}
