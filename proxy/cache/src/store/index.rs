//! What is stored, by key. Who looks something up takes no lock; who changes something replaces what is there under a key.

use std::sync::Arc;

use http::HeaderMap;
use papaya::{Compute, HashMap, Operation};
use seize::Collector;

use super::head::Head;
use super::key::Key;
use super::object::Object;
use crate::decide::Selection;

/// What was replaced is kept until nobody can be looking at it. That is found out for so many at once, by each thread; they
/// may have bodies, so that these are few.
const KEPT: usize = 4;

/// Everything that is found.
#[derive(Debug)]
pub(crate) struct Index {
    resources: HashMap<Key, Arc<[Arc<Object>]>>,
}

impl Default for Index {
    fn default() -> Self {
        Self { resources: HashMap::builder().collector(Collector::new().batch_size(KEPT)).build() }
    }
}

/// What a look-up found.
#[derive(Debug)]
pub enum Found {
    /// A response for such a request.
    Object(Arc<Object>),
    /// Responses for requests with other fields; those that the newest depends on.
    Others(Selection),
    /// Nothing.
    Nothing,
}

impl Index {
    /// What is stored for a request with the fields `asked`, the newest first.
    pub(crate) fn find(&self, key: &Key, asked: &HeaderMap) -> Found {
        let resources = self.resources.pin();
        let Some(variants) = resources.get(key.as_bytes()) else { return Found::Nothing };
        match variants.iter().find(|object| object.head.selection.matches(asked)) {
            Some(object) => Found::Object(object.clone()),
            None => variants
                .first()
                .map_or(Found::Nothing, |newest| Found::Others(newest.head.selection.again(asked))),
        }
    }

    /// Puts it there, in place of what was for the same requests; answers with what is not found any more, of which there
    /// are others if there are more than `most`.
    pub(crate) fn insert(&self, object: &Arc<Object>, most: usize) -> Vec<Arc<Object>> {
        self.change(&object.key, |variants| {
            let other = |kept: &&Arc<Object>| kept.head.selection != object.head.selection;
            let kept = variants.iter().filter(other).take(most.saturating_sub(1));
            Some(std::iter::once(object).chain(kept).cloned().collect())
        })
    }

    /// The same, unless there is something for the same requests.
    pub(crate) fn insert_old(&self, object: &Arc<Object>, most: usize) -> Vec<Arc<Object>> {
        let mut refused = false;
        let displaced = self.change(&object.key, |variants| {
            let same = variants.iter().any(|kept| kept.head.selection == object.head.selection);
            refused = same || variants.len() >= most;
            (!refused).then(|| variants.iter().chain([object]).cloned().collect())
        });
        if refused { vec![object.clone()] } else { displaced }
    }

    /// Puts what `make` says in place of the one with this head; nothing if it is `None`.
    pub(crate) fn replace(
        &self,
        key: &Key,
        head: &Arc<Head>,
        make: impl Fn(&Arc<Object>) -> Option<Arc<Object>>,
    ) -> Vec<Arc<Object>> {
        self.change(key, |variants| {
            let at = variants.iter().position(|object| Arc::ptr_eq(&object.head, head))?;
            let mut changed = variants.to_vec();
            match make(&variants[at]) {
                Some(other) => changed[at] = other,
                None => drop(changed.remove(at)),
            }
            Some(changed)
        })
    }

    /// Everything under a key.
    pub(crate) fn variants(&self, key: &Key) -> Option<Arc<[Arc<Object>]>> {
        self.resources.pin().get(key.as_bytes()).cloned()
    }

    /// Looks at everything. What is changed meanwhile may be seen or not.
    pub(crate) fn for_each(&self, mut look: impl FnMut(&Arc<Object>)) {
        for variants in self.resources.pin().values() {
            variants.iter().for_each(&mut look);
        }
    }

    /// Keys.
    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    /// Changes what is under a key, as a whole; `None` changes nothing. Answers with the objects that were there and are
    /// not any more, but for those whose body went over to another.
    fn change(
        &self,
        key: &Key,
        mut change: impl FnMut(&[Arc<Object>]) -> Option<Vec<Arc<Object>>>,
    ) -> Vec<Arc<Object>> {
        let resources = self.resources.pin();
        let computed = resources.compute(key.clone(), |before| {
            let before: &[Arc<Object>] = before.map_or(&[], |(_, variants)| variants);
            match change(before) {
                None => Operation::Abort(()),
                Some(after) if after.is_empty() && before.is_empty() => Operation::Abort(()),
                Some(after) if after.is_empty() => Operation::Remove,
                Some(after) => Operation::Insert(after.into()),
            }
        });
        let gone = |old: &[Arc<Object>], new: &[Arc<Object>]| {
            let is_there = |object: &&Arc<Object>| !new.iter().any(|other| Arc::ptr_eq(other, object));
            old.iter().filter(is_there).cloned().collect()
        };
        match computed {
            Compute::Updated { old: (_, old), new: (_, new) } => gone(old, new),
            Compute::Removed(_, old) => gone(old, &[]),
            Compute::Inserted(..) | Compute::Aborted(()) => Vec::new(),
        }
    }
}
