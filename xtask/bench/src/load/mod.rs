//! The load and the servers behind the proxies, all on one thread: as little work as possible beside the proxy's.

mod clients;
mod connect;
mod gate;
mod http1;
mod http2;
mod server;
pub(crate) mod work;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::RootCertStore;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use self::clients::Clients;
use self::gate::{Gate, Tally};
use self::server::Servers;
use self::work::{BODY, Work};
use crate::terminal::Result;

pub(crate) use self::connect::Handshakes;

/// Until new connections are quiet.
const SETTLED: Duration = Duration::from_millis(300);

/// Requests at a time over connections whose memory is measured.
const AT_A_TIME: u64 = 8;

/// How a client's connections live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// All of them are open from the beginning to the end.
    Kept,
    /// Each request has a connection of its own.
    Closed(Handshakes),
}

/// Which clients there are, and what they do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) work: Work,
    pub(crate) is_secure: bool,
    pub(crate) is_http2: bool,
    pub(crate) keep: Keep,
    pub(crate) connections: usize,
    /// Requests at a time. Fewer than connections: they take turns. More: streams of HTTP/2.
    pub(crate) clients: usize,
}

impl Plan {
    /// HTTP/1.1 in clear text, over kept connections.
    pub(crate) fn plain(work: Work, connections: usize) -> Self {
        let (is_secure, is_http2, keep) = (false, false, Keep::Kept);
        // Large answers keep a core busy with a few clients.
        let connections = if work.is_large() { connections.min(4) } else { connections };
        Self { work, is_secure, is_http2, keep, connections, clients: connections }
    }
}

/// How much of a run counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// After a warm-up, as much as is answered in the time.
    Time { warm_up: Duration, time: Duration },
    /// After so many requests, so many.
    Count { warm_up: u64, count: u64 },
}

/// Running servers, and clients to be let loose on a proxy before them.
pub(crate) struct Load {
    runtime: Runtime,
    tasks: LocalSet,
    servers: Servers,
    roots: Arc<RootCertStore>,
}

/// What was measured in a run, after its warm-up.
pub(crate) struct Outcome {
    /// Answers; of those that were not complete at the end, the part that had come.
    pub(crate) requests: f64,
    pub(crate) elapsed: Duration,
    /// By how much the gauge grew.
    pub(crate) gauged: u64,
    /// The share of handshakes that were resumed, warm-up included.
    pub(crate) resumed: f64,
}

impl Load {
    /// Starts the servers, which work only during a run. Clients believe what `roots` signed.
    pub(crate) fn start(roots: RootCertStore) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a runtime: {error}"))?;
        let tasks = LocalSet::new();
        let servers = tasks.block_on(&runtime, Servers::start());
        let servers = servers.map_err(|error| format!("cannot listen on loopback: {error}"))?;
        Ok(Self { runtime, tasks, servers, roots: Arc::new(roots) })
    }

    /// The server behind the proxies.
    pub(crate) fn server(&self) -> SocketAddr {
        self.servers.http1
    }

    /// The server that speaks gRPC, in HTTP/2 by prior knowledge.
    pub(crate) fn grpc_server(&self) -> SocketAddr {
        self.servers.grpc
    }

    /// Starts so many more.
    pub(crate) fn more_servers(&self, count: usize) -> Result<Vec<SocketAddr>> {
        let more = self.tasks.block_on(&self.runtime, self.servers.more(count));
        more.map_err(|error| format!("cannot listen on loopback: {error}"))
    }

    /// Asks the proxy at `address` as fast as it answers; reads `gauge` at the beginning and the end of what counts. Any
    /// answer but 200 is an error.
    pub(crate) fn run(
        &self,
        address: SocketAddr,
        plan: &Plan,
        extent: Extent,
        gauge: impl Fn() -> Result<u64>,
    ) -> Result<Outcome> {
        let large = plan.work.answer.filter(|_| plan.work.is_large());
        self.let_loose(address, plan, async |gate, tally| {
            match extent {
                Extent::Time { warm_up, .. } => {
                    gate.open(u64::MAX);
                    tokio::time::sleep(warm_up).await;
                }
                Extent::Count { warm_up, .. } => {
                    gate.open(warm_up);
                    tally.reach(warm_up).await;
                }
            }
            let (begun, before, used) = (Instant::now(), tally.amount(large), gauge()?);
            match extent {
                Extent::Time { time, .. } => tokio::time::sleep(time).await,
                Extent::Count { warm_up, count } => {
                    gate.open(count);
                    tally.reach(warm_up + count).await;
                }
            }
            let (elapsed, requests) = (begun.elapsed(), tally.amount(large) - before);
            let gauged = gauge()?.saturating_sub(used);
            if requests <= 0.0 {
                return Err("not one request was answered".to_owned());
            }
            Ok(Outcome { requests, elapsed, gauged, resumed: tally.resumed() })
        })
    }

    /// Asks at a pace; returns how long each answer took, in order. The first tenth of the time is not looked at.
    pub(crate) fn pace(
        &self,
        address: SocketAddr,
        plan: &Plan,
        per_second: f64,
        time: Duration,
    ) -> Result<Vec<Duration>> {
        self.let_loose(address, plan, async |gate, tally| {
            gate.pace(per_second, time / 10).await;
            tally.time();
            gate.pace(per_second, time).await;
            let mut times = tally.timed();
            times.sort_unstable();
            Ok(times)
        })
    }

    /// Opens the connections of `plan` and no more; calls `opened`, asks once over each, and calls `asked`.
    pub(crate) fn hold(
        &self,
        address: SocketAddr,
        plan: &Plan,
        mut opened: impl FnMut() -> Result<()>,
        mut asked: impl FnMut() -> Result<()>,
    ) -> Result<()> {
        self.let_loose(address, plan, async |gate, tally| {
            // So that both sides have said what they say at the beginning of a connection: while `opened` looks,
            // clients sleep.
            tokio::time::sleep(SETTLED).await;
            opened()?;
            // Few at a time: connections to servers are not what is measured. Who asked goes to the end of the line.
            let mut left = plan.connections as u64;
            while left > 0 {
                let some = left.min(AT_A_TIME);
                gate.open(some);
                tally.reach(tally.answers() + some).await;
                left -= some;
            }
            tokio::time::sleep(SETTLED).await;
            asked()
        })
    }

    /// Opens all connections, and has clients ask while `measure` runs.
    fn let_loose<T>(
        &self,
        address: SocketAddr,
        plan: &Plan,
        measure: impl AsyncFnOnce(&Gate, &Tally) -> Result<T>,
    ) -> Result<T> {
        let body = plan.work.answer.filter(|_| plan.work.is_forwarded);
        self.servers.body.set(body.unwrap_or(BODY));
        let (gate, tally) = (Rc::new(Gate::default()), Rc::new(Tally::default()));
        self.tasks.block_on(&self.runtime, async {
            let clients = Clients::open(address, plan, &self.roots, &gate, &tally).await;
            let mut clients = clients.map_err(|error| format!("cannot connect: {error}"))?;
            // A client ends only when it fails.
            let outcome = tokio::select! {
                outcome = measure(&gate, &tally) => outcome,
                error = clients.failure() => Err(error),
            };
            gate.close();
            // A proxy that is told to end would wait for open connections.
            clients.end().await;
            outcome
        })
    }
}
