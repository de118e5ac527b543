//! The users of a password file, as `htpasswd` writes it.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::password::{self, PasswordError};
use tidegate_plugin_sdk::prelude::*;

use crate::credentials::Credentials;

/// Users and the hashes of their passwords; at least one.
#[derive(Debug)]
pub(crate) struct Users {
    by_name: BTreeMap<String, String>,
}

impl Users {
    /// Of the secret with this name. Errors say the line, and nothing of what stands there.
    pub(crate) fn read(secret: &str) -> Result<Self, String> {
        let Some(bytes) = environment::secret(secret) else {
            return Err(format!(
                "there is no secret of this name; add `[secrets]` with `{secret} = {{ file = \"{secret}.htpasswd\" }}`"
            ));
        };
        let text = String::from_utf8(bytes).map_err(|_| "the secret is not UTF-8".to_owned())?;
        let mut by_name = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim_end();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at_fault = |reason: &str| format!("line {} of the secret: {reason}", index + 1);
            // What follows a second colon is a comment, to nginx and Apache too.
            let (name, rest) = line.split_once(':').ok_or_else(|| at_fault("is not `user:hash`"))?;
            let hash = rest.split(':').next().unwrap_or(rest);
            if name.is_empty() || name.chars().any(char::is_control) {
                return Err(at_fault("the user has no name, or one with control characters"));
            }
            check(hash).map_err(|reason| at_fault(&reason))?;
            if by_name.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(at_fault("the user stands in an earlier line, too; remove one of them"));
            }
        }
        if by_name.is_empty() {
            return Err("nobody stands in the secret; add users with `htpasswd -B`".to_owned());
        }
        Ok(Self { by_name })
    }

    /// Whether this is the password of the user. Takes as long for one who does not exist.
    pub(crate) fn know(&self, credentials: &Credentials) -> Result<bool, PasswordError> {
        let Credentials { user, password } = credentials;
        match self.by_name.get(user) {
            Some(hash) => password::verify(hash, password),
            None => password::verify(&password::dummy(self.hash_like_that_of(user)), password),
        }
    }

    /// Hashes of a file may differ in what they cost. One who does not exist costs as much each time as somebody who
    /// does.
    fn hash_like_that_of(&self, user: &str) -> &str {
        let digest = crypto::digest(Hash::Sha256, user);
        let number = digest.iter().take(4).fold(0, |number, byte| number << 8 | usize::from(*byte));
        self.by_name.values().nth(number % self.by_name.len()).map_or("", String::as_str)
    }
}

/// A password of more than 512 bytes is wrong without a look, but not before its hash was read.
const LONGER_THAN_ANY: [u8; 513] = [b'x'; 513];

fn check(hash: &str) -> Result<(), String> {
    let what = match password::verify(hash, LONGER_THAN_ANY) {
        Err(PasswordError::UnknownFormat) => match hash {
            _ if hash.starts_with("$apr1$") || hash.starts_with("$1$") => {
                "is one of MD5, which protects nothing"
            }
            _ if hash.starts_with("{SHA}") || hash.starts_with("{SSHA}") => {
                "is one of SHA-1, which protects nothing"
            }
            _ if hash.starts_with('$') => "is damaged, or neither bcrypt, argon2, scrypt nor SHA-crypt",
            _ => "is plain text or DES crypt, which protects nothing",
        },
        Err(PasswordError::TooCostly) => "costs more than the proxy spends",
        Err(PasswordError::Busy) | Ok(_) => return Ok(()),
    };
    Err(format!("the hash {what}; make it anew with `htpasswd -B`"))
}
