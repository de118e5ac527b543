//! What the claims of a token have to be (RFC 7519 §4.1), and what a rule asks of them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Number, Value};
use tidegate_plugin_sdk::prelude::*;

use crate::refusal::Refusal;

/// One text or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text or a list of texts")]
pub(crate) enum Texts {
    /// This one.
    One(String),
    /// Any of these.
    Any(Vec<String>),
}

/// What a claim has to be.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, a number, a boolean, or a list of them")]
pub(crate) enum Wanted {
    /// This; `"*"`: the claim is there, whatever it is.
    One(Scalar),
    /// One of these.
    Any(Vec<Scalar>),
}

/// A value without parts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Scalar {
    /// Compared with regard to case.
    Text(String),
    /// `true` or `false`.
    Flag(bool),
    /// A number.
    Number(Number),
}

/// What holds for every token.
#[derive(Debug)]
pub(crate) struct Validity {
    /// Empty: any.
    pub(crate) issuers: Vec<String>,
    /// `None`: any, and none.
    pub(crate) audiences: Option<Vec<String>>,
    /// Lower case, without `application/`. Empty: any.
    pub(crate) kinds: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) max_age: Option<Duration>,
    pub(crate) needs_expiry: bool,
}

/// What a rule asks of the claims of a token that is valid.
#[derive(Debug, Default)]
pub(crate) struct Demands {
    pub(crate) scopes: Vec<String>,
    pub(crate) claims: Vec<(Claim, Wanted)>,
}

/// Where a claim is: by its name, or by a JSON pointer (RFC 6901), which begins with `/`.
#[derive(Debug, Clone)]
pub(crate) struct Claim(String);

impl Texts {
    pub(crate) fn into_list(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Any(texts) => texts,
        }
    }
}

impl Validity {
    /// `typ` of the header, which says what the token is for (RFC 8725 §3.11).
    pub(crate) fn check_kind(&self, kind: Option<&str>) -> Result<(), Refusal> {
        let kind = kind.unwrap_or_default().to_ascii_lowercase();
        // The prefix may be left out (RFC 7515 §4.1.9).
        let kind = kind.strip_prefix("application/").unwrap_or(&kind);
        match self.kinds.is_empty() || self.kinds.iter().any(|known| known == kind) {
            true => Ok(()),
            false => Err(Refusal::Token("the token is of another type")),
        }
    }

    pub(crate) fn check(&self, claims: &Map<String, Value>, now: Duration) -> Result<(), Refusal> {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        if !self.issuers.is_empty()
            && !text("iss").is_some_and(|iss| self.issuers.iter().any(|known| known == iss))
        {
            return Err(Refusal::Token("the token is of another issuer"));
        }
        if let Some(audiences) = &self.audiences {
            let is_meant =
                |value: &Value| value.as_str().is_some_and(|aud| audiences.iter().any(|known| known == aud));
            let meant = match claims.get("aud") {
                Some(Value::Array(list)) => list.iter().any(is_meant),
                Some(one) => is_meant(one),
                None => false,
            };
            if !meant {
                return Err(Refusal::Token("the token is for another audience"));
            }
        }
        self.check_times(claims, now)
    }

    /// RFC 7519 §4.1.4 to §4.1.6.
    fn check_times(&self, claims: &Map<String, Value>, now: Duration) -> Result<(), Refusal> {
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        let expires = date(claims, "exp")?;
        if expires.is_none() && self.needs_expiry {
            return Err(Refusal::Token("the token has no end"));
        }
        if expires.is_some_and(|expires| now >= expires + leeway) {
            return Err(Refusal::Token("the token has expired"));
        }
        if date(claims, "nbf")?.is_some_and(|begins| now + leeway < begins) {
            return Err(Refusal::Token("the token is not valid yet"));
        }
        let issued = date(claims, "iat")?;
        if issued.is_some_and(|issued| now + leeway < issued) {
            return Err(Refusal::Token("the token was issued in the future"));
        }
        match (self.max_age, issued) {
            (Some(_), None) => Err(Refusal::Token("the token does not say when it was issued")),
            (Some(max), Some(issued)) if now - issued > max.as_secs_f64() + leeway => {
                Err(Refusal::Token("the token is too old"))
            }
            _ => Ok(()),
        }
    }
}

