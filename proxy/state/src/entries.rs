//! The values of one plugin's store in this process, within its share.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::nanos;
use crate::kept::KeptValue;

/// One lock for each plugin: it is held for a look-up and no longer (a value is copied after it), and its
/// share can only be told exactly, and be given to what is needed longest, if it is in one place.
#[derive(Debug, Default)]
pub(crate) struct Entries(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<Arc<str>, Entry>,
    /// Those that expire, in that order.
    by_expiry: BTreeMap<Expiry, Arc<str>>,
    /// For telling apart what expires at the same time.
    number: u64,
    all: Used,
    /// Those that do not expire: they are not pushed out.
    lasting: Used,
}

#[derive(Debug)]
struct Entry {
    value: Arc<[u8]>,
    expiry: Option<Expiry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Expiry {
    at: u64,
    number: u64,
}

/// Of a plugin's share.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    entries: usize,
    /// Of keys and values. What the tables need besides is a hundred bytes for an entry.
    bytes: usize,
}

/// The share is used up by values that do not expire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Why nothing was added.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotAdded {
    Full,
    /// Not a number of 64 bits, before or after.
    NotANumber,
}

/// A plugin's share.
const MAX: Used = Used { entries: 10_000, bytes: 16 << 20 };

/// Expired entries that a write clears away. More than it can add, so that they get fewer.
const CLEARED: usize = 4;

impl Entries {
    pub(crate) fn get(&self, key: &str, now: u64) -> Option<Vec<u8>> {
        let value = self.table().get(key, now)?;
        Some(value.to_vec())
    }

    pub(crate) fn set(&self, key: &str, value: &[u8], ttl: Option<Duration>, now: u64) -> Result<(), Full> {
        let value = value.into();
        self.table().set(key, value, ttl, now)
    }

    /// Writes if the value is still `expected`, and says whether it did.
    pub(crate) fn compare_and_set(
        &self,
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: Option<Duration>,
        now: u64,
    ) -> Result<bool, Full> {
        let value = value.into();
        let mut table = self.table();
        if table.get(key, now).as_deref() != expected {
            return Ok(false);
        }
        table.set(key, value, ttl, now).map(|()| true)
    }

    pub(crate) fn increment(
        &self,
        key: &str,
        delta: i64,
        ttl: Option<Duration>,
        now: u64,
    ) -> Result<i64, NotAdded> {
        let mut table = self.table();
        let held = table.get(key, now);
        let before = held.as_deref().map_or(Some(0), number).ok_or(NotAdded::NotANumber)?;
        let sum = before.checked_add(delta).ok_or(NotAdded::NotANumber)?;
        let value = sum.to_string().into_bytes().into();
        let written =
            if held.is_some() { table.replace(key, value) } else { table.set(key, value, ttl, now) };
        written.map_err(|Full| NotAdded::Full)?;
        Ok(sum)
    }

    pub(crate) fn remove(&self, key: &str) {
        self.table().remove(key);
    }

    /// All values; the lock is held for a copy of references to them.
    pub(crate) fn values(&self, now: u64) -> Vec<KeptValue> {
        let held: Vec<_> = {
            let table = self.table();
            let entries = table.by_key.iter();
            entries.map(|(key, entry)| (key.clone(), entry.value.clone(), entry.expiry)).collect()
        };
        let left = |expiry: Expiry| Duration::from_nanos(expiry.at.saturating_sub(now));
        let values = held.into_iter().map(|(key, value, expiry)| KeptValue {
            key: key.to_string(),
            value: value.to_vec(),
            ttl: expiry.map(left),
        });
        values.filter(|value| value.ttl != Some(Duration::ZERO)).collect()
    }

    /// Writes a value of another process, if there is room and nothing by its key.
    pub(crate) fn take_up(&self, KeptValue { key, value, ttl }: KeptValue, now: u64) {
        // Of two processes with the same bounds nothing is left out but for what was written in this one.
        let _ = self.compare_and_set(&key, None, &value, ttl, now);
    }

