//! The plugin directory over time: which policies stand in the chain, and what is wrong with the others.
//!
//! `files` says what there is, `version` reads and loads it, `entry` keeps what serves at each place, `status` shows it.

mod entry;
mod files;
mod status;
mod version;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tidegate_config::{Config, Problem};
use tidegate_plugin_host::Host;
use tokio::sync::mpsc;

use self::entry::Entry;
use self::files::Files;
pub(crate) use self::status::Status;
use self::version::{Hash, Loader, Read};
use crate::policy::Link;

/// The policies of one directory: what serves, what is refused, what was compiled.
pub(crate) struct Directory {
    loader: Loader,
    /// By the name of the place.
    entries: BTreeMap<String, Entry>,
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
    /// Something may be half-copied: look again after this.
    pub(crate) again_after: Option<Duration>,
}

impl Directory {
    /// `bad_version` is told the number of a version that keeps failing right after it was loaded.
    pub(crate) fn new(host: Host, bad_version: mpsc::Sender<u64>) -> Self {
        Self { loader: Loader::new(host, bad_version), entries: BTreeMap::new() }
    }

    /// Brings the chain up to date with the files.
    ///
    /// # Errors
    /// The directory cannot be read. What serves goes on.
    pub(crate) fn scan(&mut self, config: &Config, generation: u64, look: Look) -> Result<Scan, Problem> {
        let all = self.list(config)?;
        let mut scan = Scan::default();
        self.entries.retain(|name, _| all.iter().any(|place| place.name == *name));
        let mut used = Vec::new();
        for place in &all {
            let mut entry = self.entries.remove(&place.name).unwrap_or_default();
            used.extend(self.update(&mut entry, place, &all, config, generation, look, &mut scan));
            scan.links.extend(entry.link(&place.name));
            self.entries.insert(place.name.clone(), entry);
        }
        self.loader.keep_only(&used);
        Ok(scan)
    }

    fn list(&self, config: &Config) -> Result<Vec<Files>, Problem> {
        match files::list(&config.plugin_directory) {
            Ok(found) => Ok(found),
            // The operator asked for none. A directory that vanishes while its policies serve is a mistake.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.entries.is_empty()
                    && config.positions.at("plugins.directory").is_none() =>
            {
                Ok(Vec::new())
            }
            Err(error) => {
                let directory = config.plugin_directory.display();
                let message = format!("cannot read the plugin directory {directory}: {error}");
                Err(config.positions.problem("plugins.directory", message))
            }
        }
    }

    /// Brings one entry up to date and answers which code it stands on.
    fn update(
        &mut self,
        entry: &mut Entry,
        files: &Files,
        all: &[Files],
        config: &Config,
        generation: u64,
        look: Look,
        scan: &mut Scan,
    ) -> Option<Hash> {
        let (code, loaded) = match self.loader.read(files, all, config) {
            Ok(Read::Disabled) => {
                entry.disable();
                return None;
            }
            Err(refused) => (refused.key.code(), Err(refused)),
            Ok(Read::Inputs(inputs)) => {
                let place = entry.enable();
                let code = inputs.key.code();
                if place.serves(&inputs.key) {
                    place.stay();
                    return code;
                }
                if place.refuses(&inputs.key) {
                    place.report(look, scan);
                    return code;
                }
                (code, self.loader.load(*inputs, config, generation))
            }
        };
        let place = entry.enable();
        match loaded {
            Ok(version) => place.serve(version),
            Err(refused) => {
                place.refuse(refused);
                place.report(look, scan);
            }
        }
        code
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