/// Seconds since the Unix epoch, perhaps with a fraction (RFC 7519 §2).
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(date) => Ok(Some(date)),
            None => Err(Refusal::Token("a date of the token is no number")),
        },
    }
}

impl Demands {
    pub(crate) fn new(scopes: Vec<String>, claims: BTreeMap<String, Wanted>) -> Result<Self, Error> {
        for (index, scope) in scopes.iter().enumerate() {
            // RFC 6749 §3.3
            let valid = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
            if scope.is_empty() || !scope.bytes().all(valid) {
                return Err(Error::at(format!("scopes[{index}]"), format!("{scope:?} is not one scope")));
            }
        }
        let check = |(name, wanted): (String, Wanted)| match &wanted {
            Wanted::Any(values) if values.is_empty() => {
                Err(Error::at(format!("claims.{name}"), "no value will do; write `\"*\"` for any"))
            }
            _ => Ok((Claim::new(&name).map_err(|error| error.within("claims"))?, wanted)),
        };
        let claims = claims.into_iter().map(check).collect::<Result<_, Error>>()?;
        Ok(Self { scopes, claims })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.scopes.is_empty() && self.claims.is_empty()
    }

    pub(crate) fn check(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        if !self.scopes.iter().all(|scope| has_scope(claims, scope)) {
            return Err(Refusal::Insufficient { scopes: self.scopes.join(" ") });
        }
        match self.claims.iter().all(|(claim, wanted)| claim.of(claims).is_some_and(|value| wanted.is(value)))
        {
            true => Ok(()),
            false => Err(Refusal::Insufficient { scopes: String::new() }),
        }
    }
}

/// `scope` is texts with spaces between them (RFC 8693 §4.2); some issuers have a list there, or call it `scp`.
fn has_scope(claims: &Map<String, Value>, scope: &str) -> bool {
    ["scope", "scp"].into_iter().filter_map(|name| claims.get(name)).any(|value| match value {
        Value::String(texts) => texts.split(' ').any(|text| text == scope),
        Value::Array(list) => list.iter().any(|text| text == scope),
        _ => false,
    })
}

impl Claim {
    pub(crate) fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name == "/" {
            return Err(format!(
                "`{name}` names no claim; write `sub`, or `/realm_access/roles` for one within another"
            )
            .into());
        }
        Ok(Self(name.to_owned()))
    }

    /// `None` as well for `null`, which says nothing.
    pub(crate) fn of<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let value = match self.0.strip_prefix('/') {
            None => claims.get(&self.0),
            Some(path) => {
                let (first, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
                claims.get(&first.replace("~1", "/").replace("~0", "~")).and_then(|value| value.pointer(rest))
            }
        };
        value.filter(|value| !value.is_null())
    }
}

impl Wanted {
    /// Of a list, one of its values will do.
    fn is(&self, value: &Value) -> bool {
        let one = |value: &Value| match self {
            Self::One(Scalar::Text(text)) if text == "*" => true,
            Self::One(wanted) => wanted.is(value),
            Self::Any(wanted) => wanted.iter().any(|wanted| wanted.is(value)),
        };
        match value {
            Value::Array(list) => list.iter().any(one),
            value => one(value),
        }
    }
}

impl Scalar {
    fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(wanted), Value::String(text)) => wanted == text,
            (Self::Flag(wanted), Value::Bool(flag)) => wanted == flag,
            // However they are written: 1 is 1.0.
            (Self::Number(wanted), Value::Number(number)) => {
                wanted == number || wanted.as_f64().is_some_and(|wanted| number.as_f64() == Some(wanted))
            }
            _ => false,
        }
    }
}
