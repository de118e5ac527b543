//! How a client stays where it was: by a cookie of ours, or by the hash of what it has anyway.

use std::net::IpAddr;

use tidegate_plugin_sdk::crypto::{self, Hash};
use tidegate_plugin_sdk::http::is_token;
use tidegate_plugin_sdk::prelude::*;

use crate::MIN_SECRET;
use crate::choice::Weights;

/// How a client stays where it was.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct StickyConfig {
    /// `"cookie"`: a cookie of this policy's. `"header"`, `"session"`: the hash of a field or of a cookie that the
    /// server knows users by. `"client"`: the hash of the address.
    by: By,
    /// Of the field or cookie; `canary` for a cookie of this policy's.
    name: Option<String>,
    /// Seconds that the cookie lives; without it, until the browser is closed.
    max_age: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum By {
    /// A cookie with the name of the destination, signed where there is a secret `cookie`.
    Cookie,
    /// The first value of a field.
    Header,
    /// A cookie of the server's.
    Session,
    /// The address, of IPv6 the first 64 bits.
    Client,
}

#[derive(Debug)]
pub(crate) struct Sticky {
    by: By,
    name: String,
    max_age: Option<u32>,
    key: Option<Vec<u8>>,
    /// Two policies of this kind throw two dice, not one twice.
    salt: String,
}

/// Longer ones are not what a server knows users by.
const MAX_KEY: usize = 4096;

impl Sticky {
    pub(crate) fn new(config: StickyConfig, weights: &Weights) -> Result<Self, Error> {
        let StickyConfig { by, name, max_age } = config;
        let name = match (by, name) {
            (By::Client, Some(_)) => return Err(Error::at("name", "an address has none; leave it out")),
            (By::Client, None) => String::new(),
            (By::Cookie, None) => "canary".to_owned(),
            (By::Header | By::Session, None) => {
                return Err(Error::at("name", "is missing: the field or cookie that is hashed"));
            }
            (_, Some(name)) if is_token(&name) => name,
            (_, Some(name)) => {
                return Err(Error::at("name", format!("`{name}` is no name of a field or cookie")));
            }
        };
        if max_age.is_some() && by != By::Cookie {
            return Err(Error::at("max-age", "belongs to `by = \"cookie\"`"));
        }
        let key = environment::secret("cookie").map(|key| key.trim_ascii_end().to_vec());
        if key.is_some() && by != By::Cookie {
            return Err(Error::at(
                "by",
                "the secret `cookie` signs the cookie of `by = \"cookie\"`, which is not there",
            ));
        }
        if key.as_ref().is_some_and(|key| key.len() < MIN_SECRET) {
            return Err(format!(
                "the secret `cookie` is shorter than {MIN_SECRET} characters: it can be guessed"
            )
            .into());
        }
        if by == By::Cookie
            && let Some(name) = weights.names().iter().find(|name| !is_token(name) || name.contains('.'))
        {
            return Err(Error::at("by", format!("`{name}` cannot stand in a cookie")));
        }
        Ok(Self { by, name, max_age, key, salt: environment::plugin_name() })
    }

    /// Where the cookie says that the client was, if that still has a share.
    pub(crate) fn destination(&self, request: &Request, weights: &Weights) -> Option<usize> {
        if self.by != By::Cookie {
            return None;
        }
        let value = request.cookie(&self.name)?;
        let name = match &self.key {
            None => value.as_str(),
            Some(key) => {
                let (name, code) = value.split_once('.')?;
                let expected = self.code(key, name);
                if !crypto::equal(code, expected) {
                    return None;
                }
                name
            }
        };
        weights.index_of(name).filter(|destination| weights.is_served(*destination))
    }

    /// Of what the client has anyway; `None` if it does not.
    pub(crate) fn hash(&self, request: &Request) -> Option<u64> {
        let key = match self.by {
            By::Cookie => return None,
            By::Header => request.header(&self.name)?,
            By::Session => request.cookie(&self.name)?,
            By::Client => match request.client_ip() {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
            },
        };
        if key.is_empty() || key.len() > MAX_KEY {
            return None;
        }
        let digest = crypto::digest(Hash::Sha256, format!("{}\0{key}", self.salt));
        let first = digest.first_chunk().copied()?;
        Some(u64::from_be_bytes(first))
    }

    /// `set-cookie` for a client that was sent there just now.
    pub(crate) fn cookie(&self, request: &Request, destination: &str) -> Option<String> {
        if self.by != By::Cookie {
            return None;
        }
        let mut cookie = format!("{}={destination}", self.name);
        if let Some(key) = &self.key {
            cookie.push('.');
            cookie.push_str(&self.code(key, destination));
        }
        cookie.push_str("; Path=/; HttpOnly; SameSite=Lax");
        if let Some(seconds) = self.max_age {
            cookie.push_str(&format!("; Max-Age={seconds}"));
        }
        if request.scheme() == "https" {
            cookie.push_str("; Secure");
        }
        Some(cookie)
    }

    fn code(&self, key: &[u8], destination: &str) -> String {
        let code = crypto::hmac(Hash::Sha256, key, format!("{}\0{destination}", self.salt));
        code.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
