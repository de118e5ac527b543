//! The control thread: turns files into generations and hands them to the workers, while they serve.

mod directory;
mod history;
mod watch;

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_body::Memory;
use tidegate_body::buffer::{self, Space, TemporaryFiles};
use tidegate_config::{self as config, Config, Problem};
use tidegate_plugin_host::Host;
use tokio::sync::{mpsc, oneshot};

pub(crate) use self::directory::{
    Directory, Look, Scan, State as PolicyState, Status as PolicyStatus, settings, settings_of,
};
pub(crate) use self::history::{End, History, Report};
use self::watch::{Fingerprint, Watcher, Written};
use crate::access_log;
use crate::acme::{self, Obtainer};
use crate::cache;
use crate::explain::{self, Recent};
use crate::files;
use crate::listener::{self, Inherited};
use crate::log::Threshold;
use crate::machine;
use crate::metrics::{Metrics, TraceCounts};
use crate::policy;
use crate::snapshot::Snapshot;
use crate::sources::{self, Sources};
use crate::systemd::Notifier;
use crate::thread::Command;
use crate::tls::{self, OwnSecrets};
use crate::trace;
use tidegate_upstream::{Cluster, Clusters, Supervisor};

/// Files that changed are read when they have not changed for this long.
const SETTLED: Duration = Duration::from_millis(100);
/// How often files are looked at in case the system reported nothing.
const LOOK: Duration = Duration::from_secs(1);
/// A file that never stops changing is read after this all the same.
const LONGEST_SETTLING: Duration = Duration::from_secs(10);

/// Reaches the control thread.
#[derive(Clone)]
pub(crate) struct Handle {
    requests: SyncSender<Request>,
    status: Arc<Mutex<Status>>,
    recent: Arc<Recent>,
    certificates: tidegate_acme::Watcher,
    history: Arc<History>,
    held: Held,
}

/// What requests hold of the whole process.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) space: Arc<Space>,
    pub(crate) memory: Arc<Memory>,
}

enum Request {
    /// Something happened to a file, or a plugin is loaded.
    Look,
    /// Load now, whatever the files look like, and say what came of it.
    Reload(oneshot::Sender<Result<Outcome, Vec<Problem>>>),
    /// Log rotation.
    ReopenLogs,
    /// Copies of all listening sockets; nothing is loaded until [`Request::Resume`].
    Lend(oneshot::Sender<std::io::Result<Vec<Lent>>>),
    /// There will be no other process.
    Resume,
    Stop,
}

/// The sockets of one listener, for another process.
pub(crate) struct Lent {
    pub(crate) name: Arc<str>,
    /// What the configuration asks for.
    pub(crate) asked: SocketAddr,
    pub(crate) sockets: Vec<TcpListener>,
}

/// What a reload did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Outcome {
    /// The generation that serves now.
    pub(crate) generation: u64,
    /// Whether it is a new one.
    pub(crate) changed: bool,
    /// Why plugins are not in it as their files are now; older versions of them serve if there are any.
    pub(crate) problems: Vec<String>,
}

/// What the admin interface shows.
#[derive(Clone, Default)]
pub(crate) struct Status {
    /// The proxy takes no new connections any more, or will not in a moment.
    pub(crate) draining: bool,
    /// What serves; `None` before the first generation.
    pub(crate) config: Option<Arc<Config>>,
    pub(crate) plugins: Vec<PolicyStatus>,
    pub(crate) upstreams: Vec<Arc<Cluster>>,
    pub(crate) caches: cache::Caches,
    /// The addresses that listeners have.
    pub(crate) listening: HashMap<Arc<str>, SocketAddr>,
    /// What the admin interface shows of itself, if it has TLS.
    pub(crate) admin_tls: Option<Arc<tls::Terms>>,
}

