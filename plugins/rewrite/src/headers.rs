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

/// Checked edits of what is sent upstream.
#[derive(Debug)]
pub(crate) struct RequestEdits {
    /// `host` under `set`: the one field the proxy owns that a policy sets in another way.
    authority: Option<String>,
    fields: FieldEdits,
}

impl RequestEdits {
    pub(crate) fn new(mut edits: HeaderEdits) -> Result<Self, Error> {
        let host = edits.set.keys().find(|name| name.eq_ignore_ascii_case("host")).cloned();
        let authority = host.and_then(|name| edits.set.remove(&name));
        if let Some(authority) = &authority {
            check_value(authority).map_err(|reason| Error::at("set.host", reason))?;
        }
        Ok(Self { authority, fields: FieldEdits::new(edits)? })
    }

    /// As [`FieldEdits::apply`].
    pub(crate) fn apply(&self, request: &Request) -> Verdict {
        if let Some(authority) = &self.authority
            && let Err(error) = request.set_authority(authority)
        {
            return refused("host", error);
        }
        self.fields.apply(request)
    }
}

/// Checked edits of fields that are not the proxy's.
#[derive(Debug)]
pub(crate) struct FieldEdits(HeaderEdits);

impl FieldEdits {
    pub(crate) fn new(edits: HeaderEdits) -> Result<Self, Error> {
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
        Ok(Self(edits))
    }

    /// [`Verdict::Fail`] if the proxy refuses one, which the checks leave to its size limits.
    pub(crate) fn apply(&self, message: &impl Message) -> Verdict {
        let HeaderEdits { set, append, remove } = &self.0;
        for name in remove {
            if let Err(error) = message.remove_header(name) {
                return refused(name, error);
            }
        }
        for (name, value) in set {
            if let Err(error) = message.set_header(name, value) {
                return refused(name, error);
            }
        }
        for (name, value) in append {
            if let Err(error) = message.append_header(name, value) {
                return refused(name, error);
            }
        }
        Verdict::Next
    }
}

fn refused(name: &str, error: EditError) -> Verdict {
    log::error!("the edit of `{name}` was refused: {error}");
    Verdict::Fail
}

pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err(format!("`{name}` is not a field name"));
    }
    if is_owned_by_proxy(name) {
        return Err(format!("`{name}` belongs to the proxy"));
    }
    Ok(())
}

/// RFC 9110 §5.5, which also has no blanks at the ends.
pub(crate) fn check_value(value: &str) -> Result<(), String> {
    if value.bytes().any(|byte| byte != b'\t' && byte.is_ascii_control())
        || value.trim_matches([' ', '\t']) != value
    {
        return Err(format!("{value:?} is not a field value"));
    }
    Ok(())
}
