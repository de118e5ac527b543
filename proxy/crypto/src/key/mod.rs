//! What a signature is verified with.

mod jwk;
mod pem;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{ED25519_PUBLIC_KEY_LEN, ParsedPublicKey, RsaParameters};
use thiserror::Error;

use crate::Algorithm;
use crate::algorithm::Means;

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// RFC 7468. The first section is read: `PUBLIC KEY` (SubjectPublicKeyInfo), `RSA PUBLIC KEY` (PKCS#1), or
    /// `CERTIFICATE`, of which only the key is taken: neither its dates nor its issuer are looked at.
    Pem,
    /// One key of RFC 7517: RSA, EC on P-256 or P-384, OKP on Ed25519, or oct. Its `alg`, `use` and `key_ops`
    /// are obeyed, all else that is not the key itself is ignored. A private key is refused: it is not needed,
    /// and who passes it on has lost it. The same member twice is refused.
    Jwk,
    /// The bytes of a symmetric key, as they are.
    Raw,
}

/// A key that signatures are verified with: public, or symmetric.
///
/// It is good for the algorithms of its kind, and no others: a token that names its own algorithm can never
/// turn a public key into an HMAC secret (RFC 8725 §3.1). Its `Debug` says what it is, not what is in it.
pub struct Key {
    kind: Kind,
    /// The `alg` of a JWK.
    only: Option<Algorithm>,
    /// One for each algorithm that the key is good for, at least one. The library ties a key that it has read
    /// to one algorithm, so one of RSA is read six times, unless `only` says which. That is 6 µs, once.
    checks: Vec<(Algorithm, Check)>,
}

/// Why a key is not taken, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No key is that long.
    #[error("the key is longer than {MOST_BYTES} bytes")]
    TooLong,
    /// No PEM at all.
    #[error("this is no PEM text: a key in PEM begins with `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// A section without its end, with another end, or with something else than base64 in it.
    #[error("the PEM text is damaged: {0}")]
    DamagedPem(String),
    /// A section that has no use here.
    #[error("the PEM text is `{0}`; what can be used is `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`")]
    OtherPem(String),
    /// The private half came along.
    #[error("this is a private key; give its public half alone, which `openssl pkey -pubout` makes of PEM")]
    Private,
    /// Not the JSON of a JWK.
    #[error("this is not the JSON object that a JWK is (RFC 7517 §4): line {line}, column {column}")]
    NotJwk {
        /// Where it ceases to be one.
        line: usize,
        /// In bytes.
        column: usize,
    },
    /// A JWK Set.
    #[error("this is a set of keys; give one key of its `keys`")]
    KeySet,
    /// Without a member that this kind has.
    #[error("the JWK has no `{0}`")]
    Missing(&'static str),
    /// Not base64url, or with padding.
    #[error("the `{0}` of the JWK is not base64url without padding (RFC 7515 §2)")]
    NotBase64(&'static str),
    /// A coordinate of another length.
    #[error(
        "the `{member}` of the JWK has {found} bytes; on this curve it has {needed}, zeros in front included"
    )]
    Coordinate {
        /// The member.
        member: &'static str,
        /// Bytes it has.
        found: usize,
        /// Bytes it should have.
        needed: usize,
    },
    /// A kind of key, or a curve, that is not supported.
    #[error("{0} is not supported; use RSA, EC on P-256 or P-384, Ed25519, or a symmetric key")]
    Unsupported(String),
    /// A JWK that is made for something else, or for the other side.
    #[error("the key is not meant to verify signatures: {0}")]
    OtherUse(String),
    /// The `alg` of a JWK does not go with its kind.
    #[error("the JWK says `alg` {algorithm}, which takes {}; this is {kind}", algorithm.takes())]
    Contradiction {
        /// The `alg`.
        algorithm: Algorithm,
        /// What the key is.
        kind: Kind,
    },
    /// What is inside is not the key it claims to be: bytes are missing or changed, or the point is not on its
    /// curve.
    #[error("the key is damaged: its content is not {0}")]
    Damaged(&'static str),
    /// Too small to be safe, or too large to be verified on the way of a request.
    #[error("the RSA key has {0} bits; use one of {LEAST_RSA_BITS} to {MOST_RSA_BITS}")]
    RsaSize(u32),
    /// A symmetric key that can be guessed (RFC 7518 §3.2).
    #[error("the symmetric key has {found} bytes; {algorithm} needs at least {needed}, best of random ones")]
    TooShort {
        /// The `alg` of the JWK, otherwise the one that needs least.
        algorithm: Algorithm,
        /// Bytes it has.
        found: usize,
        /// Bytes it should have.
        needed: usize,
    },
}