impl Handle {
    /// That of [`Status`].
    pub(crate) fn admin_tls(&self) -> Option<Arc<tls::Terms>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).admin_tls.clone()
    }

    pub(crate) fn status(&self) -> Status {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        status.plugins.iter_mut().for_each(PolicyStatus::look_again);
        status
    }

    /// The requests that were explained.
    pub(crate) fn recent(&self) -> &Recent {
        &self.recent
    }

    /// How it stands with the certificates that the proxy obtains by itself.
    pub(crate) fn certificates(&self) -> &tidegate_acme::Watcher {
        &self.certificates
    }

    /// What became of the files.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn held(&self) -> &Held {
        &self.held
    }

    /// Loads the files again and waits for the result; `None` if the proxy is stopping.
    pub(crate) async fn reload(&self) -> Option<Result<Outcome, Vec<Problem>>> {
        let (reply, result) = oneshot::channel();
        self.request(Request::Reload(reply)).await;
        result.await.ok()
    }

    /// Opens log files by their names again.
    pub(crate) async fn reopen_logs(&self) {
        self.request(Request::ReopenLogs).await;
    }

    /// Copies of all listening sockets, for another process that is to take the place of this one. What the files say is left
    /// alone from now on: the other process reads them. `None` if the proxy is stopping.
    pub(crate) async fn lend(&self) -> Option<std::io::Result<Vec<Lent>>> {
        let (reply, result) = oneshot::channel();
        self.request(Request::Lend(reply)).await;
        result.await.ok()
    }

    /// The files count again: nobody takes the place of this process.
    pub(crate) async fn resume(&self) {
        self.request(Request::Resume).await;
    }

    /// Shows that the proxy is about to stop.
    pub(crate) fn announce_drain(&self) {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).draining = true;
    }

    /// Ends the control thread: the generation that serves is the last.
    pub(crate) async fn stop(&self) {
        self.request(Request::Stop).await;
    }

    async fn request(&self, request: Request) {
        let requests = self.requests.clone();
        // The queue is short and its thread may be compiling: wait off the runtime.
        let _ = tokio::task::spawn_blocking(move || requests.send(request)).await;
    }
}

/// Everything the control thread owns.
struct Control {
    file: PathBuf,
    /// What it included the last time that it was read.
    includes: Vec<PathBuf>,
    directory: Directory,
    tls: tls::Loader,
    obtainer: Obtainer,
    on_demand: Arc<tls::OnDemand>,
    client_tls: tls::ClientLoader,
    supervisor: Supervisor,
    /// What all temporary files take.
    space: Arc<Space>,
    /// What requests make the process hold.
    memory: Arc<Memory>,
    /// The requests that were explained.
    recent: Arc<Recent>,
    history: Arc<History>,
    access_lines_lost: Arc<AtomicU64>,
    workers: Vec<mpsc::Sender<Command>>,
    /// What each open listener was asked to bind, and the address it has.
    listening: HashMap<Arc<str>, SocketAddr>,
    /// What the process was started with, until the first generation serves.
    inherited: Inherited,
    /// Another process is taking the place of this one, or may be.
    lent: bool,
    /// Asked before the first generation takes connections.
    gate: Option<Gate>,
    /// Keeps listening sockets while the proxy is restarted, if it does.
    notifier: Notifier,
    access_log: Option<(config::AccessLog, Option<access_log::Handle>)>,
    traces: Option<(trace::Settings, trace::Handle)>,
    trace_counts: Arc<TraceCounts>,
    log_level: Threshold,
    /// Of access logs and traces, which end with the last exchange.
    log_threads: Vec<JoinHandle<()>>,
    current: Option<Arc<Snapshot>>,
    /// The problems that were reported last, so that they are reported once.
    reported: Vec<Problem>,
    /// The same for what works but should be mended.
    warned: Vec<Problem>,
    again_at: Option<Instant>,
    /// Plugins are being loaded for the files as they are.
    pending: bool,
    /// Who asked for a reload that is not finished.
    asked: Vec<oneshot::Sender<Result<Outcome, Vec<Problem>>>>,
    written: Written,
    bad_versions: mpsc::Receiver<u64>,
    status: Arc<Mutex<Status>>,
}

/// A listener that is new, with the sockets of each worker.
type Opened = (Arc<str>, Vec<Vec<TcpListener>>);

/// Waits until the generation that is ready may serve, and tells its upstreams what another process knew of them; the error
/// says why it never may.
pub(crate) type Gate = Box<dyn FnOnce(&Clusters) -> Result<(), String> + Send>;

