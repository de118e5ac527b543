//! How often something may happen.

#[cfg(test)]
mod tests;

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use crate::answer::Answer;
use crate::buckets::Named;
use crate::plugins::{Plugin, Plugins};
use crate::quota::{Decision, Quota};
use crate::remote::keys::{self, Key};
use crate::remote::{RETRY, Remote};

/// How often something may happen, and where that is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// How much cost passes in a period; nothing does if it is 0.
    pub limit: u64,
    /// Refilled evenly, not at its end: 600 in a minute is one every 100 ms.
    pub period: Duration,
    /// How much more passes at once: a key that rested has `1 + burst`. A single cost above that never
    /// passes.
    ///
    /// That is nginx's `limit_req burst=… nodelay`, and a token bucket (Envoy) of `1 + burst` tokens. With a
    /// burst of 0, ten in a second means never two within 100 ms.
    pub burst: u64,
    /// Where it is counted. Without a shared store, all of them mean [`Scope::Local`].
    pub scope: Scope,
}

/// Where a limit is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// In this process. Never waits.
    Local,
    /// In the shared store, exactly, with a round trip for each decision.
    Shared {
        /// How long a decision may take, default 20 ms. The shared store may have counted what came too late.
        timeout: Duration,
        /// What decides when it took longer, or when the store is known to be down: then nothing is waited
        /// for.
        when_down: WhenDown,
    },
    /// In this process, and every 100 ms the proxies tell each other through the shared store what they let
    /// pass. Never waits.
    ///
    /// What passes too much: until they have heard of each other, 100 ms and a round trip, each of `N`
    /// proxies counts for itself. Of a key that rested, up to `N × (1 + burst)` pass at once in place of `1 +
    /// burst`, and from then on up to `N` times what the limit grants in 100 ms. What was too much is a debt
    /// that is paid before anything else passes, so over many periods `limit` holds for all proxies together.
    /// While the store is down, each proxy grants the limit by itself. Of the keys of a plugin, 4,096 are
    /// exchanged each time; beyond that they are counted by each proxy for itself.
    Approximate,
}

impl Scope {
    /// Exact, with the defaults: 20 ms, then [`WhenDown::Local`].
    pub const SHARED: Self = Self::Shared { timeout: Duration::from_millis(20), when_down: WhenDown::Local };
}

/// What decides in place of a shared store that is down or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenDown {
    /// The same limit, counted by this proxy from when the store went away.
    #[default]
    Local,
    /// Everything passes.
    Allow,
    /// Nothing passes; try again in a second.
    Deny,
}

/// Decides and counts. Cheap to clone; all with the same plugin, name and numbers count together.
#[derive(Clone)]
pub struct Limiter {
    named: Arc<Named>,
    scope: Scope,
    plugin: Arc<Plugin>,
    plugins: Arc<Plugins>,
    remote: Option<Arc<Remote>>,
}

impl Limiter {
    pub(crate) fn new(
        plugins: Arc<Plugins>,
        remote: Option<Arc<Remote>>,
        plugin: &str,
        name: &str,
        spec: Spec,
    ) -> Self {
        let quota = Quota::new(spec.limit, spec.period, spec.burst);
        let seed = plugins.hasher.hash_one((name, quota));
        let named = Named { quota, seed, prefix: keys::limiter(plugin, name, &quota) };
        Self { named: Arc::new(named), scope: spec.scope, plugin: plugins.get(plugin), plugins, remote }
    }

    /// Decides whether this cost of a key passes now, and counts it if so. What is refused costs nothing; a
    /// cost of 0 passes and only asks what remains. Keys may have any length.
    pub fn take(&self, key: &str, cost: u64) -> Answer<Decision> {
        let hash = self.plugins.hasher.hash_one((self.named.seed, key));
        match (&self.scope, &self.remote) {
            (Scope::Local, _) | (_, None) => Answer::Now(self.take_here(hash, cost, None, false)),
            (Scope::Approximate, Some(remote)) => {
                Answer::Now(self.take_here(hash, cost, Some(&Key::new(key)), remote.link.is_down()))
            }
            (Scope::Shared { when_down, .. }, Some(remote)) if remote.link.is_down() => {
                Answer::Now(self.take_without(hash, cost, *when_down))
            }
            (Scope::Shared { timeout, when_down }, Some(remote)) => {
                self.take_there(remote.clone(), hash, key, cost, *timeout, *when_down)
            }
        }
    }

    fn take_there(
        &self,
        remote: Arc<Remote>,
        hash: u64,
        key: &str,
        cost: u64,
        timeout: Duration,
        when_down: WhenDown,
    ) -> Answer<Decision> {
        let quota = self.named.quota;
        let key = Key::new(key).of(&self.named.prefix);
        let call = remote.calls.take(&key, quota.price(cost), quota.full());
        let limiter = self.clone();
        Answer::Later(Box::pin(async move {
            match remote.link.call(call, timeout).await {
                Ok((allowed, debt)) => quota.decision(allowed, debt, cost, false),
                Err(_) => limiter.take_without(hash, cost, when_down),
            }
        }))
    }

    fn take_without(&self, hash: u64, cost: u64, when_down: WhenDown) -> Decision {
        match when_down {
            WhenDown::Local => self.take_here(hash, cost, None, true),
            WhenDown::Allow => self.named.quota.blind(true, Duration::ZERO),
            WhenDown::Deny => self.named.quota.blind(false, RETRY),
        }
    }

    fn take_here(&self, hash: u64, cost: u64, note: Option<&Key<'_>>, local: bool) -> Decision {
        let now = self.plugins.clock.now();
        let (allowed, debt) = self.plugin.buckets.take(&self.named, hash, cost, now, note);
        self.named.quota.decision(allowed, debt, cost, local)
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("counts", &self.named)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}
