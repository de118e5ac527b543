//! How the policies of the directory fare, for the admin interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::policy::{Breaker, Shadow, ShadowReport};

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
    /// What its code took to be compiled, or to be found in the cache.
    pub(crate) compile_ms: Option<u64>,
    /// Bytes of one instance once it is configured.
    pub(crate) memory: Option<usize>,
    /// What it would have done otherwise, if it is a shadow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) shadow: Option<ShadowReport>,
    #[serde(skip)]
    pub(super) beside: Option<Shadow>,
    #[serde(skip)]
    pub(super) breaker: Option<Arc<Breaker>>,
    /// What it cannot decide is denied.
    #[serde(skip)]
    pub(super) denies: bool,
    #[serde(skip)]
    pub(super) required: bool,
    /// Requests meet it, or what `on-error` makes of it.
    #[serde(skip)]
    pub(super) in_chain: bool,
}

impl Status {
    /// A breaker opens and closes by itself, and a shadow goes on counting, after the files were looked at.
    pub(crate) fn look_again(&mut self) {
        self.shadow = self.beside.as_ref().map(Shadow::report);
        if self.breaker.as_ref().is_some_and(|breaker| breaker.is_open()) {
            let (state, error) = if self.required {
                (State::Failing, "it keeps failing; as it is required, it is called all the same")
            } else {
                (State::Quarantined, "it kept failing and is left out until a call works again")
            };
            self.state = state;
            self.error.get_or_insert_with(|| error.to_owned());
        }
    }

    /// Why requests that the policy applies to are not served.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let (name, error) = (&self.name, self.error.as_deref().unwrap_or_default());
        match self.state {
            State::Refused if self.in_chain && !self.last_good => {
                Some(format!("no version of policy {name} could be loaded: {error}"))
            }
            State::Quarantined | State::Failing if self.denies => {
                Some(format!("policy {name} denies what it applies to: {error}"))
            }
            _ => None,
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
    /// Required, and would be in quarantine if it were not.
    Failing,
    Disabled,
}

impl State {
    pub(crate) const ALL: [Self; 5] =
        [Self::Serving, Self::Refused, Self::Quarantined, Self::Failing, Self::Disabled];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
            Self::Failing => "failing",
            Self::Disabled => "disabled",
        }
    }
}