/// What a process begins with that takes the place of another.
#[derive(Default)]
pub(crate) struct Takeover {
    pub(crate) inherited: Inherited,
    pub(crate) tickets: Arc<OwnSecrets>,
    pub(crate) gate: Option<Gate>,
    pub(crate) notifier: Notifier,
}

/// What was made of the files.
struct Built {
    /// The generation that serves now.
    generation: u64,
    /// Whether it is a new one.
    changed: bool,
    /// Why plugins are not in it as their files are.
    problems: Vec<Problem>,
}

/// Files that have changed and may go on changing.
struct Changing {
    now: Fingerprint,
    since: Instant,
    last: Instant,
}

/// Why there is no outcome.
enum NotLoaded {
    /// The configuration cannot be used.
    Problems(Vec<Problem>),
    /// Plugins are being loaded.
    Yet,
}

impl From<Vec<Problem>> for NotLoaded {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Problems(problems)
    }
}

/// A control thread that is putting its first generation into service.
pub(crate) struct Started {
    pub(crate) handle: Handle,
    /// Ends after [`Handle::stop`]; it gives the writers of access logs back, which end with the workers.
    pub(crate) thread: JoinHandle<Vec<JoinHandle<()>>>,
    /// The configuration that serves, or why there is none: it cannot be used. Plugins that cannot be loaded are no
    /// error: their `on-error` decides, and the log says so.
    pub(crate) first: oneshot::Receiver<Result<Arc<Config>, Vec<Problem>>>,
}

/// Puts the first generation into service and goes on watching its files.
///
/// # Errors
/// The system starts no more threads.
pub(crate) fn start(
    file: PathBuf,
    host: Host,
    supervisor: Supervisor,
    common: Option<Arc<dyn tidegate_acme::Common>>,
    workers: Vec<mpsc::Sender<Command>>,
    metrics: &Metrics,
    log_level: Threshold,
    takeover: Takeover,
) -> std::io::Result<Started> {
    let (bad_version, bad_versions) = mpsc::channel(16);
    let status = Arc::new(Mutex::new(Status::default()));
    let recent = Arc::new(Recent::default());
    let history = Arc::new(History::default());
    let (space, memory) = (Arc::<Space>::default(), Arc::<Memory>::default());
    let held = Held { space: space.clone(), memory: memory.clone() };
    let (requests, queue) = sync_channel(16);
    // A full queue means that looking is due anyway.
    let look = requests.clone();
    let loaded = {
        let look = look.clone();
        move || drop(look.try_send(Request::Look))
    };
    let obtainer = Obtainer::new(common, move || drop(look.try_send(Request::Look)));
    let certificates = obtainer.watcher();
    let control = Control {
        file,
        includes: Vec::new(),
        directory: Directory::new(host, workers.len(), bad_version, loaded),
        tls: tls::Loader::new(takeover.tickets, Some(obtainer.tickets())),
        on_demand: Arc::new(tls::OnDemand::new(obtainer.on_demand())),
        obtainer,
        client_tls: tls::ClientLoader::new(),
        supervisor,
        space,
        memory,
        history: history.clone(),
        access_lines_lost: metrics.access_lines_lost.clone(),
        recent: recent.clone(),
        workers,
        listening: HashMap::new(),
        inherited: takeover.inherited,
        lent: false,
        gate: takeover.gate,
        notifier: takeover.notifier,
        access_log: None,
        traces: None,
        trace_counts: metrics.traces.clone(),
        log_level,
        log_threads: Vec::new(),
        current: None,
        reported: Vec::new(),
        warned: Vec::new(),
        again_at: None,
        pending: false,
        asked: Vec::new(),
        written: Written::default(),
        bad_versions,
        status: status.clone(),
    };
    let handle = Handle { requests: requests.clone(), status, recent, certificates, history, held };
    let (served, first) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("control".to_owned())
        .spawn(move || control.start(&queue, requests, served))?;
    Ok(Started { handle, thread, first })
}

