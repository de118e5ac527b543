//! What all workers know of one upstream: its servers, their health, and its limits.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::{Deserialize, Serialize};
use tidegate_config::{self as config, Address, Balance};
use tokio::sync::watch;

use crate::balance::{Candidate, Candidates, Mode};
use crate::budget::RetryBudget;
use crate::eject::Ejector;
use crate::health::{Ejection, Health, State, Transition};
use crate::limit::InFlight;
use crate::target::{Endpoint, Target, Tls};
use tidegate_io::Millis;

/// One upstream of one configuration, shared by all workers. Its servers change with DNS; everything
/// else does not.
pub struct Cluster {
    /// In the configuration.
    pub name: Arc<str>,
    pub(crate) config: config::Upstream,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) known: Arc<Known>,
    /// In place of the servers of the configuration, as somebody asked for while it serves.
    replaced: Mutex<Option<Vec<config::Server>>>,
    /// One update after the other.
    updating: Mutex<()>,
    /// What the host names among the servers stand for; absent until it is known.
    resolved: Mutex<HashMap<String, Vec<IpAddr>>>,
    members: Mutex<Arc<Members>>,
    /// That of `members`, to be compared without its lock.
    version: AtomicU64,
    changed: watch::Sender<u64>,
}

/// What outlives configurations, by the name of the upstream.
pub(crate) struct Known {
    pub(crate) ejector: Ejector,
    pub(crate) budget: RetryBudget,
    pub(crate) in_flight: Arc<InFlight>,
    /// Upgraded connections, none of which queues.
    pub(crate) tunnels: Arc<InFlight>,
    /// Since the process began: ejections, and servers that failed or passed enough of their checks.
    changes: [AtomicU64; 3],
    /// What was ordered of single servers while it serves.
    orders: Mutex<Orders>,
    /// By name of the target.
    health: Mutex<BTreeMap<Arc<str>, Arc<Health>>>,
}

/// The servers of an upstream at one time, in the order of the configuration.
pub(crate) struct Members {
    pub(crate) version: u64,
    pub(crate) list: Vec<Member>,
    pub(crate) candidates: Arc<Candidates>,
}

/// One of them.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) target: Arc<Target>,
    pub(crate) health: Arc<Health>,
    weight: u32,
    backup: bool,
}

/// What the admin interface shows of an upstream.
#[derive(Debug, Serialize)]
pub struct Status {
    /// The upstream's.
    pub name: Arc<str>,
    /// Its servers were set while it serves, and are not those of the configuration.
    pub replaced: bool,
    /// In the order of the configuration; then those that are on their way out.
    pub servers: Vec<ServerStatus>,
}

/// What somebody ordered while the proxy serves. It outlives configurations, and ends with the process, or with the last that
/// took its place.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) held: BTreeMap<Arc<str>, Hold>,
    pub(crate) weights: BTreeMap<Arc<str>, u32>,
}

/// Why a server gets no requests although it is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// It finishes what it has, and is to be used again some time.
    Draining,
    /// The same; and it is to be told from one that only drains.
    Disabled,
}

impl Hold {
    fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

/// An upstream in numbers.
#[derive(Debug)]
pub struct Figures {
    /// Requests, of all workers.
    pub in_flight: u32,
    /// Requests that wait for their turn.
    pub queued: u32,
    /// Upgraded connections.
    pub tunnels: u32,
    /// How often a server was taken out as its requests failed, since the process began.
    pub ejections: u64,
    /// How often one was taken out by its checks.
    pub went_down: u64,
    /// How often one came back by its checks.
    pub came_up: u64,
    /// As [`Status`] has them.
    pub servers: Vec<ServerStatus>,
}

/// What the admin interface shows of a server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerStatus {
    /// Its name.
    pub address: Arc<str>,
    /// `up`, `down`, `ejected`, `draining` or `disabled`.
    pub state: &'static str,
    /// Its share of the requests.
    pub weight: u32,
    /// Used only while no other is up.
    pub backup: bool,
    /// Requests, of all workers.
    pub in_flight: u32,
}

