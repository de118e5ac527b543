//! What the server and the other policies are told of a token: request fields and attributes made of claims.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;

use crate::claims::Claim;

/// By name of the field or attribute.
#[derive(Debug)]
pub(crate) struct Identity {
    headers: Vec<(String, Claim)>,
    attributes: Vec<(String, Claim)>,
}

/// What could not be told.
#[derive(Debug)]
pub(crate) enum Untold {
    /// A claim that is no field value: a server that read it could take it for something else.
    Unfit(String),
    /// The proxy refused it.
    Refused(String, EditError),
}

impl Identity {
    pub(crate) fn new(
        headers: BTreeMap<String, String>,
        attributes: BTreeMap<String, String>,
    ) -> Result<Self, Error> {
        for name in headers.keys() {
            let at = |reason: &str| Error::at(format!("headers.{name}"), format!("`{name}` {reason}"));
            if !is_token(name) {
                return Err(at("is not a field name"));
            }
            if is_owned_by_proxy(name) {
                return Err(at("belongs to the proxy"));
            }
            if ["authorization", "cookie"].iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(at(
                    "is where clients put their tokens; take a name of your own, such as `x-user`",
                ));
            }
        }
        let named = |key: &str, names: BTreeMap<String, String>| {
            let claim = |(name, claim): (String, String)| {
                let claim = Claim::new(&claim).map_err(|error| error.within(format!("{key}.{name}")))?;
                Ok((name, claim))
            };
            names.into_iter().map(claim).collect::<Result<Vec<_>, Error>>()
        };
        Ok(Self { headers: named("headers", headers)?, attributes: named("attributes", attributes)? })
    }

    /// Nobody is known: what a client says of itself in these fields goes.
    pub(crate) fn clear(&self, request: &Request) -> Result<(), Untold> {
        for (name, _) in &self.headers {
            request.remove_header(name).map_err(|error| Untold::Refused(name.clone(), error))?;
        }
        Ok(())
    }

    /// Tells what the claims say, in place of whatever the client did.
    pub(crate) fn tell(&self, request: &Request, claims: &Map<String, Value>) -> Result<(), Untold> {
        for (name, claim) in &self.headers {
            let told = match claim.of(claims).and_then(text) {
                Some(value) if !is_field_value(&value) => return Err(Untold::Unfit(name.clone())),
                Some(value) => request.set_header(name, value),
                None => request.remove_header(name).map(drop),
            };
            told.map_err(|error| Untold::Refused(name.clone(), error))?;
        }
        for (name, claim) in &self.attributes {
            if let Some(value) = claim.of(claims).and_then(text) {
                let told = request.set_attribute(name, &value);
                told.map_err(|error| Untold::Refused(name.clone(), error))?;
            }
        }
        Ok(())
    }
}

/// `None` for what has no text: an object, or nothing.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Array(list) => {
            // So that no value becomes two.
            let escaped = |text: String| text.replace('%', "%25").replace(',', "%2C");
            let texts: Vec<String> = list.iter().filter_map(scalar).map(escaped).collect();
            (!texts.is_empty()).then(|| texts.join(","))
        }
        value => scalar(value).filter(|text| !text.is_empty()),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// RFC 9110 §5.5; blanks at the ends would be lost, and `admin ` become `admin`.
fn is_field_value(value: &str) -> bool {
    !value.chars().any(|character| character.is_control()) && value.trim() == value
}
