//! One whole running generation: built aside, then swapped in; an exchange keeps the one it began with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;
use tidegate_acme::Challenges;
use tidegate_body::Memory;
use tidegate_body::buffer::TemporaryFiles;
use tidegate_config::Config;
use tidegate_plugin_host::{Destinations, EditLimits};

use crate::access_log;
use crate::cache::{Caches, Front};
use crate::compression::Compression;
use crate::explain::{self, Explain, Recent};
use crate::files;
use crate::metrics::Counting;
use crate::policy::{Chain, Link};
use crate::tasks::Tasks;
use crate::tls;
use crate::trace;
use tidegate_upstream::{Clusters, Servers, Upstream};

/// A generation as the control side hands it to every worker. Nothing in it changes.
pub(crate) struct Snapshot {
    /// Counts the generations of this process, from 1.
    pub(crate) number: u64,
    pub(crate) config: Arc<Config>,
    /// The chain, in order.
    pub(crate) links: Vec<Link>,
    /// By listener, for those that terminate TLS.
    pub(crate) tls: HashMap<String, Arc<tls::Terms>>,
    /// What authorities are answered, where the proxy obtains certificates by itself.
    pub(crate) challenges: Option<Arc<Challenges>>,
    /// Certificates that it obtains when a client asks.
    pub(crate) on_demand: Arc<tls::OnDemand>,
    /// By upstream.
    pub(crate) clusters: Clusters,
    /// By name; those of the same configuration are the same.
    pub(crate) files: files::Roots,
    pub(crate) caches: Caches,
    pub(crate) temporary: TemporaryFiles,
    /// Of the whole process.
    pub(crate) memory: Arc<Memory>,
    pub(crate) access_log: Option<access_log::Handle>,
    pub(crate) traces: Option<trace::Handle>,
    pub(crate) explain: Option<explain::Settings>,
    /// Of the whole process.
    pub(crate) recent: Arc<Recent>,
}

impl Snapshot {
    /// The next generation, which differs in its policies alone.
    pub(crate) fn with_chain(&self, links: Vec<Link>) -> Self {
        self.with(links, self.tls.clone())
    }

    /// The next generation, which differs in what it shows to clients of TLS alone.
    pub(crate) fn with_tls(&self, tls: HashMap<String, Arc<tls::Terms>>) -> Self {
        self.with(self.links.clone(), tls)
    }

    fn with(&self, links: Vec<Link>, tls: HashMap<String, Arc<tls::Terms>>) -> Self {
        Self {
            number: self.number + 1,
            config: self.config.clone(),
            links,
            tls,
            challenges: self.challenges.clone(),
            on_demand: self.on_demand.clone(),
            clusters: self.clusters.clone(),
            files: self.files.clone(),
            caches: self.caches.clone(),
            temporary: self.temporary.clone(),
            memory: self.memory.clone(),
            access_log: self.access_log.clone(),
            traces: self.traces.clone(),
            explain: self.explain.clone(),
            recent: self.recent.clone(),
        }
    }

    /// Whether `other` would change nothing for a request.
    pub(crate) fn serves_like(&self, other: &Self) -> bool {
        let same_tls = self.tls.len() == other.tls.len()
            && self
                .tls
                .iter()
                .all(|(name, tls)| other.tls.get(name).is_some_and(|other| Arc::ptr_eq(tls, other)));
        let same_chain = self.links.len() == other.links.len()
            && self.links.iter().zip(&other.links).all(|(link, other)| link.is_same(other));
        let same_clusters = self.clusters.len() == other.clusters.len()
            && self
                .clusters
                .iter()
                .all(|(name, one)| other.clusters.get(name).is_some_and(|other| Arc::ptr_eq(one, other)));
        let same_explain = self.explain == other.explain;
        self.config == other.config && same_explain && same_tls && same_clusters && same_chain
    }
}

/// A generation as one worker runs it: the snapshot, with the worker's own instances and connections.
pub(crate) struct Generation {
    pub(crate) config: Arc<Config>,
    pub(crate) chain: Rc<Chain>,
    pub(crate) destinations: Arc<Destinations>,
    pub(crate) edit_limits: EditLimits,
    pub(crate) access_log: Option<Rc<access_log::Writer>>,
    pub(crate) traces: Option<trace::Handle>,
    pub(crate) explain: Option<Explain>,
    /// Where bodies are kept that do not fit in memory.
    pub(crate) temporary: TemporaryFiles,
    /// What requests make the process hold.
    pub(crate) memory: Arc<Memory>,
    pub(crate) tls: HashMap<String, Arc<tls::Terms>>,
    /// What authorities are answered.
    pub(crate) challenges: Option<Arc<Challenges>>,
    /// Certificates that are obtained when a client asks.
    pub(crate) on_demand: Arc<tls::OnDemand>,
    pub(crate) compression: Option<Compression>,
    /// Bytes of the largest request body that any destination takes.
    pub(crate) largest_body: u64,
    /// Fields that say who the client is, beside the usual ones.
    pub(crate) identity: Vec<HeaderName>,
    /// Each cache, for requests that policies have it meet.
    pub(crate) caches: HashMap<Arc<str>, Rc<Front>>,
    by_name: HashMap<Arc<str>, Destination>,
    default: Option<Destination>,
}

