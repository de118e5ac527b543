//! What plugins share with each other, or reach through the host: counted, bounded and granted.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tidegate_crypto::{Key, KeyFormat, Keys, Passwords};
use tidegate_state::{Limiter, Scope, Spec, State, WhenDown};
use tidegate_telemetry::{Kind, Metric, OnePolicy, PolicyMetrics};

use crate::matching::Matchers;
use crate::trial::Fixed;

/// What the capabilities of all plugins of a process stand on.
#[derive(Clone)]
pub struct Services {
    /// Limits and stores. Where it is remote, plugins that use them may wait.
    pub state: State,
    /// What policies count.
    pub metrics: PolicyMetrics,
    /// Checks passwords beside the traffic.
    pub passwords: Passwords,
    /// How long a decision of the shared store is waited for; what an operator may configure of a [`Scope::Shared`].
    pub limit_timeout: Duration,
    /// Time and chance for tests of policies; `None`: as they are.
    pub fixed: Option<Arc<Fixed>>,
}

/// Passwords that are checked at once, and those that may wait for it: a check takes a core for a tenth of a second.
const PASSWORDS_AT_ONCE: usize = 2;
const PASSWORDS_WAITING: usize = 64;

impl Services {
    /// With this state, and nothing counted yet.
    pub fn new(state: State, limit_timeout: Duration) -> Self {
        Self {
            state,
            metrics: PolicyMetrics::default(),
            passwords: Passwords::new(PASSWORDS_AT_ONCE, PASSWORDS_WAITING),
            limit_timeout,
            fixed: None,
        }
    }
}

/// In memory.
impl Default for Services {
    fn default() -> Self {
        Self::new(State::memory(), Duration::from_millis(20))
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

/// What the operator grants a plugin beyond what all have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    /// Upstreams it may call.
    pub callout: Vec<String>,
    /// Whether it has a store.
    pub store: bool,
    /// Whether it may limit rates.
    pub rate_limit: bool,
    /// Whether it may define metrics.
    pub metrics: bool,
}

/// What one plugin has of the services.
pub(crate) struct Granted {
    pub(crate) services: Services,
    pub(crate) grants: Grants,
    /// `None` without the grant.
    pub(crate) store: Option<tidegate_state::Store>,
    /// `None` without the grant.
    pub(crate) metrics: Option<OnePolicy>,
    /// Parsed keys that come with calls.
    pub(crate) keys: Keys,
}

impl Granted {
    pub(crate) fn new(services: &Services, grants: Grants, plugin: &str) -> Self {
        Self {
            services: services.clone(),
            store: grants.store.then(|| services.state.store(plugin)),
            metrics: grants.metrics.then(|| services.metrics.of(plugin)),
            keys: Keys::new(),
            grants,
        }
    }
}

/// What a plugin defined while it was configured, by numbers. Cloning is cheap, and gives the clone regex caches of its
/// own.
#[derive(Clone, Default)]
pub(crate) struct Defined {
    pub(crate) matchers: Matchers,
    pub(crate) limiters: Table<LimiterSpec, Limiter>,
    pub(crate) metrics: Table<MetricSpec, Metric>,
    pub(crate) keys: Table<(KeyFormat, Vec<u8>), Arc<Key>>,
}

/// A limiter, word by word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LimiterSpec {
    pub(crate) name: String,
    pub(crate) limit: u64,
    pub(crate) period: u64,
    pub(crate) burst: u64,
    pub(crate) scope: LimiterScope,
    pub(crate) when_down: LimiterWhenDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LimiterScope {
    Local,
    Shared,
    Approximate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum LimiterWhenDown {
    Local,
    Allow,
    Deny,
}

impl LimiterSpec {
    pub(crate) fn open(&self, plugin: &str, services: &Services) -> Result<Limiter, String> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err("a limiter's name has 1 to 128 bytes".to_owned());
        }
        if self.limit == 0 {
            return Err("a limit of 0 per period lets nothing pass: deny instead".to_owned());
        }
        if self.period == 0 || self.period > 366 * 24 * 3600 * 1000 {
            return Err("a period is 1 millisecond to a year".to_owned());
        }
        let when_down = match self.when_down {
            LimiterWhenDown::Local => WhenDown::Local,
            LimiterWhenDown::Allow => WhenDown::Allow,
            LimiterWhenDown::Deny => WhenDown::Deny,
        };
        let scope = match self.scope {
            LimiterScope::Local => Scope::Local,
            LimiterScope::Approximate => Scope::Approximate,
            LimiterScope::Shared => Scope::Shared { timeout: services.limit_timeout, when_down },
        };
        let (limit, period, burst) = (self.limit, Duration::from_millis(self.period), self.burst);
        Ok(services.state.limiter(plugin, &self.name, Spec { limit, period, burst, scope }))
    }
}

/// A metric, word by word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MetricSpec {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) kind: MetricKind,
    pub(crate) labels: Vec<String>,
}

/// Bounds of buckets by their bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram(Vec<u64>),
}

impl MetricSpec {
    pub(crate) fn define(&self, metrics: &OnePolicy) -> Result<Metric, String> {
        let kind = match &self.kind {
            MetricKind::Counter => Kind::Counter,
            MetricKind::Gauge => Kind::Gauge,
            MetricKind::Histogram(bounds) => {
                Kind::Histogram(bounds.iter().map(|bits| f64::from_bits(*bits)).collect())
            }
        };
        metrics.define(&self.name, &self.help, kind, &self.labels)
    }
}

/// Things that a plugin defines, each with what it asked for; it names them by their position.
#[derive(Clone)]
pub(crate) struct Table<D, T> {
    list: Vec<T>,
    ids: Arc<HashMap<D, u32>>,
}

/// Things of one kind that a plugin may define.
const MOST: usize = 1024;

impl<D, T> Default for Table<D, T> {
    fn default() -> Self {
        Self { list: Vec::new(), ids: Arc::default() }
    }
}

impl<D: Eq + Hash + Clone, T> Table<D, T> {
    pub(crate) fn find(&self, definition: &D) -> Option<u32> {
        self.ids.get(definition).copied()
    }

    /// Builds it, or finds it when it was defined before.
    pub(crate) fn define(
        &mut self,
        definition: D,
        build: impl FnOnce(&D) -> Result<T, String>,
    ) -> Result<u32, String> {
        if let Some(id) = self.find(&definition) {
            return Ok(id);
        }
        if self.list.len() == MOST {
            return Err(format!("more than {MOST} of these"));
        }
        let built = build(&definition)?;
        let id = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(built);
        Arc::make_mut(&mut self.ids).insert(definition, id);
        Ok(id)
    }

    /// `kind` is for the trap of a number that was never handed out.
    pub(crate) fn get(&self, id: u32, kind: &'static str) -> wasmtime::Result<&T> {
        let found = usize::try_from(id).ok().and_then(|id| self.list.get(id));
        found.ok_or_else(|| wasmtime::Error::msg(format!("{id} is no {kind} of this plugin")))
    }
}
