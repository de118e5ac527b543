//! The series of one thread, found by two names of the configuration, and shown to others.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What is counted for two names (of a listener and a destination, say), by one thread.
///
/// The names come again and again as the same [`Arc`]s, so that the usual look-up compares two addresses. Where they do
/// not, texts are compared; a series is made, and a lock taken, when names are first seen.
pub struct ByNames<V> {
    /// By the addresses of the names; it holds them, so that an address means one name.
    cache: Box<[RefCell<Option<Cached<V>>>]>,
    known: RefCell<HashMap<Names, Arc<V>>>,
    shown: Shown<V>,
}

/// Two names; where there is only one, the other is empty.
pub type Names = [Arc<str>; 2];

struct Cached<V> {
    names: Names,
    series: Arc<V>,
}

/// The readers' end.
pub struct Shown<V>(Arc<Mutex<BTreeMap<Names, Arc<V>>>>);

/// A power of two.
const CACHED: usize = 64;

impl<V> ByNames<V> {
    /// Nothing yet; what is counted is read from `shown`.
    pub fn new(shown: Shown<V>) -> Self {
        Self { cache: (0..CACHED).map(|_| RefCell::default()).collect(), known: RefCell::default(), shown }
    }

    /// Counts in the series of these names.
    pub fn with<R>(
        &self,
        one: &Arc<str>,
        other: &Arc<str>,
        make: impl FnOnce() -> V,
        count: impl FnOnce(&V) -> R,
    ) -> R {
        let mut cached = self.cache[place(one, other)].borrow_mut();
        if let Some(hit) = &*cached
            && Arc::ptr_eq(&hit.names[0], one)
            && Arc::ptr_eq(&hit.names[1], other)
        {
            return count(&hit.series);
        }
        let names = [one.clone(), other.clone()];
        let series = self.get(&names, make);
        let result = count(&series);
        *cached = Some(Cached { names, series });
        result
    }

    /// The series of these names, to be kept.
    pub fn get(&self, names: &Names, make: impl FnOnce() -> V) -> Arc<V> {
        let mut known = self.known.borrow_mut();
        if let Some(series) = known.get(names) {
            return series.clone();
        }
        let series = Arc::new(make());
        known.insert(names.clone(), series.clone());
        self.shown.lock().insert(names.clone(), series.clone());
        series
    }

    /// Forgets the series of names that are no more. Should one be counted once more, it begins anew.
    pub fn retain(&self, stays: impl Fn(&Names) -> bool) {
        let mut known = self.known.borrow_mut();
        if known.keys().all(&stays) {
            return;
        }
        known.retain(|names, _| stays(names));
        self.shown.lock().retain(|names, _| stays(names));
        for cached in &self.cache {
            cached.borrow_mut().take_if(|cached| !stays(&cached.names));
        }
    }
}

fn place(one: &Arc<str>, other: &Arc<str>) -> usize {
    let address = |name: &Arc<str>| name.as_ptr().addr() >> 4;
    let mixed =
        (address(one) ^ address(other).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as usize);
    mixed >> (usize::BITS - CACHED.trailing_zeros())
}

impl<V> Shown<V> {
    /// All series there are, by name.
    pub fn all(&self) -> Vec<(Names, Arc<V>)> {
        self.lock().iter().map(|(names, series)| (names.clone(), series.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Names, Arc<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Default for Shown<V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<V> Clone for Shown<V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V> fmt::Debug for Shown<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl<V> fmt::Debug for ByNames<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByNames").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Counter;

    #[test]
    fn a_name_is_the_same_wherever_it_is_written() {
        let shown = Shown::default();
        let series = ByNames::new(shown.clone());
        let (listener, app): (Arc<str>, Arc<str>) = ("web".into(), "app".into());
        let again: Arc<str> = "app".into();
        for destination in [&app, &app, &again, &app, &listener] {
            series.with(&listener, destination, Counter::default, |counter| counter.add(1));
        }
        let counts = || -> Vec<_> {
            let all = shown.all().into_iter();
            all.map(|(names, counter)| (format!("{}-{}", names[0], names[1]), counter.get())).collect()
        };
        assert_eq!(counts(), [("web-app".to_owned(), 4), ("web-web".to_owned(), 1)]);
        series.retain(|names| *names[1] != *"app");
        assert_eq!(counts(), [("web-web".to_owned(), 1)]);
        series.with(&listener, &app, Counter::default, |counter| counter.add(1));
        assert_eq!(counts()[0], ("web-app".to_owned(), 1));
    }
}