/// What a request can be sent to.
#[derive(Clone)]
pub(crate) enum Destination {
    Upstream(Rc<Upstream>),
    /// An upstream whose responses are kept.
    Cached(Rc<Upstream>, Rc<Front>),
    Files(Arc<files::Root>),
}

impl Generation {
    /// Takes over from `previous` what both have: warm instances and, through `servers`, connections.
    pub(crate) fn new(
        snapshot: &Snapshot,
        previous: Option<&Self>,
        servers: &Rc<Servers>,
        worker: usize,
        tasks: &Tasks,
        counting: &Counting,
    ) -> Self {
        let config = &snapshot.config;
        let upstreams = snapshot.clusters.values().map(|cluster| {
            let upstream = Upstream::new(cluster.clone(), config, servers, worker);
            let upstream = Rc::new(upstream);
            let cache = config.upstreams.get(&*cluster.name).and_then(|upstream| upstream.cache.as_deref());
            let destination = match cache.and_then(|name| snapshot.caches.get(name)) {
                Some(settings) => Destination::Cached(upstream, Rc::new(Front::new(settings.clone()))),
                None => Destination::Upstream(upstream),
            };
            (cluster.name.clone(), destination)
        });
        let roots = snapshot
            .files
            .values()
            .map(|root| (root.name.clone(), Destination::Files(Arc::new(files::Root::clone(root)))));
        let by_name: HashMap<Arc<str>, Destination> = upstreams.chain(roots).collect();
        let default = config.default_upstream.as_deref().and_then(|name| by_name.get(name)).cloned();
        let limits = &config.limits;
        Self {
            config: config.clone(),
            chain: Rc::new(Chain::new(
                &snapshot.links,
                previous.map(|previous| &*previous.chain),
                tasks.clone(),
                counting,
            )),
            destinations: Arc::new(
                by_name
                    .keys()
                    .cloned()
                    .collect::<Destinations>()
                    .with_caches(snapshot.caches.keys().cloned()),
            ),
            caches: snapshot
                .caches
                .iter()
                .map(|(name, settings)| (name.clone(), Rc::new(Front::new(settings.clone()))))
                .collect(),
            edit_limits: EditLimits {
                request_headers: limits.request_headers,
                request_header_count: limits.request_header_count,
                request_target: limits.request_target,
                response_headers: limits.response_headers,
                body: limits.policy_body,
            },
            access_log: snapshot.access_log.as_ref().map(|handle| {
                let before = previous.and_then(|previous| previous.access_log.as_ref());
                let same = before.filter(|writer| writer.is_of(handle));
                same.cloned().unwrap_or_else(|| access_log::Writer::new(handle.clone()))
            }),
            traces: snapshot.traces.clone(),
            explain: snapshot.explain.clone().map(|settings| Explain::new(settings, snapshot.recent.clone())),
            temporary: snapshot.temporary.clone(),
            memory: snapshot.memory.clone(),
            tls: snapshot.tls.clone(),
            challenges: snapshot.challenges.clone(),
            on_demand: snapshot.on_demand.clone(),
            compression: Compression::new(
                config,
                previous.and_then(|previous| previous.compression.as_ref()),
            ),
            largest_body: {
                let own = config.upstreams.values().filter_map(|upstream| upstream.request_body);
                own.fold(limits.request_body, u64::max)
            },
            identity: config
                .identity_headers
                .iter()
                .filter_map(|name| HeaderName::try_from(name).ok())
                .collect(),
            by_name,
            default,
        }
    }

    /// Where an exchange goes: to the route a policy chose, else to the default.
    pub(crate) fn destination(&self, route: Option<&str>) -> Option<&Destination> {
        match route {
            Some(name) => self.by_name.get(name),
            None => self.default.as_ref(),
        }
    }

    /// All of them.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &Rc<Upstream>> {
        self.by_name.values().filter_map(|destination| match destination {
            Destination::Upstream(upstream) | Destination::Cached(upstream, _) => Some(upstream),
            Destination::Files(_) => None,
        })
    }

    /// Where connections are forwarded.
    pub(crate) fn upstream(&self, name: &str) -> Option<&Rc<Upstream>> {
        match self.by_name.get(name)? {
            Destination::Upstream(upstream) | Destination::Cached(upstream, _) => Some(upstream),
            Destination::Files(_) => None,
        }
    }

    /// Whether `peer` is a proxy whose word about clients is believed.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.config.trusted_proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}
