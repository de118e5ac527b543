//! The plugin directory over time: which policies stand in the chain, and what is wrong with the others.
//!
//! `files` says what there is, `version` reads it, `codes` reads none of it again while others are loaded, `jobs` load it, `entry` keeps what serves at each place, `status` shows
//! it.

mod codes;
mod entry;
mod files;
mod jobs;
mod status;
mod version;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_config::{Config, Problem};
use tidegate_plugin_host::Host;
use tokio::sync::mpsc;

use self::codes::Codes;
use self::entry::{Entry, Step};
use self::files::Files;
pub(crate) use self::files::settings;
use self::jobs::{Jobs, Loaded, Progress};
pub(crate) use self::status::{State, Status};
pub(crate) use self::version::settings_of;
use self::version::{Inputs, Version};
use crate::policy::{Breaker, Link, Policy};

/// Changes that are found together go live together, unless something takes longer than this to compile: then the
/// others do not wait for it.
const TOGETHER: Duration = Duration::from_secs(10);
/// What is being loaded wakes the control thread when it is done. In case that is lost, and for the time limits:
const LOOK: Duration = Duration::from_secs(1);

/// The policies of one directory: what serves, what is refused, what is being loaded.
pub(crate) struct Directory {
    jobs: Jobs,
    codes: Codes,
    /// By the name of the place.
    entries: BTreeMap<String, Entry>,
    versions: u64,
    bad_version: mpsc::Sender<u64>,
}

/// How a scan takes files that cannot be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Those that have just changed may be half-copied, and are no problem yet.
    Patient,
    /// Each is a problem: the operator asked.
    Final,
}

/// What a scan of the directory found.
#[derive(Default)]
pub(crate) struct Scan {
    /// The chain, in order.
    pub(crate) links: Vec<Link>,
    /// Why newest versions are not in it.
    pub(crate) problems: Vec<Problem>,
    /// Something may be half-copied or is being loaded: look again after this.
    pub(crate) again_after: Option<Duration>,
    /// Something has to be loaded first, and nothing has changed yet.
    pub(crate) pending: bool,
}

impl Scan {
    fn look_again_after(&mut self, wait: Duration) {
        self.again_after = Some(self.again_after.map_or(wait, |other| other.min(wait)));
    }
}

impl Directory {
    /// Each of `workers` gets warm instances of what is loaded. `bad_version` is told the number of a version that is
    /// worse than the last good one. `wake` is called from other threads when something is loaded; it must not block.
    pub(crate) fn new(
        host: Host,
        workers: usize,
        bad_version: mpsc::Sender<u64>,
        wake: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let jobs = Jobs::new(host, workers, Arc::new(wake));
        Self { jobs, codes: Codes::default(), entries: BTreeMap::new(), versions: 0, bad_version }
    }

    /// Files that policies which serve have as secrets.
    pub(crate) fn secret_files(&self) -> Vec<PathBuf> {
        self.entries.values().flat_map(Entry::secret_files).collect()
    }

