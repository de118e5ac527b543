//! `keys`: those that stand in the configuration or in secrets.

use serde_json::{Map, Value};
use tidegate_plugin_sdk::crypto::{Key, KeyFormat};
use tidegate_plugin_sdk::prelude::*;

use crate::json;
use crate::jwk::{self, Jwk};
use crate::jws::Jws;

/// A key, in exactly one of `jwk`, `pem` and `secret`. It is good for the algorithms of its kind, never for others: a public
/// key checks no HMAC, whatever a token says.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct KeySource {
    /// A JSON Web Key or a set of them (RFC 7517), as JSON text or as a table.
    jwk: Option<JwkSource>,
    /// A public key in PEM: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE`. Of several sections the first counts.
    pem: Option<String>,
    /// The name of an entry of `[secrets]` that holds the key: PEM, a JSON Web Key, or a set of them.
    secret: Option<String>,
    /// `"raw"`: the secret is the bytes of an HMAC key, without a line break at the end. Only with `secret`.
    format: Option<SecretFormat>,
    /// The key is for tokens with this `kid` alone, and for those without one. Only with `pem` and `secret`; a JSON Web Key
    /// has its own.
    kid: Option<String>,
}

/// As text or as a table.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a JSON Web Key as text or as a table")]
enum JwkSource {
    /// JSON.
    Text(String),
    /// The members of the key.
    Table(Map<String, Value>),
}

/// How a secret is written, where it does not say so itself.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum SecretFormat {
    /// Bytes of an HMAC key.
    Raw,
}

/// As many as may be tried for a token that names none.
const MAX_KEYS: usize = 32;

/// Read in `configure`.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<Known>);

#[derive(Debug)]
struct Known {
    id: Option<String>,
    is_symmetric: bool,
    key: Key,
}

impl Keys {
    pub(crate) fn new(sources: Vec<KeySource>) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for (index, source) in sources.into_iter().enumerate() {
            let read = source.read().map_err(|error| error.within(format!("keys[{index}]")))?;
            keys.extend(read);
        }
        if keys.len() > MAX_KEYS {
            return Err(Error::at(
                "keys",
                format!("{} keys; at most {MAX_KEYS} are tried for a token", keys.len()),
            ));
        }
        Ok(Self(keys))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them is for HMAC, or is not.
    pub(crate) fn has(&self, is_symmetric: bool) -> bool {
        self.0.iter().any(|known| known.is_symmetric == is_symmetric)
    }

    /// One of them signed it.
    pub(crate) fn verify(&self, jws: &Jws<'_>) -> bool {
        let mut fitting =
            self.0.iter().filter(|known| jwk::may_be(known.id.as_deref(), jws.key_id.as_deref()));
        fitting.any(|known| known.key.verify(jws.algorithm, jws.signed, &jws.signature))
    }
}

impl KeySource {
    fn read(self) -> Result<Vec<Known>, Error> {
        match (self.jwk, self.pem, self.secret) {
            (Some(jwk), None, None) => {
                if self.kid.is_some() {
                    return Err(Error::at("kid", "belongs into the JSON Web Key"));
                }
                if self.format.is_some() {
                    return Err(Error::at("format", "is only about `secret`"));
                }
                let jwk = match jwk {
                    JwkSource::Table(members) => Some(members),
                    JwkSource::Text(text) => json::object(text.as_bytes()),
                };
                web_keys(jwk).map_err(|reason| Error::at("jwk", reason))
            }
            (None, Some(pem), None) => {
                if self.format.is_some() {
                    return Err(Error::at("format", "is only about `secret`"));
                }
                public(self.kid, pem.as_bytes()).map_err(|reason| Error::at("pem", reason))
            }
            (None, None, Some(name)) => from_secret(&name, self.format, self.kid),
            _ => Err("needs exactly one of `jwk`, `pem` and `secret`".into()),
        }
    }
}

fn from_secret(name: &str, format: Option<SecretFormat>, kid: Option<String>) -> Result<Vec<Known>, Error> {
    let secret = environment::secret(name).ok_or_else(|| {
        Error::at(
            "secret",
            format!("there is no secret `{name}`; write `{name} = {{ file = \"…\" }}` under `[secrets]`"),
        )
    })?;
    if matches!(format, Some(SecretFormat::Raw)) {
        let bytes = secret.strip_suffix(b"\n").unwrap_or(&secret);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let key = Key::new(KeyFormat::Raw, bytes).map_err(|error| error.within("secret"))?;
        return Ok(vec![Known { id: kid, is_symmetric: true, key }]);
    }
    let at = |reason: String| Error::at("secret", reason);
    if secret.trim_ascii_start().starts_with(b"{") {
        if kid.is_some() {
            return Err(Error::at("kid", "belongs into the JSON Web Key"));
        }
        return web_keys(json::object(&secret)).map_err(at);
    }
    // What is neither is no HMAC key by accident: a damaged PEM file would be a known one.
    if !secret.windows(11).any(|part| part == b"-----BEGIN ") {
        let reason =
            "is neither PEM nor a JSON Web Key; write `format = \"raw\"` if it is the bytes of an HMAC key";
        return Err(at(reason.to_owned()));
    }
    public(kid, &secret).map_err(at)
}

fn public(id: Option<String>, pem: &[u8]) -> Result<Vec<Known>, String> {
    let key = Key::new(KeyFormat::Pem, pem).map_err(|error| error.to_string())?;
    Ok(vec![Known { id, is_symmetric: false, key }])
}

/// One key has to be good; of a set those that are not are left out, as there may be some for other purposes (RFC 7517 §5).
fn web_keys(jwk: Option<Map<String, Value>>) -> Result<Vec<Known>, String> {
    let jwk = jwk.ok_or("is not a JSON object, or a name stands twice in it")?;
    let read = |jwk: &Map<String, Value>| {
        let jwk = Jwk::new(jwk)?;
        let key = Key::new(KeyFormat::Jwk, &jwk.text).map_err(|error| error.to_string())?;
        Ok::<_, String>(Known { id: jwk.id, is_symmetric: jwk.is_symmetric, key })
    };
    let Some(members) = jwk::members(&jwk) else {
        return Ok(vec![read(&jwk)?]);
    };
    let (mut keys, mut refused) = (Vec::new(), None);
    for member in members {
        match read(member) {
            Ok(key) => keys.push(key),
            Err(reason) => refused = Some(reason),
        }
    }
    match refused {
        _ if !keys.is_empty() => Ok(keys),
        Some(reason) => Err(format!("no key of the set can be used: {reason}")),
        None => Err("the set has no keys".to_owned()),
    }
}