    /// Nothing under the lock panics half-way through a change, so a poisoned one is as good as any.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// In its shortest form, as Redis has it: no sign but `-`, no zeros in front, no blanks.
fn number(value: &[u8]) -> Option<i64> {
    let text = str::from_utf8(value).ok()?;
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

impl Table {
    fn get(&self, key: &str, now: u64) -> Option<Arc<[u8]>> {
        let entry = self.by_key.get(key)?;
        let expired = entry.expiry.is_some_and(|expiry| expiry.at <= now);
        (!expired).then(|| entry.value.clone())
    }

    fn set(&mut self, key: &str, value: Arc<[u8]>, ttl: Option<Duration>, now: u64) -> Result<(), Full> {
        for _ in 0..CLEARED {
            let is_over = self.by_expiry.first_key_value().is_some_and(|(expiry, _)| expiry.at <= now);
            let _ = is_over && self.remove_first();
        }
        let expiry = ttl.map(|ttl| {
            self.number += 1;
            Expiry { at: now.saturating_add(nanos(ttl)), number: self.number }
        });
        self.put(key, Entry { value, expiry })
    }

    /// Leaves the expiry as it is.
    fn replace(&mut self, key: &str, value: Arc<[u8]>) -> Result<(), Full> {
        let expiry = self.by_key.get(key).and_then(|entry| entry.expiry);
        self.put(key, Entry { value, expiry })
    }

    /// Makes room if need be: what expires first goes first.
    fn put(&mut self, key: &str, entry: Entry) -> Result<(), Full> {
        let size = Used { entries: 1, bytes: key.len() + entry.value.len() };
        let mut lasting = self.lasting;
        if let Some(before) = self.by_key.get(key).filter(|entry| entry.expiry.is_none()) {
            lasting.subtract(before.size(key));
        }
        if !lasting.has_room_for(size) {
            return Err(Full);
        }
        self.remove(key);
        while !self.all.has_room_for(size) && self.remove_first() {}
        let key: Arc<str> = key.into();
        self.all.add(size);
        match entry.expiry {
            Some(expiry) => _ = self.by_expiry.insert(expiry, key.clone()),
            None => self.lasting.add(size),
        }
        self.by_key.insert(key, entry);
        Ok(())
    }

    fn remove_first(&mut self) -> bool {
        let Some((_, key)) = self.by_expiry.first_key_value() else { return false };
        let key = key.clone();
        self.remove(&key);
        true
    }

    fn remove(&mut self, key: &str) {
        let Some(entry) = self.by_key.remove(key) else { return };
        let size = entry.size(key);
        self.all.subtract(size);
        match entry.expiry {
            Some(expiry) => _ = self.by_expiry.remove(&expiry),
            None => self.lasting.subtract(size),
        }
    }
}

impl Entry {
    fn size(&self, key: &str) -> Used {
        Used { entries: 1, bytes: key.len() + self.value.len() }
    }
}

impl Used {
    fn add(&mut self, other: Self) {
        self.entries += other.entries;
        self.bytes += other.bytes;
    }

    fn subtract(&mut self, other: Self) {
        self.entries -= other.entries;
        self.bytes -= other.bytes;
    }

    fn has_room_for(&self, more: Self) -> bool {
        self.entries + more.entries <= MAX.entries && self.bytes + more.bytes <= MAX.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Option<Duration> = Some(Duration::from_secs(3_600));
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    fn used(entries: &Entries) -> (usize, usize) {
        let table = entries.table();
        assert_eq!(table.all.entries, table.by_key.len());
        let lasting = table.by_key.len() - table.by_expiry.len();
        assert_eq!(table.lasting.entries, lasting);
        (table.all.entries, table.all.bytes)
    }

    #[test]
    fn what_expires_first_makes_room() {
        let entries = Entries::default();
        entries.set("for good", b"", None, 0).expect("room");
        entries.set("an hour", b"", HOUR, 0).expect("room");
        for index in 0..MAX.entries + 5 {
            entries.set(&index.to_string(), b"", MINUTE, index as u64).expect("room is made");
        }
        assert_eq!(used(&entries).0, MAX.entries);
        assert!(entries.get("for good", 0).is_some() && entries.get("an hour", 0).is_some());
        assert_eq!([6, 7].map(|index| entries.get(&index.to_string(), 0).is_some()), [false, true]);
    }

    #[test]
    fn bytes_are_bounded_as_well() {
        let entries = Entries::default();
        let value = vec![0; 64 << 10];
        for index in 0..300 {
            entries.set(&format!("{index:03}"), &value, MINUTE, index).expect("room is made");
        }
        assert_eq!(used(&entries), (255, 255 * (value.len() + 3)));
        assert!(entries.get("044", 0).is_none() && entries.get("045", 0).is_some());
    }

    #[test]
    fn what_does_not_expire_stays_until_there_is_no_room_for_more() {
        let entries = Entries::default();
        for index in 0..MAX.entries {
            entries.set(&index.to_string(), b"old", None, 0).expect("room");
        }
        let before = used(&entries);
        assert_eq!(entries.set("more", b"", None, 0), Err(Full));
        assert_eq!(entries.set("more", b"", MINUTE, 0), Err(Full));
        assert_eq!(entries.increment("more", 1, None, 0), Err(NotAdded::Full));
        assert_eq!(used(&entries), before);
        entries.set("7", b"new", None, 0).expect("in place of the old one");
        assert_eq!(entries.get("7", 0).as_deref(), Some(&b"new"[..]));
        entries.set("8", b"new", MINUTE, 0).expect("in place of the old one");
        entries.set("more", b"", None, 0).expect("in place of what expires");
        assert!(entries.get("8", 0).is_none());
        assert_eq!(used(&entries).0, MAX.entries);
    }

    #[test]
    fn what_has_expired_is_cleared_away_by_writing() {
        let entries = Entries::default();
        for index in 0..100 {
            entries.set(&index.to_string(), b"", Some(Duration::from_nanos(10)), 0).expect("room");
        }
        assert!(entries.get("3", 9).is_some() && entries.get("3", 10).is_none());
        (0..25).for_each(|_| entries.set("one", b"", None, 10).expect("room"));
        assert_eq!(used(&entries), (1, 3));
    }

    #[test]
    fn only_numbers_in_their_shortest_form_are_counted_on() {
        for value in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(number(value.as_bytes()).map(|number| number.to_string()).as_deref(), Some(value));
        }
        for value in ["", "+1", "-0", "01", " 1", "1 ", "1.0", "9223372036854775808", "\u{661}"] {
            assert_eq!(number(value.as_bytes()), None, "{value:?}");
        }
    }
}
