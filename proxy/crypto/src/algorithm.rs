//! The names of JWS for signatures and message authentication, and the functions of the library behind them.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, VerificationAlgorithm,
};
use thiserror::Error;

/// How a message is signed. Names and meaning are those of JWS (RFC 7518 §3.1, RFC 8037 §3.1).
///
/// `none` is not among them, nor is what hardly anybody uses: ES512, ES256K, Ed448.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256 and a salt as long as the hash.
    Ps256,
    /// RSASSA-PSS with SHA-384 and a salt as long as the hash.
    Ps384,
    /// RSASSA-PSS with SHA-512 and a salt as long as the hash.
    Ps512,
    /// ECDSA on P-256 with SHA-256. The signature is r‖s, 64 bytes; not DER.
    Es256,
    /// ECDSA on P-384 with SHA-384. The signature is r‖s, 96 bytes; not DER.
    Es384,
    /// Ed25519. RFC 9864 renames it so, and both names are read.
    EdDsa,
}

/// There is no algorithm of this name, or it is not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this is none of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA, Ed25519"
)]
pub struct UnknownAlgorithm;

/// What an algorithm is made of.
pub(crate) enum Means {
    Code(hmac::Algorithm),
    Signature(&'static dyn VerificationAlgorithm),
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// As it is written in the `alg` of a JWS or a JWK.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn means(self) -> Means {
        match self {
            Self::Hs256 => Means::Code(hmac::HMAC_SHA256),
            Self::Hs384 => Means::Code(hmac::HMAC_SHA384),
            Self::Hs512 => Means::Code(hmac::HMAC_SHA512),
            Self::Rs256 => Means::Signature(&RSA_PKCS1_2048_8192_SHA256),
            Self::Rs384 => Means::Signature(&RSA_PKCS1_2048_8192_SHA384),
            Self::Rs512 => Means::Signature(&RSA_PKCS1_2048_8192_SHA512),
            Self::Ps256 => Means::Signature(&RSA_PSS_2048_8192_SHA256),
            Self::Ps384 => Means::Signature(&RSA_PSS_2048_8192_SHA384),
            Self::Ps512 => Means::Signature(&RSA_PSS_2048_8192_SHA512),
            Self::Es256 => Means::Signature(&ECDSA_P256_SHA256_FIXED),
            Self::Es384 => Means::Signature(&ECDSA_P384_SHA384_FIXED),
            Self::EdDsa => Means::Signature(&ED25519),
        }
    }

    /// The kind of key it takes, in words.
    pub(crate) fn takes(self) -> &'static str {
        match self {
            Self::Hs256 | Self::Hs384 | Self::Hs512 => "a symmetric key",
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => "an RSA key",
            Self::Es256 => "a key on P-256",
            Self::Es384 => "a key on P-384",
            Self::EdDsa => "an Ed25519 key",
        }
    }

    /// The least length of a symmetric key, bytes: that of the hash (RFC 7518 §3.2). Nothing for the others.
    pub(crate) fn least_secret_bytes(self) -> Option<usize> {
        match self.means() {
            Means::Code(algorithm) => Some(algorithm.tag_len()),
            Means::Signature(_) => None,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Names are case-sensitive (RFC 7515 §4.1.1).
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name).ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_is_found_by_its_name() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDsa));
    }

    #[test]
    fn no_other_name_is_an_algorithm() {
        for name in ["none", "None", "", "hs256", "HS256 ", "HS1", "ES512", "ES256K", "Ed448", "RSA-OAEP"] {
            assert_eq!(name.parse::<Algorithm>(), Err(UnknownAlgorithm), "{name}");
        }
    }
}