impl Control {
    /// Waits for the first generation, and runs. The plugins of the first are all waited for.
    fn start(
        mut self,
        queue: &Receiver<Request>,
        requests: SyncSender<Request>,
        served: oneshot::Sender<Result<Arc<Config>, Vec<Problem>>>,
    ) -> Vec<JoinHandle<()>> {
        loop {
            match self.load(Look::Final) {
                Ok(_) => break,
                Err(NotLoaded::Problems(problems)) => {
                    // Without it the process ends.
                    let _ = served.send(Err(problems));
                    return self.log_threads;
                }
                Err(NotLoaded::Yet) => match queue.recv_timeout(LOOK) {
                    Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return self.log_threads,
                    Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                },
            }
        }
        if let Some(current) = &self.current {
            let _ = served.send(Ok(current.config.clone()));
        }
        self.run(queue, requests)
    }

    fn run(mut self, queue: &Receiver<Request>, requests: SyncSender<Request>) -> Vec<JoinHandle<()>> {
        // A full queue means that looking is due anyway.
        let mut watcher = Watcher::new(self.written.clone(), move || drop(requests.try_send(Request::Look)));
        // Always taken before the files are read: a change in between is seen as one afterwards.
        let mut loaded = self.fingerprint();
        watcher.follow(self.files());
        // What changed before the watcher followed the files.
        self.load_and_answer();
        let mut changing: Option<Changing> = None;
        loop {
            let longest = if changing.is_some() { SETTLED } else { LOOK };
            let again_at = self.again_at.filter(|_| !self.lent);
            let wait =
                again_at.map_or(longest, |at| at.saturating_duration_since(Instant::now()).min(longest));
            match queue.recv_timeout(wait) {
                Ok(Request::Stop) | Err(RecvTimeoutError::Disconnected) => return self.log_threads,
                Ok(Request::ReopenLogs) => {
                    if let Some((_, Some(log))) = &self.access_log {
                        log.reopen();
                    }
                }
                Ok(Request::Lend(reply)) => {
                    let lent = self.lend();
                    self.lent = lent.is_ok();
                    // Who asked waits for it.
                    let _ = reply.send(lent);
                }
                Ok(Request::Resume) => {
                    self.lent = false;
                    if !self.asked.is_empty() {
                        (loaded, changing) = (self.fingerprint(), None);
                        self.load_and_answer();
                        watcher.follow(self.files());
                    }
                }
                // Answered when there is no other process, or not at all.
                Ok(Request::Reload(reply)) if self.lent => self.asked.push(reply),
                Ok(Request::Reload(reply)) => {
                    self.asked.push(reply);
                    (loaded, changing) = (self.fingerprint(), None);
                    self.load_and_answer();
                    watcher.follow(self.files());
                }
                Ok(Request::Look) | Err(RecvTimeoutError::Timeout) => {
                    self.roll_back();
                    self.take_up_certificates();
                    if self.lent {
                        continue;
                    }
                    let now = self.fingerprint();
                    let settled = self.has_settled(&mut changing, &loaded, now);
                    let due = self.again_at.is_some_and(|at| at <= Instant::now());
                    if let Some(now) = settled {
                        loaded = now;
                        self.load_and_answer();
                        watcher.follow(self.files());
                    } else if due || self.pending {
                        self.load_and_answer();
                    }
                }
            }
        }
    }

    /// What the files look like when they have changed, and have stopped doing so.
    fn has_settled(
        &self,
        changing: &mut Option<Changing>,
        loaded: &Fingerprint,
        now: Fingerprint,
    ) -> Option<Fingerprint> {
        let time = Instant::now();
        match changing {
            None if now == *loaded => None,
            Some(changing) if changing.now != now && changing.since.elapsed() < LONGEST_SETTLING => {
                (changing.now, changing.last) = (now, time);
                None
            }
            Some(changing) if changing.last.elapsed() < SETTLED => None,
            // Half of it may be a configuration as well.
            Some(changing)
                if self.written.is_written(&self.file) && changing.since.elapsed() < LONGEST_SETTLING =>
            {
                None
            }
            Some(_) => {
                *changing = None;
                (now != *loaded).then_some(now)
            }
            None => {
                *changing = Some(Changing { now, since: time, last: time });
                None
            }
        }
    }

