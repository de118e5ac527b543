//! What is asked of the shared store.
//!
//! What reads and writes in one step is a script that the server runs: nobody comes in between, and its clock
//! is the same for all proxies. Each has one key.

use std::marker::PhantomData;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use redis::{Cmd, Pipeline, cmd, pipe};

use super::keys;

/// One question, and what the answer is.
pub(crate) struct Call<T> {
    pub(super) command: Cmd,
    answer: PhantomData<fn() -> T>,
}

/// Knows how to ask.
pub(crate) struct Calls {
    take: Script,
    merge: Script,
    compare_and_set: Script,
    increment: Script,
}

struct Script {
    source: &'static str,
    /// By which the server knows it once it was loaded.
    digest: String,
}

impl Calls {
    pub(crate) fn new() -> Self {
        Self {
            take: Script::new(include_str!("scripts/take.lua")),
            merge: Script::new(include_str!("scripts/merge.lua")),
            compare_and_set: Script::new(include_str!("scripts/compare_and_set.lua")),
            increment: Script::new(include_str!("scripts/increment.lua")),
        }
    }

    /// Makes the scripts known to the server, which is needed once for each of its lives, and finds out
    /// whether it is one to write to: a replica, or a node of a cluster that has other keys, is not.
    pub(super) fn prepare(&self) -> Pipeline {
        let mut pipeline = pipe();
        pipeline.cmd("SET").arg(keys::PROBE).arg("").arg("PX").arg(1_000);
        for script in [&self.take, &self.merge, &self.compare_and_set, &self.increment] {
            pipeline.cmd("SCRIPT").arg("LOAD").arg(script.source);
        }
        pipeline
    }

    /// Whether a cost passes that adds `price` to the debt, which must not get over `full`; and the debt
    /// after that.
    pub(crate) fn take(&self, key: &str, price: u64, full: u64) -> Call<(bool, u64)> {
        let mut command = self.take.on(key);
        command.arg(price).arg(full);
        command.into()
    }

    /// Adds what passed over the last `span`, and gives the debt after that.
    pub(super) fn merge(&self, key: &str, added: u64, span: Duration) -> Cmd {
        let mut command = self.merge.on(key);
        command.arg(added).arg(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
        command
    }

    pub(crate) fn get(&self, key: &str) -> Call<Option<Vec<u8>>> {
        let mut command = cmd("GET");
        command.arg(key);
        command.into()
    }

    pub(crate) fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>) -> Call<()> {
        let mut command = cmd("SET");
        command.arg(key).arg(value);
        if let Some(ttl) = ttl {
            command.arg("PX").arg(millis(ttl));
        }
        command.into()
    }

    pub(crate) fn remove(&self, key: &str) -> Call<()> {
        let mut command = cmd("DEL");
        command.arg(key);
        command.into()
    }

    pub(crate) fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
    ) -> Call<bool> {
        let mut command = self.compare_and_set.on(key);
        command.arg(u8::from(expected.is_some())).arg(expected.unwrap_or_default());
        command.arg(value).arg(ttl.map_or(0, millis));
        command.into()
    }

    pub(crate) fn increment(&self, key: &str, delta: i64, ttl: Option<Duration>) -> Call<i64> {
        let mut command = self.increment.on(key);
        command.arg(delta).arg(ttl.map_or(0, millis));
        command.into()
    }
}

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, digest: keys::hex(&digest(&SHA1_FOR_LEGACY_USE_ONLY, source.as_bytes())) }
    }

    fn on(&self, key: &str) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(&self.digest).arg(1).arg(key);
        command
    }
}

impl<T> From<Cmd> for Call<T> {
    fn from(command: Cmd) -> Self {
        Self { command, answer: PhantomData }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
