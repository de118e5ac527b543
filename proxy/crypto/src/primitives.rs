//! Digests, message authentication, comparison and randomness: the library's functions, as policies call them.

use aws_lc_rs::{constant_time, digest as sha, hmac as mac, rand};
use thiserror::Error;

/// A hash function of the SHA-2 family (FIPS 180-4).
///
/// SHA-1 and MD5 are not among them: what still asks for those wants no security from them, and a policy can
/// compute them itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hash {
    /// 32 bytes.
    Sha256,
    /// 48 bytes.
    Sha384,
    /// 64 bytes.
    Sha512,
}

/// There was no randomness to be had: the system refuses it, which it never does once it is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// The hash of `data`. About 0.6 ms for each MiB.
#[must_use]
pub fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => &sha::SHA256,
        Hash::Sha384 => &sha::SHA384,
        Hash::Sha512 => &sha::SHA512,
    };
    sha::digest(algorithm, data).as_ref().to_vec()
}

/// The authentication code of `data` (RFC 2104). A key of any length will do here, even an empty one: it may
/// have been fixed by somebody else's protocol. [`Key`](crate::Key) is stricter.
#[must_use]
pub fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    let algorithm = match hash {
        Hash::Sha256 => mac::HMAC_SHA256,
        Hash::Sha384 => mac::HMAC_SHA384,
        Hash::Sha512 => mac::HMAC_SHA512,
    };
    mac::sign(&mac::Key::new(algorithm, key), data).as_ref().to_vec()
}

/// Whether both are the same, in a time that says nothing about where they differ. It does say whether their
/// lengths do: compare digests or codes where a length is secret.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Fills the buffer with bytes that nobody can foretell, fit for keys.
pub fn random(buffer: &mut [u8]) -> Result<(), NoRandomness> {
    rand::fill(buffer).map_err(|_| NoRandomness)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn digests_are_those_of_fips_180() {
        assert_eq!(
            hex(&digest(Hash::Sha256, b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(&digest(Hash::Sha384, b"abc")),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed\
             8086072ba1e7cc2358baeca134c825a7"
        );
        assert_eq!(
            hex(&digest(Hash::Sha512, b"abc")),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        );
        assert_eq!(
            hex(&digest(Hash::Sha256, b"")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    /// RFC 4231, test case 2.
    #[test]
    fn authentication_codes_are_those_of_rfc_4231() {
        let code = |hash| hex(&hmac(hash, b"Jefe", b"what do ya want for nothing?"));
        assert_eq!(code(Hash::Sha256), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(
            code(Hash::Sha384),
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e\
             8e2240ca5e69e2c78b3239ecfab21649"
        );
        assert_eq!(
            code(Hash::Sha512),
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
        );
        assert_eq!(hmac(Hash::Sha256, b"", b"").len(), 32, "an empty key is a key");
    }

    #[test]
    fn only_the_same_bytes_are_equal() {
        assert!(equal(b"", b""));
        assert!(equal(b"secret", b"secret"));
        assert!(!equal(b"secret", b"secreT"));
        assert!(!equal(b"secret", b"secret "));
        assert!(!equal(b"", b"secret"));
    }

    #[test]
    fn random_bytes_do_not_repeat() {
        let mut first = [0; 32];
        let mut second = [0; 32];
        random(&mut first).expect("randomness");
        random(&mut second).expect("randomness");
        assert_ne!(first, second);
        random(&mut []).expect("nothing to fill");
    }
}
