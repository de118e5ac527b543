//! One version of a policy: what it is made of, and how it is loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tidegate_config::{
    Cases, Config, Isolation, OnError, PluginFile, Positions, Problem, Secret, parse_cases, parse_plugin,
};
use tidegate_plugin_host::{self as host, Activation, LoadError};

use super::codes::{Codes, Hash};
use super::files::{self, Files, SHADOW, problem};
use crate::policy::{Link, Shadow};
use crate::regular;

/// Everything a version is made of; the same again is not loaded again.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Key {
    code: Option<Hash>,
    /// `None` without a `NAME.toml`.
    settings: Option<String>,
    /// `None` without a `NAME.cases.toml`.
    cases: Option<String>,
    /// Of the secrets, if there are any.
    secrets: Option<Hash>,
    /// What is wrong with the names its settings refer to, or with its secrets. What else is in the configuration does
    /// not matter to it.
    problems: Vec<Problem>,
}

impl Key {
    /// The code it stands on, as far as that could be read.
    pub(super) fn code(&self) -> Option<Hash> {
        self.code
    }

    /// Whether both are made of the same files.
    pub(super) fn has_files_of(&self, other: &Self) -> bool {
        self.code == other.code && self.settings == other.settings && self.cases == other.cases
    }

    /// Whether the settings may be those of `whole` on their way: not there yet, or only the beginning of them.
    pub(super) fn is_part_of(&self, whole: &Self) -> bool {
        match (&self.settings, &whole.settings) {
            (None, Some(_)) => true,
            (Some(part), Some(whole)) => part.len() < whole.len() && whole.starts_with(part.as_str()),
            (_, None) => false,
        }
    }

    pub(super) fn has_settings(&self) -> bool {
        self.settings.is_some()
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
    pub(super) settings: PluginFile,
    wasm: PathBuf,
    pub(super) bytes: Arc<[u8]>,
    secrets: host::Secrets,
    /// What it has to do before it serves, and where that stands.
    cases: Option<(PathBuf, Arc<Cases>)>,
}

/// Why files that could be read made no plugin.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    Load(LoadError),
    /// It does not do what its cases expect: the first difference, and how many cases there are of that kind.
    Cases {
        first: String,
        failed: usize,
    },
    /// It took too long or crashed.
    Thread(String),
}

/// Why there is no new version, and what is to happen to requests if there is no old one either.
#[derive(Clone)]
pub(super) struct Refused {
    /// As far as the files could be read.
    pub(super) key: Key,
    pub(super) lacks: Lacks,
    pub(super) problems: Vec<Problem>,
    pub(super) on_error: OnError,
    pub(super) required: bool,
    pub(super) activation: Arc<Activation>,
    /// It may be one of these that is at fault, or that changes.
    pub(super) secret_files: Vec<PathBuf>,
    /// It decides nothing.
    pub(super) is_shadow: bool,
}

/// What a refused version has not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lacks {
    /// A version that can serve.
    Version,
    /// Any code: there is a `NAME.toml` alone, which is no policy of the chain, only a mistake to be told of.
    Code,
    /// A file: a folder, a link that leads nowhere or a FIFO has its name. It is no policy of the chain either, but what
    /// serves goes on.
    File,
}

/// What makes a policy of this name and these settings a shadow.
pub(super) fn shadow_of(name: &str, settings: &PluginFile) -> Option<Shadow> {
    let of = name.strip_suffix(SHADOW);
    let is_shadow = settings.shadow || of.is_some();
    is_shadow.then(|| Shadow { of: of.map(Arc::from), share: settings.shadow_share, tally: Arc::default() })
}

