//! What an author implements, [`Policy`], and how it refuses a configuration, [`Error`].

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{Body, Request, Response, Verdict};

/// A decision about requests.
///
/// Implement it on one type per crate, under [`#[policy]`](crate::policy). Write only the phases you
/// need: those written are exported, and the proxy calls no others.
///
/// The proxy keeps several instances of a plugin and may serve the phases of one exchange by
/// different ones. An instance therefore keeps nothing about an exchange; use [`Request::token`] or
/// [`Request::attribute`] for that.
///
/// A panic, or running over the operator's limits, ends the instance, and the plugin's `on-error`
/// decides (503 unless the operator chose to skip). The message of a panic is in the proxy's log.
pub trait Policy: Sized + 'static {
    /// The `[config]` table of `NAME.toml`. Its JSON Schema is published with the plugin, so comments on
    /// its fields are read by operators. `()` for none.
    type Config: DeserializeOwned + JsonSchema;

    /// Checks the configuration and builds what the phases need, above all matchers
    /// ([`matching`](crate::matching)), which can be built only here. Called once per instance,
    /// before any phase, and must do the same in each.
    ///
    /// # Errors
    ///
    /// Refuses the load: the version that ran before keeps serving. Use [`Error::at`] to name the
    /// key at fault; keys that do not fit [`Policy::Config`] are reported this way already.
    fn configure(config: Self::Config) -> Result<Self, Error>;

    /// The request head is complete; nothing was sent upstream yet.
    fn on_request(&self, request: &Request) -> Verdict {
        let _ = request;
        Verdict::Next
    }

    /// The whole request body is there, after [`set_body_mode`](crate::Message::set_body_mode) with
    /// [`BodyMode::Whole`](crate::BodyMode::Whole) in [`on_request`](Policy::on_request); nothing was sent
    /// upstream yet, so the request can still be edited, routed and answered. Not called for a request without
    /// a body. Above `limits.policy-body` the plugin's `body-overflow` decides instead.
    fn on_request_body(&self, request: &Request, body: &Body) -> Verdict {
        let _ = (request, body);
        Verdict::Next
    }

    /// A piece of the request body is there, after [`set_body_mode`](crate::Message::set_body_mode) with
    /// [`BodyMode::Chunks`](crate::BodyMode::Chunks) in [`on_request`](Policy::on_request); earlier pieces may
    /// be on their way upstream, and their size is chance. The last call has [`Body::is_last`], perhaps without
    /// bytes. After [`Verdict::Finish`] the rest of the body passes unseen; edits of the request are refused.
    fn on_request_chunk(&self, request: &Request, chunk: &Body) -> Verdict {
        let _ = (request, chunk);
        Verdict::Next
    }

    /// The response head is complete, from wherever it came, a policy's own response included;
    /// nothing was sent to the client yet. The policies that saw the request run in reverse order.
    /// Edits of the request are refused now.
    fn on_response(&self, request: &Request, response: &Response) -> Verdict {
        let _ = (request, response);
        Verdict::Next
    }

    /// The whole response body is there, after [`set_body_mode`](crate::Message::set_body_mode) with
    /// [`BodyMode::Whole`](crate::BodyMode::Whole) in [`on_response`](Policy::on_response); nothing was sent to
    /// the client yet, so the response can still be edited and replaced. Otherwise as
    /// [`on_request_body`](Policy::on_request_body).
    fn on_response_body(&self, request: &Request, response: &Response, body: &Body) -> Verdict {
        let _ = (request, response, body);
        Verdict::Next
    }

    /// A piece of the response body is there, after [`set_body_mode`](crate::Message::set_body_mode) with
    /// [`BodyMode::Chunks`](crate::BodyMode::Chunks) in [`on_response`](Policy::on_response). Otherwise as
    /// [`on_request_chunk`](Policy::on_request_chunk), but it is too late for a reply: edits of the response
    /// and [`Response::respond`] are refused.
    fn on_response_chunk(&self, request: &Request, response: &Response, chunk: &Body) -> Verdict {
        let _ = (request, response, chunk);
        Verdict::Next
    }

    /// The exchange is over; this runs off the latency path. Edits have no effect.
    fn on_log(&self, request: &Request, response: &Response) {
        let _ = (request, response);
    }

    /// A period of the operator's `timer` has passed, or the plugin was just loaded. Runs in one instance of the whole
    /// proxy, never twice at a time, and about no exchange: leave what it finds in the [`store`](crate::store).
    ///
    /// # Errors
    ///
    /// What could not be done; it is logged and counted.
    fn on_timer(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Why a configuration was refused, and at which key.
///
/// Shown as `key: reason`; the proxy finds the line of `NAME.toml` by the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    key: Option<String>,
    reason: String,
}

