//! What the tasks of one worker share: its generation, servers and numbers; shared with no other worker.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use tidegate_io::Millis;
use tidegate_message::Connection;
use tidegate_telemetry::{Counter, Names};
use tidegate_upstream::{Servers, Upstream};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::access_log::{ConnectionRecord, Record};
use crate::callouts;
use crate::error::Unparsed;
use crate::listener::Admission;
use crate::log;
use crate::metrics::{Counting, Shard};
use crate::snapshot::{Generation, Snapshot};
use crate::tasks::Tasks;
use crate::timers::Timers;

/// What every task of a worker shares.
pub(crate) struct Worker {
    index: usize,
    process: u64,
    pub(crate) counting: Rc<Counting>,
    next_id: Cell<u64>,
    /// `None` only before the first command.
    generation: RefCell<Option<Rc<Generation>>>,
    pub(crate) servers: Rc<Servers>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) draining: watch::Sender<bool>,
    /// Tunnels are not waited for any longer.
    cuts_tunnels: watch::Sender<bool>,
    /// Failures in the proxy's log.
    pub(crate) failures: log::Rates,
    /// Of the first worker alone.
    timers: RefCell<Timers>,
    /// Connections, tunnels and log phases.
    open: Cell<usize>,
    tasks: Tasks,
    /// How often it has looked around.
    looks: Cell<u64>,
}

/// What is counted of servers that are gone is forgotten once in so many looks around.
const FORGETS: u64 = 30;

/// Counts a connection, a tunnel or a log phase as open.
pub(crate) struct Open(Rc<Worker>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

/// What a worker is given once.
pub(crate) struct Beginning {
    /// From 0.
    pub(crate) index: usize,
    /// Of this process, as far as chance goes.
    pub(crate) process: u64,
    pub(crate) admission: Arc<Admission>,
    /// See [`Servers::new`].
    pub(crate) spare: usize,
    /// Where it counts.
    pub(crate) shard: Shard,
}

/// How long what is in flight may go on when a worker is to end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) limit: Duration,
    /// The same for tunnels, which do not end by themselves.
    pub(crate) tunnels: Duration,
}

