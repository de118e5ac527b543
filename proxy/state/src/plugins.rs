//! What this process keeps of each plugin, by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::buckets::Buckets;
use crate::clock::Clock;
use crate::entries::Entries;
use crate::secret::Secret;

/// The tables of all plugins.
#[derive(Debug)]
pub(crate) struct Plugins {
    pub(crate) clock: Clock,
    /// Of this process, and secret: nobody else can choose keys that meet in a table.
    pub(crate) hasher: Secret,
    by_name: Mutex<HashMap<String, Arc<Plugin>>>,
}

/// The tables of one plugin.
#[derive(Debug)]
pub(crate) struct Plugin {
    pub(crate) buckets: Buckets,
    pub(crate) entries: Entries,
}

/// Keys of a plugin's limiters. At about 60 bytes each they come to 6 MB.
const LIMITER_KEYS: usize = 100_000;

impl Plugins {
    pub(crate) fn new(clock: Clock, hasher: Secret) -> Self {
        Self { clock, hasher, by_name: Mutex::default() }
    }

    /// Asked for when a plugin is loaded, not for each request.
    pub(crate) fn get(&self, name: &str) -> Arc<Plugin> {
        let mut plugins = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let plugin = plugins.entry(name.to_owned()).or_insert_with(|| {
            Arc::new(Plugin { buckets: Buckets::new(LIMITER_KEYS), entries: Entries::default() })
        });
        plugin.clone()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Plugin>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
