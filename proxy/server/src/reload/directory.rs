//! The plugin directory: which files are policies, which version of each serves, and what is wrong with the rest.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};
use tidegate_config::{BodyOverflow, Config, Isolation, OnError, PluginFile, Problem, parse_plugin};
use tidegate_plugin_host::{self as host, Activation, Code, Host, LoadError, Plugin};
use tokio::sync::mpsc;

use crate::policy::{Breaker, Link, Policy};

/// A file that cannot be loaded is taken for half-copied until it has not changed for this long.
const PATIENCE: Duration = Duration::from_secs(1);

/// The policies of one directory over time: what serves, what is refused, what was compiled.
pub(crate) struct Directory {
    host: Host,
    entries: BTreeMap<String, Entry>,
    /// By content: a changed `NAME.toml`, a copy and a link compile nothing.
    compiled: HashMap<Hash, Code>,
    bad_version: mpsc::Sender<u64>,
    versions: u64,
}

type Hash = [u8; 32];

/// What is known of one place of the chain.
#[derive(Default)]
struct Entry {
    serving: Option<Version>,
    /// The version before, to go back to.
    previous: Option<Version>,
    refused: Option<Refusal>,
    enabled: bool,
}

/// A version that was loaded.
struct Version {
    number: u64,
    key: Key,
    link: Link,
    /// The generation it began to serve in.
    generation: u64,
}

/// Everything a version is made of; the same again is not loaded again.
#[derive(Clone, PartialEq, Eq)]
struct Key {
    code: Option<Hash>,
    settings: String,
    /// Names of the configuration its settings refer to.
    names: Vec<String>,
}

struct Refusal {
    /// There is a `NAME.toml` and no code: not a policy of the chain, only a mistake to be told of.
    absent: bool,
    key: Key,
    problems: Vec<Problem>,
    since: Instant,
    reported: bool,
    on_error: OnError,
    activation: Arc<Activation>,
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

/// One policy on the admin interface.
#[derive(Clone, Serialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    /// The generation the serving version began in.
    pub(crate) generation: Option<u64>,
    pub(crate) state: State,
    /// Why the newest version is refused, or the policy quarantined.
    pub(crate) error: Option<String>,
    /// Whether an older version serves in place of a refused one.
    pub(crate) last_good: bool,
    pub(crate) phases: Vec<&'static str>,
    pub(crate) description: BTreeMap<String, String>,
    #[serde(skip)]
    breaker: Option<Arc<Breaker>>,
}

impl Status {
    /// A breaker opens and closes by itself, at any time after the files were looked at.
    pub(crate) fn look_at_breaker(&mut self) {
        if self.breaker.as_ref().is_some_and(|breaker| breaker.is_open()) {
            self.state = State::Quarantined;
            self.error.get_or_insert_with(|| "it kept failing and is left out for a while".to_owned());
        }
    }
}

/// How a policy fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Serving,
    Refused,
    Quarantined,
    Disabled,
}

/// A place of the chain as the files describe it.
struct Found {
    name: String,
    wasm: Option<PathBuf>,
    toml: Option<PathBuf>,
}

impl Directory {
    /// `bad_version` is told the number of a version that keeps failing right after it was loaded.
    pub(crate) fn new(host: Host, bad_version: mpsc::Sender<u64>) -> Self {
        Self { host, entries: BTreeMap::new(), compiled: HashMap::new(), bad_version, versions: 0 }
    }

    /// Brings the chain up to date with the files. With `patient`, a file that cannot be loaded but has
    /// just changed is not a problem yet.
    ///
    /// # Errors
    /// The directory cannot be read. What serves goes on.
    pub(crate) fn scan(&mut self, config: &Config, generation: u64, patient: bool) -> Result<Scan, Problem> {
        let found = match list(&config.plugin_directory) {
            Ok(found) => found,
            // Nobody asked for one. A directory that vanishes while its policies serve is a mistake.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && self.entries.is_empty()
                    && config.positions.at("plugins.directory").is_none() =>
            {
                Vec::new()
            }
            Err(error) => {
                let directory = config.plugin_directory.display();
                let message = format!("cannot read the plugin directory {directory}: {error}");
                return Err(config.positions.problem("plugins.directory", message));
            }
        };
        let mut scan = Scan::default();
        self.entries.retain(|name, _| found.iter().any(|place| place.name == *name));
        let mut used = Vec::new();
        for place in &found {
            let mut entry = self.entries.remove(&place.name).unwrap_or_default();
            if let Some(code) = self.update(&mut entry, place, &found, config, generation, patient, &mut scan)
            {
                used.push(code);
            }
            if let Some(link) = entry.link(place) {
                scan.links.push(link);
            }
            self.entries.insert(place.name.clone(), entry);
        }
        self.compiled.retain(|hash, _| used.contains(hash));
        Ok(scan)
    }