    /// Loads the files, and tells those who asked for it what came of it.
    fn load_and_answer(&mut self) {
        let look = if self.asked.is_empty() { Look::Patient } else { Look::Final };
        let result = match self.load(look) {
            Ok(outcome) => Ok(outcome),
            Err(NotLoaded::Problems(problems)) => Err(problems),
            Err(NotLoaded::Yet) => return,
        };
        for asked in self.asked.drain(..) {
            // Who asked may have gone.
            let _ = asked.send(result.clone());
        }
    }

    fn config(&self) -> Option<&Config> {
        self.current.as_ref().map(|current| &*current.config)
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::take(&self.file, self.config(), self.named_files())
    }

    /// Files that others name.
    fn named_files(&self) -> impl Iterator<Item = PathBuf> {
        let of_config = self
            .config()
            .into_iter()
            .flat_map(|config| tls::files(config).chain(explain::files(config)).chain(acme::files(config)));
        let included = sources::expanded(&self.includes).into_iter();
        of_config.chain(self.directory.secret_files()).chain(included)
    }

    /// Files whose directories are watched: the directory of plugins stands for itself by a file in it.
    fn files(&self) -> impl Iterator<Item = PathBuf> {
        // A pattern stands for a file in its folder.
        let mut files = vec![self.file.clone()];
        files.extend(self.includes.iter().cloned());
        if let Some(config) = self.config() {
            files.push(config.plugin_directory.join("plugin"));
            let entries = std::fs::read_dir(&config.plugin_directory).into_iter().flatten().flatten();
            files.extend(entries.map(|entry| entry.path()));
            files.extend(self.named_files());
        }
        files.into_iter()
    }

    /// Makes a generation of the files as they are and puts it into service; or, if the configuration
    /// cannot be used, changes nothing. Problems are logged, each once.
    fn load(&mut self, look: Look) -> Result<Outcome, NotLoaded> {
        self.again_at = None;
        let result = self.build(look);
        self.pending = matches!(result, Err(NotLoaded::Yet));
        let problems = match &result {
            Ok(Built { problems, .. }) | Err(NotLoaded::Problems(problems)) => problems.clone(),
            Err(NotLoaded::Yet) => {
                self.again_at = Some(Instant::now() + LOOK);
                return Err(NotLoaded::Yet);
            }
        };
        // What keeps the proxy from starting is said by the caller of `start`.
        if result.is_ok() || self.current.is_some() {
            for problem in problems.iter().filter(|problem| !self.reported.contains(problem)) {
                tracing::error!(target: "reload", "{problem}");
            }
            if problems.is_empty() && !self.reported.is_empty() {
                tracing::info!(target: "reload", "no problem is left: all files serve as they are");
            }
        }
        self.publish_status();
        let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
        let generation = self.current.as_ref().map_or(0, |current| current.number);
        let end = match &result {
            Ok(Built { changed: true, .. }) => End::Changed,
            // The configuration is good, and policies or certificates are not: what served goes on.
            Ok(_) if !problems.is_empty() => End::Refused,
            Ok(_) => End::Unchanged,
            Err(_) => End::Refused,
        };
        // What was looked at by itself, and is as it was, is no news.
        if end == End::Changed || !self.asked.is_empty() || problems != self.reported {
            self.history.add(end, generation, texts.clone());
        }
        self.reported = problems;
        result.map(|Built { generation, changed, .. }| Outcome { generation, changed, problems: texts })
    }

