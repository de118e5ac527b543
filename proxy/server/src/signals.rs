//! What the process is told while it serves, by signals and through the admin interface.

use std::sync::Arc;
use std::time::Duration;

use tidegate_acme::TicketSecret;
use tidegate_plugin_host::Services;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::admin;
use crate::listener::{Group, Sockets};
use crate::log;
use crate::reload::{self, Lent};
use crate::systemd::{self, Notifier};
use crate::upgrade::{self, Asked, Failure, Handed, Program, Reply, Serving};

/// How the proxy is to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// After `timeouts.drain-delay`.
    Later,
    /// Without the delay.
    Now,
    /// Without finishing what is in flight.
    AtOnce,
}

/// Why the proxy ends.
pub(crate) enum End {
    Stopped(Stop),
    Upgraded(Upgraded),
}

pub(crate) struct Signals {
    pub(crate) stops: Stops,
    hangup: Signal,
    notifier: Notifier,
}

/// The signals that end the process.
pub(crate) struct Stops {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    /// One of the first two has come: the next one is meant more seriously.
    told: bool,
}

impl Signals {
    /// Call within a runtime.
    pub(crate) fn listen(notifier: Notifier) -> std::io::Result<Self> {
        let stops = Stops {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            told: false,
        };
        Ok(Self { stops, hangup: signal(SignalKind::hangup())?, notifier })
    }

    /// Waits for somebody who wants the proxy to stop, or for the process that takes its place; does what others ask for
    /// beside it.
    pub(crate) async fn until_ended(
        &mut self,
        handle: &reload::Handle,
        asked: &Notify,
        upgrades: &mut Upgrades,
        interface: Option<&admin::Bound>,
    ) -> End {
        loop {
            let stop = tokio::select! {
                () = asked.notified() => Stop::Later,
                stop = self.stops.next() => stop,
                upgraded = upgrades.next(handle, interface) => return End::Upgraded(upgraded),
                // Ends with the runtime at the latest.
                _ = self.hangup.recv() => {
                    tokio::spawn(hang_up(handle.clone(), self.notifier.clone()));
                    continue;
                }
            };
            upgrades.give_up().await;
            return End::Stopped(stop);
        }
    }

    /// Has `/readyz` say that the proxy drains, and waits until it is to do so.
    pub(crate) async fn delay(&mut self, handle: &reload::Handle, stop: Stop, delay: Duration) -> Stop {
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
                _ = self.hangup.recv() => drop(tokio::spawn(hang_up(handle.clone(), Notifier::default()))),
            }
        }
    }
}

impl Stops {
    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.quit.recv() => return Stop::Now,
        }
        if std::mem::replace(&mut self.told, true) { Stop::AtOnce } else { Stop::Later }
    }

    /// Waits for the second one. The first may come while the proxy drains already, as the admin interface was asked for it before.
    pub(crate) async fn again(&mut self) {
        while self.next().await != Stop::AtOnce {}
    }
}

async fn hang_up(handle: reload::Handle, notifier: Notifier) {
    notifier.reloading();
    handle.reopen_logs().await;
    match handle.reload().await {
        Some(Ok(outcome)) => {
            let (generation, changed) = (outcome.generation, outcome.changed);
            tracing::info!(target: "reload", generation, changed, "reloaded on SIGHUP");
            notifier.ready(&format!("serving generation {generation}"));
        }
        // The problems are in the log.
        Some(Err(_)) => {
            tracing::error!(target: "reload", "nothing changed: the files cannot be used");
            notifier.ready("serving; the files cannot be used as they are now, the log says why");
        }
        // The proxy is stopping.
        None => {}
    }
}

/// Has other processes take the place of this one, on SIGUSR2 or when the admin interface asks: one at a time.
pub(crate) struct Upgrades {
    signal: Signal,
    asked: mpsc::Receiver<Asked>,
    /// `None`: this process is not of a kind that can be started again.
    program: Option<Arc<Program>>,
    notifier: Notifier,
    services: Services,
    tickets: Tickets,
    log: log::Writer,
    under_way: Option<Attempt>,
}

/// What session tickets are sealed with now.
pub(crate) type Tickets = Box<dyn Fn() -> Vec<TicketSecret> + Send>;

struct Attempt {
    asked: Option<Asked>,
    task: JoinHandle<Result<Upgraded, Failure>>,
}

/// A process that has taken the place of this one.
pub(crate) struct Upgraded {
    /// Who wants to know.
    pub(crate) asked: Option<Asked>,
    pub(crate) serving: Serving,
    /// The listeners whose connections it accepts.
    pub(crate) taken_over: Arc<[Arc<str>]>,
    /// Whether the file of the admin interface's socket is its.
    pub(crate) socket: bool,
}

impl Upgrades {
    /// Call within a runtime.
    pub(crate) fn new(
        asked: mpsc::Receiver<Asked>,
        program: Option<Program>,
        notifier: Notifier,
        services: Services,
        tickets: Tickets,
        log: log::Writer,
    ) -> std::io::Result<Self> {
        let (signal, program) = (signal(SignalKind::user_defined2())?, program.map(Arc::new));
        Ok(Self { signal, asked, program, notifier, services, tickets, log, under_way: None })
    }

