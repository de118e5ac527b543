//! Follows a host name: finds all its addresses, and again whenever DNS says that they may have changed.

use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::time::sleep;

/// What an answer's TTL is clamped to. A TTL of 0 is legal (RFC 1035 §3.2.1), and one that a cache counts
/// down to 0 is common: one question a second bounds what a name costs. A TTL of hours is often still in
/// caches when an address goes away unplanned; a question every five minutes costs next to nothing.
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(5 * 60);

/// For how long an answer holds while none of the servers can be used, whatever its TTL: containers are put in the place of others at
/// other addresses, and names of containers often have long ones.
const WHILE_DOWN: Duration = Duration::from_secs(5);

/// The pause after questions that brought no answer, doubled up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// For how long an answer from /etc/hosts holds. It has no TTL; the operator who edits it waits for the effect, and
/// to read it costs less than any question.
const HOSTS_TTL: Duration = Duration::from_secs(5);

/// Where host names are looked up. Clones share the connections to the servers.
#[derive(Clone)]
pub(crate) struct Resolver {
    timeout: Duration,
    current: Arc<Mutex<Arc<Current>>>,
}

/// How host names are looked up now.
struct Current {
    dns: TokioResolver,
    /// Domains that a name may be short for, from /etc/resolv.conf.
    search: Vec<Name>,
    /// A name with fewer dots is completed with them first.
    ndots: usize,
    /// What it is made of, if that is the system's; `Some(None)`: there is no such file.
    system: Option<Option<Vec<u8>>>,
}

const RESOLV_CONF: &str = "/etc/resolv.conf";

impl Resolver {
    /// Asks `servers`, over UDP and, for what does not fit, TCP; if there are none, those that
    /// /etc/resolv.conf names at the time. `timeout` is for one try of one question; it is tried three times, as a
    /// round of three servers may have to get past two dead ones (`attempts` in resolv.conf overrides that).
    ///
    /// Call and use within a runtime of tokio.
    pub(crate) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, NetError> {
        let current = Current::new(servers, timeout)?;
        Ok(Self { timeout, current: Arc::new(Mutex::new(Arc::new(current))) })
    }

    /// Looked at before each round of questions, of which there is one a second at most: the system's servers change
    /// where a machine moves from one network to another.
    fn current(&self) -> Arc<Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.system.as_ref().is_some_and(|system| *system != read_resolv_conf()) {
            match Current::new(&[], self.timeout) {
                Ok(changed) => {
                    tracing::info!(target: "resolver", "{RESOLV_CONF} has changed: names are looked up as it says");
                    *current = Arc::new(changed);
                }
                Err(error) => {
                    tracing::warn!(target: "resolver", "{RESOLV_CONF} has changed and cannot be used: {error}");
                }
            }
        }
        current.clone()
    }

    /// One round of questions.
    async fn resolve(&self, host: &str) -> Round {
        self.current().resolve(host).await
    }

    #[cfg(test)]
    fn candidates(&self, host: &str) -> Result<Vec<Name>, ProtoError> {
        self.current().candidates(host)
    }
}

fn read_resolv_conf() -> Option<Vec<u8>> {
    std::fs::read(RESOLV_CONF).ok()
}

