//! `[state]`: every key with its type, default and range.
//!
//! Documentation comments here are the descriptions of the published schema.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{Backend, FilePath, Text};
use crate::StateBackend;

/// Where policies keep what they share.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct State {
    /// `"memory"`: in the proxy itself, until it ends. A URL: in this Redis or Valkey, for all proxies that name it.
    /// Its password is shown nowhere.
    #[schemars(extend("x-secret" = true))]
    pub backend: Text<Backend>,
    /// How long the proxy waits for Redis to decide about a limit. Over it, Redis counts as out of reach.
    #[schemars(extend("x-maximum" = "5s"))]
    pub timeout: Text<Duration>,
    /// How long the proxy waits for Redis to read or write a value of a store. Over it the policy is told that the store
    /// is `unavailable`.
    #[schemars(extend("x-maximum" = "5s"))]
    pub store_timeout: Text<Duration>,
    /// PEM file of the authorities that sign the certificate of a `rediss://` backend; without it those of the system.
    pub ca: Option<Text<FilePath>>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            backend: Text(Backend(StateBackend::Memory)),
            timeout: Text(Duration::from_millis(20)),
            store_timeout: Text(Duration::from_millis(100)),
            ca: None,
        }
    }
}