/// Reads what a version of `place` would be made of.
pub(super) fn read(
    place: &Files,
    all: &[Files],
    config: &Config,
    codes: &mut Codes,
) -> Result<Read, Box<Refused>> {
    let mut key = Key::default();
    let mut settings = PluginFile::default();
    // A shadow without settings of its own has those of the policy whose next version it may be.
    let base = place.name.strip_suffix(SHADOW).and_then(|base| all.iter().find(|other| other.name == base));
    if let Some(path) = place.toml.as_ref().or_else(|| base?.toml.as_ref()) {
        let text = regular::read_to_string(path).map_err(|error| {
            let alone = place.wasm.is_none() && regular::is_no_file(&error);
            let lacks = if alone { Lacks::File } else { Lacks::Version };
            Refused::unread(
                &place.name,
                Key::default(),
                lacks,
                vec![problem(path, format!("cannot read it: {error}"))],
            )
        })?;
        key.settings = Some(text.clone());
        settings = parse_plugin(&text, path)
            .map_err(|problems| Refused::unread(&place.name, key.clone(), Lacks::Version, problems.0))?;
    }
    if !settings.enabled {
        return Ok(Read::Disabled);
    }
    let cases = match &place.cases {
        Some(path) => {
            let refused = |key: &Key, problems| {
                Refused::new(&place.name, key.clone(), Lacks::Version, problems, &settings)
            };
            let text = regular::read_to_string(path)
                .map_err(|error| refused(&key, vec![problem(path, format!("cannot read it: {error}"))]))?;
            key.cases = Some(text.clone());
            let cases = parse_cases(&text, path).map_err(|problems| refused(&key, problems.0))?;
            let own = cases.cases.iter().enumerate();
            let own = own.filter(|(_, case)| case.config.json.is_some());
            let mut configs: Vec<_> = own.map(|(index, _)| format!("case[{index}].config")).collect();
            if cases.config.json.is_some() {
                configs.insert(0, "config".to_owned());
            }
            if !configs.is_empty() {
                let message = "what goes live is tried with the [config] of its own file: leave this one out";
                let problem = |path: &String| cases.positions.problem(path, message);
                return Err(refused(&key, configs.iter().map(problem).collect()));
            }
            Some((path.clone(), Arc::new(cases)))
        }
        None => None,
    };
    let absent = place.wasm.is_none() && settings.link.is_none();
    let lacks = if absent { Lacks::Code } else { Lacks::Version };
    let wasm = files::code_of(place, all, &settings)
        .map_err(|problem| Refused::new(&place.name, key.clone(), lacks, vec![problem], &settings))?;
    let code = codes.read(&wasm).map_err(|error| {
        let no_policy = regular::is_no_file(&error) && !settings.required;
        let lacks = if no_policy { Lacks::File } else { lacks };
        let problem = problem(&wasm, format!("cannot read it: {error}"));
        Refused::new(&place.name, key.clone(), lacks, vec![problem], &settings)
    })?;
    key.code = Some(code.hash);
    key.problems = unknown_names(config, &settings);
    if !key.problems.is_empty() {
        let problems = key.problems.clone();
        return Err(Refused::new(&place.name, key, Lacks::Version, problems, &settings));
    }
    let secrets = match secrets(&settings) {
        Ok(secrets) => secrets,
        Err(problems) => {
            key.problems = problems.clone();
            return Err(Refused::new(&place.name, key, Lacks::Version, problems, &settings));
        }
    };
    key.secrets = (!secrets.is_empty()).then(|| digest(&secrets));
    let (name, bytes) = (place.name.clone(), code.bytes);
    let secrets = secrets.into_iter().collect();
    Ok(Read::Inputs(Box::new(Inputs { key, name, settings, wasm, bytes, secrets, cases })))
}

/// Largest secret, bytes: a password file of some ten thousand users.
const MAX_SECRET: usize = 4 << 20;

/// What the operator gave the plugin to keep to itself. No problem repeats any of it.
fn secrets(file: &PluginFile) -> Result<Vec<(String, Vec<u8>)>, Vec<Problem>> {
    let mut secrets = Vec::new();
    let mut problems = Vec::new();
    for (name, secret) in &file.secrets {
        let value = match secret {
            Secret::File(path) => {
                regular::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
            }
            Secret::Env(variable) => match std::env::var_os(variable) {
                Some(value) => Ok(value.into_encoded_bytes()),
                None => Err(format!("there is no variable {variable} in the environment")),
            },
        };
        match value {
            Ok(value) if value.len() > MAX_SECRET => {
                problems.push((name, format!("a secret has at most {MAX_SECRET} bytes")));
            }
            Ok(value) => secrets.push((name.clone(), value)),
            Err(message) => problems.push((name, message)),
        }
    }
    let place = |(name, message): (&String, String)| {
        file.positions.problem(&format!("secrets.{}", Positions::segment(name)), message)
    };
    if problems.is_empty() { Ok(secrets) } else { Err(problems.into_iter().map(place).collect()) }
}

/// Files that secrets are in.
pub(super) fn secret_files(file: &PluginFile) -> Vec<PathBuf> {
    let files = file.secrets.values().filter_map(|secret| match secret {
        Secret::File(path) => Some(path.clone()),
        Secret::Env(_) => None,
    });
    files.collect()
}

fn digest(secrets: &[(String, Vec<u8>)]) -> Hash {
    let mut digest = Sha256::new();
    for (name, value) in secrets {
        for part in [name.as_bytes(), value] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
    }
    digest.finalize().into()
}

impl Inputs {
    /// What the sandbox is told.
    pub(super) fn host_settings(&self) -> host::Settings {
        host::Settings { secrets: self.secrets.clone(), ..host_settings(&self.name, &self.settings) }
    }

    /// What it has to do before it serves.
    pub(super) fn cases(&self) -> Option<Arc<Cases>> {
        self.cases.as_ref().map(|(_, cases)| cases.clone())
    }

