//! Looks after the upstreams beside the traffic: looks names up, checks health, keeps what is known of
//! servers across configurations.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use tidegate_config::{self as config, Config, Problem};
use tokio::runtime;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::check;
use crate::cluster::Cluster;
use crate::resolver::{self, Resolver};

/// How long a generation waits for its new names to be looked up.
const FIRST_LOOK_UP: Duration = Duration::from_secs(5);

/// Owned by the control thread; its work happens on a thread of its own.
pub struct Supervisor {
    runtime: runtime::Handle,
    /// Dropping it ends the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    serving: HashMap<String, Supervised>,
    resolver: Option<(config::Resolver, Resolver)>,
}

/// The upstreams of one configuration, by name.
pub type Clusters = HashMap<String, Arc<Cluster>>;

struct Supervised {
    cluster: Arc<Cluster>,
    resolver: config::Resolver,
    tasks: Vec<AbortHandle>,
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Supervisor {
    /// Starts its thread.
    pub fn start() -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("upstreams".to_owned()).spawn(move || {
            // Ends with an error when the sender is dropped.
            let _ = runtime.block_on(stopped);
        })?;
        Ok(Self {
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
            serving: HashMap::new(),
            resolver: None,
        })
    }

    /// The upstreams of `config`; those that are the same as now are kept. Nothing changes until
    /// [`Supervisor::serve`].
    ///
    /// # Errors
    /// The system's resolver configuration cannot be used.
    pub fn build(
        &mut self,
        config: &Config,
        tls: &HashMap<String, Arc<ClientConfig>>,
    ) -> Result<Clusters, Problem> {
        if self.resolver.as_ref().is_none_or(|(settings, _)| *settings != config.resolver) {
            let config::Resolver { servers, timeout } = &config.resolver;
            // Its sockets belong to the runtime.
            let _entered = self.runtime.enter();
            let resolver = Resolver::new(servers, *timeout).map_err(|error| {
                config.positions.problem("resolver", format!("names cannot be looked up: {error}"))
            })?;
            self.resolver = Some((config.resolver.clone(), resolver));
        }
        let clusters = config.upstreams.iter().map(|(name, upstream)| {
            let tls = tls.get(name);
            let previous = self.serving.get(name);
            let same = previous.filter(|previous| {
                let same_tls = match (&previous.cluster.tls, tls) {
                    (None, None) => true,
                    (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                    _ => false,
                };
                previous.cluster.config == *upstream && same_tls && previous.resolver == config.resolver
            });
            let cluster = match same {
                Some(same) => same.cluster.clone(),
                None => {
                    let previous = previous.map(|previous| &*previous.cluster);
                    Cluster::new(name, upstream, tls.cloned(), previous)
                }
            };
            (name.clone(), cluster)
        });
        Ok(clusters.collect())
    }

    /// Puts them into service, right before requests come: work for those that are gone ends.
    pub fn serve(&mut self, clusters: &Clusters) {
        let first = self.serving.is_empty();
        self.serving.retain(|name, supervised| {
            clusters.get(name).is_some_and(|cluster| Arc::ptr_eq(cluster, &supervised.cluster))
        });
        let Some((settings, resolver)) = &self.resolver else { return };
        let mut new = Vec::new();
        for (name, cluster) in clusters {
            if self.serving.contains_key(name) {
                continue;
            }
            cluster.update(first);
            let mut tasks: Vec<AbortHandle> = cluster
                .hosts()
                .into_iter()
                .map(|host| {
                    let (cluster, resolver) = (cluster.clone(), resolver.clone());
                    let (name, asked) = (host.clone(), cluster.clone());
                    let is_down = move || asked.is_failing();
                    let publish = move |addresses| cluster.resolve(&name, addresses);
                    self.runtime.spawn(resolver::follow(resolver, host, is_down, publish)).abort_handle()
                })
                .collect();
            if let Some(health) = &cluster.config.health {
                tasks.push(self.runtime.spawn(check::run(cluster.clone(), health.clone())).abort_handle());
            }
            let supervised = Supervised { cluster: cluster.clone(), resolver: settings.clone(), tasks };
            self.serving.insert(name.clone(), supervised);
            new.push(cluster);
        }
        // A server that is not known yet cannot be asked: requests would fail for no reason.
        let begun = Instant::now();
        while begun.elapsed() < FIRST_LOOK_UP && new.iter().any(|cluster| !cluster.is_resolved()) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
