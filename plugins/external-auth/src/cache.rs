//! `cache`: positive answers, for a short time.

use std::time::Duration;

use tidegate_plugin_sdk::callout::Incoming;
use tidegate_plugin_sdk::crypto::{Hash, digest};
use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::store::{self, StoreError};
use tidegate_plugin_sdk::units;

use crate::field_names;
use crate::grant::Grant;

/// Positive answers that are remembered. Needs `grants = { store = true }`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Config {
    /// For how long; at most five minutes. A user who is locked out is let in so long.
    ttl: units::Duration,
    /// Request fields that tell users from each other, such as `authorization` or `cookie`: a request with the same values has
    /// the same answer. One that has none of them is asked about each time.
    headers: Vec<String>,
    /// Whether method, host, path and query tell requests from each other as well. `false`: the service decides about users
    /// alone.
    #[serde(default = "yes")]
    per_target: bool,
}

fn yes() -> bool {
    true
}

/// A longer one would be a session of its own.
const MAX_TTL: Duration = Duration::from_secs(5 * 60);

#[derive(Debug)]
pub(crate) struct Cache {
    ttl: Duration,
    fields: Vec<String>,
    per_target: bool,
    /// Of the service and of what is taken from its answers.
    seed: Vec<u8>,
}

impl Cache {
    pub(crate) fn new(config: Config, seed: String) -> Result<Self, Error> {
        let ttl = config.ttl.get();
        if ttl.is_zero() || ttl > MAX_TTL {
            return Err(Error::at("ttl", format!("`{}` is not 1ms to 5m", config.ttl)));
        }
        if config.headers.is_empty() {
            let reason =
                "is empty: every user would have the same answer; write what tells them from each other";
            return Err(Error::at("headers", reason));
        }
        if store::get("-") == Err(StoreError::NotGranted) {
            return Err("keeps answers in the store: write `grants = { store = true }`".into());
        }
        let fields = field_names("headers", config.headers)?;
        Ok(Self { ttl, fields, per_target: config.per_target, seed: digest(Hash::Sha256, seed) })
    }

    /// Where the answer about this request is kept; `None` if it is not.
    pub(crate) fn key(&self, request: &Request) -> Option<String> {
        let mut text = self.seed.clone();
        // With its length in front, no part can be taken for another.
        let mut add = |part: &[u8]| {
            text.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            text.extend(part);
        };
        let mut is_anybody = true;
        for name in &self.fields {
            let values = request.header_values(name);
            is_anybody &= values.is_empty();
            add(&values.len().to_string().into_bytes());
            values.iter().for_each(|value| add(value));
        }
        if self.per_target {
            for part in [request.method(), request.scheme(), request.authority(), request.original_target()] {
                add(part.as_bytes());
            }
        }
        let hex = || digest(Hash::Sha256, &text).iter().map(|byte| format!("{byte:02x}")).collect();
        (!is_anybody).then(hex)
    }

    pub(crate) fn get(&self, key: &str) -> Option<Grant> {
        // Without the store, the service is asked.
        Grant::from_bytes(&store::get(key).ok()??)
    }

    /// Unless the service says that it counts once, or gives something that is for one response.
    pub(crate) fn keep(&self, key: &str, answer: &Incoming, grant: &Grant) {
        let directives = answer.header_values("cache-control");
        let forbids = directives.iter().any(|value| {
            let value = value.to_ascii_lowercase();
            ["no-store", "no-cache"]
                .iter()
                .any(|word| value.windows(word.len()).any(|part| part == word.as_bytes()))
        });
        if forbids || !answer.header_values("set-cookie").is_empty() {
            return;
        }
        if let Err(error) = store::set(key, grant.to_bytes(), Some(self.ttl)) {
            log::debug!("an answer is not remembered: {error}");
        }
    }
}