    /// The next one that succeeds. Dropping the future changes nothing.
    async fn next(&mut self, handle: &reload::Handle, interface: Option<&admin::Bound>) -> Upgraded {
        loop {
            let asked = tokio::select! {
                _ = self.signal.recv() => None,
                Some(asked) = self.asked.recv() => Some(asked),
                (asked, result) = ended(&mut self.under_way) => match result {
                    Ok(upgraded) => return Upgraded { asked, ..upgraded },
                    Err(failure) => {
                        refuse(asked, failure);
                        continue;
                    }
                },
            };
            if self.under_way.is_some() {
                match asked {
                    // Who asked may have gone.
                    Some(asked) => drop(asked.send(Reply::Busy)),
                    None => {
                        tracing::warn!(target: "upgrade", "SIGUSR2 changes nothing: an upgrade is under way")
                    }
                }
                continue;
            }
            match self.begin(handle, interface) {
                Ok(task) => self.under_way = Some(Attempt { asked, task }),
                Err(failure) => refuse(asked, failure),
            }
        }
    }

    fn begin(
        &self,
        handle: &reload::Handle,
        interface: Option<&admin::Bound>,
    ) -> Result<JoinHandle<Result<Upgraded, Failure>>, Failure> {
        let program = self.program.clone();
        let program =
            program.ok_or_else(|| Failure::new("only what `tidegate run` started can be upgraded"))?;
        if std::process::id() == 1 {
            return Err(Failure::new(
                "this is the first process of its container, which ends with it: start a container of the new image",
            ));
        }
        if systemd::ends_with_this_process(&self.notifier) {
            return Err(Failure::new(
                "systemd would end the new process with this one: its unit needs Type=notify to know of another main process",
            ));
        }
        let interface = interface.map(admin::Bound::lend).transpose();
        let interface =
            interface.map_err(|error| Failure::new(format!("no copies of the sockets: {error}")))?;
        let (handle, state, log) = (handle.clone(), self.services.state.clone(), self.log.clone());
        let tickets = (self.tickets)();
        Ok(tokio::spawn(async move {
            let result = attempt(&handle, &program, interface, state, tickets, log).await;
            if result.is_err() {
                handle.resume().await;
            }
            result
        }))
    }

    /// Ends the process that is on its way to take the place of this one.
    async fn give_up(&mut self) {
        if let Some(Attempt { asked, task }) = self.under_way.take() {
            task.abort();
            if task.await.is_ok_and(|result| result.is_ok()) {
                return;
            }
            refuse(asked, Failure::new("this process was told to stop"));
        }
    }
}

/// Waits for the end of the attempt that is under way, for ever if there is none.
async fn ended(under_way: &mut Option<Attempt>) -> (Option<Asked>, Result<Upgraded, Failure>) {
    let Some(attempt) = under_way else { return std::future::pending().await };
    let result = (&mut attempt.task).await;
    let asked = under_way.take().and_then(|attempt| attempt.asked);
    (asked, result.unwrap_or_else(|error| Err(Failure::new(error.to_string()))))
}

fn refuse(asked: Option<Asked>, failure: Failure) {
    tracing::error!(target: "upgrade", "not upgraded, this process goes on: {}", failure.reason);
    if let Some(asked) = asked {
        // Who asked may have gone.
        let _ = asked.send(Reply::Failed(failure));
    }
}

async fn attempt(
    handle: &reload::Handle,
    program: &Program,
    interface: Option<admin::Lent>,
    state: tidegate_state::State,
    tickets: Vec<TicketSecret>,
    log: log::Writer,
) -> Result<Upgraded, Failure> {
    let lent = handle.lend().await.ok_or_else(|| Failure::new("this process is stopping"))?;
    let lent = lent.map_err(|error| Failure::new(format!("no copies of the sockets: {error}")))?;
    let names: Vec<Arc<str>> = lent.iter().map(|one| one.name.clone()).collect();
    let of_listener = |Lent { name, asked, sockets }| Group {
        name: String::from(&*name),
        asked: Some(asked),
        sockets: Sockets::Tcp(sockets),
    };
    let mut groups: Vec<Group> = lent.into_iter().map(of_listener).collect();
    if let Some(admin::Lent { network, socket }) = interface {
        let group = |name: &str, asked, sockets| Group { name: name.to_owned(), asked, sockets };
        groups.extend(network.into_iter().map(|admin::Listening { name, asked, listeners }| {
            group(name, Some(asked), Sockets::Tcp(listeners))
        }));
        groups.extend(socket.map(|socket| group(admin::NAME, None, socket)));
    }
    let of_socket = groups.iter().position(|group| matches!(group.sockets, Sockets::Unix { .. }));
    let reload::Status { config, upstreams, .. } = handle.status();
    let patience = config.map_or(Duration::ZERO, |config| config.timeouts.upgrade);
    let handed = Handed { groups, tickets, state, upstreams, patience };
    let serving = upgrade::hand_over(program, handed, log).await?;
    let is_taken = |index: &usize| !serving.left.contains(index);
    let taken_over = names.into_iter().enumerate().filter(|(index, _)| is_taken(index));
    Ok(Upgraded {
        asked: None,
        taken_over: taken_over.map(|(_, name)| name).collect(),
        socket: of_socket.is_some_and(|index| is_taken(&index)),
        serving,
    })
}
