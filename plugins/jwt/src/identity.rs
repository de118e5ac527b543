//! What the server and the other policies are told of a token: request fields and attributes made of claims.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tidegate_plugin_sdk::OwnHeader;
use tidegate_plugin_sdk::prelude::*;

use crate::claims::Claim;

/// By name of the field or attribute.
#[derive(Debug)]
pub(crate) struct Identity {
    headers: Vec<(OwnHeader, Claim)>,
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
        let claim = |key: &str, name: &str, claim: &str| {
            Claim::new(claim).map_err(|error| error.within(format!("{key}.{name}")))
        };
        let header = |(name, told): (String, String)| {
            let at = |error: Error| Error::at(format!("headers.{name}"), error);
            let header = OwnHeader::new(&name).map_err(at)?;
            if ["authorization", "cookie"].contains(&header.name()) {
                let reason = "is where clients put their tokens; take a name of your own, such as `x-user`";
                return Err(at(format!("`{name}` {reason}").into()));
            }
            Ok((header, claim("headers", &name, &told)?))
        };
        let attribute = |(name, told): (String, String)| {
            let claim = claim("attributes", &name, &told)?;
            Ok((name, claim))
        };
        Ok(Self {
            headers: headers.into_iter().map(header).collect::<Result<_, Error>>()?,
            attributes: attributes.into_iter().map(attribute).collect::<Result<_, Error>>()?,
        })
    }

    /// Nobody is known: what a client says of itself in these fields goes.
    pub(crate) fn clear(&self, request: &Request) -> Result<(), Untold> {
        for (header, _) in &self.headers {
            header.clear(request).map_err(|error| Untold::Refused(header.name().to_owned(), error))?;
        }
        Ok(())
    }

    /// Tells what the claims say, in place of whatever the client did.
    pub(crate) fn tell(&self, request: &Request, claims: &Map<String, Value>) -> Result<(), Untold> {
        // All of them first: the spelling of one may be the name of another.
        self.clear(request)?;
        for (header, claim) in &self.headers {
            let name = || header.name().to_owned();
            match claim.of(claims).and_then(text) {
                Some(value) if !is_field_value(&value) => return Err(Untold::Unfit(name())),
                Some(value) => {
                    header.set(request, value).map_err(|error| Untold::Refused(name(), error))?;
                }
                None => {}
            }
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
