//! A map that forgets its oldest entries.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest::SHA256_OUTPUT_LEN;

/// What an entry is found by: a digest, so that no secret is kept as a key and all are of one length.
pub(crate) type Mark = [u8; SHA256_OUTPUT_LEN];

/// At most `most` entries; a further one takes the place of the one that has been there longest. That it was
/// used does not keep an entry: its use would then need the same lock as its change.
#[derive(Debug)]
pub(crate) struct Bounded<V> {
    entries: HashMap<Mark, V>,
    /// Each mark of `entries` once, the oldest in front.
    order: VecDeque<Mark>,
    most: usize,
}

impl<V> Bounded<V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), most }
    }

    pub(crate) fn get(&self, mark: &Mark) -> Option<&V> {
        self.entries.get(mark)
    }

    /// An entry that is there already gets the new value and keeps its age.
    pub(crate) fn insert(&mut self, mark: Mark, value: V) {
        if self.entries.insert(mark, value).is_some() {
            return;
        }
        self.order.push_back(mark);
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_entry_makes_room() {
        let mark = |number| [number; SHA256_OUTPUT_LEN];
        let mut bounded = Bounded::new(2);
        bounded.insert(mark(1), "one");
        bounded.insert(mark(2), "two");
        bounded.insert(mark(1), "one again");
        bounded.insert(mark(3), "three");
        assert_eq!(bounded.get(&mark(1)), None);
        assert_eq!(bounded.get(&mark(2)), Some(&"two"));
        assert_eq!(bounded.get(&mark(3)), Some(&"three"));
        assert_eq!((bounded.entries.len(), bounded.order.len()), (2, 2));
    }
}