impl Known {
    fn new(upstream: &config::Upstream) -> Arc<Self> {
        Arc::new(Self {
            ejector: Ejector::default(),
            budget: RetryBudget::default(),
            in_flight: Arc::new(InFlight::new(narrow(upstream.max_in_flight), narrow(upstream.max_queued))),
            tunnels: Arc::new(InFlight::new(narrow(upstream.max_tunnels), 0)),
            changes: Default::default(),
            orders: Mutex::default(),
            health: Mutex::default(),
        })
    }

    fn count(&self, transition: Transition) {
        let change = match transition {
            Transition::Ejected { .. } => 0,
            Transition::Down { .. } => 1,
            Transition::Up { .. } => 2,
            _ => return,
        };
        self.changes[change].fetch_add(1, Ordering::Relaxed);
    }
}

impl Cluster {
    /// A cluster that has no servers yet; [`Cluster::update`] finds them. What is known of `previous`, the
    /// upstream of this name until now, is taken over.
    pub(crate) fn new(
        name: &str,
        upstream: &config::Upstream,
        tls: Option<Arc<ClientConfig>>,
        previous: Option<&Self>,
    ) -> Arc<Self> {
        let known = previous.map_or_else(|| Known::new(upstream), |previous| previous.known.clone());
        let resolved = previous.map(|previous| previous.resolved().clone()).unwrap_or_default();
        let mode = mode(upstream.balance);
        let none =
            Members { version: 0, list: Vec::new(), candidates: Arc::new(Candidates::new(Vec::new(), mode)) };
        Arc::new(Self {
            name: name.into(),
            config: upstream.clone(),
            tls,
            known,
            replaced: Mutex::default(),
            updating: Mutex::default(),
            resolved: Mutex::new(resolved),
            members: Mutex::new(Arc::new(none)),
            version: AtomicU64::new(0),
            changed: watch::Sender::new(0),
        })
    }

