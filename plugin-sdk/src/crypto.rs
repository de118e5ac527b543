//! Digests and signatures, on the library that the proxy's TLS uses: always granted, and much faster than in the sandbox.

pub use crate::bindings::imports::tidegate::policy::crypto::{Algorithm, Hash, KeyFormat};
use crate::{Error, host};

/// SHA-2 (FIPS 180-4).
pub fn digest(hash: Hash, data: impl AsRef<[u8]>) -> Vec<u8> {
    host::crypto::digest(hash, data.as_ref())
}

/// HMAC (RFC 2104).
pub fn hmac(hash: Hash, key: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Vec<u8> {
    host::crypto::hmac(hash, key.as_ref(), data.as_ref())
}

/// Compares in a time that says nothing of the contents.
pub fn equal(a: impl AsRef<[u8]>, b: impl AsRef<[u8]>) -> bool {
    host::crypto::equal(a.as_ref(), b.as_ref())
}

/// From the operating system's generator; at most 64 KiB.
pub fn random_bytes(count: u32) -> Vec<u8> {
    host::crypto::random_bytes(count)
}

/// A key that signatures are checked with, read once in [`configure`](crate::Policy::configure).
#[derive(Debug)]
pub struct Key(host::crypto::Key);

impl Key {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// It is no key, or one that is too weak; also when called outside `configure`.
    pub fn new(format: KeyFormat, key: impl AsRef<[u8]>) -> Result<Self, Error> {
        host::crypto::parse_key(format, key.as_ref()).map(Self).map_err(Error::from)
    }

    /// Whether the signature or code of the message is right. False as well if the key is not one for this algorithm: a
    /// public key never checks an HMAC, and a JWK with `alg` only that.
    pub fn verify(
        &self,
        algorithm: Algorithm,
        message: impl AsRef<[u8]>,
        signature: impl AsRef<[u8]>,
    ) -> bool {
        host::crypto::verify(self.0, algorithm, message.as_ref(), signature.as_ref())
    }
}

/// [`Key::verify`] with a key that comes as it is written, in any phase: for keys that change.
///
/// # Errors
///
/// Why it is no key.
pub fn verify_with(
    format: KeyFormat,
    key: impl AsRef<[u8]>,
    algorithm: Algorithm,
    message: impl AsRef<[u8]>,
    signature: impl AsRef<[u8]>,
) -> Result<bool, String> {
    host::crypto::verify_with(format, key.as_ref(), algorithm, message.as_ref(), signature.as_ref())
}
