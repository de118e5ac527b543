//! The series of one metric, found by the values of its labels.

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use hashbrown::HashTable;

/// What is kept of a value. Longer ones are paths and user agents, of which the beginning tells enough.
const MAX_VALUE_BYTES: usize = 128;

/// Finding takes no lock and no memory. Adding copies the table, which the limit on series makes bearable
/// (1,000 pointers), and which happens once for each series.
#[derive(Debug)]
pub(crate) struct Table<S> {
    /// Seeded at random: clients choose the values, and must not be able to make them collide.
    hasher: RandomState,
    current: ArcSwap<Entries<S>>,
}

type Entries<S> = HashTable<Arc<Entry<S>>>;

#[derive(Debug)]
pub(crate) struct Entry<S> {
    hash: u64,
    /// Cut.
    pub(crate) values: Box<[Box<str>]>,
    pub(crate) series: S,
}

impl<S> Table<S> {
    pub(crate) fn new() -> Self {
        Self { hasher: RandomState::new(), current: ArcSwap::from_pointee(HashTable::new()) }
    }

    /// Does something with the series of these values, if there is one.
    pub(crate) fn with<R>(&self, values: &[&str], act: impl FnOnce(&S) -> R) -> Option<R> {
        let current = self.current.load();
        find(&current, self.hash(values), values).map(|entry| act(&entry.series))
    }

    /// Adds a series, unless another thread was faster; says whether it did.
    pub(crate) fn add(&self, values: &[&str], series: S) -> bool {
        let hash = self.hash(values);
        let entry =
            Arc::new(Entry { hash, values: values.iter().map(|value| cut(value).into()).collect(), series });
        let mut added = false;
        self.current.rcu(|current| {
            added = find(current, hash, values).is_none();
            if !added {
                return Arc::clone(current);
            }
            let mut more = HashTable::clone(current);
            more.insert_unique(hash, entry.clone(), |entry| entry.hash);
            Arc::new(more)
        });
        added
    }

    pub(crate) fn len(&self) -> usize {
        self.current.load().len()
    }

    /// All series there are, in the order of their values.
    pub(crate) fn sorted(&self) -> Vec<Arc<Entry<S>>> {
        let mut entries: Vec<_> = self.current.load().iter().cloned().collect();
        entries.sort_unstable_by(|a, b| a.values.cmp(&b.values));
        entries
    }

    fn hash(&self, values: &[&str]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        values.iter().for_each(|value| cut(value).hash(&mut hasher));
        hasher.finish()
    }
}

fn find<'a, S>(entries: &'a Entries<S>, hash: u64, values: &[&str]) -> Option<&'a Arc<Entry<S>>> {
    entries.find(hash, |entry| {
        entry.values.iter().map(|value| &**value).eq(values.iter().map(|value| cut(value)))
    })
}

fn cut(value: &str) -> &str {
    &value[..value.floor_char_boundary(MAX_VALUE_BYTES)]
}