    /// Brings one entry up to date and answers which code it stands on.
    fn update(
        &mut self,
        entry: &mut Entry,
        place: &Found,
        all: &[Found],
        config: &Config,
        generation: u64,
        patient: bool,
        scan: &mut Scan,
    ) -> Option<Hash> {
        let mut key = Key { code: None, settings: String::new(), names: Vec::new() };
        let outcome = self.load(place, all, config, &mut key, entry);
        let code = key.code;
        match outcome {
            Ok(Loaded::Disabled) => *entry = Entry { enabled: false, ..Entry::default() },
            Ok(Loaded::Unchanged) => {
                entry.enabled = true;
                // The files are back to what serves; a version that was put back stays refused.
                if entry.refused.as_ref().is_some_and(|refused| refused.key != key) {
                    entry.refused = None;
                }
            }
            Ok(Loaded::StillRefused) => entry.report(patient, scan),
            Ok(Loaded::Fresh(plugin, on_error, body_overflow)) => {
                self.versions += 1;
                let number = self.versions;
                let link = Link {
                    name: place.name.as_str().into(),
                    on_error,
                    body_overflow,
                    policy: Policy::Serving(plugin),
                    breaker: Arc::new(Breaker::new(number, self.bad_version.clone())),
                };
                entry.previous = entry.serving.take();
                entry.serving = Some(Version { number, key, link, generation });
                entry.refused = None;
                entry.enabled = true;
            }
            Err(Refused { absent, problems, on_error, activation }) => {
                entry.enabled = true;
                if absent {
                    entry.serving = None;
                    entry.previous = None;
                }
                if !entry.is_refused(&key) {
                    let since = Instant::now();
                    entry.refused =
                        Some(Refusal { absent, key, problems, since, reported: false, on_error, activation });
                }
                entry.report(patient, scan);
            }
        }
        code
    }

    fn load(
        &mut self,
        place: &Found,
        all: &[Found],
        config: &Config,
        key: &mut Key,
        entry: &Entry,
    ) -> Result<Loaded, Refused> {
        let mut file = PluginFile::default();
        if let Some(path) = &place.toml {
            let text = std::fs::read_to_string(path)
                .map_err(|error| Refused::plain(path, format!("cannot read it: {error}")))?;
            key.settings = text;
            file = parse_plugin(&key.settings, path).map_err(|problems| Refused::of(problems.0))?;
        }
        if !file.enabled {
            return Ok(Loaded::Disabled);
        }
        let absent = place.wasm.is_none() && file.link.is_none();
        let refused = |problems: Vec<Problem>| Refused {
            absent,
            problems,
            on_error: file.on_error,
            activation: activation(&file),
        };
        let wasm = wasm_of(place, all, &file).map_err(|problem| refused(vec![problem]))?;
        let bytes = std::fs::read(&wasm)
            .map_err(|error| refused(vec![problem(&wasm, format!("cannot read it: {error}"))]))?;
        let hash: Hash = Sha256::digest(&bytes).into();
        key.code = Some(hash);
        key.names = names(config, &file);
        if entry.serving.as_ref().is_some_and(|serving| serving.key == *key) {
            return Ok(Loaded::Unchanged);
        }
        if entry.is_refused(key) {
            return Ok(Loaded::StillRefused);
        }
        let unknown = unknown_names(config, &file);
        if !unknown.is_empty() {
            return Err(refused(unknown));
        }
        let code = match self.compiled.get(&hash) {
            Some(code) => code.clone(),
            None => {
                let code = self
                    .host
                    .compile(&bytes)
                    .map_err(|error| refused(vec![problem(&wasm, error.to_string())]))?;
                self.compiled.insert(hash, code.clone());
                code
            }
        };
        let plugin = self
            .host
            .load(&code, settings(&place.name, &file))
            .map_err(|error| refused(vec![load_problem(&wasm, &file, &error)]))?;
        Ok(Loaded::Fresh(plugin, file.on_error, file.body_overflow))
    }

