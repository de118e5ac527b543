//! What policies check with, outside of TLS: digests, message authentication and signatures. The calls are
//! short, and made where the policy runs.
//!
//! * [`digest`], [`hmac`], [`equal`], [`random`]: one call each.
//! * [`Algorithm`]: the names that signatures and keys go by in JWS.
//! * [`Key`]: what a signature is verified with, from PEM, JWK or bytes. It knows what it is good for.
//! * [`Keys`]: keys that were read lately, so that a policy may pass a key's text with each call.
//!
//! Nothing here keeps a secret out of the process's memory: a key is as safe as the process.

mod algorithm;
mod bounded;
mod key;
mod keys;
mod primitives;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::{Key, KeyError, KeyFormat, Kind as KeyKind, Unsuitable};
pub use keys::{Keys, VerifyError};
pub use primitives::{Hash, NoRandomness, digest, equal, hmac, random};