impl Current {
    fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, NetError> {
        let system = servers.is_empty().then(read_resolv_conf);
        let (config, mut options) =
            if servers.is_empty() { system_conf() } else { (asking(servers), ResolverOpts::default()) };
        options.timeout = timeout;
        // Every question is asked because an answer has run out.
        options.cache_size = 0;
        // It would be read only once, and for each of the two questions by itself.
        options.use_hosts_file = ResolveHosts::Never;
        let (search, ndots) = (config.search.clone(), options.ndots);
        let dns = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Self { dns, search, ndots, system })
    }

    /// One round of questions: /etc/hosts, which has the whole answer if it has any, or DNS.
    async fn resolve(&self, host: &str) -> Round {
        let candidates = match self.candidates(host) {
            Ok(candidates) => candidates,
            Err(error) => return Round::Failed(error.into()),
        };
        if let Some(answer) = look_in_hosts(host) {
            return Round::Whole(answer);
        }
        let mut exists = false;
        for name in candidates {
            let (v4, v6) = tokio::join!(self.ask(&name, RecordType::A), self.ask(&name, RecordType::AAAA));
            match (v4, v6) {
                (Reply::Found(v4), Reply::Found(v6)) => {
                    let ttl = v4.ttl.min(v6.ttl);
                    return Round::Whole(Answer { v4: Some(v4.addresses), v6: Some(v6.addresses), ttl });
                }
                (Reply::Found(Records { addresses, ttl }), Reply::Nothing { .. }) => {
                    return Round::Whole(Answer { v4: Some(addresses), v6: Some(Vec::new()), ttl });
                }
                (Reply::Nothing { .. }, Reply::Found(Records { addresses, ttl })) => {
                    return Round::Whole(Answer { v4: Some(Vec::new()), v6: Some(addresses), ttl });
                }
                (Reply::Found(Records { addresses, ttl }), Reply::Failed(error)) => {
                    return Round::Half(Answer { v4: Some(addresses), v6: None, ttl }, error);
                }
                (Reply::Failed(error), Reply::Found(Records { addresses, ttl })) => {
                    return Round::Half(Answer { v4: None, v6: Some(addresses), ttl }, error);
                }
                // Not on to the next candidate: which servers are used must not depend on which
                // questions failed.
                (Reply::Failed(error), _) | (_, Reply::Failed(error)) => return Round::Failed(error),
                (Reply::Nothing { exists: a }, Reply::Nothing { exists: b }) => exists |= a || b,
            }
        }
        if exists { Round::NoAddress } else { Round::NoName }
    }

    /// What `host` may stand for, in the order resolv.conf(5) gives for `search` and `ndots`.
    fn candidates(&self, host: &str) -> Result<Vec<Name>, ProtoError> {
        // Relaxed: names of containers and services often have an underscore.
        let name = Name::from_str_relaxed(host)?;
        if name.is_fqdn() {
            return Ok(vec![name]);
        }
        let as_it_is = name.clone().append_domain(&Name::root())?;
        // Those that would be too long cannot exist.
        let mut names: Vec<_> =
            self.search.iter().filter_map(|domain| name.clone().append_domain(domain).ok()).collect();
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let first = dots >= self.ndots || name.is_localhost();
        names.insert(if first { 0 } else { names.len() }, as_it_is);
        Ok(names)
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Reply {
        match self.dns.lookup(name.clone(), kind).await {
            Ok(lookup) => {
                // Beside the addresses there may be aliases, which the TTL takes account of.
                let addresses: Vec<_> =
                    lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect();
                if addresses.is_empty() {
                    return Reply::Nothing { exists: true };
                }
                let ttl = lookup.valid_until().saturating_duration_since(Instant::now());
                Reply::Found(Records { addresses, ttl })
            }
            Err(error) if error.is_no_records_found() => Reply::Nothing { exists: !error.is_nx_domain() },
            Err(error) => Reply::Failed(error),
        }
    }
}

/// Calls `publish` with all addresses of `host`, sorted, when they are first known and whenever they have
/// changed. With none at most once: when the first look-up found none. Runs until it is dropped.
///
/// When DNS fails, or has no address for the name any more, what was published last remains right: a
/// mistake or an outage there must not take down servers that work. A or AAAA alone may fail as well; the
/// addresses of that family are kept then. The log says so once (`target: "resolver"`), and when the name
/// resolves again. While `is_down`, it is looked up more often.
pub(crate) async fn follow(
    resolver: Resolver,
    host: String,
    is_down: impl Fn() -> bool,
    publish: impl Fn(Vec<IpAddr>),
) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    let mut published: Option<Vec<IpAddr>> = None;
    let mut last = None;
    let mut pause = SHORTEST_PAUSE;
    loop {
        let round = resolver.resolve(&host).await;
        round.log(&host, last, published.as_ref().is_none_or(Vec::is_empty));
        last = Some(discriminant(&round));
        let whole = matches!(round, Round::Whole(_));
        let wait = match round {
            Round::Whole(answer) | Round::Half(answer, _) => {
                v4 = answer.v4.unwrap_or(v4);
                v6 = answer.v6.unwrap_or(v6);
                let mut addresses = [&v4[..], &v6[..]].concat();
                addresses.sort_unstable();
                addresses.dedup();
                if published.as_ref() != Some(&addresses) {
                    published = Some(addresses.clone());
                    publish(addresses);
                }
                let ttl = answer.ttl.clamp(SHORTEST_TTL, LONGEST_TTL);
                if whole { ttl } else { ttl.min(pause) }
            }
            Round::NoName | Round::NoAddress | Round::Failed(_) => {
                if published.is_none() {
                    published = Some(Vec::new());
                    publish(Vec::new());
                }
                pause
            }
        };
        let mut left = wait;
        while !left.is_zero() {
            let step = left.min(WHILE_DOWN);
            sleep(step).await;
            left = if is_down() { Duration::ZERO } else { left - step };
        }
        pause = if whole { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
    }
}

