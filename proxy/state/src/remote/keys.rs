//! What things are called in the shared store.
//!
//! What stands in braces decides where a cluster keeps a key (Redis Cluster specification, hash tags): all
//! keys of a limiter, or of a store, are in one place and can be asked for together.

use std::fmt::Write;

use aws_lc_rs::digest::{Digest, SHA256, digest};

use crate::quota::Quota;

/// Longer keys of limiters go by their digest, so that clients cannot fill the store with them.
const MAX_KEY: usize = 512;

/// Written to find out whether that is possible.
pub(super) const PROBE: &str = "tg:probe";

/// What the keys of this limiter begin with: `tg:{plugin/name}:numbers:`. Other numbers are another limiter,
/// as for the counts in this process; a debt under one limit says nothing under another.
pub(crate) fn limiter(plugin: &str, name: &str, quota: &Quota) -> String {
    format!("tg:{{{}/{}}}:{}:", escaped(plugin), escaped(name), quota.numbers())
}

/// A key of a limiter, as far as it is part of a name.
pub(crate) enum Key<'a> {
    Short(&'a str),
    /// Its SHA-256 (FIPS 180-4): nobody finds another key with the same.
    Long(Digest),
}

impl<'a> Key<'a> {
    pub(crate) fn new(key: &'a str) -> Self {
        if key.len() <= MAX_KEY { Self::Short(key) } else { Self::Long(digest(&SHA256, key.as_bytes())) }
    }

    /// Its name for the limiter whose keys begin like this.
    pub(crate) fn of(&self, limiter: &str) -> String {
        match self {
            Self::Short(key) => format!("{limiter}k:{key}"),
            Self::Long(digest) => format!("{limiter}h:{}", hex(digest)),
        }
    }
}

pub(super) fn hex(digest: &Digest) -> String {
    let mut text = String::with_capacity(2 * digest.as_ref().len());
    for byte in digest.as_ref() {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// What the keys of this plugin's store begin with: `tg:{plugin}:s:`.
pub(crate) fn store(plugin: &str) -> String {
    format!("tg:{{{}}}:s:", escaped(plugin))
}

pub(crate) fn entry(store: &str, key: &str) -> String {
    format!("{store}{key}")
}

/// Without the characters that separate names, so that no name can be mistaken for another.
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '%' | '{' | '}' | '/' | ':' => _ = write!(escaped, "%{:02x}", u32::from(c)),
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_never_mistaken_for_each_other() {
        let quota = Quota::new(10, Duration::from_secs(1), 5);
        assert_eq!(Key::new("::1").of(&limiter("api", "ip", &quota)), "tg:{api/ip}:10/100000000/6:k:::1");
        assert_eq!(entry(&store("api"), "a:b"), "tg:{api}:s:a:b");
        assert_ne!(limiter("a", "b/c", &quota), limiter("a/b", "c", &quota));
        assert_eq!(store("a}:s:b"), "tg:{a%7d%3as%3ab}:s:");
    }

    #[test]
    fn long_keys_of_limiters_go_by_their_digest() {
        let (short, long) = ("x".repeat(512), "x".repeat(513));
        assert_eq!(Key::new(&short).of(""), format!("k:{short}"));
        let name = Key::new(&long).of("");
        assert_eq!((name.len(), &name[..2]), (66, "h:"));
        assert_ne!(name, Key::new(&"y".repeat(513)).of(""));
    }
}
