//! What one thread counts and others read: no lock, no locked instruction.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Only grows. Written by one thread, the worker whose it is; read by any.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// By the thread whose it is: of two at once, one would be lost. After 2⁶⁴ it begins again at 0, which is read as a
    /// restart.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    /// What it is now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// For what is counted elsewhere, and shown here now and then.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// How often each of a closed list of words was counted. Written by one thread, as a [`Counter`].
#[derive(Debug)]
pub struct Words {
    words: &'static [&'static str],
    counts: Box<[Counter]>,
}

/// What stands for every word that is not in the list.
const OTHER: &str = "other";

impl Words {
    /// The words, and `other`.
    pub fn new(words: &'static [&'static str]) -> Self {
        Self { words, counts: (0..=words.len()).map(|_| Counter::default()).collect() }
    }

    /// Counts the word. The list is searched: for what is rare, or a list that is short.
    pub fn add(&self, word: &str) {
        let at = self.words.iter().position(|known| *known == word).unwrap_or(self.words.len());
        self.counts[at].add(1);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.words.iter().copied().chain([OTHER]).zip(self.counts.iter().map(Counter::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_and_those_unknown_together() {
        let words = Words::new(&["one", "two"]);
        ["two", "three", "two", "four"].iter().for_each(|word| words.add(word));
        assert_eq!(words.iter().collect::<Vec<_>>(), [("one", 0), ("two", 2), ("other", 2)]);
    }
}
