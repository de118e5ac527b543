//! `NAME.toml`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{HostPattern, Method, PathPattern, PluginName, Size, Text};
use crate::{BodyOverflow, Isolation, OnError};

/// How tidegate runs the plugin beside this file.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "NAME.toml")]
pub(crate) struct Plugin {
    /// Whether the plugin is part of the chain.
    pub enabled: bool,
    /// What a failed call means for the exchange.
    pub on_error: OnError,
    /// What happens to a body over limits.policy-body that the policy wants to see whole.
    pub body_overflow: BodyOverflow,
    /// Requests the plugin is called for; all kinds given must hold. An empty list leaves its kind
    /// open.
    #[serde(rename = "match")]
    pub matching: Match,
    /// What one call may use; over it the call has failed.
    pub limits: Limits,
    /// Whether exchanges share an instance.
    pub isolation: Isolation,
    /// What the plugin may reach.
    pub grants: Grants,
    /// Run the code of this other plugin with the settings of this file.
    pub link: Option<Text<PluginName>>,
    /// Handed to the plugin's `configure` as JSON. Dates become strings.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub config: toml::Table,
}

impl Default for Plugin {
    fn default() -> Self {
        Self {
            enabled: true,
            on_error: OnError::Deny,
            body_overflow: BodyOverflow::Deny,
            matching: Match::default(),
            limits: Limits::default(),
            isolation: Isolation::Worker,
            grants: Grants::default(),
            link: None,
            config: toml::Table::new(),
        }
    }
}

/// Requests the plugin is called for.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Match {
    /// Exact hosts or "*.example.org", without regard to case.
    pub hosts: Vec<Text<HostPattern>>,
    /// Globs over the normalised path: * within a segment, ** across segments.
    pub paths: Vec<Text<PathPattern>>,
    /// Method names, in their exact case.
    pub methods: Vec<Text<Method>>,
    /// Names of listeners.
    pub listeners: Vec<String>,
}

/// What one call may use.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// CPU time of one call.
    pub cpu: Text<Duration>,
    /// Time of one call with its waits; at least cpu.
    pub time: Text<Duration>,
    /// Bytes of all memories of one instance.
    #[schemars(extend("x-minimum" = "1MiB", "x-maximum" = "4GiB"))]
    pub memory: Text<Size>,
    /// Instances per worker.
    #[schemars(range(min = 1, max = 10_000))]
    pub instances: usize,
    /// Exchanges after which an instance is replaced.
    #[schemars(range(min = 1, max = 4_294_967_295u64))]
    pub reuse: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Text(Duration::from_millis(10)),
            time: Text(Duration::from_secs(1)),
            memory: Text(Size(32 << 20)),
            instances: 64,
            reuse: 10_000,
        }
    }
}

/// What the plugin may reach.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Grants {
    /// Upstreams and file roots the plugin may route to; without it all of them.
    pub routes: Option<Vec<String>>,
}
