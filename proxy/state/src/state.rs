//! What all plugins share, kept by their names for as long as the process runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::clock::{Clock, StoppedClock};
use crate::kept::Kept;
use crate::limiter::{Limiter, Spec};
use crate::plugins::Plugins;
use crate::remote::{RedisUrl, Remote, StateError, Status};
use crate::secret::Secret;
use crate::store::Store;

/// Limits and stores of all plugins, in this process or in Redis. One for the process; clones are the same.
///
/// Everything is kept by the plugin's name and never given up, so it survives reloads, and a plugin that was
/// taken away finds it when it comes back. What that may come to is bounded for each name: 100,000 keys of
/// limiters, and a store of 10,000 entries or 16 MiB. One plugin cannot push another's out.
#[derive(Clone)]
pub struct State {
    plugins: Arc<Plugins>,
    /// Its tasks end with the last handle: this, a limiter, a store or an answer.
    pub(crate) remote: Option<Arc<Remote>>,
}

impl State {
    /// Everything in this process.
    pub fn memory() -> Self {
        Self::memory_with(Secret::random())
    }

    /// The same, to go on with what another process [kept](Self::kept).
    pub fn memory_with(secret: Secret) -> Self {
        Self { plugins: Arc::new(Plugins::new(Clock::system(), secret)), remote: None }
    }

    /// The same, by a clock that goes on when it is told to.
    pub fn memory_at(clock: &StoppedClock) -> Self {
        let clock = Clock::Stopped(clock.clone());
        Self { plugins: Arc::new(Plugins::new(clock, Secret::random())), remote: None }
    }

    /// What is shared is in Redis (5 or later) or Valkey, over one connection that is made, and made again,
    /// by a task on `runtime`. It needs I/O and time, and must outlive the state.
    ///
    /// Returns at once: a store that is down does not keep the proxy from starting. During the first attempt
    /// to connect, at most two seconds, questions wait within their own deadlines; from then on a store that
    /// is down is known to be.
    ///
    /// `store_timeout` is for one answer to a [`Store`]; [`STORE_TIMEOUT`](crate::STORE_TIMEOUT) unless there is a
    /// reason. A limiter says its own. `secret` is as for [`Self::memory_with`].
    pub fn redis(
        url: &RedisUrl,
        store_timeout: Duration,
        secret: Secret,
        runtime: &Handle,
    ) -> Result<Self, StateError> {
        let plugins = Arc::new(Plugins::new(Clock::system(), secret));
        let remote = Remote::start(url, store_timeout, runtime, plugins.clone())?;
        Ok(Self { plugins, remote: Some(Arc::new(remote)) })
    }

    /// Whether answers may come later.
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// The limiter of this plugin with this name. The same plugin, name and numbers give the same counts,
    /// across reloads, and in a shared store across proxies.
    pub fn limiter(&self, plugin: &str, name: &str, spec: Spec) -> Limiter {
        Limiter::new(self.plugins.clone(), self.remote.clone(), plugin, name, spec)
    }

    /// The store of this plugin.
    pub fn store(&self, plugin: &str) -> Store {
        Store::new(self.plugins.clone(), self.remote.clone(), plugin)
    }

    /// What the hashes in [`Kept`] are made with.
    pub fn secret(&self) -> Secret {
        self.plugins.hasher
    }

    /// The plugins of which something is kept in this process, or could be.
    pub fn plugins(&self) -> Vec<String> {
        self.plugins.names()
    }

    /// What is kept of a plugin in this process, as it is now.
    pub fn kept(&self, plugin: &str) -> Kept {
        let (tables, now) = (self.plugins.get(plugin), self.plugins.clock.now());
        Kept {
            plugin: plugin.to_owned(),
            debts: tables.buckets.debts(now),
            values: tables.entries.values(now),
        }
    }

    /// Goes on with what another process kept, which had the same [`Secret`]. What this one knows already stays as it is: a
    /// value that is there, and a debt that is greater.
    pub fn take_up(&self, kept: Kept) {
        let (tables, now) = (self.plugins.get(&kept.plugin), self.plugins.clock.now());
        for (hash, debt) in kept.debts {
            tables.buckets.learn(hash, crate::clock::nanos(debt), now);
        }
        for value in kept.values {
            tables.entries.take_up(value, now);
        }
    }

    /// Where it is kept and whether that can be reached, for people to look at.
    pub fn status(&self) -> Status {
        self.remote.as_ref().map_or_else(Status::memory, |remote| remote.link.status())
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.status()).finish()
    }
}
