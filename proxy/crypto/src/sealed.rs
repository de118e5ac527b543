//! Bytes that nobody can read or change without the key.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, RandomizedNonceKey};

/// A key to seal with: AES-256-GCM (NIST SP 800-38D) with random nonces, so for no more than 2^32 texts.
pub struct SealingKey(RandomizedNonceKey);

impl SealingKey {
    /// Of these bytes.
    pub fn new(bytes: &[u8; 32]) -> Option<Self> {
        RandomizedNonceKey::new(&AES_256_GCM, bytes).ok().map(Self)
    }

    /// The nonce, and the text in a form that tells nothing but its length. `None`: there is no randomness.
    pub fn seal(&self, text: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = text.to_vec();
        let nonce = self.0.seal_in_place_append_tag(Aad::empty(), &mut sealed).ok()?;
        Some([&nonce.as_ref()[..], &sealed].concat())
    }

    /// The text; `None` if it was not sealed with this key, or was changed since.
    pub fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = aws_lc_rs::aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = sealed.to_vec();
        let length = self.0.open_in_place(nonce, Aad::empty(), &mut text).ok()?.len();
        text.truncate(length);
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_key_alone() {
        let (key, other) =
            (SealingKey::new(&[1; 32]).expect("a key"), SealingKey::new(&[2; 32]).expect("a key"));
        for text in [&b""[..], b"a", &[7; 5000]] {
            let sealed = key.seal(text).expect("randomness");
            assert_eq!(key.open(&sealed).as_deref(), Some(text));
            assert_ne!(key.seal(text), Some(sealed.clone()), "never twice the same");
            assert_eq!(other.open(&sealed), None);
            for at in 0..sealed.len().min(64) {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert_eq!(key.open(&changed), None, "{at}");
            }
            for length in 0..sealed.len().min(64) {
                assert_eq!(key.open(&sealed[..length]), None, "{length}");
            }
        }
    }
}
