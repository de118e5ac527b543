//! `NAME.cases.toml`: what a policy has to do, checked before a version of it goes live and by `tidegate plugin test`.
//!
//! Documentation comments here are the descriptions of the published schema. The types leave the crate as they are
//! written: whether a text is a method, an address or a field is judged with the case it stands in.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Positions;
use crate::file::text::Text;

/// What the policy beside this file has to do.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[schemars(title = "NAME.cases.toml")]
pub struct Cases {
    /// Seconds since the Unix epoch at which the clock of every case stands that has none of its own.
    pub time: Option<u64>,
    /// The `[config]` of every case, in place of that of `NAME.toml`. Only for `tidegate plugin test`: what goes live is
    /// tried with its own.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub config: CaseConfig,
    /// Texts in place of `[secrets]` of `NAME.toml`, by name.
    pub secrets: BTreeMap<String, String>,
    /// Upstreams and file roots that there are, beside those that the policy and the cases name.
    pub destinations: Vec<String>,
    /// Each stands for itself: with an instance, a store, limits and a clock of its own.
    #[serde(rename = "case")]
    pub cases: Vec<Case>,
    /// Where what was written stands.
    #[serde(skip)]
    pub positions: Positions,
}

/// `[config]`, which the plugin gets as JSON.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub struct CaseConfig {
    pub(crate) table: Option<toml::Table>,
    /// `None`: that of `NAME.toml`.
    #[serde(skip)]
    pub json: Option<String>,
}

/// One request, or several in a row, and what is to come of it.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Case {
    /// As a sentence.
    pub name: String,
    /// In place of the `[config]` of all cases. Only for `tidegate plugin test`, as that.
    #[serde(default)]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub config: CaseConfig,
    /// Beside the `secrets` of all cases; of two with the same name this one counts.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What a client asks.
    pub request: CaseRequest,
    /// What the server answers; without it there is none, and the response phases follow only where the policy answers
    /// itself.
    #[serde(default)]
    pub response: Option<CaseResponse>,
    /// What the policy's store holds.
    #[serde(default)]
    pub store: BTreeMap<String, String>,
    /// What comes of callouts. Each is used once, for the first callout that it fits; one that none fits fails.
    #[serde(default)]
    pub callouts: Vec<CaseCallout>,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub time: Option<u64>,
    /// From which chance comes: the same number gives the same.
    #[serde(default)]
    pub random: u64,
    /// How often the request comes. `expect` holds for each time.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 1000))]
    pub times: u32,
    /// What is to come of it.
    #[serde(default)]
    pub expect: Expect,
    /// Further requests, one after the other, with the instance, the store, the limits and the clock as the one before
    /// left them.
    #[serde(default)]
    pub then: Vec<CaseThen>,
}

/// A further request of a case.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CaseThen {
    /// How far the clock goes on before it.
    #[serde(default, deserialize_with = "read_duration", serialize_with = "write_duration")]
    #[schemars(with = "Text<Duration>", extend("x-minimum" = "0s"))]
    pub after: Duration,
    /// What a client asks.
    pub request: CaseRequest,
    /// As that of a case.
    #[serde(default)]
    pub response: Option<CaseResponse>,
    /// As those of a case. What is left of the answers before is gone.
    #[serde(default)]
    pub callouts: Vec<CaseCallout>,
    /// How often the request comes. `expect` holds for each time.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 1000))]
    pub times: u32,
    /// What is to come of it.
    #[serde(default)]
    pub expect: Expect,
}

fn once() -> u32 {
    1
}

fn read_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Text::deserialize(deserializer).map(|text| text.0)
}

fn write_duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    Text(*duration).serialize(serializer)
}

/// One of the requests of a case: its own, or one that follows.
#[derive(Debug, Clone, Copy)]
pub struct CaseStep<'c> {
    /// How far the clock goes on before it.
    pub after: Duration,
    /// What a client asks.
    pub request: &'c CaseRequest,
    /// What the server answers.
    pub response: Option<&'c CaseResponse>,
    /// What comes of callouts, each time.
    pub callouts: &'c [CaseCallout],
    /// How often the request comes.
    pub times: u32,
    /// What is to come of it each time.
    pub expect: &'c Expect,
}

impl Case {
    /// All of its requests, in their order.
    pub fn steps(&self) -> impl Iterator<Item = CaseStep<'_>> {
        let Self { request, response, callouts, times, expect, .. } = self;
        let own = CaseStep {
            after: Duration::ZERO,
            request,
            response: response.as_ref(),
            callouts,
            times: *times,
            expect,
        };
        let further = self.then.iter().map(|then| {
            let CaseThen { after, request, response, callouts, times, expect } = then;
            CaseStep { after: *after, request, response: response.as_ref(), callouts, times: *times, expect }
        });
        std::iter::once(own).chain(further)
    }
}

