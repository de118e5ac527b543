//! One version of a policy: what it is made of, and how it is loaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate_config::{Config, Isolation, OnError, PluginFile, Problem, parse_plugin};
use tidegate_plugin_host::{self as host, Activation, Code, Host, LoadError};
use tokio::sync::mpsc;

use super::files::{self, Files, problem};
use crate::policy::{Breaker, Link, Policy, Shares};

/// Everything a version is made of; the same again is not loaded again.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Key {
    code: Option<Hash>,
    settings: String,
    /// Names of the configuration its settings refer to.
    names: Vec<String>,
}

pub(super) type Hash = [u8; 32];

impl Key {
    /// The code it stands on, as far as that could be read.
    pub(super) fn code(&self) -> Option<Hash> {
        self.code
    }
}

/// A version that was loaded.
pub(super) struct Version {
    /// Counts all versions of all policies.
    pub(super) number: u64,
    pub(super) key: Key,
    pub(super) link: Link,
    /// The generation it began to serve in.
    pub(super) generation: u64,
}

/// What the files of a place say.
pub(super) enum Read {
    /// `enabled = false`.
    Disabled,
    Inputs(Box<Inputs>),
}

/// What a version is to be made of.
pub(super) struct Inputs {
    pub(super) key: Key,
    name: String,
    settings: PluginFile,
    wasm: PathBuf,
    bytes: Vec<u8>,
}

/// Why there is no new version, and what is to happen to requests if there is no old one either.
pub(super) struct Refused {
    /// As far as the files could be read.
    pub(super) key: Key,
    pub(super) lacks: Lacks,
    pub(super) problems: Vec<Problem>,
    pub(super) on_error: OnError,
    pub(super) activation: Arc<Activation>,
}

/// What a refused version has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// A version that can serve.
    Version,
    /// Any code: there is a `NAME.toml` alone, which is no policy of the chain, only a mistake to be told of.
    Code,
}

/// Makes versions of files.
pub(super) struct Loader {
    host: Host,
    /// By content: a changed `NAME.toml`, a copy and a link compile nothing.
    compiled: HashMap<Hash, Code>,
    bad_version: mpsc::Sender<u64>,
    versions: u64,
}

impl Loader {
    /// `bad_version` is told the number of a version that keeps failing right after it was loaded.
    pub(super) fn new(host: Host, bad_version: mpsc::Sender<u64>) -> Self {
        Self { host, compiled: HashMap::new(), bad_version, versions: 0 }
    }

    /// Reads what a version of `place` would be made of.
    pub(super) fn read(&self, place: &Files, all: &[Files], config: &Config) -> Result<Read, Box<Refused>> {
        let mut key = Key::default();
        let mut settings = PluginFile::default();
        if let Some(path) = &place.toml {
            key.settings = std::fs::read_to_string(path).map_err(|error| {
                Refused::unread(Key::default(), vec![problem(path, format!("cannot read it: {error}"))])
            })?;
            settings = parse_plugin(&key.settings, path)
                .map_err(|problems| Refused::unread(key.clone(), problems.0))?;
        }
        if !settings.enabled {
            return Ok(Read::Disabled);
        }
        let absent = place.wasm.is_none() && settings.link.is_none();
        let lacks = if absent { Lacks::Code } else { Lacks::Version };
        let wasm = files::code_of(place, all, &settings)
            .map_err(|problem| Refused::new(key.clone(), lacks, vec![problem], &settings))?;
        let bytes = std::fs::read(&wasm).map_err(|error| {
            let problem = problem(&wasm, format!("cannot read it: {error}"));
            Refused::new(key.clone(), lacks, vec![problem], &settings)
        })?;
        key.code = Some(Sha256::digest(&bytes).into());
        key.names = names(config, &settings);
        Ok(Read::Inputs(Box::new(Inputs { key, name: place.name.clone(), settings, wasm, bytes })))
    }

    /// Compiles, starts and configures a version, which serves from `generation` on.
    pub(super) fn load(
        &mut self,
        inputs: Inputs,
        config: &Config,
        generation: u64,
    ) -> Result<Version, Box<Refused>> {
        let Inputs { key, name, settings, wasm, bytes } = inputs;
        let refused = |problems: Vec<Problem>| Refused::new(key.clone(), Lacks::Version, problems, &settings);
        let unknown = unknown_names(config, &settings);
        if !unknown.is_empty() {
            return Err(refused(unknown));
        }
        let compiled = key.code.and_then(|hash| self.compiled.get(&hash)).cloned();
        let code = match compiled {
            Some(code) => code,
            None => {
                self.host.compile(&bytes).map_err(|error| refused(vec![problem(&wasm, error.to_string())]))?
            }
        };
        if let Some(hash) = key.code {
            self.compiled.insert(hash, code.clone());
        }
        let plugin = self
            .host
            .load(&code, host_settings(&name, &settings))
            .map_err(|error| refused(vec![load_problem(&wasm, &settings, &error)]))?;
        self.versions += 1;
        let number = self.versions;
        let link = Link {
            name: name.into(),
            on_error: settings.on_error,
            required: settings.required,
            body_overflow: settings.body_overflow,
            policy: Policy::Serving(plugin),
            breaker: Arc::new(Breaker::new(
                settings.on_error,
                number,
                Shares::default(),
                self.bad_version.clone(),
            )),
        };
        Ok(Version { number, key, link, generation })
    }

    /// Forgets compiled code that no place stands on any more.
    pub(super) fn keep_only(&mut self, used: &[Hash]) {
        self.compiled.retain(|hash, _| used.contains(hash));
    }
}

impl Refused {
    fn new(key: Key, lacks: Lacks, problems: Vec<Problem>, settings: &PluginFile) -> Box<Self> {
        let (on_error, activation) = (settings.on_error, activation(settings));
        Box::new(Self { key, lacks, problems, on_error, activation })
    }

    /// The settings are not known, so the defaults hold: it applies to every request, which is denied.
    fn unread(key: Key, problems: Vec<Problem>) -> Box<Self> {
        Self::new(key, Lacks::Version, problems, &PluginFile::default())
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

fn host_settings(name: &str, file: &PluginFile) -> host::Settings {
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