    /// Puts the last good version back in place of version `number`, if that one still serves.
    /// Answers with what there is to report.
    pub(crate) fn roll_back(&mut self, number: u64) -> Option<Problem> {
        let (name, entry) = self
            .entries
            .iter_mut()
            .find(|(_, entry)| entry.serving.as_ref().is_some_and(|serving| serving.number == number))?;
        let previous = entry.previous.take()?;
        let bad = entry.serving.replace(previous)?;
        let message = "it kept failing right after it was loaded; the version before serves again";
        let file = PathBuf::from(format!("{name}.wasm"));
        let what = problem(&file, message.to_owned());
        entry.refused = Some(Refusal {
            absent: false,
            key: bad.key,
            problems: vec![what.clone()],
            since: Instant::now(),
            reported: true,
            on_error: bad.link.on_error,
            activation: Arc::default(),
        });
        Some(what)
    }

    pub(crate) fn status(&self) -> Vec<Status> {
        // What may be half-copied is not there yet.
        let there = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.enabled || entry.serving.is_some() || entry.refusal().is_some());
        there.map(|(name, entry)| entry.status(name)).collect()
    }
}

enum Loaded {
    Fresh(Plugin, OnError, BodyOverflow),
    Unchanged,
    StillRefused,
    Disabled,
}

/// Why there is no new version, and what is to happen to requests if there is no old one either.
struct Refused {
    absent: bool,
    problems: Vec<Problem>,
    on_error: OnError,
    activation: Arc<Activation>,
}

impl Refused {
    /// The settings are not known, so the defaults hold: it applies to every request, which is denied.
    fn of(problems: Vec<Problem>) -> Self {
        let file = PluginFile::default();
        Self { absent: false, problems, on_error: file.on_error, activation: activation(&file) }
    }

    fn plain(file: &Path, message: String) -> Self {
        Self::of(vec![problem(file, message)])
    }
}

impl Entry {
    fn is_refused(&self, key: &Key) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.key == *key)
    }

    /// The refusal of a policy that is there, once its files have settled.
    fn refusal(&self) -> Option<&Refusal> {
        self.refused.as_ref().filter(|refused| refused.reported && !refused.absent)
    }

    /// Reports a refusal, but not before the files have settled.
    fn report(&mut self, patient: bool, scan: &mut Scan) {
        let Some(refused) = &mut self.refused else { return };
        let age = refused.since.elapsed();
        if patient && !refused.reported && age < PATIENCE {
            let wait = PATIENCE - age;
            scan.again_after = Some(scan.again_after.map_or(wait, |other| other.min(wait)));
        } else {
            refused.reported = true;
            scan.problems.extend(refused.problems.iter().cloned());
        }
    }

    /// What stands in the chain: the version that serves, or what `on-error` makes of having none. A
    /// new file that may be half-copied is not there yet.
    fn link(&self, place: &Found) -> Option<Link> {
        if !self.enabled {
            return None;
        }
        if let Some(serving) = &self.serving {
            return Some(serving.link.clone());
        }
        let refused = self.refusal()?;
        Some(Link {
            name: place.name.as_str().into(),
            on_error: refused.on_error,
            // Who cannot be called asks for no body.
            body_overflow: BodyOverflow::Deny,
            policy: Policy::Refused(refused.activation.clone()),
            breaker: Arc::new(Breaker::new(0, mpsc::channel(1).0)),
        })
    }

    fn status(&self, name: &str) -> Status {
        let plugin = self.serving.as_ref().and_then(|serving| match &serving.link.policy {
            Policy::Serving(plugin) => Some(plugin),
            Policy::Refused(_) => None,
        });
        let refused = self.refusal();
        let state = match (self.enabled, refused) {
            (false, _) => State::Disabled,
            (true, Some(_)) => State::Refused,
            (true, None) => State::Serving,
        };
        let error = refused.map(|refused| {
            let lines: Vec<String> = refused.problems.iter().map(Problem::to_string).collect();
            lines.join("\n")
        });
        Status {
            name: name.to_owned(),
            generation: self.serving.as_ref().map(|serving| serving.generation),
            state,
            error,
            last_good: refused.is_some() && self.serving.is_some(),
            phases: plugin
                .map(|plugin| plugin.phases().iter().map(|phase| phase.as_str()).collect())
                .unwrap_or_default(),
            description: plugin
                .map(|plugin| plugin.description().iter().cloned().collect())
                .unwrap_or_default(),
            breaker: self.serving.as_ref().map(|serving| serving.link.breaker.clone()),
        }
    }
}