impl Worker {
    /// Without a generation: the first command brings one.
    pub(crate) fn new(beginning: Beginning) -> Rc<Self> {
        let Beginning { index, process, admission, spare, shard } = beginning;
        Rc::new(Self {
            index,
            process,
            counting: Counting::new(shard),
            // The upper 16 bits are the worker's, the rest lasts for 10^14 requests.
            next_id: Cell::new(((index as u64) << 48) + 1),
            generation: RefCell::default(),
            servers: Servers::new(spare),
            admission,
            draining: watch::Sender::new(false),
            cuts_tunnels: watch::Sender::new(false),
            failures: log::Rates::default(),
            timers: RefCell::default(),
            open: Cell::new(0),
            tasks: Tasks::default(),
            looks: Cell::new(0),
        })
    }

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
        is_explained: bool,
    ) -> Record {
        let is_looked_at = is_explained || generation.traces.is_some();
        let (log, id) = (generation.access_log.clone(), self.next_id());
        Record::begin(log, self.counting.clone(), id, connection, scheme(connection), request, is_looked_at)
    }

    /// The log line of what did not become a request, with a number of the same kind.
    pub(crate) fn unparsed(
        &self,
        generation: &Generation,
        connection: &Connection,
        refusal: Unparsed,
    ) -> Record {
        let log = generation.access_log.clone();
        let counting = self.counting.clone();
        Record::unparsed(log, counting, self.next_id(), connection, scheme(connection), refusal)
    }

    /// The log line of a connection that is forwarded, with a number of the same kind.
    pub(crate) fn connection_record(
        &self,
        generation: &Generation,
        connection: &Connection,
    ) -> ConnectionRecord {
        let (log, counting) = (generation.access_log.clone(), self.counting.clone());
        ConnectionRecord::begin(log, counting, self.next_id(), connection)
    }

    /// A number unique in this process.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// What outlives the exchanges that started it.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Counts something that outlives its connection, until it is dropped.
    pub(crate) fn open(self: &Rc<Self>) -> Open {
        self.open.set(self.open.get() + 1);
        Open(self.clone())
    }

    /// The generation new exchanges begin with.
    pub(crate) fn generation(&self) -> Rc<Generation> {
        let generation = self.generation.borrow();
        generation.clone().expect("listeners open only after the first generation was adopted")
    }

    /// Swaps the generation. Exchanges in flight keep theirs.
    pub(crate) fn adopt(self: &Rc<Self>, snapshot: &Snapshot) {
        let previous = self.generation.borrow().clone();
        let next = Rc::new(Generation::new(
            snapshot,
            previous.as_deref(),
            &self.servers,
            self.index,
            &self.tasks,
            &self.counting,
        ));
        next.chain.attach(callouts::door(self, Rc::downgrade(&next)));
        next.chain.warm();
        let timers = next.chain.timers();
        self.forget_gone(&next);
        *self.generation.borrow_mut() = Some(next);
        if self.index == 0 {
            self.timers.borrow_mut().set(self, timers);
        }
    }

    /// Nothing more is shown of what the configuration does not name any more.
    fn forget_gone(&self, next: &Generation) {
        let config = &next.config;
        let is_destination = |name: &str| name.is_empty() || next.destination(Some(name)).is_some();
        let is_listener = |name: &str| config.listeners.contains_key(name);
        let counting = &self.counting;
        counting.traffic.retain(|[listener, to]| is_listener(listener) && is_destination(to));
        counting.forwarded.retain(|[listener, to]| is_listener(listener) && is_destination(to));
        counting.listeners.retain(|[listener, _]| is_listener(listener));
        counting.servers.retain(|[upstream, _]| is_destination(upstream));
        counting.idle.retain(|[upstream, _]| is_destination(upstream));
        counting.caching.retain(|[to, _]| is_destination(to));
        counting.policies.retain(|[policy, _]| next.chain.has(policy));
    }

    /// What is looked at once a second: shows that the worker turns over, and what it holds.
    pub(crate) fn look_around(&self) {
        let counting = &self.counting;
        counting.worker.heartbeat.set(Millis::now().0);
        let Some(generation) = self.generation.borrow().clone() else { return };
        for upstream in generation.upstreams() {
            let idle = upstream.idle_connections() as u64;
            counting.idle.with(&upstream.name, &counting.nobody, Counter::default, |count| count.set(idle));
        }
        // Servers come and go without a generation.
        if self.looks.replace(self.looks.get() + 1).is_multiple_of(FORGETS) {
            let named = |upstream: &Rc<Upstream>| {
                let names = upstream.server_names().into_iter();
                names.map(|server| [upstream.name.clone(), server]).collect::<Vec<_>>()
            };
            let present: HashSet<Names> = generation.upstreams().flat_map(named).collect();
            counting.servers.retain(|names| present.contains(names));
        }
        generation.chain.look_around();
    }

    /// Ends when tunnels have to.
    pub(crate) fn no_more_tunnels(&self) -> impl Future<Output = ()> + use<> {
        let mut cuts = self.cuts_tunnels.subscribe();
        async move {
            // An error means that the worker is gone.
            let _ = cuts.wait_for(|cuts| *cuts).await;
        }
    }

    /// Waits for all that is open, and cuts tunnels when their time is up.
    pub(crate) async fn drained(&self, drain: Drain) {
        let Drain { limit, tunnels, .. } = drain;
        let empty = async {
            while self.open.get() > 0 || !self.tasks.reap() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let cut_tunnels = async {
            sleep(tunnels).await;
            self.cuts_tunnels.send_replace(true);
            pending::<()>().await;
        };
        let ended = async {
            tokio::select! {
                () = empty => {}
                () = cut_tunnels => {}
            }
        };
        if tokio::time::timeout(limit, ended).await.is_err() {
            tracing::warn!(target: "shutdown", worker = self.index, connections = self.open.get(), "cut after timeouts.drain");
        }
    }
}

fn scheme(connection: &Connection) -> &'static str {
    if connection.tls.is_some() { "https" } else { "http" }
}