    /// There is no version of it.
    pub(super) fn refused(self, why: &Failed) -> Box<Refused> {
        let problem = match why {
            Failed::Cases { first, failed } => {
                let more = match failed {
                    1 => String::new(),
                    failed => format!(" (and {} more)", failed - 1),
                };
                let file = self.cases.as_ref().map_or(&self.wasm, |(path, _)| path);
                problem(file, format!("it does not do what its cases expect: {first}{more}"))
                    .with_help("`tidegate plugin test` shows all of them")
            }
            Failed::Load(error) => load_problem(&self.wasm, &self.settings, error),
            Failed::Thread(message) => problem(&self.wasm, message.clone()),
        };
        Refused::new(&self.name, self.key, Lacks::Version, vec![problem], &self.settings)
    }
}

impl Refused {
    fn new(name: &str, key: Key, lacks: Lacks, problems: Vec<Problem>, settings: &PluginFile) -> Box<Self> {
        let activation = activation(settings);
        Box::new(Self {
            key,
            lacks,
            problems,
            on_error: settings.on_error,
            required: settings.required,
            activation,
            secret_files: secret_files(settings),
            is_shadow: settings.shadow || name.ends_with(SHADOW),
        })
    }

    /// The settings are not known, so the defaults hold: it applies to every request, which is denied.
    fn unread(name: &str, key: Key, lacks: Lacks, problems: Vec<Problem>) -> Box<Self> {
        Self::new(name, key, lacks, problems, &PluginFile::default())
    }
}

/// Names that the settings refer to and that the configuration does not have, or has for something else.
fn unknown_names(config: &Config, file: &PluginFile) -> Vec<Problem> {
    let callouts = ("callout", &file.grants.callout);
    let routes = file.grants.routes.as_ref().map(|routes| ("routes", routes));
    let named = [callouts].into_iter().chain(routes);
    let named = named.flat_map(|(grant, names)| names.iter().enumerate().map(move |name| (grant, name)));
    let unknown = named.filter(|(_, (_, name))| !config.destinations().any(|known| known == *name));
    let destinations = unknown.map(|(grant, (index, name))| {
        let message = format!("there is no upstream or file root \"{name}\"");
        file.positions.problem(&format!("grants.{grant}[{index}]"), message)
    });
    let listeners =
        file.matching.listeners.iter().enumerate().filter(|(_, name)| !config.listeners.contains_key(*name));
    let listeners = listeners.map(|(index, name)| {
        let message = format!("there is no listener \"{name}\"");
        file.positions.problem(&format!("match.listeners[{index}]"), message)
    });
    destinations.chain(listeners).collect()
}

/// What the sandbox is told of a plugin of this name, with its secrets.
///
/// # Errors
///
/// Secrets cannot be read.
pub(crate) fn settings_of(name: &str, file: &PluginFile) -> Result<host::Settings, Vec<Problem>> {
    let secrets = secrets(file)?.into_iter().collect();
    Ok(host::Settings { secrets, ..host_settings(name, file) })
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
            waiting: file.limits.waiting,
            callouts: file.limits.callouts,
            callout_response: file.limits.callout_response,
            callout_timeout: file.limits.callout_timeout,
        },
        isolation: match file.isolation {
            Isolation::Worker => host::Isolation::Worker,
            Isolation::Request => host::Isolation::Request,
        },
        routes: file.grants.routes.clone(),
        matching: matching(file),
        secrets: host::Secrets::default(),
        grants: host::Grants {
            callout: file.grants.callout.clone(),
            store: file.grants.store,
            rate_limit: file.grants.rate_limit,
            metrics: file.grants.metrics,
        },
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
        None => {
            let table = wasm.with_extension("toml");
            let help = format!("write [config] with its keys in {}", table.display());
            problem(wasm, error.to_string()).with_help(&help)
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::parse;

    use super::*;

    /// What is wrong with the names in `settings`, one line each.
    fn problems(settings: &str) -> Vec<String> {
        let config = r#"
            [listener.web]
            address = "127.0.0.1:0"
            [upstream.app]
            servers = ["127.0.0.1:1"]
            [files.assets]
            root = "www"
        "#;
        let config = parse(config, Path::new("tidegate.toml")).expect("a configuration");
        let settings = parse_plugin(settings, Path::new("a.toml")).expect("settings");
        unknown_names(&config, &settings).iter().map(Problem::to_string).collect()
    }

    #[test]
    fn requests_and_callouts_go_to_upstreams_and_file_roots_that_exist() {
        assert_eq!(problems("grants.routes = [\"app\", \"assets\"]"), [""; 0]);
        assert_eq!(
            problems("grants.callout = [\"app\", \"auth\", \"assets\"]"),
            ["a.toml:1:26: there is no upstream or file root \"auth\""]
        );
        assert_eq!(
            problems("grants.routes = [\"ap\"]\nmatch.listeners = [\"web\", \"wbe\"]"),
            [
                "a.toml:1:18: there is no upstream or file root \"ap\"",
                "a.toml:2:27: there is no listener \"wbe\""
            ]
        );
    }
}