    fn build(&mut self, look: Look) -> Result<Built, NotLoaded> {
        let sources = Sources::read(&self.file)?;
        let config = sources.parse();
        // Also of what cannot be used: its mistake may be mended in any of them.
        self.includes = sources.into_patterns();
        let config = Arc::new(config?);
        let obtained = self.obtainer.prepare(&config).map_err(|problem| vec![problem])?;
        let (tls, mut findings) = self.tls.load(&config, &obtained.certificates);
        let client_tls = self.client_tls.load(&config, &mut findings.problems);
        let roots = files::load(&config, &mut findings.problems);
        let explain = explain::load(&config, &mut findings.problems);
        if !findings.problems.is_empty() {
            return Err(findings.problems.into());
        }
        let temporary = buffer::check(&config).map_err(|problem| vec![problem])?;
        let generation = self.current.as_ref().map_or(0, |current| current.number) + 1;
        let scan = self
            .directory
            .scan(&config, generation, look, |path| self.written.is_written(path))
            .map_err(|problem| vec![problem])?;
        if scan.pending {
            return Err(NotLoaded::Yet);
        }
        let opened = self.open_listeners(&config)?;
        let routable = |destination: &str| scan.links.iter().any(|link| link.may_reach(destination));
        let warnings = findings
            .warnings
            .into_iter()
            .chain(temporary)
            .chain(config.warnings(routable))
            .chain(policy::warnings(&scan.links, &config))
            .collect::<Vec<_>>();
        for warning in warnings.iter().filter(|warning| !self.warned.contains(warning)) {
            tracing::warn!(target: "reload", "{warning}");
        }
        self.warned = warnings;
        self.again_at = scan.again_after.map(|after| Instant::now() + after);
        let access_log = self.access_log(&config).map_err(|problem| vec![problem])?;
        let traces = self.traces(&config).map_err(|problem| vec![problem])?;
        let clusters = self.supervisor.build(&config, &client_tls).map_err(|problem| vec![problem])?;
        let before = self.current.as_ref().map(|current| &current.caches);
        let caches = cache::load(&config, before).map_err(|problem| vec![problem])?;
        let next = Snapshot {
            number: generation,
            config: config.clone(),
            links: scan.links,
            tls,
            challenges: config.obtains_certificates().then(|| self.obtainer.challenges()),
            on_demand: self.on_demand.clone(),
            clusters,
            files: roots,
            caches,
            temporary: TemporaryFiles::new(&config, self.space.clone()),
            memory: self.memory.clone(),
            access_log,
            traces,
            explain,
            recent: self.recent.clone(),
        };
        let names = obtained.certificates.len();
        if let Err(error) = self.obtainer.adopt(obtained) {
            tracing::error!(target: "acme", names, "no certificates are obtained: {error}");
        }
        if let Some(current) = &self.current {
            if current.serves_like(&next) {
                let generation = current.number;
                return Ok(Built { generation, changed: false, problems: scan.problems });
            }
            warn_of_what_stays(&current.config, &config);
            if current.config.log.level != config.log.level {
                self.log_level.set(config.log.level);
            }
        }
        self.space.set_limit(config.limits.temporary_space);
        self.memory.set_limit(config.limits.memory.unwrap_or_else(machine::memory_for_requests));
        cache::adopt(&next.caches);
        self.supervisor.serve(&next.clusters);
        let clusters = next.clusters.clone();
        self.adopt(next, &opened);
        if let Some(gate) = self.gate.take() {
            gate(&clusters).map_err(|message| {
                vec![Problem { file: self.file.clone(), position: None, message, help: None }]
            })?;
        }
        self.listen(opened);
        Ok(Built { generation, changed: true, problems: scan.problems })
    }

    /// The access log as configured: the running one if nothing about it changed.
    fn access_log(&mut self, config: &Config) -> Result<Option<access_log::Handle>, Problem> {
        if let Some((running, handle)) = &self.access_log
            && *running == config.access_log
        {
            return Ok(handle.clone());
        }
        let started =
            access_log::start(&config.access_log, self.access_lines_lost.clone()).map_err(|error| {
                config.positions.problem("access-log.path", format!("cannot write the access log: {error}"))
            })?;
        let handle = started.map(|(handle, thread)| {
            self.log_threads.push(thread);
            handle
        });
        self.access_log = Some((config.access_log.clone(), handle.clone()));
        Ok(handle)
    }

    /// Where spans go as configured: as until now if nothing about it changed.
    fn traces(&mut self, config: &Config) -> Result<Option<trace::Handle>, Problem> {
        let Some(settings) = trace::settings(config)? else {
            self.traces = None;
            return Ok(None);
        };
        if let Some((running, handle)) = &self.traces
            && *running == settings
        {
            return Ok(Some(handle.clone()));
        }
        let started = trace::start(settings.clone(), self.trace_counts.clone());
        let (handle, thread) = started
            .map_err(|error| config.positions.problem("tracing", format!("no thread for it: {error}")))?;
        self.log_threads.push(thread);
        self.traces = Some((settings, handle.clone()));
        Ok(Some(handle))
    }

