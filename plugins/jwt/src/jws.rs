//! A token taken apart: the compact serialisation of a JWS (RFC 7515 §7.1).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use tidegate_plugin_sdk::crypto::Algorithm;

use crate::algorithm;
use crate::json;
use crate::refusal::Refusal;

/// Tokens are a few hundred bytes; those with many groups in them some thousand.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// A token of the right form. Nothing in it may be believed before its signature is checked.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    pub(crate) algorithm: Algorithm,
    /// Which key it says it is signed with.
    pub(crate) key_id: Option<String>,
    /// `typ`.
    pub(crate) kind: Option<String>,
    /// What is signed: header and payload as they were sent.
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
    payload: &'a str,
}

impl<'a> Jws<'a> {
    /// `algorithms` is what the operator allows: what the token says of its algorithm counts only within that (RFC 8725
    /// §3.1).
    pub(crate) fn parse(token: &'a str, algorithms: &[Algorithm]) -> Result<Self, Refusal> {
        const MALFORMED: Refusal = Refusal::Token("the token is malformed");
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Refusal::Token("the token is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(MALFORMED)?;
        let (header, payload) = signed.split_once('.').ok_or(MALFORMED)?;
        // Five parts are an encrypted token (RFC 7516 §7.1).
        if payload.contains('.') {
            return Err(MALFORMED);
        }
        let header = decode(header).and_then(|header| json::object(&header)).ok_or(MALFORMED)?;
        // Extensions that must be understood, of which none is (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(Refusal::Token("the token has a critical header parameter"));
        }
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(MALFORMED),
        };
        let algorithm = text("alg")?.ok_or(MALFORMED)?;
        let algorithm = algorithm::named(&algorithm).filter(|algorithm| algorithms.contains(algorithm));
        Ok(Self {
            algorithm: algorithm.ok_or(Refusal::Token("the algorithm of the token is not accepted"))?,
            key_id: text("kid")?,
            kind: text("typ")?,
            signed,
            signature: decode(signature).ok_or(MALFORMED)?,
            payload,
        })
    }

    /// Only after the signature was checked.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Refusal> {
        let claims = decode(self.payload).and_then(|payload| json::object(&payload));
        claims.ok_or(Refusal::Token("the claims of the token cannot be read"))
    }
}

/// Strictly: without padding, and no bits left over, so that a token has one spelling (RFC 7515 §2).
fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
