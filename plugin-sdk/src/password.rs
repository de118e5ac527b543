//! Passwords against hashes as `htpasswd -B` and others make them: bcrypt, argon2, scrypt and SHA-crypt. Always granted;
//! checked beside the traffic, a few at a time, while this call waits.

use thiserror::Error;

use crate::host;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// `$apr1$`, `{SHA}`, DES and plain text are not read: they protect nothing.
    #[error("not a bcrypt, argon2, scrypt or SHA-crypt hash")]
    UnknownFormat,
    /// bcrypt over 14, argon2 over 256 MiB, and the like.
    #[error("the hash costs more than the proxy spends")]
    TooCostly,
    /// Try again, or answer 503.
    #[error("too many passwords are being checked")]
    Busy,
}

impl From<host::password::PasswordError> for PasswordError {
    fn from(error: host::password::PasswordError) -> Self {
        match error {
            host::password::PasswordError::UnknownFormat => Self::UnknownFormat,
            host::password::PasswordError::TooCostly => Self::TooCostly,
            host::password::PasswordError::Busy => Self::Busy,
        }
    }
}

/// Whether this is the password. A success is remembered for five minutes.
///
/// # Errors
///
/// The hash cannot be checked, or not now.
pub fn verify(hash: &str, password: impl AsRef<[u8]>) -> Result<bool, PasswordError> {
    Ok(host::password::verify(hash, password.as_ref())?)
}

/// A hash that no password fits and that takes as long as this one: check it for users who do not exist, so that they
/// cannot be told from those who do.
pub fn dummy(like: &str) -> String {
    host::password::dummy(like)
}
