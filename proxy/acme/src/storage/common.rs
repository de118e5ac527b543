//! Where proxies meet that have no directory in common: a store that answers questions.
//!
//! The directory of each has copies, and is what serves; what is here is what all of them go by.

use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A store of small values. A call blocks until there is an answer, for a bounded time.
pub trait Common: Send + Sync {
    /// The value, if there is one.
    ///
    /// # Errors
    ///
    /// There is no answer.
    fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes a value, which goes after its lifetime if it has one.
    ///
    /// # Errors
    ///
    /// It is not known to be written.
    fn set(&self, key: &str, value: &[u8], lifetime: Option<Duration>) -> io::Result<()>;

    /// Writes a value if there is still the expected one, where `None` is no value; whether it did.
    ///
    /// # Errors
    ///
    /// It is not known to be written.
    fn replace(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        lifetime: Option<Duration>,
    ) -> io::Result<bool>;

    /// Removes a value.
    ///
    /// # Errors
    ///
    /// It is not known to be removed.
    fn remove(&self, key: &str) -> io::Result<()>;
}

/// The names whose certificates changed last: who remembers the count need not look at all of them.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Changes {
    pub(crate) count: u64,
    /// The last one is the newest.
    names: Vec<String>,
}

/// More are not kept; who missed some looks at all.
const KEPT: usize = 256;

const KEY: &str = "changes";

impl Changes {
    pub(super) fn read(common: &dyn Common) -> io::Result<Self> {
        Ok(common.get(KEY)?.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default())
    }

    pub(super) fn add(common: &dyn Common, name: &str) -> io::Result<()> {
        loop {
            let before = common.get(KEY)?;
            let known = before.as_deref().and_then(|text| serde_json::from_slice::<Self>(text).ok());
            let mut changes = known.unwrap_or_default();
            changes.count += 1;
            changes.names.push(name.to_owned());
            let surplus = changes.names.len().saturating_sub(KEPT);
            changes.names.drain(..surplus);
            if common.replace(KEY, before.as_deref(), &serde_json::to_vec(&changes)?, None)? {
                return Ok(());
            }
        }
    }

    /// Those since there were so many; `None`: any may have changed.
    pub(crate) fn since(&self, count: u64) -> Option<&[String]> {
        let missed = usize::try_from(self.count.checked_sub(count)?).ok()?;
        self.names.len().checked_sub(missed).map(|first| &self.names[first..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_missed_too_many_changes_looks_at_all() {
        let names = ["a", "b", "c"].map(str::to_owned).to_vec();
        let changes = Changes { count: 10, names };
        assert_eq!(changes.since(10), Some(&[][..]));
        assert_eq!(changes.since(9), Some(&["c".to_owned()][..]));
        assert_eq!(changes.since(7).map(<[_]>::len), Some(3));
        assert_eq!(changes.since(6), None);
        assert_eq!(changes.since(11), None, "the store has lost what it knew");
    }
}