    /// Brings the chain up to date with the files. What has to be compiled and configured is begun and not waited for:
    /// the scan is `pending`, and to be repeated. `is_written` says whether some program is writing to a file.
    ///
    /// # Errors
    /// The directory cannot be read. What serves goes on.
    pub(crate) fn scan(
        &mut self,
        config: &Config,
        generation: u64,
        look: Look,
        is_written: impl Fn(&Path) -> bool,
    ) -> Result<Scan, Problem> {
        let (all, problems) = self.list(config)?;
        let mut scan = Scan { problems, ..Scan::default() };
        let mut steps = Vec::new();
        let mut unfinished = Vec::new();
        for place in &all {
            let is_written =
                [&place.wasm, &place.toml, &place.cases].into_iter().flatten().any(|path| is_written(path));
            let entry = self.entries.entry(place.name.clone()).or_default();
            let step = entry.judge(version::read(place, &all, config, &mut self.codes), look, is_written);
            if let Step::Load(inputs) = &step
                && let Progress::Pending(since) =
                    self.jobs.advance(&place.name, &inputs.key, &inputs.bytes, || {
                        (inputs.host_settings(), inputs.cases())
                    })
            {
                unfinished.push(since);
            }
            steps.push((&*place.name, step));
        }
        let is_slow = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() >= TOGETHER);
        let slow = look == Look::Patient && unfinished.iter().any(is_slow);
        if unfinished.iter().any(|since| !slow || (since.is_some() && !is_slow(since))) {
            return Ok(Scan { pending: true, again_after: Some(LOOK), ..Scan::default() });
        }
        self.codes.forget();
        let mut used = Vec::new();
        for (name, step) in steps {
            if let Step::Load(inputs) = &step {
                used.extend(inputs.key.code());
            }
            self.take(name, step, generation, look, &mut scan);
        }
        self.entries.retain(|name, entry| {
            all.iter().any(|place| place.name == *name) || !entry.vanishes(name, look, &mut scan)
        });
        used.extend(self.entries.values().flat_map(Entry::codes));
        self.jobs.keep_only(&used, |name| self.entries.contains_key(name));
        scan.links = self.links();
        Ok(scan)
    }

    /// The chain, in order.
    pub(crate) fn links(&self) -> Vec<Link> {
        self.entries.iter().filter_map(|(name, entry)| entry.link(name)).collect()
    }

    fn list(&self, config: &Config) -> Result<(Vec<Files>, Vec<Problem>), Problem> {
        match files::list(&config.plugin_directory) {
            Ok(found) => Ok(found),
            // The operator asked for none. A directory that vanishes while its policies serve is a mistake.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.entries.is_empty()
                    && config.positions.at("plugins.directory").is_none() =>
            {
                Ok((Vec::new(), Vec::new()))
            }
            Err(error) => {
                let directory = config.plugin_directory.display();
                let message = format!("cannot read the plugin directory {directory}: {error}");
                Err(config.positions.problem("plugins.directory", message))
            }
        }
    }

    /// Does what the files of a place ask for.
    fn take(&mut self, name: &str, step: Step, generation: u64, look: Look, scan: &mut Scan) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        match step {
            Step::Disable => entry.disable(),
            Step::Wait(wait) => scan.look_again_after(wait),
            Step::Stay => entry.enable().stay(),
            Step::RefuseAgain => entry.enable().report(look, scan),
            Step::Refuse(refused) => {
                entry.enable().refuse(refused, look);
                entry.enable().report(look, scan);
            }
            Step::Load(inputs) => match self.jobs.take(name) {
                // It takes longer than the others are to wait for.
                None => scan.look_again_after(LOOK),
                Some(Ok(loaded)) => self.serve(name, *inputs, loaded, generation),
                Some(Err(why)) => {
                    entry.enable().refuse(inputs.refused(&why), look);
                    entry.enable().report(look, scan);
                }
            },
        }
    }

    fn serve(&mut self, name: &str, inputs: Inputs, loaded: Loaded, generation: u64) {
        self.versions += 1;
        let place = self.entries.entry(name.to_owned()).or_default().enable();
        let Inputs { key, settings, .. } = inputs;
        let breaker =
            Breaker::new(settings.on_error, self.versions, place.shares(), self.bad_version.clone());
        let link = Link {
            name: name.into(),
            on_error: settings.on_error,
            required: settings.required,
            body_overflow: settings.body_overflow,
            policy: Policy::Serving(loaded.plugin),
            breaker: Arc::new(breaker),
            warm: loaded.warm,
            timer: settings.timer,
            shadow: version::shadow_of(name, &settings),
        };
        place.serve(Version { number: self.versions, key, link, generation });
    }

    /// Puts the last good version back in place of version `number`, if that one still serves.
    /// Answers with what there is to report.
    pub(crate) fn roll_back(&mut self, number: u64) -> Option<Problem> {
        self.entries.iter_mut().find_map(|(name, entry)| entry.roll_back(name, number))
    }

    pub(crate) fn status(&self) -> Vec<Status> {
        self.entries.iter().filter_map(|(name, entry)| entry.status(name)).collect()
    }
}
