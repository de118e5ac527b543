//! What the operator decided about a plugin, and what its instances know of that.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::activation::Match;
use crate::clock::Pulse;
use crate::limits::Limits;
use crate::log::Log;
use crate::services::{Granted, Grants, Services};

/// What the operator decided about a plugin.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file name without its ending; names the plugin in logs and metrics.
    pub name: String,
    /// `[config]` as JSON, handed to `configure`.
    pub config: String,
    /// What it may use.
    pub limits: Limits,
    /// Whether exchanges share instances.
    pub isolation: Isolation,
    /// Destinations it may route to; `None` = all.
    pub routes: Option<Vec<String>>,
    /// Which requests it is called for; the plugin itself may narrow that further.
    pub matching: Match,
    /// What the operator gave it to keep to itself.
    pub secrets: Secrets,
    /// What it was granted beyond what all have.
    pub grants: Grants,
}

impl Settings {
    /// Those of a plugin that has none of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            config: "{}".to_owned(),
            limits: Limits::default(),
            isolation: Isolation::default(),
            routes: None,
            matching: Match::default(),
            secrets: Secrets::default(),
            grants: Grants::default(),
        }
    }
}

/// Values that are never shown, by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Vec<u8>>);

impl Secrets {
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }
}

impl FromIterator<(String, Vec<u8>)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// The names alone.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Whether exchanges share instances of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// An instance serves one exchange after the other on its worker. Default.
    #[default]
    Worker,
    /// Each exchange gets a fresh instance: what a request leaves in the plugin's memory cannot reach another. It
    /// serves all phases but the log phase, which gets one of its own; in between it is kept only while a phase is to
    /// come that the plugin has, so not for the length of a download or a tunnel unless it asked for the chunks of a
    /// body. Costs tens of microseconds per exchange.
    Request,
}

/// What every instance of a plugin refers to, the first one included.
pub(crate) struct Shared {
    /// A reloaded plugin is another one.
    pub(crate) id: u64,
    /// Keeps the clock of the budgets going.
    pub(crate) pulse: Arc<Pulse>,
    /// Origin of the monotonic clock of all plugins.
    pub(crate) started: Instant,
    pub(crate) name: Arc<str>,
    pub(crate) config: String,
    pub(crate) limits: Limits,
    pub(crate) isolation: Isolation,
    pub(crate) routes: Option<Vec<String>>,
    pub(crate) secrets: Secrets,
    /// It asked to see all of a body with one instance.
    pub(crate) keeps_state: AtomicBool,
    /// What it has of the services.
    pub(crate) granted: Granted,
    pub(crate) log: Log,
}

impl Shared {
    /// `id` is a number that no other plugin of the host has.
    pub(crate) fn new(
        id: u64,
        started: Instant,
        pulse: Arc<Pulse>,
        services: &Services,
        settings: Settings,
    ) -> Arc<Self> {
        let name: Arc<str> = settings.name.into();
        Arc::new(Self {
            id,
            pulse,
            started,
            granted: Granted::new(services, settings.grants, &name),
            log: Log::new(name.clone(), started),
            name,
            config: settings.config,
            limits: settings.limits,
            isolation: settings.isolation,
            routes: settings.routes,
            secrets: settings.secrets,
            keeps_state: AtomicBool::new(false),
        })
    }
}
