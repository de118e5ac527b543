//! `NAME.toml`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::name_schema;
use super::text::{FilePath, HostPattern, Method, PathPattern, PluginName, Size, Text, VariableName};
use crate::{BodyOverflow, Isolation, OnError};

/// How tidegate runs the plugin beside this file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "NAME.toml")]
pub(crate) struct Plugin {
    /// `false` takes the policy out of the chain.
    pub enabled: bool,
    /// What a failed call means for the exchange.
    pub on_error: OnError,
    /// `true`: the policy is never skipped and never put into quarantine, and `/readyz` fails while it does not work.
    /// Needs `on-error` and `body-overflow` to be `"deny"`, and `enabled` to be `true`.
    pub required: bool,
    /// `true`: the policy runs beside the chain, at its place, on the same requests, and decides nothing: what it would do is
    /// compared with what is done, counted, and told in part.
    pub shadow: bool,
    /// Per cent of the requests that a shadow sees; also for `NAME.shadow.wasm`.
    #[schemars(range(min = 1, max = 100))]
    pub shadow_share: u8,
    /// What happens to a body over `limits.policy-body` of `tidegate.toml` that the policy wants to see
    /// whole.
    pub body_overflow: BodyOverflow,
    /// Requests the policy is called for: all kinds given must hold, and an empty list leaves its kind
    /// open.
    #[serde(rename = "match")]
    pub matching: Match,
    /// What the policy may use. A call over `cpu`, `time` or `memory` has failed.
    pub limits: Limits,
    /// Whether exchanges share an instance.
    pub isolation: Isolation,
    /// What the policy may reach.
    pub grants: Grants,
    /// What the policy learns when it asks for a secret by name. The proxy itself shows none of them anywhere.
    #[schemars(extend("propertyNames" = name_schema(), "x-secret" = true))]
    pub secrets: BTreeMap<String, Secret>,
    /// From one call of the policy's timer phase to the next. Without it the phase is not run.
    #[schemars(extend("x-minimum" = "1s", "x-maximum" = "24h"))]
    pub timer: Option<Text<Duration>>,
    /// Runs the code of this other plugin with the settings of this file.
    pub link: Option<Text<PluginName>>,
    /// Handed to the plugin as JSON; dates become strings. The plugin says what belongs here
    /// (`config-schema`).
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: toml::Table,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            enabled: true,
            on_error: OnError::Deny,
            required: false,
            shadow: false,
            shadow_share: 100,
            body_overflow: BodyOverflow::Deny,
            matching: Match::default(),
            limits: Limits::default(),
            isolation: Isolation::Worker,
            grants: Grants::default(),
            secrets: BTreeMap::new(),
            timer: None,
            link: None,
            config: toml::Table::new(),
        }
    }
}

/// Requests the policy is called for.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Match {
    /// Hosts of the request; its port does not count.
    pub hosts: Vec<Text<HostPattern>>,
    /// Compared with the normalised path.
    pub paths: Vec<Text<PathPattern>>,
    /// Methods of the request.
    pub methods: Vec<Text<Method>>,
    /// Names of listeners. Each has to exist.
    pub listeners: Vec<String>,
}

/// What the policy may use.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// Processor time of one call. The proxy looks every millisecond.
    pub cpu: Text<Duration>,
    /// Time of one call with its waits; at least `cpu`.
    pub time: Text<Duration>,
    /// Memory and tables of one instance.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "4GiB"))]
    pub memory: Text<Size>,
    /// Instances per worker. When all are busy, a call waits for one for `time`, and then has failed. Where an exchange
    /// keeps its instance (`isolation = "request"`), or the plugin imports WASI, one client has half of them at most.
    #[schemars(range(min = 1, max = 10_000))]
    pub instances: usize,
    /// Calls per worker that wait at a time for callouts and for checks of passwords, half of them at most for one client.
    /// Beyond it the policy is told `too-many` or `busy`. At most `instances`, and three quarters of them by default.
    #[schemars(range(min = 1, max = 10_000))]
    pub waiting: Option<usize>,
    /// Exchanges after which an instance is replaced (75 to 100 % of it, by chance), however many pieces
    /// their bodies have.
    #[schemars(range(min = 1, max = 4_294_967_295u64))]
    pub reuse: u32,
    /// Callouts for one exchange, or in one call of the timer phase. Beyond it they fail (`too-many`).
    #[schemars(range(max = 64))]
    pub callouts: u32,
    /// Bytes of the body of a response to a callout. Over it the callout has failed (`too-large`).
    #[schemars(extend("x-minimum" = "1KiB", "x-maximum" = "64MiB"))]
    pub callout_response: Text<Size>,
    /// How long a callout may take where the policy does not say. Over it the callout has failed (`timeout`). It counts
    /// towards `time`, which no callout outlasts.
    #[schemars(extend("x-maximum" = "5m"))]
    pub callout_timeout: Text<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Text(Duration::from_millis(10)),
            time: Text(Duration::from_secs(1)),
            memory: Text(Size(32 << 20)),
            instances: 64,
            waiting: None,
            reuse: 10_000,
            callouts: 8,
            callout_response: Text(Size(1 << 20)),
            callout_timeout: Text(Duration::from_millis(500)),
        }
    }
}

/// What the policy may reach.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Grants {
    /// Upstreams and file roots that the policy may send requests of its own to. Each has to exist.
    #[schemars(extend("uniqueItems" = true))]
    pub callout: Vec<String>,
    /// `true`: the policy may keep values, where `[state]` of `tidegate.toml` says.
    pub store: bool,
    /// `true`: the policy may limit how often something happens. `[state]` of `tidegate.toml` says where it is counted.
    pub rate_limit: bool,
    /// `true`: the policy may have metrics of its own, beside those of the proxy.
    pub metrics: bool,
    /// Upstreams and file roots that the policy may route to; without it all of them. Each has to exist.
    pub routes: Option<Vec<String>>,
}

/// Where a secret is: in a file or in the environment.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(extend("x-secret" = true))]
pub(crate) struct Secret {
    /// The file that contains it. Either this or `env` is needed, not both.
    #[schemars(extend("x-secret" = true))]
    pub file: Option<Text<FilePath>>,
    /// The environment variable of the proxy whose value it is.
    #[schemars(extend("x-secret" = true))]
    pub env: Option<Text<VariableName>>,
}
