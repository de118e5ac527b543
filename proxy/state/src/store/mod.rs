//! Small values with expiry, for one plugin.

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::answer::Answer;
use crate::entries::{Full, NotAdded};
use crate::plugins::{Plugin, Plugins};
use crate::remote::{Call, Remote, Reply, Trouble, keys};

/// A plugin's values, in this process or in the shared store. Cheap to clone.
///
/// Keys have up to 512 bytes and values up to 64 KiB, anywhere. In this process a plugin has a share of
/// 10,000 entries and 16 MiB of keys and values: beyond it, what expires first makes room for what is new;
/// values that do not expire are kept. In the shared store its `maxmemory` decides.
///
/// A `ttl` counts from the write, in milliseconds, at least one; `None` is no expiry, also where a value with
/// an expiry is overwritten.
#[derive(Clone)]
pub struct Store(Place);

#[derive(Clone)]
enum Place {
    Here { plugin: Arc<Plugin>, plugins: Arc<Plugins> },
    There { remote: Arc<Remote>, prefix: Arc<str> },
}

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The key or the value is over its size.
    #[error("the key has over 512 bytes or the value over 64 KiB")]
    TooLarge,
    /// The plugin's share is used up by values that do not expire, or the shared store's memory is.
    #[error("there is no room for more")]
    Full,
    /// The value is not a decimal number of 64 bits with a sign, or the sum would not be one.
    #[error("the value or the sum is not a number of 64 bits")]
    NotANumber,
    /// The shared store is down, did not answer in time, or refused. A write may have been done all the
    /// same.
    #[error("the shared store cannot be reached")]
    Unavailable,
}

/// Longest key, bytes: a path or a token with some words before it.
const MAX_KEY: usize = 512;

/// Longest value, bytes. A value is copied into the plugin's memory, and through one connection for all.
const MAX_VALUE: usize = 64 << 10;

/// For an answer of the shared store. Five times what a decision has: who asks a store cannot go on without
/// it.
pub const STORE_TIMEOUT: Duration = Duration::from_millis(100);

impl Store {
    pub(crate) fn new(plugins: Arc<Plugins>, remote: Option<Arc<Remote>>, plugin: &str) -> Self {
        Self(match remote {
            Some(remote) => Place::There { remote, prefix: keys::store(plugin).into() },
            None => Place::Here { plugin: plugins.get(plugin), plugins },
        })
    }

    /// The value; `None` if there is none or it has expired.
    pub fn get(&self, key: &str) -> Answer<Result<Option<Vec<u8>>, StoreError>> {
        if let Err(error) = check(key, &[]) {
            return Answer::Now(Err(error));
        }
        match &self.0 {
            Place::Here { plugin, plugins } => Answer::Now(Ok(plugin.entries.get(key, plugins.clock.now()))),
            Place::There { remote, prefix } => ask(remote, remote.calls.get(&keys::entry(prefix, key))),
        }
    }

    /// Writes the value, whatever was there.
    pub fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Answer<Result<(), StoreError>> {
        if let Err(error) = check(key, value) {
            return Answer::Now(Err(error));
        }
        match &self.0 {
            Place::Here { plugin, plugins } => {
                let written = plugin.entries.set(key, value, ttl.map(whole), plugins.clock.now());
                Answer::Now(written.map_err(StoreError::from))
            }
            Place::There { remote, prefix } => {
                ask(remote, remote.calls.set(&keys::entry(prefix, key), value, ttl.map(whole)))
            }
        }
    }

    /// Writes only if the value is still `expected`, where `None` is no value; says whether it wrote.
    pub fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Answer<Result<bool, StoreError>> {
        if let Err(error) = check(key, value).and_then(|()| check(key, expected.unwrap_or_default())) {
            return Answer::Now(Err(error));
        }
        match &self.0 {
            Place::Here { plugin, plugins } => {
                let now = plugins.clock.now();
                let written = plugin.entries.compare_and_set(key, expected, value, ttl.map(whole), now);
                Answer::Now(written.map_err(StoreError::from))
            }
            Place::There { remote, prefix } => {
                let key = keys::entry(prefix, key);
                ask(remote, remote.calls.compare_and_set(&key, expected, value, ttl.map(whole)))
            }
        }
    }

    /// Adds to a number, which is 0 if there is none, and gives the sum. The value is its decimal text, for
    /// [`Self::get`] as well. `ttl` applies when this creates the value; later sums keep the expiry.
    pub fn increment(&self, key: &str, delta: i64, ttl: Option<Duration>) -> Answer<Result<i64, StoreError>> {
        if let Err(error) = check(key, &[]) {
            return Answer::Now(Err(error));
        }
        match &self.0 {
            Place::Here { plugin, plugins } => {
                let sum = plugin.entries.increment(key, delta, ttl.map(whole), plugins.clock.now());
                Answer::Now(sum.map_err(StoreError::from))
            }
            Place::There { remote, prefix } => {
                ask(remote, remote.calls.increment(&keys::entry(prefix, key), delta, ttl.map(whole)))
            }
        }
    }

    /// Removes the value; no error if there is none.
    pub fn remove(&self, key: &str) -> Answer<Result<(), StoreError>> {
        if let Err(error) = check(key, &[]) {
            return Answer::Now(Err(error));
        }
        match &self.0 {
            Place::Here { plugin, .. } => {
                plugin.entries.remove(key);
                Answer::Now(Ok(()))
            }
            Place::There { remote, prefix } => ask(remote, remote.calls.remove(&keys::entry(prefix, key))),
        }
    }
}

fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if key.len() <= MAX_KEY && value.len() <= MAX_VALUE { Ok(()) } else { Err(StoreError::TooLarge) }
}

/// As Redis counts it, so that both places agree: in whole milliseconds, at least one, and no longer than a
/// century.
fn whole(ttl: Duration) -> Duration {
    const CENTURY: u64 = 100 * 366 * 86_400 * 1_000;
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(CENTURY);
    Duration::from_millis(millis.clamp(1, CENTURY))
}

fn ask<T: Reply + Send + 'static>(remote: &Arc<Remote>, call: Call<T>) -> Answer<Result<T, StoreError>> {
    if remote.link.is_down() {
        return Answer::Now(Err(StoreError::Unavailable));
    }
    let remote = remote.clone();
    Answer::Later(Box::pin(async move {
        remote.link.call(call, remote.store_timeout).await.map_err(StoreError::from)
    }))
}

impl From<Full> for StoreError {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

impl From<NotAdded> for StoreError {
    fn from(reason: NotAdded) -> Self {
        match reason {
            NotAdded::Full => Self::Full,
            NotAdded::NotANumber => Self::NotANumber,
        }
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Down | Trouble::Late | Trouble::Refused => Self::Unavailable,
            Trouble::Full => Self::Full,
            Trouble::NotANumber => Self::NotANumber,
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Here { .. } => f.write_str("Store(memory)"),
            Place::There { prefix, .. } => f.debug_tuple("Store").field(prefix).finish(),
        }
    }
}