impl Cases {
    /// Whether any secret stands in place of those of `NAME.toml`.
    pub fn has_secrets(&self) -> bool {
        !self.secrets.is_empty() || self.cases.iter().any(|case| !case.secrets.is_empty())
    }
}

/// What a client asks.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CaseRequest {
    /// Of the request.
    #[serde(default = "get")]
    pub method: String,
    /// `https://host/path?query`, or `/path?query` for `http://example.com`.
    pub url: String,
    /// A value, or several.
    #[serde(default)]
    pub headers: BTreeMap<String, Values>,
    /// As UTF-8; several are pieces as they come.
    #[serde(default)]
    pub body: Option<Values>,
    /// The certificate that the client showed and the proxy verified, as PEM. Only with `https`.
    #[serde(default)]
    pub certificate: Option<String>,
    /// The client's address.
    #[serde(default = "client")]
    pub client: String,
    /// Name of the listener.
    #[serde(default = "listener")]
    pub listener: String,
}

fn get() -> String {
    "GET".to_owned()
}

fn client() -> String {
    "192.0.2.1".to_owned()
}

fn listener() -> String {
    "web".to_owned()
}

/// What a server answers.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaseResponse {
    /// Of the response.
    #[schemars(range(min = 200, max = 599))]
    pub status: u16,
    /// A value, or several.
    pub headers: BTreeMap<String, Values>,
    /// As UTF-8; several are pieces as they come.
    pub body: Values,
    /// Where it comes from: an upstream or a file root. Without it, the proxy made it.
    pub origin: Option<String>,
}

impl Default for CaseResponse {
    fn default() -> Self {
        Self { status: 200, headers: BTreeMap::new(), body: Values::Several(Vec::new()), origin: None }
    }
}

/// What comes of a callout.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaseCallout {
    /// Only to this upstream or file root.
    pub to: Option<String>,
    /// Only for this path and query.
    pub target: Option<String>,
    /// What the callout has to be beyond that.
    pub asked: CaseAsked,
    /// What it answers.
    pub status: Option<u16>,
    /// A value, or several.
    pub headers: BTreeMap<String, Values>,
    /// As UTF-8.
    pub body: String,
    /// Or why there is no answer.
    pub error: Option<CaseCalloutError>,
}

/// What a callout has to be. What is left out may be anything.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CaseAsked {
    /// Its method.
    pub method: Option<String>,
    /// The host it asks for; `""`: the server's own name.
    pub host: Option<String>,
    /// Its fields.
    pub headers: BTreeMap<String, Expected>,
    /// Its body.
    pub body: Option<String>,
}

/// Why there is no answer to a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CaseCalloutError {
    /// No server took the connection.
    Failed,
    /// None came in time.
    Timeout,
    /// It was too large.
    TooLarge,
}

/// Values of a field, or pieces of a body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Values {
    /// One.
    One(String),
    /// In their order.
    Several(Vec<String>),
}

impl Values {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let values = match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Several(values) => values,
        };
        values.iter().map(String::as_str)
    }
}

/// What a field, or another thing with a name, has to be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Expected {
    /// There, with whatever value, or (`false`) not there.
    There(bool),
    /// This value.
    One(String),
    /// These values, in their order.
    Several(Vec<String>),
}

/// What is to come of a case. What is left out may be anything; but that the policy fails has to be said, and so has that it
/// answers itself: `verdict`, `status`, or a body.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Expect {
    /// Whether the policy is called at all, by its activation and the `match` of `NAME.toml`.
    pub called: Option<bool>,
    /// What the policy decides last: `next`, `finish`, `respond`, `fail`; or the error that ends its call, such as `trap`
    /// or `cpu`.
    pub verdict: Option<String>,
    /// Where the request goes; `""` means where it goes by itself.
    pub route: Option<String>,
    /// The method that is sent on.
    pub method: Option<String>,
    /// Path and query that are sent on.
    pub target: Option<String>,
    /// The host that is sent on.
    pub host: Option<String>,
    /// Fields of the request as it is sent on.
    pub request_headers: BTreeMap<String, Expected>,
    /// The body of the request as it is sent on.
    pub request_body: Option<String>,
    /// Of the response, whoever made it.
    pub status: Option<u16>,
    /// Fields of the response.
    pub headers: BTreeMap<String, Expected>,
    /// The body of the response.
    pub body: Option<String>,
    /// A part of that.
    pub body_contains: Option<String>,
    /// What is noted in the access log.
    pub attributes: BTreeMap<String, Expected>,
    /// What the store holds afterwards.
    pub store: BTreeMap<String, Expected>,
    /// How many callouts there are.
    pub callouts: Option<usize>,
    /// The destination at which the request is to be sent once more; `""`: none.
    pub retry_at: Option<String>,
}
