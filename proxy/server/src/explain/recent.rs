//! The latest requests that were explained, for the admin interface.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Bytes of all that is kept.
const MAX_BYTES: usize = 16 << 20;

/// Shared by all workers; outlives generations.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: VecDeque<Entry>,
    bytes: usize,
}

struct Entry {
    id: String,
    /// A line without its end.
    json: String,
}

impl Recent {
    /// Keeps one more; the oldest go beyond `keep`.
    pub(super) fn push(&self, id: String, json: String, keep: usize) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.bytes += json.len();
        inner.entries.push_back(Entry { id, json });
        while inner.entries.len() > keep || (inner.bytes > MAX_BYTES && inner.entries.len() > 1) {
            let Some(oldest) = inner.entries.pop_front() else { break };
            inner.bytes -= oldest.json.len();
        }
    }

    /// A line for each, the oldest first.
    pub(crate) fn lines(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.iter().flat_map(|entry| [entry.json.as_str(), "\n"]).collect()
    }

    pub(crate) fn find(&self, id: &str) -> Option<String> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.entries.iter().rev().find(|entry| entry.id == id).map(|entry| entry.json.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_within_both_bounds() {
        let recent = Recent::default();
        for number in 0..5 {
            recent.push(number.to_string(), format!("{{\"{number}\":0}}"), 3);
        }
        assert_eq!(recent.lines(), "{\"2\":0}\n{\"3\":0}\n{\"4\":0}\n");
        assert_eq!((recent.find("1"), recent.find("4")), (None, Some("{\"4\":0}".to_owned())));
        recent.push("large".to_owned(), "x".repeat(MAX_BYTES), 3);
        assert_eq!(recent.lines().len(), MAX_BYTES + 1, "it stands alone");
        recent.push("small".to_owned(), "y".to_owned(), 3);
        assert_eq!(recent.lines(), "y\n");
    }
}