    /// Its servers as they are now.
    pub(crate) fn members(&self) -> Arc<Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes with the servers.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Follows the version.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// The host names among the servers, each once.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.config.servers.iter().filter_map(host_of).collect();
        hosts.sort();
        hosts.dedup();
        hosts
    }

    /// Whether every host name has been looked up.
    pub(crate) fn is_resolved(&self) -> bool {
        let resolved = self.resolved();
        self.config.servers.iter().filter_map(host_of).all(|host| resolved.contains_key(&host))
    }

    /// A host name stands for these addresses from now on. None are no answer: what it stood for before
    /// stays.
    pub(crate) fn resolve(&self, host: &str, addresses: Vec<IpAddr>) {
        let mut resolved = self.resolved();
        if addresses.is_empty() {
            resolved.entry(host.to_owned()).or_default();
        } else {
            resolved.insert(host.to_owned(), addresses);
        }
        drop(resolved);
        self.update(false);
    }

    /// Applies limits and the list of servers. `first`: the process just began, so nothing has to be
    /// eased in.
    pub(crate) fn update(&self, first: bool) {
        let Self { config, known, .. } = self;
        let _alone = self.updating.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Millis::now();
        known.in_flight.resize(narrow(config.max_in_flight), narrow(config.max_queued));
        known.tunnels.resize(narrow(config.max_tunnels), 0);
        let orders = self.orders();
        let mut targets = self.targets();
        targets.retain(|(target, _)| !orders.held.contains_key(&target.name));
        let mut health = known.health.lock().unwrap_or_else(PoisonError::into_inner);
        // The servers of an upstream that had none are not eased in: no other server takes their share.
        let first = first || health.values().all(|health| health.state(now) == State::Draining);
        let list: Vec<Member> = targets
            .into_iter()
            .map(|(target, server)| {
                let known = health
                    .entry(target.name.clone())
                    .or_insert_with(|| Arc::new(if first { Health::new() } else { Health::joining(now) }));
                self.log(&target.name, known.restore(now));
                if config.health.is_none() {
                    self.log(&target.name, known.unchecked(now));
                }
                let weight = orders.weights.get(&target.name).copied().unwrap_or(server.weight);
                let (target, health) = (Arc::new(target), known.clone());
                Member { target, health, weight, backup: server.backup }
            })
            .collect();
        health.retain(|name, health| {
            let stays = list.iter().any(|member| member.target.name == *name);
            if !stays {
                self.log(name, health.drain());
            }
            stays || health.in_flight() > 0
        });
        drop((health, orders));
        let candidates = list.iter().map(|member| {
            Candidate::new(&member.target.name, member.weight, member.backup, member.health.clone())
        });
        let candidates = Arc::new(Candidates::new(candidates.collect(), mode(config.balance)));
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let version = members.version + 1;
        *members = Arc::new(Members { version, list, candidates });
        self.version.store(version, Ordering::Release);
        self.changed.send_replace(version);
    }

    /// Every address of every server, each once; the first server it belongs to counts.
    fn targets(&self) -> Vec<(Target, config::Server)> {
        let replaced = self.replaced().clone();
        let resolved = self.resolved();
        let mut targets: Vec<(Target, config::Server)> = Vec::new();
        for server in replaced.as_ref().unwrap_or(&self.config.servers) {
            let endpoints: Vec<(Endpoint, String)> = match &server.address {
                Address::Ip(address) => vec![(Endpoint::Tcp(*address), address.ip().to_string())],
                Address::Unix(path) => vec![(Endpoint::Unix(path.clone()), "localhost".to_owned())],
                Address::Host { host, port } => {
                    let addresses = resolved.get(host).into_iter().flatten();
                    addresses.map(|ip| (Endpoint::Tcp(SocketAddr::new(*ip, *port)), host.clone())).collect()
                }
            };
            for (endpoint, host) in endpoints {
                if targets.iter().any(|(known, _)| known.endpoint == endpoint) {
                    continue;
                }
                let name: Arc<str> = match &endpoint {
                    Endpoint::Tcp(address) => address.to_string().into(),
                    Endpoint::Unix(path) => format!("unix:{}", path.display()).into(),
                };
                let tls = self.tls.as_ref().and_then(|tls| {
                    let wanted = self.config.tls.as_ref().and_then(|tls| tls.server_name.clone());
                    let server_name = ServerName::try_from(wanted.unwrap_or_else(|| host.clone())).ok()?;
                    Some(Tls { config: tls.clone(), server_name })
                });
                // As it stands in the configuration: what a client without Host would have asked for.
                let host = server.address.to_string();
                let proxy_protocol = self.config.proxy_protocol;
                targets.push((
                    Target { name, endpoint, host: host.into(), tls, proxy_protocol },
                    server.clone(),
                ));
            }
        }
        targets
    }

    /// Puts these servers in place of those of the configuration, or those back: until the upstream changes in the
    /// configuration, or the process ends. Requests in flight go on; a server that stays keeps its health and its connections.
    /// Host names are not followed.
    pub fn replace_servers(&self, servers: Option<Vec<config::Server>>) {
        *self.replaced() = servers;
        self.update(false);
    }

    /// Keeps requests away from a server; false if there is none of this name.
    pub fn hold(&self, server: &str, hold: Hold) -> bool {
        self.order(server, |orders, name| {
            orders.held.insert(name, hold);
        })
    }

    /// Lets it have requests again, with a slow start.
    pub fn release(&self, server: &str) -> bool {
        self.order(server, |orders, name| {
            orders.held.remove(&name);
        })
    }

    /// Gives it another weight than the configuration does.
    pub fn set_weight(&self, server: &str, weight: u32) -> bool {
        self.order(server, |orders, name| {
            orders.weights.insert(name, weight);
        })
    }

    fn order(&self, server: &str, order: impl FnOnce(&mut Orders, Arc<str>)) -> bool {
        let found = self.targets().into_iter().find(|(target, _)| *target.name == *server);
        let Some((target, _)) = found else { return false };
        order(&mut self.orders(), target.name);
        self.update(false);
        true
    }

    pub(crate) fn orders(&self) -> MutexGuard<'_, Orders> {
        self.known.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn replaced(&self) -> MutexGuard<'_, Option<Vec<config::Server>>> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request to a server failed in a way that tells against the server.
    pub(crate) fn failed(&self, members: &Members, index: usize) {
        let Some(eject) = &self.config.eject else { return };
        let config::Eject { failures, time, max_time, max_percent } = *eject;
        let rule = Ejection { failures, time, max_time, max_percent };
        let servers = members.candidates.servers();
        let transition = self.known.ejector.request_failed(&rule, servers, index, Millis::now());
        self.log(&members.list[index].target.name, transition);
    }

    /// A server answered as it should.
    pub(crate) fn succeeded(&self, members: &Members, index: usize) {
        let member = &members.list[index];
        self.log(&member.target.name, member.health.request_succeeded(Millis::now()));
    }

    /// Tells the operator of a change.
    pub(crate) fn log(&self, server: &str, transition: Option<Transition>) {
        let Some(transition) = transition else { return };
        self.known.count(transition);
        let upstream = &*self.name;
        match transition {
            Transition::Down { .. } | Transition::Ejected { .. } => {
                tracing::warn!(target: "upstream", upstream, server, "{transition}");
            }
            _ => tracing::info!(target: "upstream", upstream, server, "{transition}"),
        }
    }

    /// Tells the operator why the checks of a server took it out or back.
    pub(crate) fn log_check(&self, server: &str, transition: Transition, cause: &str) {
        self.known.count(transition);
        tracing::warn!(target: "upstream", upstream = &*self.name, server, "{transition}: {cause}");
    }

    /// In numbers, for metrics.
    pub fn figures(&self) -> Figures {
        let known = &self.known;
        let (in_flight, queued) = known.in_flight.counts();
        let changes = known.changes.each_ref().map(|count| count.load(Ordering::Relaxed));
        Figures {
            in_flight,
            queued,
            tunnels: known.tunnels.counts().0,
            ejections: changes[0],
            went_down: changes[1],
            came_up: changes[2],
            servers: self.status().servers,
        }
    }

    /// For the admin interface.
    pub fn status(&self) -> Status {
        let now = Millis::now();
        let members = self.members();
        let show = |name: &Arc<str>, health: &Health, weight, backup| ServerStatus {
            address: name.clone(),
            state: health.state(now).as_str(),
            weight,
            backup,
            in_flight: health.in_flight(),
        };
        let current = members
            .list
            .iter()
            .map(|member| show(&member.target.name, &member.health, member.weight, member.backup));
        let replaced = self.replaced().is_some();
        let has_held = !self.orders().held.is_empty();
        let targets = if has_held { self.targets() } else { Vec::new() };
        let orders = self.orders();
        let known = self.known.health.lock().unwrap_or_else(PoisonError::into_inner);
        let held = targets.iter().filter_map(|(target, server)| {
            let hold = orders.held.get(&target.name)?;
            Some(ServerStatus {
                address: target.name.clone(),
                state: hold.as_str(),
                weight: orders.weights.get(&target.name).copied().unwrap_or(server.weight),
                backup: server.backup,
                in_flight: known.get(&target.name).map_or(0, |health| health.in_flight()),
            })
        });
        let is_held = |name: &Arc<str>| {
            orders.held.contains_key(name) && targets.iter().any(|(target, _)| target.name == *name)
        };
        let leaving = known
            .iter()
            .filter(|(_, health)| health.state(now) == State::Draining && health.in_flight() > 0)
            .filter(|(name, _)| !is_held(name))
            .map(|(name, health)| show(name, health, 0, false));
        Status { name: self.name.clone(), replaced, servers: current.chain(held).chain(leaving).collect() }
    }

    /// Whether requests have a server to go to that is not known to fail; where servers are checked, one that has passed
    /// a check.
    pub fn has_server_up(&self) -> bool {
        let now = Millis::now();
        let unchecked = self.config.health.is_none();
        let is_up = |health: &Health| health.state(now) == State::Up && (unchecked || health.was_well());
        self.members().list.iter().any(|member| is_up(&member.health))
    }

    /// Whether each server is out, or failed the last request that it got.
    pub(crate) fn is_failing(&self) -> bool {
        let now = Millis::now();
        let members = self.members();
        members.list.iter().all(|member| member.health.state(now) != State::Up || member.health.is_failing())
    }

    fn resolved(&self) -> MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn host_of(server: &config::Server) -> Option<String> {
    match &server.address {
        Address::Host { host, .. } => Some(host.clone()),
        Address::Ip(_) | Address::Unix(_) => None,
    }
}

fn mode(balance: Balance) -> Mode {
    match balance {
        Balance::RoundRobin => Mode::RoundRobin,
        Balance::LeastRequests => Mode::LeastRequests,
        Balance::RandomTwo => Mode::RandomTwo,
        Balance::Hash => Mode::Hash,
    }
}

/// The configuration allows up to a million.
fn narrow(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
