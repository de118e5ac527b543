//! Keys that were read lately.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use thiserror::Error;

use crate::bounded::{Bounded, Mark};
use crate::{Algorithm, Key, KeyError, KeyFormat, Unsuitable};

/// A policy keeps no key of the host's: it passes the text with each call, and this spares reading it again.
/// The last 256 keys are kept, of whomever; one that was refused is not.
///
/// A key is found by the SHA-256 of its text, which costs half a microsecond. The lock is held for a look into
/// a map.
pub struct Keys(Mutex<Bounded<Arc<Key>>>);

/// Why a signature was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// The key cannot be read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is not one for this algorithm.
    #[error(transparent)]
    Unsuitable(#[from] Unsuitable),
}

/// More than the issuers that a proxy knows have between them; a few KiB each.
const MOST: usize = 256;

impl Keys {
    /// Without a key so far.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Bounded::new(MOST)))
    }

    /// [`Key::parse`], then [`Key::verify`].
    pub fn verify(
        &self,
        format: KeyFormat,
        bytes: &[u8],
        algorithm: Algorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, VerifyError> {
        Ok(self.key(format, bytes)?.verify(algorithm, message, signature)?)
    }

    /// The key of this text, read now if it is not known.
    pub fn key(&self, format: KeyFormat, bytes: &[u8]) -> Result<Arc<Key>, KeyError> {
        Key::bounded(bytes)?;
        let mark = mark(format, bytes);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&mark).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let key = Arc::new(Key::parse(format, bytes)?);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, key.clone());
        Ok(key)
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn mark(format: KeyFormat, bytes: &[u8]) -> Mark {
    let mut context = Context::new(&SHA256);
    context.update(match format {
        KeyFormat::Pem => b"p",
        KeyFormat::Jwk => b"j",
        KeyFormat::Raw => b"r",
    });
    context.update(bytes);
    let mut mark = Mark::default();
    mark.copy_from_slice(context.finish().as_ref());
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hash, hmac};

    #[test]
    fn a_key_is_read_once() {
        let keys = Keys::new();
        let first = keys.key(KeyFormat::Raw, &[7; 32]).expect("a key");
        let again = keys.key(KeyFormat::Raw, &[7; 32]).expect("a key");
        let other = keys.key(KeyFormat::Raw, &[8; 32]).expect("a key");
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn the_same_bytes_in_another_format_are_another_key() {
        let keys = Keys::new();
        let jwk = br#"{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#;
        let code = |key: &[u8]| hmac(Hash::Sha256, key, b"message");
        let verify = |format, code: &[u8]| keys.verify(format, jwk, Algorithm::Hs256, b"message", code);
        assert_eq!(verify(KeyFormat::Jwk, &code(&[0; 32])), Ok(true));
        assert_eq!(verify(KeyFormat::Raw, &code(jwk)), Ok(true));
        assert_eq!(verify(KeyFormat::Raw, &code(&[0; 32])), Ok(false));
    }

    #[test]
    fn a_refusal_says_whose_fault_it_is() {
        let keys = Keys::new();
        let verify =
            |bytes: &[u8], algorithm| keys.verify(KeyFormat::Raw, bytes, algorithm, b"message", b"code");
        assert!(matches!(verify(b"short", Algorithm::Hs256), Err(VerifyError::Key(_))));
        assert!(matches!(verify(&[7; 32], Algorithm::Hs512), Err(VerifyError::Unsuitable(_))));
    }

    #[test]
    fn no_more_than_256_keys_are_kept() {
        let keys = Keys::new();
        let secret = |number: u32| [number.to_be_bytes(); 8].concat();
        let first = keys.key(KeyFormat::Raw, &secret(0)).expect("a key");
        for number in 1..256 {
            keys.key(KeyFormat::Raw, &secret(number)).expect("a key");
        }
        assert!(Arc::ptr_eq(&first, &keys.key(KeyFormat::Raw, &secret(0)).expect("a key")));
        keys.key(KeyFormat::Raw, &secret(256)).expect("a key");
        assert!(!Arc::ptr_eq(&first, &keys.key(KeyFormat::Raw, &secret(0)).expect("a key")));
    }
}
