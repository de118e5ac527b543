//! Compiles and configures plugins on threads of their own, some side by side, so that the control thread never waits
//! for one.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use tidegate_config::Cases;
use tidegate_plugin_host::{Code, Host, LoadError, Plugin, Settings};

use super::codes::Hash;
use super::version::{Failed, Key};
use crate::cases::{self, Trial};
use crate::policy::Warm;

/// Time to compile and to configure one plugin. Large ones take seconds; nobody waits longer for a deployment.
const LIMIT: Duration = Duration::from_secs(60);
/// Time to try the cases of one, of that.
const CASES: Duration = Duration::from_secs(20);
/// Threads whose time is over cannot be stopped. With more of them, nothing new is begun.
const OVERDUE: usize = 4;

/// Called from those threads when one is done. Must not block.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// What is being loaded, by the name of the place.
pub(super) struct Jobs {
    host: Host,
    /// A set of warm instances is made for each.
    workers: usize,
    wake: Wake,
    /// By content: a changed `NAME.toml`, a copy and a link compile nothing.
    compiled: HashMap<Hash, Compiled>,
    jobs: HashMap<String, Job>,
    /// Jobs whose time is over or whose files have changed again.
    overdue: Vec<JoinHandle<()>>,
}

/// Filled by the first thread that wants it; others wait for that.
type Compiled = Arc<OnceLock<Result<Code, LoadError>>>;

struct Job {
    key: Key,
    begun: Instant,
    result: Receiver<Result<Loaded, Failed>>,
    thread: JoinHandle<()>,
    done: Option<Result<Loaded, Failed>>,
}

/// A plugin, and instances to begin with.
pub(super) struct Loaded {
    pub(super) plugin: Plugin,
    pub(super) warm: Warm,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// [`Jobs::take`] has its result.
    Done,
    /// Since then, or waiting for its turn.
    Pending(Option<Instant>),
}

impl Jobs {
    pub(super) fn new(host: Host, workers: usize, wake: Wake) -> Self {
        Self { host, workers, wake, compiled: HashMap::new(), jobs: HashMap::new(), overdue: Vec::new() }
    }

    /// Looks after the job for `place`; begins it if there is none, or one of other files.
    pub(super) fn advance(
        &mut self,
        place: &str,
        key: &Key,
        bytes: &Arc<[u8]>,
        settings: impl FnOnce() -> (Settings, Option<Arc<Cases>>),
    ) -> Progress {
        if self.jobs.get(place).is_some_and(|job| job.key != *key) {
            self.abandon(place);
        }
        if !self.jobs.contains_key(place)
            && let Err(waits) = self.begin(place, key, bytes, settings)
        {
            return waits;
        }
        let Some(job) = self.jobs.get_mut(place) else { return Progress::Pending(None) };
        if job.done.is_none() {
            job.done = match job.result.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Disconnected) => Some(Err(Failed::Thread("loading it crashed".to_owned()))),
                Err(TryRecvError::Empty) if job.begun.elapsed() >= LIMIT => Some(Err(Failed::Thread(
                    format!("compiling and configuring it took longer than {LIMIT:?}"),
                ))),
                Err(TryRecvError::Empty) => None,
            };
        }
        if job.done.is_some() { Progress::Done } else { Progress::Pending(Some(job.begun)) }
    }

    /// The result of a job that is done.
    pub(super) fn take(&mut self, place: &str) -> Option<Result<Loaded, Failed>> {
        let result = self.jobs.get_mut(place)?.done.take()?;
        self.abandon(place);
        Some(result)
    }

    /// Forgets compiled code that no place stands on any more, and jobs of places that are gone.
    pub(super) fn keep_only(&mut self, code: &[Hash], places: impl Fn(&str) -> bool) {
        self.compiled.retain(|hash, _| code.contains(hash));
        let gone: Vec<String> = self.jobs.keys().filter(|place| !places(place)).cloned().collect();
        gone.iter().for_each(|place| self.abandon(place));
    }

    /// Forgets a job. Its thread comes to its end, which matters to nobody.
    fn abandon(&mut self, place: &str) {
        self.overdue.extend(self.jobs.remove(place).map(|job| job.thread));
        self.overdue.retain(|thread| !thread.is_finished());
    }

    fn begin(
        &mut self,
        place: &str,
        key: &Key,
        bytes: &Arc<[u8]>,
        settings: impl FnOnce() -> (Settings, Option<Arc<Cases>>),
    ) -> Result<(), Progress> {
        let cores = available_parallelism().map_or(1, usize::from);
        self.overdue.retain(|thread| !thread.is_finished());
        let running = self.jobs.values().filter(|job| job.done.is_none()).count();
        if running >= cores || self.overdue.len() >= OVERDUE {
            return Err(Progress::Pending(None));
        }
        tracing::info!(target: "reload", plugin = place, "loading");
        let compiled =
            key.code().map(|hash| self.compiled.entry(hash).or_default().clone()).unwrap_or_default();
        let (host, wake, bytes) = (self.host.clone(), self.wake.clone(), bytes.clone());
        let (settings, cases) = settings();
        let (workers, (sender, result)) = (self.workers, channel());
        let load = move || {
            let code = compiled.get_or_init(|| host.compile(&bytes)).clone().map_err(Failed::Load);
            let plugin = code.and_then(|code| {
                if let Some(cases) = cases {
                    does_as_expected(&host, &code, &settings, &cases)?;
                }
                host.load(&code, settings).map_err(Failed::Load)
            });
            let plugin = plugin.map(|plugin| Loaded { warm: Warm::of(&plugin, workers), plugin });
            // Who wanted it may have given up.
            let _ = sender.send(plugin);
            drop(sender);
            wake();
        };
        match std::thread::Builder::new().name(format!("load {place}")).spawn(load) {
            Ok(thread) => {
                let job = Job { key: key.clone(), begun: Instant::now(), result, thread, done: None };
                self.jobs.insert(place.to_owned(), job);
                Ok(())
            }
            // Tried again at the next look.
            Err(error) => {
                tracing::warn!(target: "reload", plugin = place, "cannot start a thread: {error}");
                Err(Progress::Pending(None))
            }
        }
    }
}

fn does_as_expected(host: &Host, code: &Code, settings: &Settings, cases: &Cases) -> Result<(), Failed> {
    let trials =
        cases::run(host, code, settings, cases, Some(Instant::now() + CASES)).map_err(Failed::Load)?;
    let mut failed = trials.iter().filter(|trial| !trial.differences.is_empty());
    match failed.next() {
        None => Ok(()),
        Some(Trial { name, differences, .. }) => {
            let first = differences.first().map_or("", String::as_str);
            Err(Failed::Cases { first: format!("{name:?}: {first}"), failed: 1 + failed.count() })
        }
    }
}
