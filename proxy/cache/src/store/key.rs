//! By what a stored response is found: what its request said to the origin of which representation it wants.

use std::borrow::Borrow;
use std::sync::Arc;

/// Destination, scheme, authority, target, and what was added. It is hashed to be looked up, and compared in full.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<[u8]>);

/// What a key is made of. The first four have no line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyParts<'a> {
    /// The destination's name: two of them may have different things for one URL.
    pub destination: &'a str,
    /// `http` or `https`, as the client connected.
    pub scheme: &'a str,
    /// As it is sent to the origin, in the case it is written: an origin may make links of it.
    pub authority: &'a str,
    /// Path and query, as they are sent to the origin.
    pub target: &'a str,
    /// What else tells requests apart: fields and cookies that the operator names.
    pub addition: &'a [u8],
}

impl Key {
    /// Of these parts.
    pub fn new(parts: &KeyParts<'_>) -> Self {
        let KeyParts { destination, scheme, authority, target, addition } = parts;
        let length = destination.len() + scheme.len() + authority.len() + target.len() + addition.len() + 4;
        let mut text = Vec::with_capacity(length);
        for part in [destination, scheme, authority, target] {
            text.extend_from_slice(part.as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(addition);
        Self(text.into())
    }

    /// A key that was kept; `None` if it never was one.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let key = Self(text.into());
        key.parts().map(|_| ())?;
        Some(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What it is made of.
    pub fn parts(&self) -> Option<KeyParts<'_>> {
        let mut parts = self.0.splitn(5, |byte| *byte == b'\n');
        let mut text = || str::from_utf8(parts.next()?).ok();
        let (destination, scheme, authority, target) = (text()?, text()?, text()?, text()?);
        Some(KeyParts { destination, scheme, authority, target, addition: parts.next()? })
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_can_pass_for_another() {
        let plain = KeyParts {
            destination: "app",
            scheme: "https",
            authority: "example.com",
            target: "/a?b",
            addition: b"",
        };
        let others = [
            KeyParts { destination: "ap", ..plain },
            KeyParts { scheme: "http", ..plain },
            KeyParts { authority: "example.com:8443", ..plain },
            KeyParts { authority: "Example.com", ..plain },
            KeyParts { target: "/a?B", ..plain },
            KeyParts { target: "/a", ..plain },
            KeyParts { addition: b"b", ..plain },
            KeyParts { target: "/a", addition: b"?b", ..plain },
        ];
        let key = Key::new(&plain);
        assert!(others.iter().all(|other| Key::new(other) != key));
        for parts in others {
            assert_eq!(Key::new(&parts).parts(), Some(parts));
        }
        let added = KeyParts { addition: b"lines\n of \n any kind", ..plain };
        assert_eq!(Key::new(&added).parts(), Some(added));
        assert_eq!(Key::read(b"app\nhttp\nexample.com"), None);
    }
}
