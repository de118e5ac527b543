//! The names of signatures in tokens and in the configuration (RFC 7518 §3.1, RFC 8037 §3.1).

use tidegate_plugin_sdk::crypto::Algorithm;
use tidegate_plugin_sdk::prelude::*;

/// Neither `none` nor what the proxy does not verify. `Ed25519` is the name that RFC 9864 gives `EdDSA` with keys on that
/// curve, and there are no others here.
const NAMES: [(&str, Algorithm); 13] = [
    ("RS256", Algorithm::Rs256),
    ("RS384", Algorithm::Rs384),
    ("RS512", Algorithm::Rs512),
    ("PS256", Algorithm::Ps256),
    ("PS384", Algorithm::Ps384),
    ("PS512", Algorithm::Ps512),
    ("ES256", Algorithm::Es256),
    ("ES384", Algorithm::Es384),
    ("EdDSA", Algorithm::Eddsa),
    ("Ed25519", Algorithm::Eddsa),
    ("HS256", Algorithm::Hs256),
    ("HS384", Algorithm::Hs384),
    ("HS512", Algorithm::Hs512),
];

/// Case counts (RFC 7515 §4.1.1).
pub(crate) fn named(name: &str) -> Option<Algorithm> {
    NAMES.iter().find_map(|(known, algorithm)| (*known == name).then_some(*algorithm))
}

/// It takes a key that whoever checks could sign with, too.
pub(crate) fn is_symmetric(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512)
}

/// The key `algorithms` of the configuration.
pub(crate) fn list(names: &[String]) -> Result<Vec<Algorithm>, Error> {
    if names.is_empty() {
        return Err(Error::at(
            "algorithms",
            "no token would count; write what the issuer signs with: `[\"RS256\"]`",
        ));
    }
    let read = |(index, name): (usize, &String)| {
        named(name).ok_or_else(|| {
            let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
            Error::at(format!("algorithms[{index}]"), format!("`{name}` is none of {}", known.join(", ")))
        })
    };
    names.iter().enumerate().map(read).collect()
}