/// The key is not one for this algorithm. Whoever chose the pair is at fault: a token's author may name any.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unsuitable {
    /// Another kind of key.
    #[error("{algorithm} takes {}; this is {kind}", algorithm.takes())]
    Kind {
        /// What was asked for.
        algorithm: Algorithm,
        /// What the key is.
        kind: Kind,
    },
    /// The JWK allows one algorithm.
    #[error("the key is for {only} alone, as its `alg` says; asked for was {algorithm}")]
    Restricted {
        /// What was asked for.
        algorithm: Algorithm,
        /// What the key allows.
        only: Algorithm,
    },
    /// A symmetric key that is long enough for a shorter hash only (RFC 7518 §3.2).
    #[error("{algorithm} needs a symmetric key of at least {needed} bytes; this one has {found}")]
    TooShort {
        /// What was asked for.
        algorithm: Algorithm,
        /// Bytes the key has.
        found: usize,
        /// Bytes it should have.
        needed: usize,
    },
}

/// What a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// RSA, for RS and PS alike.
    Rsa {
        /// Of the modulus.
        bits: u32,
    },
    /// EC on P-256.
    P256,
    /// EC on P-384.
    P384,
    /// OKP on Ed25519.
    Ed25519,
    /// For HMAC.
    Symmetric {
        /// Its length.
        bytes: usize,
    },
}

enum Check {
    Code(Box<hmac::Key>),
    Signature(ParsedPublicKey),
}

/// A certificate with a chain behind it fits; the largest RSA key takes 1.5 KiB.
const MOST_BYTES: usize = 64 << 10;
/// RFC 7518 §3.3.
const LEAST_RSA_BITS: u32 = 2048;
/// Verifying takes time with the square of it: 15 µs for 2048, a fifth of a millisecond here.
const MOST_RSA_BITS: u32 = 8192;

impl Key {
    /// Reads a key. What is not one is an error with a sentence for whoever wrote it; nothing of the text is
    /// in it but names.
    pub fn parse(format: KeyFormat, bytes: &[u8]) -> Result<Self, KeyError> {
        Self::bounded(bytes)?;
        let (content, only) = match format {
            KeyFormat::Pem => (pem::read(bytes)?, None),
            KeyFormat::Jwk => jwk::read(bytes)?,
            KeyFormat::Raw => (Content::symmetric(bytes.to_vec()), None),
        };
        Self::new(content, only)
    }

    /// Whether [`Key::verify`] would look at a signature of this algorithm.
    #[must_use]
    pub fn suits(&self, algorithm: Algorithm) -> bool {
        self.check(algorithm).is_some()
    }

    /// Whether this is the signature of the message, or its authentication code. A signature of a wrong form
    /// or length is simply not the one. Codes are compared in constant time.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> Result<bool, Unsuitable> {
        match self.check(algorithm) {
            Some(Check::Code(key)) => Ok(hmac::verify(key, message, signature).is_ok()),
            Some(Check::Signature(key)) => Ok(key.verify_sig(message, signature).is_ok()),
            None => Err(self.unsuitable(algorithm)),
        }
    }

    /// Before anything is done with the text, even a digest of it.
    pub(crate) fn bounded(bytes: &[u8]) -> Result<(), KeyError> {
        if bytes.len() > MOST_BYTES { Err(KeyError::TooLong) } else { Ok(()) }
    }

    fn new(content: Content, only: Option<Algorithm>) -> Result<Self, KeyError> {
        let Content { kind, bytes } = content;
        if let Some(algorithm) = only
            && !kind.algorithms().contains(&algorithm)
        {
            return Err(KeyError::Contradiction { algorithm, kind });
        }
        let mut checks = Vec::new();
        for &algorithm in kind.algorithms() {
            if only.is_some_and(|only| only != algorithm) {
                continue;
            }
            let check = match algorithm.means() {
                Means::Code(code) if bytes.len() < code.tag_len() => continue,
                Means::Code(code) => Check::Code(Box::new(hmac::Key::new(code, &bytes))),
                Means::Signature(signature) => Check::Signature(
                    ParsedPublicKey::new(signature, &bytes).map_err(|_| KeyError::Damaged(kind.noun()))?,
                ),
            };
            checks.push((algorithm, check));
        }
        if checks.is_empty() {
            let algorithm = only.unwrap_or(Algorithm::Hs256);
            let needed = algorithm.least_secret_bytes().unwrap_or(0);
            return Err(KeyError::TooShort { algorithm, found: bytes.len(), needed });
        }
        Ok(Self { kind, only, checks })
    }

    fn check(&self, algorithm: Algorithm) -> Option<&Check> {
        self.checks.iter().find_map(|(suited, check)| (*suited == algorithm).then_some(check))
    }

    fn unsuitable(&self, algorithm: Algorithm) -> Unsuitable {
        match (self.only, self.kind, algorithm.least_secret_bytes()) {
            (Some(only), ..) => Unsuitable::Restricted { algorithm, only },
            (None, Kind::Symmetric { bytes: found }, Some(needed)) => {
                Unsuitable::TooShort { algorithm, found, needed }
            }
            (None, kind, _) => Unsuitable::Kind { algorithm, kind },
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kind", &self.kind).field("only", &self.only).finish_non_exhaustive()
    }
}