/// What is known of a name after one round of questions.
enum Round {
    /// Its addresses.
    Whole(Answer),
    /// Those of one family; the other question failed.
    Half(Answer, NetError),
    NoName,
    /// The name exists; other records may be under it.
    NoAddress,
    Failed(NetError),
}

struct Answer {
    /// `None` if that is not known.
    v4: Option<Vec<IpAddr>>,
    v6: Option<Vec<IpAddr>>,
    ttl: Duration,
}

/// The answer to one question.
enum Reply {
    Found(Records),
    Nothing { exists: bool },
    Failed(NetError),
}

struct Records {
    addresses: Vec<IpAddr>,
    ttl: Duration,
}

impl Round {
    /// Logs if this differs from the `last` round, if there was one. A name that never had an address is
    /// most likely mistyped, and its upstream cannot work: that is an error.
    fn log(&self, host: &str, last: Option<std::mem::Discriminant<Self>>, unknown: bool) {
        if last == Some(discriminant(self)) {
            return;
        }
        match self {
            Self::Whole(_) if last.is_none() => {}
            Self::Whole(_) => tracing::info!(target: "resolver", host, "resolves again"),
            Self::Half(_, error) => {
                tracing::warn!(target: "resolver", host, "only one of A and AAAA could be resolved: {error}; the last answer to the other is kept");
            }
            Self::NoName if unknown => {
                tracing::error!(target: "resolver", host, "does not exist; is it spelt right?");
            }
            Self::NoName => {
                tracing::warn!(target: "resolver", host, "does not exist any more; the last answer is kept");
            }
            Self::NoAddress if unknown => {
                tracing::error!(target: "resolver", host, "exists, but has no address; is it spelt right?");
            }
            Self::NoAddress => {
                tracing::warn!(target: "resolver", host, "has no address any more; the last answer is kept");
            }
            Self::Failed(error) if unknown => {
                tracing::error!(target: "resolver", host, "cannot be resolved: {error}; it has no address until it can");
            }
            Self::Failed(error) => {
                tracing::warn!(target: "resolver", host, "cannot be resolved: {error}; the last answer is kept");
            }
        }
    }
}

/// The system's servers and how to ask them. Without a usable file, and for a file without servers,
/// resolv.conf(5) says to ask the local machine.
fn system_conf() -> (ResolverConfig, ResolverOpts) {
    read_system_conf().unwrap_or_else(|error| {
        tracing::warn!(target: "resolver", "/etc/resolv.conf cannot be used: {error}; asking 127.0.0.1");
        (asking(&[(Ipv4Addr::LOCALHOST, 53).into()]), ResolverOpts::default())
    })
}

fn asking(servers: &[SocketAddr]) -> ResolverConfig {
    let servers = servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    ResolverConfig::from_name_servers(servers.collect())
}

/// What /etc/hosts has under this name, which is taken as it is written.
fn look_in_hosts(host: &str) -> Option<Answer> {
    // Without a file there is nothing in it.
    let hosts = Hosts::from_system().ok()?;
    let name = Name::from_str_relaxed(host).ok()?;
    let find = |kind| -> Vec<IpAddr> {
        let lookup = hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let records = lookup.iter().flat_map(|lookup| lookup.answers());
        records.filter_map(|record| record.data.ip_addr()).collect()
    };
    let (v4, v6) = (find(RecordType::A), find(RecordType::AAAA));
    let found = !v4.is_empty() || !v6.is_empty();
    found.then_some(Answer { v4: Some(v4), v6: Some(v6), ttl: HOSTS_TTL })
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "shared with the end-to-end tests, where it is public")]
#[path = "../../../../tests/harness/dns.rs"]
mod dns;
#[cfg(test)]
mod tests;
