//! The checked content of `NAME.toml`: what the operator says about one plugin.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Positions, check, file};

/// The checked content of `NAME.toml` beside a plugin. `PluginFile::default()` is that of a plugin
/// that has none.
#[derive(Debug, Clone, PartialEq)]
pub struct PluginFile {
    /// `false` takes the plugin out of the chain.
    pub enabled: bool,
    /// What a failed call means for the exchange.
    pub on_error: OnError,
    /// It is never skipped and never switched off; everything that would do so is
    /// [`OnError::Deny`] and [`BodyOverflow::Deny`].
    pub required: bool,
    /// It runs beside the chain and decides nothing.
    pub shadow: bool,
    /// Per cent of the requests that a shadow sees, 1 to 100.
    pub shadow_share: u8,
    /// What happens to a body that is too large for the policy to see it whole
    /// ([`Limits::policy_body`](crate::Limits)).
    pub body_overflow: BodyOverflow,
    /// Requests the plugin is called for; all kinds given must hold.
    pub matching: Match,
    /// What one call may use.
    pub limits: PluginLimits,
    /// Whether exchanges share an instance.
    pub isolation: Isolation,
    /// What the policy may reach.
    pub grants: Grants,
    /// Where the secrets are that it may ask for, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Period of the timer phase, at least 1 s; `None` = it is not run.
    pub timer: Option<Duration>,
    /// Runs the code of this other plugin with this file's settings.
    pub link: Option<String>,
    /// `[config]`, handed to the plugin's `configure`. An empty object when absent.
    pub config: serde_json::Value,
    /// Where each key of the file stands.
    pub positions: Positions,
}

impl Default for PluginFile {
    fn default() -> Self {
        check::plugin_without_file(file::Plugin::default())
    }
}

/// `on-error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// The request is answered with 503.
    Deny,
    /// The request goes on as if the policy were not there.
    Skip,
}

/// `body-overflow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BodyOverflow {
    /// A request is answered with 413, a response is replaced by 502.
    Deny,
    /// The body passes as if the policy had not asked for it.
    Skip,
}

/// `match`. An empty list leaves its kind open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Match {
    /// Exact hosts or `*.example.org`, compared without regard to case; in lower case here.
    pub hosts: Vec<String>,
    /// Globs over the normalised path.
    pub paths: Vec<String>,
    /// Method names.
    pub methods: Vec<String>,
    /// Names of listeners.
    pub listeners: Vec<String>,
}

/// `limits` of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// CPU time of one call; at least 1 ms.
    pub cpu: Duration,
    /// Time of one call with its waits; at least `cpu`.
    pub time: Duration,
    /// Bytes of all memories and tables of one instance.
    pub memory: usize,
    /// Instances per worker; at least 1.
    pub instances: usize,
    /// Exchanges after which an instance is replaced; at least 1.
    pub reuse: u32,
    /// Calls per worker that wait at a time, at least 1 and at most `instances`.
    pub waiting: usize,
    /// Callouts for one exchange, or in one call of the timer phase; may be 0.
    pub callouts: u32,
    /// Bytes of the body of a response to a callout.
    pub callout_response: usize,
    /// For a callout of which the policy does not say how long it may take.
    pub callout_timeout: Duration,
}

/// `grants`. The default grants nothing but every route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Upstreams it may send requests of its own to.
    pub callout: Vec<String>,
    /// It may keep values.
    pub store: bool,
    /// It may limit how often something happens.
    pub rate_limit: bool,
    /// It may have metrics of its own.
    pub metrics: bool,
    /// Upstreams and file roots it may route to; `None` = all.
    pub routes: Option<Vec<String>>,
}

/// Where a secret is; what it is was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Secret {
    /// The content of this file; already joined with the directory of `NAME.toml`.
    File(PathBuf),
    /// The value of this environment variable.
    Env(String),
}

/// `isolation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// An instance serves one exchange after another.
    Worker,
    /// Each exchange gets a fresh instance, and its log phase another, which costs tens of microseconds each.
    Request,
}