impl Kind {
    fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        match self {
            Self::Rsa { .. } => &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
            Self::P256 => &[Es256],
            Self::P384 => &[Es384],
            Self::Ed25519 => &[EdDsa],
            Self::Symmetric { .. } => &[Hs256, Hs384, Hs512],
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Rsa { .. } => "an RSA public key",
            Self::P256 => "a point on P-256",
            Self::P384 => "a point on P-384",
            Self::Ed25519 => "an Ed25519 public key",
            Self::Symmetric { .. } => "a symmetric key",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "an RSA key of {bits} bits"),
            Self::P256 => f.write_str("a key on P-256"),
            Self::P384 => f.write_str("a key on P-384"),
            Self::Ed25519 => f.write_str("an Ed25519 key"),
            Self::Symmetric { bytes } => write!(f, "a symmetric key of {bytes} bytes"),
        }
    }
}

/// A key as every format comes to it: its kind, and the bytes that the library reads.
struct Content {
    kind: Kind,
    /// PKCS#1 of RSA, the point of EC (SEC 1 §2.3.3), the 32 bytes of Ed25519 (RFC 8032 §5.1.5), the
    /// symmetric key.
    bytes: Vec<u8>,
}

impl Content {
    /// From PKCS#1 or a SubjectPublicKeyInfo. The library checks that modulus and exponent are possible ones.
    fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let damaged = KeyError::Damaged("an RSA public key");
        let Ok(key) = RsaPublicKey::from_der(der) else { return Err(damaged) };
        let bytes = key.as_ref().to_vec();
        let Ok(bits) = RsaParameters::public_modulus_len(&bytes) else { return Err(damaged) };
        if !(LEAST_RSA_BITS..=MOST_RSA_BITS).contains(&bits) {
            return Err(KeyError::RsaSize(bits));
        }
        Ok(Self { kind: Kind::Rsa { bits }, bytes })
    }

    /// A point of EC. The library checks that it is one, but reads a SubjectPublicKeyInfo in its place as well.
    fn point(kind: Kind, bytes: Vec<u8>) -> Result<Self, KeyError> {
        match bytes.first() {
            Some(2..=4) => Ok(Self { kind, bytes }),
            _ => Err(KeyError::Damaged(kind.noun())),
        }
    }

    /// The same holds for Ed25519.
    fn ed25519(bytes: Vec<u8>) -> Result<Self, KeyError> {
        let kind = Kind::Ed25519;
        if bytes.len() == ED25519_PUBLIC_KEY_LEN {
            Ok(Self { kind, bytes })
        } else {
            Err(KeyError::Damaged(kind.noun()))
        }
    }

    fn symmetric(bytes: Vec<u8>) -> Self {
        Self { kind: Kind::Symmetric { bytes: bytes.len() }, bytes }
    }
}

/// A name from a key's text, short enough for an error.
fn shown(name: &str) -> String {
    const MOST: usize = 40;
    if name.chars().count() <= MOST {
        return name.escape_debug().to_string();
    }
    let head: String = name.chars().take(MOST).collect();
    format!("{}…", head.escape_debug())
}
