//! Assembles the proxy from its configuration and runs it until it is told to stop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use tidegate_config::{Config, Problem};
use tidegate_plugin_host::Services;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::acme;
use crate::admin::{self, Inside};
use crate::compile_cache;
use crate::listener::{self, Admission};
use crate::log;
use crate::machine;
use crate::metrics::Metrics;
use crate::reload::{self, Started};
use crate::sources;
use crate::state;
use crate::thread::{self, Command};
use crate::worker::{Beginning, Drain};
use tidegate_upstream::Supervisor;

/// When the process ends, the writers of access logs have this long: a reader that stopped is not waited for. So have
/// instances that are being made.
const FAREWELL: Duration = Duration::from_secs(5);

/// Why the proxy did not start or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The files cannot be used.
    #[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<Problem>),
    /// The machine's fault.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
    /// The machine's fault.
    #[error(transparent)]
    Host(#[from] tidegate_plugin_host::HostError),
}

/// Serves until it is told to stop, then drains. SIGHUP reloads.
pub(crate) fn run(file: PathBuf) -> Result<ExitCode, Error> {
    let config = read(&file)?;
    let log = log::init(config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let state = state::open(&config, runtime.handle()).map_err(|problem| Error::Config(vec![problem]))?;
    let common = acme::in_state(&state, runtime.handle());
    let services = Services::new(state, config.state.timeout);
    let (host, problem) = compile_cache::host(&config, services.clone())?;
    if let Some(problem) = problem {
        tracing::warn!(target: "plugin", "{problem}");
    }
    let count = workers(&config)?;
    let metrics = Metrics::new(count, log.lost());
    let workers = start_workers(&config, count, &metrics)?;
    let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
    // Before anything serves: a signal must not find the process without them.
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let Started { handle, thread, first } =
        reload::start(file, host, Supervisor::start()?, common, commands, &metrics, log.level())?;
    let first = runtime.block_on(async {
        tokio::select! {
            first = first => Some(first),
            _ = signals.stops.next() => None,
        }
    });
    let config = match first {
        Some(Ok(config)) => config.map_err(Error::Config)?,
        Some(Err(_)) => return Err(std::io::Error::other("the control thread ended").into()),
        // Nothing serves yet, and what is being compiled ends with the process.
        None => {
            tracing::info!(target: "shutdown", "stopped before anything was served");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let stop = Arc::<Notify>::default();
    let whole = runtime.block_on(async {
        if let Some(settings) = config.admin.clone() {
            let mut problems = Vec::new();
            let token = admin::token(&config, &mut problems);
            if !problems.is_empty() {
                return Err(Error::Config(problems));
            }
            let (control, services, stop) = (handle.clone(), services.clone(), stop.clone());
            let inside = Inside { control, services, metrics: metrics.clone(), log_level: log.level(), stop };
            admin::start(&settings, token, inside).await.map_err(|error| {
                let message = listener::refused(settings.address, &error);
                Error::Config(vec![config.positions.problem("admin.address", message)])
            })?;
        }
        let stopping = signals.until_stopped(&handle, &stop).await;
        // As the generation that serves now has them.
        let timeouts = handle.status().config.map_or(config.timeouts, |serving| serving.timeouts);
        let drain = match signals.delay(&handle, stopping, timeouts.drain_delay).await {
            Stop::AtOnce => AT_ONCE,
            Stop::Later | Stop::Now => {
                tracing::info!(target: "shutdown", "draining for at most {:?}", timeouts.drain);
                Drain { limit: timeouts.drain, tunnels: timeouts.drain_tunnels }
            }
        };
        handle.stop().await;
        // The admin interface answers meanwhile.
        Ok::<_, Error>(drain_workers(workers, drain, &mut signals.stops).await)
    })?;
    tidegate_plugin_host::settle(FAREWELL);
    // The writers of access logs end when the last exchange is written.
    drop((handle, runtime));
    let writers: Vec<JoinHandle<()>> = thread.join().unwrap_or_default();
    let farewell = Instant::now() + FAREWELL;
    while !writers.iter().all(JoinHandle::is_finished) {
        if Instant::now() > farewell {
            tracing::warn!(target: "shutdown", "lines of the access log are lost: its output does not take them");
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    tracing::info!(target: "shutdown", "done");
    // Until here, everything that is logged is written.
    drop(log);
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(file: &Path) -> Result<Config, Error> {
    sources::config(file).map_err(Error::Config)
}

/// How many there are to be.
fn workers(config: &Config) -> std::io::Result<usize> {
    Ok(match config.workers {
        0 => available_parallelism()?.get(),
        count => count,
    })
}

fn start_workers(config: &Config, count: usize, metrics: &Metrics) -> Result<Vec<thread::Handle>, Error> {
    // Tells this process's request ids from those of others; std's hash keys are random.
    let process = RandomState::new().build_hasher().finish();
    let admission = Arc::new(Admission::default());
    let descriptors = machine::descriptors();
    // Each has a connection to a server as well, and each may want a file.
    if config.limits.connections as u64 > descriptors / 2 {
        tracing::warn!(
            target: "listener",
            "limits.connections = {} may need twice as many files and sockets, and this process may have {descriptors}: \
             raise its limit (LimitNOFILE= of systemd, ulimit -Hn)",
            config.limits.connections
        );
    }
    let spare = usize::try_from(descriptors / 4).unwrap_or(usize::MAX) / count;
    let workers = (0..count).map(|index| {
        let admission = admission.clone();
        let shard = metrics.shard(index);
        thread::start(Beginning { index, process, admission, spare, shard })
    });
    Ok(workers.collect::<Result<_, _>>()?)
}

/// Nothing is waited for.
const AT_ONCE: Drain = Drain { limit: Duration::ZERO, tunnels: Duration::ZERO };

/// Has all workers end; false if one of them panicked.
async fn drain_workers(workers: Vec<thread::Handle>, drain: Drain, stops: &mut Stops) -> bool {
    let commands: Vec<_> = workers.iter().map(|worker| worker.commands.clone()).collect();
    for worker in &commands {
        // Fails only if the worker has ended already.
        let _ = worker.send(Command::Drain(drain)).await;
    }
    let joined = move || workers.into_iter().all(|worker| worker.thread.join().is_ok());
    let mut joined = tokio::task::spawn_blocking(joined);
    tokio::select! {
        whole = &mut joined => return whole.unwrap_or(false),
        () = stops.again() => {}
    }
    for worker in &commands {
        let _ = worker.send(Command::Drain(AT_ONCE)).await;
    }
    joined.await.unwrap_or(false)
}

/// How the proxy is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// After `timeouts.drain-delay`.
    Later,
    /// Without the delay.
    Now,
    /// Without finishing what is in flight.
    AtOnce,
}

struct Signals {
    stops: Stops,
    hangup: Signal,
}

/// The signals that end the process.
struct Stops {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// One of the first two has come: the next one is meant more seriously.
    told: bool,
}

impl Signals {
    /// Call within a runtime.
    fn listen() -> std::io::Result<Self> {
        let stops = Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            told: false,
        };
        Ok(Self { stops, hangup: signal(SignalKind::hangup())? })
    }

    /// Waits for somebody who wants the proxy to stop; does what others ask for beside it.
    async fn until_stopped(&mut self, handle: &reload::Handle, asked: &Notify) -> Stop {
        loop {
            tokio::select! {
                () = asked.notified() => return Stop::Later,
                stop = self.stops.next() => return stop,
                // Ends with the runtime at the latest.
                _ = self.hangup.recv() => drop(tokio::spawn(hang_up(handle.clone()))),
            }
        }
    }

    /// Has `/readyz` say that the proxy drains, and waits until it is to do so.
    async fn delay(&mut self, handle: &reload::Handle, stop: Stop, delay: Duration) -> Stop {
        handle.announce_drain();
        if stop != Stop::Later || delay.is_zero() {
            return stop;
        }
        tracing::info!(target: "shutdown", "draining in {delay:?}; until then new connections are served");
        let until = tokio::time::Instant::now() + delay;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Stop::Now,
                stop = self.stops.next() => if stop != Stop::Later { return stop },
                _ = self.hangup.recv() => drop(tokio::spawn(hang_up(handle.clone()))),
            }
        }
    }
}

impl Stops {
    async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => return Stop::Now,
        }
        if std::mem::replace(&mut self.told, true) { Stop::AtOnce } else { Stop::Later }
    }

    /// Waits for the second one. The first may come while the proxy drains already, as the admin interface was asked for it before.
    async fn again(&mut self) {
        while self.next().await != Stop::AtOnce {}
    }
}

async fn hang_up(handle: reload::Handle) {
    handle.reopen_logs().await;
    match handle.reload().await {
        Some(Ok(outcome)) => {
            let (generation, changed) = (outcome.generation, outcome.changed);
            tracing::info!(target: "reload", generation, changed, "reloaded on SIGHUP");
        }
        // The problems are in the log.
        Some(Err(_)) => tracing::error!(target: "reload", "nothing changed: the files cannot be used"),
        // The proxy is stopping.
        None => {}
    }
}