impl Error {
    /// The value of this key is at fault: `Error::at("rules[2].path", "…")`.
    pub fn at(key: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { key: Some(key.into()), reason: reason.to_string() }
    }

    /// What is at fault lies in the value of this key. The matching functions name the entry of the list
    /// they were given: `IpSet::new(list).map_err(|error| error.within("allow"))` may read `allow[1]: …`.
    #[must_use]
    pub fn within(self, key: impl Into<String>) -> Self {
        let mut path = key.into();
        if let Some(inner) = self.key {
            if !inner.starts_with('[') {
                path.push('.');
            }
            path.push_str(&inner);
        }
        Self { key: Some(path), reason: self.reason }
    }

    /// Which entry of the list is at fault, where a matching function says so: 1 in `[1]: …`. For lists that are made of what
    /// the operator wrote elsewhere.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.key.as_ref()?.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
    }

    /// What is wrong, without the key.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// From the host, which puts the index of an entry in front: `[1]: …`.
    pub(crate) fn from_host(text: String) -> Self {
        match text.split_once(": ") {
            Some((key, reason)) if key.starts_with('[') && key.ends_with(']') => Self::at(key, reason),
            _ => text.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}: {}", self.reason),
            None => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Self { key: None, reason }
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        reason.to_owned().into()
    }
}

/// The configuration as the proxy hands it over: JSON, `{}` when there is none.
pub(crate) fn read_config<C: DeserializeOwned>(json: &str) -> Result<C, Error> {
    parse(json).or_else(|error| {
        // `()` reads no JSON but `null`.
        if json.trim() == "{}" { parse("null").map_err(|_| error) } else { Err(error) }
    })
}

fn parse<C: DeserializeOwned>(json: &str) -> Result<C, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let key = error.path().to_string();
        let inner = error.into_inner();
        // The position is one in the JSON, which nobody wrote.
        let position = format!(" at line {} column {}", inner.line(), inner.column());
        let reason = inner.to_string();
        let reason = reason.strip_suffix(&position).unwrap_or(&reason);
        // "." is the whole document, as when a required key is missing.
        if key == "." { Error::from(reason) } else { Error::at(key, reason) }
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only its type matters here")]
        #[serde(default)]
        rules: Vec<Rule>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        #[expect(dead_code, reason = "only its type matters here")]
        allow: Vec<String>,
    }

    fn refused(json: &str) -> String {
        read_config::<Config>(json).expect_err("refused").to_string()
    }

    #[test]
    fn an_error_begins_with_the_path_of_the_key() {
        assert_eq!(
            refused(r#"{"rules": [{"allow": []}, {"allow": 7}]}"#),
            "rules[1].allow: invalid type: integer `7`, expected a sequence"
        );
        assert_eq!(
            refused(r#"{"rules": [{"allow": [], "alow": []}]}"#),
            "rules[0].alow: unknown field `alow`, expected `allow`"
        );
        assert_eq!(refused(r#"{"rules": [{}]}"#), "rules[0]: missing field `allow`");
        assert_eq!(refused(r#"{"rule": []}"#), "rule: unknown field `rule`, expected `rules`");
    }

    #[test]
    fn errors_of_a_policy_look_the_same() {
        assert_eq!(Error::at("rules[2].path", "not a regex").to_string(), "rules[2].path: not a regex");
        assert_eq!(Error::from("no rules").to_string(), "no rules");
        assert_eq!(Error::from("not an address").within("allow").to_string(), "allow: not an address");
        assert_eq!(Error::at("b", "no").within("a").to_string(), "a.b: no");
        let host = Error::from_host("[1]: `x` is no address".to_owned());
        assert_eq!((host.index(), host.reason()), (Some(1), "`x` is no address"));
        assert_eq!(host.within("rules[0].allow").to_string(), "rules[0].allow[1]: `x` is no address");
        assert_eq!(Error::from_host("too late: configured".to_owned()).to_string(), "too late: configured");
    }

    #[test]
    fn a_policy_without_configuration_reads_the_empty_table() {
        read_config::<()>("{}").expect("no configuration");
        read_config::<()>(r#"{"a": 1}"#).expect_err("a key nobody reads");
        read_config::<Config>("{}").expect("every key has a default");
        assert_eq!(read_config::<Rule>("{}").expect_err("required").to_string(), "missing field `allow`");
    }
}