    /// Opens what is new, for every worker, on sockets that the process was started with if there are such; a listener that stays
    /// keeps its sockets.
    fn open_listeners(&self, config: &Config) -> Result<Vec<Opened>, Vec<Problem>> {
        let before = self.config();
        let mut opened = Vec::new();
        let mut problems = Vec::new();
        for (name, listener) in &config.listeners {
            let stays = before
                .and_then(|before| before.listeners.get(name))
                .is_some_and(|old| old.address == listener.address);
            if stays {
                continue;
            }
            let port = listener.address.port();
            let workers = self.workers.len();
            let sockets = match self.inherited.take(name, listener.address) {
                Some(sockets) => sockets.iter().try_for_each(listener::adopt).map(|()| sockets),
                None => {
                    let of_this = self.listening.values().any(|address| address.port() == port);
                    listener::bind(listener.address, workers, of_this || self.inherited.have_port(port))
                }
            };
            match sockets.and_then(|sockets| listener::share_out(sockets, workers)) {
                Ok(shares) => opened.push((Arc::from(name.as_str()), shares)),
                Err(error) => {
                    let message = listener::refused(listener.address, &error);
                    problems.push(config.positions.problem(&format!("listener.{name}.address"), message));
                }
            }
        }
        if problems.is_empty() { Ok(opened) } else { Err(problems) }
    }

    /// Hands a generation to every worker, and waits until all serve by it what they are asked. `opened` is not accepted on
    /// yet.
    fn adopt(&mut self, next: Snapshot, opened: &[Opened]) {
        let closed: Vec<Arc<str>> = self
            .listening
            .keys()
            .filter(|name| {
                !next.config.listeners.contains_key(&***name) || opened.iter().any(|(new, _)| new == *name)
            })
            .cloned()
            .collect();
        for name in &closed {
            self.listening.remove(name);
            self.notifier.forget(name);
            tracing::info!(target: "listener", listener = %name, "closed");
        }
        let snapshot = Arc::new(next);
        self.tell_workers(|_, done| Command::Serve {
            snapshot: snapshot.clone(),
            closed: closed.clone(),
            done,
        });
        self.current = Some(snapshot);
    }

    /// Has every worker accept its share of the connections to new listeners, and says that the generation serves.
    fn listen(&mut self, opened: Vec<Opened>) {
        for (name, shares) in &opened {
            if let Some(Ok(address)) = shares.iter().flatten().next().map(TcpListener::local_addr) {
                self.listening.insert(name.clone(), address);
            }
            self.notifier.keep(name, shares.iter().flatten());
        }
        let names: Vec<Arc<str>> = opened.iter().map(|(name, _)| name.clone()).collect();
        let mut shares: Vec<Vec<(Arc<str>, TcpListener)>> = self.workers.iter().map(|_| Vec::new()).collect();
        for (name, sockets) in opened {
            for (share, sockets) in shares.iter_mut().zip(sockets) {
                share.extend(sockets.into_iter().map(|socket| (name.clone(), socket)));
            }
        }
        if !names.is_empty() {
            self.tell_workers(|worker, done| Command::Listen {
                opened: std::mem::take(&mut shares[worker]),
                done,
            });
        }
        for name in &names {
            if let Some(address) = self.listening.get(name) {
                tracing::info!(target: "listener", listener = %name, %address, "listening");
            }
        }
        let Some(current) = &self.current else { return };
        let chain: Vec<&str> = current.links.iter().map(|link| &*link.name).collect();
        tracing::info!(target: "reload", generation = current.number, chain = %chain.join(" "), "serving");
    }

    /// Gives every worker a command and waits until all have done it.
    fn tell_workers(&self, mut command: impl FnMut(usize, oneshot::Sender<()>) -> Command) {
        let mut told = Vec::new();
        for (index, worker) in self.workers.iter().enumerate() {
            let (done, wait) = oneshot::channel();
            // Fails for a worker that has ended, which only a panic could do.
            if worker.blocking_send(command(index, done)).is_ok() {
                told.push(wait);
            }
        }
        for worker in told {
            // Dropped when the worker has done it.
            let _ = worker.blocking_recv();
        }
    }

