//! JSON Web Keys and sets of them (RFC 7517), as far as a policy has to know them; the proxy reads the keys themselves.

use serde_json::{Map, Value};
use tidegate_plugin_sdk::crypto::{self, Algorithm, KeyFormat};

/// One key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Jwk {
    pub(crate) id: Option<String>,
    pub(crate) is_symmetric: bool,
    /// JSON with the members that count.
    pub(crate) text: String,
}

/// What is handed to the proxy with each signature; certificates and what else there may be would cost a copy each time.
const MEMBERS: [&str; 16] =
    ["kty", "use", "key_ops", "alg", "crv", "n", "e", "x", "y", "k", "d", "p", "q", "dp", "dq", "qi"];

/// Tokens have no business with longer ones.
const MAX_ID_BYTES: usize = 256;
/// The largest that the proxy takes, RSA of 8192 bits, has 1.5 KiB.
const MAX_KEY_BYTES: usize = 4 << 10;

impl Jwk {
    /// The error says why the proxy does not take it; it does not repeat the key.
    pub(crate) fn new(jwk: &Map<String, Value>) -> Result<Self, String> {
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if id.len() <= MAX_ID_BYTES => Some(id.clone()),
            Some(_) => return Err(format!("its `kid` is no text of at most {MAX_ID_BYTES} bytes")),
        };
        let members = MEMBERS.iter().filter_map(|&name| Some((name.to_owned(), jwk.get(name)?.clone())));
        let text = Value::Object(members.collect()).to_string();
        if text.len() > MAX_KEY_BYTES {
            return Err(format!("it has more than {MAX_KEY_BYTES} bytes"));
        }
        // The answer does not matter: a key that cannot be read is an error whatever it is asked.
        crypto::verify_with(KeyFormat::Jwk, &text, Algorithm::Rs256, "", "")?;
        Ok(Self { id, is_symmetric: jwk.get("kty").is_some_and(|kind| kind == "oct"), text })
    }

    /// Whether a token with this `kid` may be signed with it.
    pub(crate) fn may_be(&self, id: Option<&str>) -> bool {
        may_be(self.id.as_deref(), id)
    }

    pub(crate) fn verify(&self, algorithm: Algorithm, message: &str, signature: &[u8]) -> bool {
        crypto::verify_with(KeyFormat::Jwk, &self.text, algorithm, message, signature).unwrap_or(false)
    }
}

/// A key or a token that names none fits any.
pub(crate) fn may_be(key: Option<&str>, token: Option<&str>) -> bool {
    match (key, token) {
        (Some(key), Some(token)) => key == token,
        _ => true,
    }
}

/// The objects in a set; `None` if it is none.
pub(crate) fn members(set: &Map<String, Value>) -> Option<impl Iterator<Item = &Map<String, Value>>> {
    Some(set.get("keys")?.as_array()?.iter().filter_map(Value::as_object))
}
