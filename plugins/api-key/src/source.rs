//! Where a key stands in a request, and how it is taken out.

use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;

/// One place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `authorization: Bearer KEY` (RFC 6750 §2.1).
    Bearer,
    Header(String),
    Query(String),
    Cookie(String),
}

impl Source {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once(':') {
            None if text == "bearer" => return Ok(Self::Bearer),
            Some((kind @ ("header" | "query" | "cookie"), name)) => (kind, name),
            _ => {
                let kinds = "`header:NAME`, `bearer`, `query:NAME` or `cookie:NAME`";
                return Err(format!("`{text}` is not {kinds}"));
            }
        };
        match kind {
            "query" if name.is_empty() => Err(format!("`{text}` lacks a name, as in `query:api_key`")),
            "query" => Ok(Self::Query(name.to_owned())),
            _ if !is_token(name) => Err(format!("`{name}` is not a name")),
            "cookie" => Ok(Self::Cookie(name.to_owned())),
            _ if is_owned_by_proxy(name) || name.eq_ignore_ascii_case("cookie") => {
                Err(format!("`{name}` is no field for keys"))
            }
            _ if name.eq_ignore_ascii_case("authorization") => {
                Err("for a key in `authorization` write `bearer`".to_owned())
            }
            _ => Ok(Self::Header(name.to_owned())),
        }
    }

    /// Everything that stands there.
    pub(crate) fn keys(&self, request: &Request) -> Vec<Vec<u8>> {
        match self {
            Self::Header(name) => request.header_values(name),
            Self::Bearer => {
                let values = request.header_values("authorization");
                values.iter().filter_map(|value| bearer(value)).map(<[u8]>::to_vec).collect()
            }
            Self::Query(name) => {
                let query = request.query().unwrap_or_default();
                let pairs = query.split('&').map(split_pair);
                let ours = pairs.filter(|(key, _)| form_decoded(key) == name.as_bytes());
                ours.map(|(_, value)| form_decoded(value)).collect()
            }
            Self::Cookie(name) => {
                let fields = request.header_values("cookie");
                let pairs = fields.iter().flat_map(|field| field.split(|byte| *byte == b';'));
                let values = pairs.filter(|pair| is_cookie(pair, name));
                values.map(|pair| unquoted(pair).to_vec()).collect()
            }
        }
    }

    /// Takes everything out that stands there; the rest stays as it is.
    pub(crate) fn remove(&self, request: &Request) -> Result<(), EditError> {
        match self {
            Self::Header(name) => request.remove_header(name).map(drop),
            Self::Bearer => request.remove_header("authorization").map(drop),
            Self::Query(name) => {
                let query = request.query().unwrap_or_default();
                let others =
                    query.split('&').filter(|pair| form_decoded(split_pair(pair).0) != name.as_bytes());
                let others = others.collect::<Vec<_>>().join("&");
                let path = request.path();
                request.set_target(&if others.is_empty() { path } else { format!("{path}?{others}") })
            }
            Self::Cookie(name) => {
                let fields = request.header_values("cookie");
                request.remove_header("cookie")?;
                for field in fields {
                    let others = field.split(|byte| *byte == b';').filter(|pair| !is_cookie(pair, name));
                    let others = others.collect::<Vec<_>>().join(&b';');
                    if !others.trim_ascii().is_empty() {
                        request.append_header("cookie", others.trim_ascii())?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// Schemes have no case (RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn split_pair(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// As forms are decoded: what is no triplet stays as it is.
fn form_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        decoded.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = after;
                hex_digit(*high) << 4 | hex_digit(*low)
            }
            _ => *first,
        });
    }
    decoded
}

fn hex_digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok()).unwrap_or_default()
}

fn is_cookie(pair: &[u8], name: &str) -> bool {
    pair.split(|byte| *byte == b'=').next().is_some_and(|key| key.trim_ascii() == name.as_bytes())
}

/// The value of a pair (RFC 6265 §4.1.1).
fn unquoted(pair: &[u8]) -> &[u8] {
    let at = pair.iter().position(|byte| *byte == b'=').map_or(pair.len(), |at| at + 1);
    let value = pair[at..].trim_ascii();
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}
