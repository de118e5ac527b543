//! Assembles the proxy from its configuration and runs it until it is told to stop.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use tidegate_acme::At;
use tidegate_config::{Config, Problem};
use tidegate_plugin_host::Services;
use tidegate_state::{Secret, State};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::acme;
use crate::admin::{self, Inside};
use crate::cache::Purges;
use crate::compile_cache;
use crate::listener::{self, Admission, Inherited};
use crate::log;
use crate::machine;
use crate::metrics::Metrics;
use crate::reload::{self, Started, Takeover};
use crate::signals::{End, Signals, Stop, Stops, Upgraded, Upgrades};
use crate::sources;
use crate::state;
use crate::systemd::{self, Notifier};
use crate::thread::{self, Command};
use crate::tls::OwnSecrets;
use crate::upgrade::{self, Predecessor, Program, Reply, Waiting};
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

/// In an upgrade, for workers to leave their listeners, and for the answer to whoever asked to be written.
const ANSWER: Duration = Duration::from_secs(5);

/// Serves until it is told to stop, then drains. SIGHUP reloads, and SIGUSR2 has `program` take the place of this process.
pub(crate) fn run(file: PathBuf, program: Option<Program>) -> Result<ExitCode, Error> {
    let before = Predecessor::find()?;
    // There are no other threads yet, which could read the environment that this changes.
    let (passed, unknown) = if before.is_some() { Default::default() } else { systemd::sockets() };
    let config = sources::config(&file).map_err(Error::Config)?;
    let log = log::init(config.log)?;
    for warning in unknown {
        tracing::warn!(target: "systemd", "{warning}");
    }
    let notifier = Notifier::of_environment(before.is_some()).unwrap_or_else(|error| {
        tracing::warn!(target: "systemd", "nobody is there to be told how the service fares: {error}");
        Notifier::default()
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let secret = before.as_ref().map_or_else(Secret::random, |before| before.secret);
    let state =
        state::open(&config, secret, runtime.handle()).map_err(|problem| Error::Config(vec![problem]))?;
    let common = acme::in_state(&state, runtime.handle());
    let services = Services::new(state, config.state.timeout);
    let tickets = before.as_ref().map(|before| OwnSecrets::of(before.tickets.clone()));
    let tickets = Arc::new(tickets.unwrap_or_default());
    let (before, groups) = before.map(Predecessor::wait).unzip();
    let inherited = Inherited::new(groups.unwrap_or(passed));
    let mut interface = open_interface(&config, &inherited)?;
    let (host, problem) = compile_cache::host(&config, services.clone())?;
    if let Some(problem) = problem {
        tracing::warn!(target: "plugin", "{problem}");
    }
    let count = workers(&config)?;
    let metrics = Metrics::new(count, log.lost());
    let workers = start_workers(&config, count, &metrics)?;
    let commands = workers.iter().map(|worker| worker.commands.clone()).collect();
    // Before anything serves: a signal must not find the process without them.
    let (upgrades, asked) = upgrade::door();
    let sealing = {
        let tickets = tickets.clone();
        Box::new(move || tickets.at(At::now()).to_vec())
    };
    let (mut signals, mut succession) = runtime.block_on(async {
        let succession =
            Upgrades::new(asked, program, notifier.clone(), services.clone(), sealing, log.writer());
        Ok::<_, std::io::Error>((Signals::listen(notifier.clone())?, succession?))
    })?;
    let takeover = Takeover {
        inherited: inherited.clone(),
        tickets,
        gate: before.clone().map(|before: Arc<Waiting>| gate(before, services.state.clone())),
        notifier: notifier.clone(),
    };
    let Started { handle, thread, first } =
        reload::start(file, host, Supervisor::start()?, common, commands, &metrics, log.level(), takeover)?;
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
    let purges = Purges::of(&services.state);
    let whole = runtime.block_on(async {
        let caches = handle.clone();
        tokio::spawn(purges.clone().follow(move || caches.status().caches));
        if let Some((bound, settings, token)) = &mut interface {
            let (control, services, stop) = (handle.clone(), services.clone(), stop.clone());
            let inside = Inside {
                control,
                services,
                metrics: metrics.clone(),
                log_level: log.level(),
                stop,
                upgrades,
                purges,
            };
            bound.serve(settings, token.take(), inside)?;
            bound.network().for_each(|one| notifier.keep(one.name, &one.listeners));
        }
        let left = inherited.left();
        for group in inherited.take_rest() {
            tracing::warn!(target: "listener", "closed, as no listener is for it: {group}");
            notifier.forget(&group.name);
        }
        notifier.ready("serving");
        if let Some(before) = before {
            before.serving(left);
            let notifier = notifier.clone();
            tokio::task::spawn_blocking(move || {
                before.until_released();
                notifier.release();
            });
        }
        let watchdog = {
            let (handle, metrics) = (handle.clone(), metrics.clone());
            tokio::spawn(systemd::watchdog(notifier.clone(), move |limit| {
                handle.status().draining || metrics.stuck(limit).is_empty()
            }))
        };
        let mut interface = interface.map(|(bound, ..)| bound);
        let end = signals.until_ended(&handle, &stop, &mut succession, interface.as_ref()).await;
        // As the generation that serves now has them.
        let timeouts = handle.status().config.map_or(config.timeouts, |serving| serving.timeouts);
        let mut drain = Drain { limit: timeouts.drain, tunnels: timeouts.drain_tunnels };
        match end {
            End::Stopped(stopping) => {
                notifier.stopping();
                match signals.delay(&handle, stopping, timeouts.drain_delay).await {
                    Stop::AtOnce => drain = AT_ONCE,
                    Stop::Later | Stop::Now => tell_of(&drain),
                }
            }
            End::Upgraded(upgraded) => {
                watchdog.abort();
                give_way(upgraded, &workers, interface.take(), &notifier).await;
                handle.announce_drain();
                tell_of(&drain);
            }
        }
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

/// Opens what `[admin]` asks for; it is served when all else is.
fn open_interface(config: &Config, inherited: &Inherited) -> Result<Option<Interface>, Error> {
    let Some(settings) = config.admin.clone() else { return Ok(None) };
    let mut problems = Vec::new();
    let token = admin::token(config, &mut problems);
    if !problems.is_empty() {
        return Err(Error::Config(problems));
    }
    match admin::Bound::open(&settings, inherited) {
        Ok(bound) => Ok(Some((bound, settings, token))),
        Err(error) => {
            let message = listener::refused(settings.address, &error);
            Err(Error::Config(vec![config.positions.problem("admin.address", message)]))
        }
    }
}

/// The admin interface before it is served, and what it is to be served with.
type Interface = (admin::Bound, tidegate_config::Admin, Option<Vec<u8>>);

/// Keeps the first generation from taking connections until the process before this one wants it to.
fn gate(before: Arc<Waiting>, state: State) -> reload::Gate {
    Box::new(move |clusters| {
        before.ready(&state, clusters).map_err(|error| format!("the upgrade was given up: {error}"))
    })
}

/// Leaves new connections to the process that serves in place of this one, and tells whoever asked for that.
async fn give_way(
    upgraded: Upgraded,
    workers: &[thread::Handle],
    interface: Option<admin::Bound>,
    notifier: &Notifier,
) {
    let Upgraded { asked, serving, taken_over, socket } = upgraded;
    let process = serving.process;
    tracing::info!(target: "upgrade", process, "another process serves in place of this one");
    if let Some(interface) = interface {
        interface.leave(socket);
    }
    // Who knows of the upgrade reaches the new one from then on.
    let mut left = Vec::new();
    for worker in workers {
        let (done, wait) = oneshot::channel();
        // Fails for a worker that has ended, which only a panic could do.
        if worker.commands.send(Command::Leave { listeners: taken_over.clone(), done }).await.is_ok() {
            left.push(wait);
        }
    }
    let all_left = async {
        for worker in left {
            // Dropped when the worker has done it.
            let _ = worker.await;
        }
    };
    // One that hangs accepts nothing either.
    let _ = timeout(ANSWER, all_left).await;
    notifier.succeeded_by(process);
    // The new one may speak for the service from now on.
    drop(serving);
    if let Some(asked) = asked {
        let (told, written) = oneshot::channel();
        // Who asked may have gone, and what is written in vain is not waited for.
        if asked.send(Reply::Done { process, told }).is_ok() {
            let _ = timeout(ANSWER, written).await;
        }
    }
}

fn tell_of(drain: &Drain) {
    tracing::info!(target: "shutdown", "draining for at most {:?}", drain.limit);
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
