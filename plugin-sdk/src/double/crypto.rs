//! Digests and signatures, made with the crate the proxy uses. Keys belong to the thread that read them, as a test does.

use std::cell::RefCell;

use tidegate_crypto as crypto;

pub(crate) use crate::bindings::imports::tidegate::policy::crypto::{Algorithm, Hash, Key, KeyFormat};

thread_local! {
    static KEYS: RefCell<Vec<crypto::Key>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn digest(hash: Hash, data: &[u8]) -> Vec<u8> {
    crypto::digest(self::hash(hash), data)
}

pub(crate) fn hmac(hash: Hash, key: &[u8], data: &[u8]) -> Vec<u8> {
    crypto::hmac(self::hash(hash), key, data)
}

pub(crate) fn equal(a: &[u8], b: &[u8]) -> bool {
    crypto::equal(a, b)
}

pub(crate) fn random_bytes(count: u32) -> Vec<u8> {
    let mut bytes = vec![0; count.min(64 << 10) as usize];
    crypto::random(&mut bytes).expect("the system has randomness");
    bytes
}

pub(crate) fn parse_key(format: KeyFormat, key: &[u8]) -> Result<Key, String> {
    let key = crypto::Key::parse(self::format(format), key).map_err(|error| error.to_string())?;
    KEYS.with_borrow_mut(|keys| {
        keys.push(key);
        Ok(u32::try_from(keys.len() - 1).expect("a test reads a handful"))
    })
}

pub(crate) fn verify(key: Key, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
    KEYS.with_borrow(|keys| match keys.get(key as usize) {
        Some(key) => key.verify(self::algorithm(algorithm), message, signature).unwrap_or(false),
        None => panic!("{key} is no key read in this thread"),
    })
}

pub(crate) fn verify_with(
    format: KeyFormat,
    key: &[u8],
    algorithm: Algorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<bool, String> {
    let key = crypto::Key::parse(self::format(format), key).map_err(|error| error.to_string())?;
    Ok(key.verify(self::algorithm(algorithm), message, signature).unwrap_or(false))
}

fn hash(hash: Hash) -> crypto::Hash {
    match hash {
        Hash::Sha256 => crypto::Hash::Sha256,
        Hash::Sha384 => crypto::Hash::Sha384,
        Hash::Sha512 => crypto::Hash::Sha512,
    }
}

fn format(format: KeyFormat) -> crypto::KeyFormat {
    match format {
        KeyFormat::Pem => crypto::KeyFormat::Pem,
        KeyFormat::Jwk => crypto::KeyFormat::Jwk,
        KeyFormat::Raw => crypto::KeyFormat::Raw,
    }
}

fn algorithm(algorithm: Algorithm) -> crypto::Algorithm {
    match algorithm {
        Algorithm::Hs256 => crypto::Algorithm::Hs256,
        Algorithm::Hs384 => crypto::Algorithm::Hs384,
        Algorithm::Hs512 => crypto::Algorithm::Hs512,
        Algorithm::Rs256 => crypto::Algorithm::Rs256,
        Algorithm::Rs384 => crypto::Algorithm::Rs384,
        Algorithm::Rs512 => crypto::Algorithm::Rs512,
        Algorithm::Ps256 => crypto::Algorithm::Ps256,
        Algorithm::Ps384 => crypto::Algorithm::Ps384,
        Algorithm::Ps512 => crypto::Algorithm::Ps512,
        Algorithm::Es256 => crypto::Algorithm::Es256,
        Algorithm::Es384 => crypto::Algorithm::Es384,
        Algorithm::Eddsa => crypto::Algorithm::EdDsa,
    }
}
