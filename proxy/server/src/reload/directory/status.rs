//! How the policies of the directory fare, for the admin interface.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::policy::Breaker;

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
    pub(super) breaker: Option<Arc<Breaker>>,
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
