//! `request-headers` and `response-headers`: edits of header fields.

use std::collections::BTreeMap;

use tidegate_plugin_sdk::http::{is_owned_by_proxy, is_token};
use tidegate_plugin_sdk::prelude::*;

/// Edits of header fields: first `remove`, then `set`, then `append`. Framing and hop-by-hop fields
/// (`content-length`, `connection`, …) belong to the proxy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeaderEdits {
    /// Replaces all values of each field with this one.
    #[serde(default)]
    set: BTreeMap<String, String>,
    /// Adds a value after those each field has.
    #[serde(default)]
    append: BTreeMap<String, String>,
    /// Removes all values of these fields.
    #[serde(default)]
    remove: Vec<String>,
}

/// Checked edits.
#[derive(Debug)]
pub(crate) struct Edits {
    /// `host` under `set` of a request: the one field the proxy owns that a policy sets in another way.
    authority: Option<String>,
    edits: HeaderEdits,
}

impl Edits {
    pub(crate) fn of_request(mut edits: HeaderEdits) -> Result<Self, Error> {
        let host = edits.set.keys().find(|name| name.eq_ignore_ascii_case("host")).cloned();
        let authority = host.and_then(|name| edits.set.remove(&name));
        if let Some(authority) = &authority {
            check_value(authority).map_err(|reason| Error::at("set.host", reason))?;
        }
        Ok(Self { authority, ..Self::of_response(edits)? })
    }

    pub(crate) fn of_response(edits: HeaderEdits) -> Result<Self, Error> {
        for (key, fields) in [("set", &edits.set), ("append", &edits.append)] {
            for (name, value) in fields {
                check_name(name)
                    .and_then(|()| check_value(value))
                    .map_err(|reason| Error::at(format!("{key}.{name}"), reason))?;
            }
        }
        for (index, name) in edits.remove.iter().enumerate() {
            check_name(name).map_err(|reason| Error::at(format!("remove[{index}]"), reason))?;
        }
        Ok(Self { authority: None, edits })
    }

    /// [`Verdict::Fail`] if the proxy refuses one, which the checks leave to its size limits.
    pub(crate) fn apply(&self, message: &impl Message) -> Verdict {
        let HeaderEdits { set, append, remove } = &self.edits;
        let edited = (|| {
            if let Some(authority) = &self.authority {
                message.set_authority(authority).map_err(|error| ("host", error))?;
            }
            for name in remove {
                message.remove(name).map_err(|error| (name.as_str(), error))?;
            }
            for (name, value) in set {
                message.set(name, value).map_err(|error| (name.as_str(), error))?;
            }
            for (name, value) in append {
                message.append(name, value).map_err(|error| (name.as_str(), error))?;
            }
            Ok::<(), (&str, EditError)>(())
        })();
        match edited {
            Ok(()) => Verdict::Next,
            Err((name, error)) => {
                log::error!("the edit of `{name}` was refused: {error}");
                Verdict::Fail
            }
        }
    }
}

/// What requests and responses have in common.
pub(crate) trait Message {
    /// Only requests have one; [`Edits::of_response`] never sets it.
    fn set_authority(&self, authority: &str) -> Result<(), EditError>;
    fn set(&self, name: &str, value: &str) -> Result<(), EditError>;
    fn append(&self, name: &str, value: &str) -> Result<(), EditError>;
    fn remove(&self, name: &str) -> Result<u32, EditError>;
}

impl Message for Request {
    fn set_authority(&self, authority: &str) -> Result<(), EditError> {
        self.set_authority(authority)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), EditError> {
        self.set_header(name, value)
    }

    fn append(&self, name: &str, value: &str) -> Result<(), EditError> {
        self.append_header(name, value)
    }

    fn remove(&self, name: &str) -> Result<u32, EditError> {
        self.remove_header(name)
    }
}

impl Message for Response {
    fn set_authority(&self, _authority: &str) -> Result<(), EditError> {
        Err(EditError::Forbidden)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), EditError> {
        self.set_header(name, value)
    }

    fn append(&self, name: &str, value: &str) -> Result<(), EditError> {
        self.append_header(name, value)
    }

    fn remove(&self, name: &str) -> Result<u32, EditError> {
        self.remove_header(name)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!("`{name}` is not a field name"));
    }
    if is_owned_by_proxy(name) {
        return Err(format!("`{name}` belongs to the proxy"));
    }
    Ok(())
}

/// RFC 9110 §5.5, which also has no blanks at the ends.
fn check_value(value: &str) -> Result<(), String> {
    if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control())
        || value.trim_matches([' ', '\t']) != value
    {
        return Err(format!("{value:?} is not a field value"));
    }
    Ok(())
}
