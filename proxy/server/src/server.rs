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

use crate::admin::{self, Inside};
use crate::compile_cache;
use crate::listener::{self, Admission};
use crate::log;
use crate::machine;
use crate::metrics::Metrics;
use crate::regular;
use crate::reload::{self, Started};
use crate::state;
use crate::thread::{self, Command};
use crate::worker::Beginning;
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

/// Serves until SIGTERM or SIGINT, then drains. SIGHUP reloads.
pub(crate) fn run(file: PathBuf) -> Result<ExitCode, Error> {
    let config = read(&file)?;
    let log = log::init(config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let state = state::open(&config, runtime.handle()).map_err(|problem| Error::Config(vec![problem]))?;
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
        reload::start(file, host, Supervisor::start()?, commands, &metrics, log.level())?;
    let first = runtime.block_on(async {
        tokio::select! {
            first = first => Some(first),
            () = signals.stop() => None,
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
        signals.until_stopped(&handle, &stop).await;
        // The limit is that of the generation that serves now.
        let limit = handle.status().config.map_or(config.timeouts.drain, |serving| serving.timeouts.drain);
        tracing::info!(target: "shutdown", "draining for at most {limit:?}");
        handle.stop().await;
        for worker in &workers {
            // Fails only if the worker has ended already.
            let _ = worker.commands.send(Command::Drain { limit }).await;
        }
        // The admin interface answers meanwhile.
        let drained = move || workers.into_iter().all(|worker| worker.thread.join().is_ok());
        Ok::<_, Error>(tokio::task::spawn_blocking(drained).await.unwrap_or(false))
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
    let text = regular::read_to_string(file).map_err(|error| {
        let message = format!("cannot read it: {error}");
        let help = Some("name the configuration with --config FILE".to_owned());
        Error::Config(vec![Problem { file: file.to_owned(), position: None, message, help }])
    })?;
    tidegate_config::parse(&text, file).map_err(|problems| Error::Config(problems.0))
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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Call within a runtime.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for a signal to stop; does what the others ask for beside it.
    async fn until_stopped(&mut self, handle: &reload::Handle, stop: &Notify) {
        loop {
            tokio::select! {
                () = stop.notified() => return,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                // Ends with the runtime at the latest.
                _ = self.hangup.recv() => drop(tokio::spawn(hang_up(handle.clone()))),
            }
        }
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