    /// Copies of all listening sockets, as the workers have them.
    fn lend(&self) -> std::io::Result<Vec<Lent>> {
        let mut lent: HashMap<Arc<str>, Vec<TcpListener>> = HashMap::new();
        let mut seen = HashSet::new();
        for worker in &self.workers {
            let (reply, copies) = oneshot::channel();
            // Fails for a worker that has ended, which only a panic could do.
            if worker.blocking_send(Command::Lend(reply)).is_err() {
                continue;
            }
            for (name, socket) in copies.blocking_recv().unwrap_or_else(|_| Ok(Vec::new()))? {
                // Workers may share one.
                let file = rustix::fs::fstat(&socket)?;
                if seen.insert(file.st_ino) {
                    lent.entry(name).or_default().push(socket);
                }
            }
        }
        let listeners = self.config().map(|config| &config.listeners);
        let asked = |name: &str| Some(listeners?.get(name)?.address);
        let lent = lent.into_iter();
        Ok(lent.filter_map(|(name, sockets)| Some(Lent { asked: asked(&name)?, name, sockets })).collect())
    }

    /// Puts back the last good version of policies that are worse than it. No file is read for that.
    fn roll_back(&mut self) {
        let mut rolled_back = false;
        while let Ok(version) = self.bad_versions.try_recv() {
            if let Some(problem) = self.directory.roll_back(version) {
                tracing::error!(target: "reload", "{problem}");
                self.reported.push(problem);
                rolled_back = true;
            }
        }
        if let (true, Some(current)) = (rolled_back, &self.current) {
            let next = current.with_chain(self.directory.links());
            self.adopt(next, &[]);
            self.listen(Vec::new());
            self.publish_status();
            let generation = self.current.as_ref().map_or(0, |current| current.number);
            self.history.add(
                End::RolledBack,
                generation,
                self.reported.iter().map(Problem::to_string).collect(),
            );
        }
    }

    /// Shows the certificates that were obtained since. What else the files say, or cannot say just now, has no part in it:
    /// a mistake in a file must not let a certificate expire.
    fn take_up_certificates(&mut self) {
        let Some(current) = self.current.clone().filter(|_| self.obtainer.has_news()) else { return };
        let obtained = self.obtainer.latest(&current.config);
        let (mut tls, _) = self.tls.load(&current.config, &obtained);
        for (listener, before) in &current.tls {
            tls.entry(listener.clone()).or_insert_with(|| before.clone());
        }
        let next = current.with_tls(tls);
        if !current.serves_like(&next) {
            self.adopt(next, &[]);
            self.listen(Vec::new());
        }
    }

    fn publish_status(&self) {
        let config = self.current.as_ref().map(|current| current.config.clone());
        let mut upstreams: Vec<Arc<Cluster>> =
            self.current.iter().flat_map(|current| current.clusters.values().cloned()).collect();
        upstreams.sort_by(|one, other| one.name.cmp(&other.name));
        let caches = self.current.as_ref().map(|current| current.caches.clone()).unwrap_or_default();
        let (plugins, listening) = (self.directory.status(), self.listening.clone());
        let admin_tls = self.current.as_ref().and_then(|current| current.tls.get(tls::ADMIN).cloned());
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        *status =
            Status { draining: status.draining, config, plugins, upstreams, caches, listening, admin_tls };
    }
}

/// Some settings are those of the process and not of a generation.
fn warn_of_what_stays(before: &Config, after: &Config) {
    let changed = [
        ("workers", before.workers != after.workers),
        ("log.format", before.log.format != after.log.format),
        ("state", before.state != after.state),
        ("admin", before.admin != after.admin),
        ("plugins.compile-cache", before.compile_cache != after.compile_cache),
    ];
    for (key, _) in changed.iter().filter(|(_, changed)| *changed) {
        tracing::warn!(target: "reload", key, "changed in the file; takes effect at the next start");
    }
}
