//! What policies check with, outside of TLS: digests, message authentication, signatures and passwords. The
//! calls are short, and made where the policy runs; only a password takes long enough to need a thread of its
//! own.
//!
//! * [`digest`], [`hmac`], [`equal`], [`random`]: one call each.
//! * [`Algorithm`]: the names that signatures and keys go by in JWS.
//! * [`Key`]: what a signature is verified with, from PEM, JWK or bytes. It knows what it is good for.
//! * [`Keys`]: keys that were read lately, so that a policy may pass a key's text with each call.
//! * [`SealingKey`]: what is given to somebody who must not read it.
//! * [`Passwords`]: checks a password against the hash of a password file.
//!
//! Nothing here keeps a secret out of the process's memory: a key is as safe as the process.

mod algorithm;
mod bounded;
mod key;
mod keys;
mod password;
mod primitives;
mod sealed;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use key::{Key, KeyError, KeyFormat, Kind as KeyKind, Unsuitable};
pub use keys::{Keys, VerifyError};
pub use password::{PasswordError, Passwords, Verification};
pub use primitives::{Hash, NoRandomness, digest, equal, hmac, random};
pub use sealed::SealingKey;