/// Every place of the chain, in the order of file names. Hidden files and other endings are left alone.
fn list(directory: &Path) -> io::Result<Vec<Found>> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let (Some(stem), Some(ending)) = (path.file_stem(), path.extension()) else { continue };
        let (Some(name), true) = (stem.to_str(), ending == "wasm" || ending == "toml") else { continue };
        if name.starts_with('.') {
            continue;
        }
        let place = found.entry(name.to_owned()).or_insert_with(|| Found {
            name: name.to_owned(),
            wasm: None,
            toml: None,
        });
        let slot = if ending == "wasm" { &mut place.wasm } else { &mut place.toml };
        *slot = Some(path);
    }
    Ok(found.into_values().collect())
}

/// The file that holds the code of a place: its own, or that of the plugin it links to.
fn wasm_of(place: &Found, all: &[Found], file: &PluginFile) -> Result<PathBuf, Problem> {
    match (&place.wasm, &file.link) {
        (Some(_), Some(_)) => Err(file
            .positions
            .problem("link", format!("{}.wasm is here as well: remove one of them", place.name))),
        (Some(wasm), None) => Ok(wasm.clone()),
        (None, Some(target)) => {
            let linked = all.iter().find(|other| other.name == *target).and_then(|other| other.wasm.clone());
            linked.ok_or_else(|| {
                file.positions.problem("link", format!("there is no {target}.wasm in this directory"))
            })
        }
        (None, None) => {
            let path = place.toml.as_deref().unwrap_or(Path::new(&place.name));
            Err(problem(path, format!("there is no {}.wasm beside it and it has no `link`", place.name)))
        }
    }
}

/// Names of the configuration that the settings refer to, so that they are checked again when it changes.
fn names(config: &Config, file: &PluginFile) -> Vec<String> {
    let routes = file.routes.iter().flat_map(|_| config.destinations());
    let listeners = config.listeners.keys().filter(|_| !file.matching.listeners.is_empty());
    routes.chain(listeners).cloned().collect()
}

fn unknown_names(config: &Config, file: &PluginFile) -> Vec<Problem> {
    let unknown = |name: &String| !config.destinations().any(|known| known == name);
    let routes = file.routes.iter().flatten().enumerate().filter(|(_, name)| unknown(name));
    let routes = routes.map(|(index, name)| {
        let message = format!("there is no upstream or file root \"{name}\"");
        file.positions.problem(&format!("grants.routes[{index}]"), message)
    });
    let listeners =
        file.matching.listeners.iter().enumerate().filter(|(_, name)| !config.listeners.contains_key(*name));
    let listeners = listeners.map(|(index, name)| {
        file.positions
            .problem(&format!("match.listeners[{index}]"), format!("there is no listener \"{name}\""))
    });
    routes.chain(listeners).collect()
}

fn settings(name: &str, file: &PluginFile) -> host::Settings {
    host::Settings {
        name: name.to_owned(),
        config: file.config.to_string(),
        limits: host::Limits {
            cpu: file.limits.cpu,
            time: file.limits.time,
            memory: file.limits.memory,
            instances: file.limits.instances,
            reuse: file.limits.reuse,
        },
        isolation: match file.isolation {
            Isolation::Worker => host::Isolation::Worker,
            Isolation::Request => host::Isolation::Request,
        },
        routes: file.routes.clone(),
        matching: matching(file),
    }
}

fn matching(file: &PluginFile) -> host::Match {
    let matching = file.matching.clone();
    host::Match {
        hosts: matching.hosts,
        paths: matching.paths,
        methods: matching.methods,
        listeners: matching.listeners,
    }
}

/// What a refused policy applies to. Patterns were checked with the file; were one not usable, the
/// policy would apply to everything.
fn activation(file: &PluginFile) -> Arc<Activation> {
    Arc::new(Activation::new(&matching(file)).unwrap_or_default())
}

fn problem(file: &Path, message: String) -> Problem {
    Problem { file: file.to_owned(), position: None, message, help: None }
}

/// A plugin's own complaint about its configuration begins with the key, which has a place in the file.
fn load_problem(wasm: &Path, file: &PluginFile, error: &LoadError) -> Problem {
    let LoadError::Refused(complaint) = error else { return problem(wasm, error.to_string()) };
    let key = complaint.split_once(": ").map_or("", |(key, _)| key);
    let looks_like_key = !key.is_empty() && !key.contains(char::is_whitespace);
    let path = if looks_like_key { format!("config.{key}") } else { "config".to_owned() };
    match file.positions.at(&path) {
        Some(_) => {
            file.positions.problem(&path, format!("the plugin refuses its configuration: {complaint}"))
        }
        None => problem(wasm, error.to_string()),
    }
}
