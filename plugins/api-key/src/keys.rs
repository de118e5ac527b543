//! The keys of a list, and whose they are.

use std::collections::{BTreeSet, HashMap};

use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::prelude::*;

/// Keys and the names of those who have them; at least one.
#[derive(Debug)]
pub(crate) struct Keys {
    /// By the SHA-256 of the key. How long a look takes may tell something of digests, and nobody can make a key to
    /// a digest; of keys it tells nothing.
    owners: HashMap<Vec<u8>, String>,
}

/// A shorter one can be guessed: 16 characters of Base64 are 96 bits.
const LEAST: usize = 16;
const MOST: usize = 1024;
const MAX_NAME: usize = 128;

impl Keys {
    /// Of the secret with this name. Errors say the line, and nothing of what stands there.
    pub(crate) fn read(secret: &str) -> Result<Self, String> {
        let Some(bytes) = environment::secret(secret) else {
            return Err(format!(
                "there is no secret of this name; add `[secrets]` with `{secret} = {{ file = \"{secret}.txt\" }}`"
            ));
        };
        let text = String::from_utf8(bytes).map_err(|_| "the secret is not UTF-8".to_owned())?;
        let mut owners = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let at_fault = |reason: &str| format!("line {} of the secret: {reason}", index + 1);
            let (name, key) = line.split_once(':').ok_or_else(|| at_fault("is not `name:key`"))?;
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(at_fault("the name is not 1 to 128 visible characters of ASCII"));
            }
            let digest = digest_of(key).map_err(|reason| at_fault(&reason))?;
            if owners.insert(digest, name.to_owned()).is_some() {
                return Err(at_fault(
                    "the key stands in an earlier line, too; give everybody one of their own",
                ));
            }
        }
        if owners.is_empty() {
            return Err("no key stands in the secret; write one a line, `name:key`".to_owned());
        }
        Ok(Self { owners })
    }

    /// Whose key this is.
    pub(crate) fn owner(&self, key: &[u8]) -> Option<&str> {
        if key.len() > MOST {
            return None;
        }
        self.owners.get(&crypto::digest(Hash::Sha256, key)).map(String::as_str)
    }

    /// Who has keys.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.owners.values().map(String::as_str).collect()
    }
}

/// Of what is written for a key: the key, or `sha256:` and the digest of it.
fn digest_of(key: &str) -> Result<Vec<u8>, String> {
    if let Some(hex) = key.strip_prefix("sha256:") {
        return unhex(hex).ok_or_else(|| "`sha256:` is not followed by 64 hexadecimal digits".to_owned());
    }
    if key.len() < LEAST {
        return Err(format!(
            "the key is shorter than {LEAST} characters; make one with `openssl rand -hex 32`"
        ));
    }
    if key.len() > MOST || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "the key is longer than {MOST} characters, or has some that are not visible ASCII"
        ));
    }
    Ok(crypto::digest(Hash::Sha256, key))
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}
