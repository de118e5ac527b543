//! One request as it is kept, and as it is read again.

use std::collections::BTreeMap;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use tidegate_plugin_host::Account;

/// By name, in lower case.
pub(super) type Fields = BTreeMap<String, Vec<String>>;

/// Stands for a value that is not kept.
const HIDDEN: &str = "(hidden)";
/// Stands for the rest of one.
const CUT: &str = "…";
/// Bytes of a value that are kept.
const LONGEST: usize = 1024;

/// What a line of the access log does not tell.
#[derive(Serialize)]
struct More<'a> {
    headers: &'a Fields,
    explained: &'a [Account],
}

/// A line of the access log, with more: one object of both.
pub(super) fn kept(line: &[u8], headers: &Fields, explained: &[Account]) -> Option<String> {
    let line = str::from_utf8(line).ok()?.trim_end().strip_suffix('}')?;
    // Strings and numbers always serialise.
    let more = serde_json::to_string(&More { headers, explained }).ok()?;
    Some(format!("{line},{}", more.strip_prefix('{')?))
}

/// What a line tells of a request: one that was kept, or one of the access log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Recorded {
    pub(crate) id: String,
    pub(crate) time: String,
    pub(crate) listener: String,
    pub(crate) client: String,
    /// `None` for what was no request, and for connections.
    pub(crate) method: Option<String>,
    pub(crate) scheme: String,
    pub(crate) host: Option<String>,
    pub(crate) target: String,
    pub(crate) user_agent: Option<String>,
    pub(crate) status: u16,
    pub(crate) route: Option<String>,
    pub(crate) server: Option<String>,
    pub(crate) failure: Option<String>,
    /// What a cache made of it.
    pub(crate) cache: Option<String>,
    pub(crate) cache_reason: Option<String>,
    pub(crate) duration_us: u64,
    /// `None` in the access log.
    pub(crate) headers: Option<Fields>,
    pub(crate) explained: Vec<Account>,
}

impl Recorded {
    /// `GET https://host/path`.
    pub(crate) fn line(&self) -> String {
        let method = self.method.as_deref().unwrap_or("-");
        format!("{method} {}", self.url())
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}{}", self.scheme, self.host.as_deref().unwrap_or_default(), self.target)
    }

    /// The fields as far as they are known.
    pub(crate) fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        let mut add = |name: &str, value: &str| {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                fields.append(name, value);
            }
        };
        match &self.headers {
            Some(headers) => {
                for (name, values) in headers {
                    values.iter().for_each(|value| add(name, value));
                }
            }
            None => {
                if let Some(agent) = &self.user_agent {
                    add("user-agent", agent);
                }
            }
        }
        fields
    }

    /// Whether there were fields whose values are not known, or not to the end.
    pub(crate) fn is_partly_hidden(&self) -> bool {
        let Some(headers) = &self.headers else { return false };
        headers.values().flatten().any(|value| value == HIDDEN || value.ends_with(CUT))
    }
}

/// Fields as they are kept.
pub(super) fn fields(headers: &HeaderMap, hidden: &[HeaderName]) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in headers {
        let value = if hidden.contains(name) { HIDDEN.to_owned() } else { text(value) };
        fields.entry(name.as_str().to_owned()).or_default().push(value);
    }
    fields
}

fn text(value: &HeaderValue) -> String {
    let mut text = String::from_utf8_lossy(value.as_bytes()).into_owned();
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text.truncate(end);
        text.push_str(CUT);
    }
    text
}
