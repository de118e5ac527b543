//! What a call asked and did, in words: for people.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde::{Deserialize, Serialize};

use super::question::{Answer, Change, Fact, Number, Question, Text};
use crate::bodies::Side;
use crate::phase::Phase;

/// Functions of one call that are told of; a policy in a loop may call any number.
const MAX_SEEN: usize = 1000;
/// Calls of one exchange that are told of: a body may come in any number of pieces.
const MAX_CALLS: usize = 100;
/// Functions of all of them.
const MAX_SEEN_IN_ALL: usize = 2 * MAX_SEEN;
/// Bytes of a question or an answer that are told.
const LONGEST: usize = 1024;

/// Somebody who wants to know, in words, what policies ask and do.
#[derive(Debug, Default)]
pub struct Witness {
    /// The calls so far, in order.
    pub calls: Vec<Account>,
    /// Functions that were told of.
    told: usize,
    /// Of the call that is not yet among them.
    pub(crate) seen: Vec<Seen>,
    /// It was remembered.
    pub(crate) is_remembered: bool,
    /// Fields whose values are not told.
    pub(super) hidden: Hidden,
}

/// Fields whose values are nobody's business.
pub(super) type Hidden = Arc<[HeaderName]>;

impl Witness {
    /// `hidden`: fields whose values are not told.
    pub fn new(hidden: Arc<[HeaderName]>) -> Box<Self> {
        Box::new(Self { hidden, ..Self::default() })
    }

    /// Tells of what a remembered call had asked.
    pub(crate) fn tell(&mut self, question: &Question<'_>, answer: &Answer) {
        tell(&mut self.seen, || Seen::of(question, answer, &self.hidden));
    }

    /// Tells of a call that has ended, or of what stood in its place.
    pub fn note(&mut self, account: Account) {
        let mut seen = std::mem::take(&mut self.seen);
        let remembered = std::mem::take(&mut self.is_remembered);
        seen.truncate(MAX_SEEN_IN_ALL - self.told);
        self.told += seen.len();
        match self.calls.len() {
            ..MAX_CALLS => self.calls.push(Account { seen, remembered, ..account }),
            MAX_CALLS => {
                self.calls.push(Account { verdict: "… and so on".to_owned(), ..Account::default() })
            }
            _ => {}
        }
    }
}

/// What one policy made of an exchange in one phase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Account {
    /// Its name.
    pub policy: String,
    /// By its name in the contract.
    pub phase: String,
    /// What came of it, or why it was not called.
    pub verdict: String,
    /// Why there was no decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Microseconds.
    pub us: u64,
    /// It promised that what it decides depends on nothing but what it asks about the request.
    pub pure: bool,
    /// An earlier call had learnt the same facts, so the policy was not called.
    pub remembered: bool,
    /// What it asked and did, in order.
    pub seen: Vec<Seen>,
}

impl Account {
    /// Of a policy that was not called, for this reason.
    pub fn uncalled(policy: &str, why: &str) -> Self {
        Self { policy: policy.to_owned(), verdict: why.to_owned(), ..Self::default() }
    }

    /// Of a policy that is not about this request.
    pub fn inapplicable(policy: &str) -> Self {
        Self::uncalled(policy, "not called: it is not about such requests")
    }

    /// Of a call.
    pub fn of_call(policy: &str, phase: Phase, took: Duration, verdict: &str, error: Option<String>) -> Self {
        Self {
            policy: policy.to_owned(),
            phase: phase.as_str().to_owned(),
            verdict: verdict.to_owned(),
            error,
            us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            ..Self::default()
        }
    }
}

/// One function that a policy called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// What it asked or did, in the words of the contract: `header user-agent`.
    pub what: String,
    /// What came of it; `None` for functions of which only the name is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

impl Seen {
    pub(super) fn of(question: &Question<'_>, answer: &Answer, hidden: &Hidden) -> Self {
        let is_hidden = |name: &str| hidden.iter().any(|hidden| hidden.as_str().eq_ignore_ascii_case(name));
        match question {
            Question::Text(Text::Header(_, name)) if is_hidden(name) => {
                let answer = if *answer == Answer::NoText { "none" } else { "hidden" };
                Self { what: question.to_string(), answer: Some(answer.to_owned()) }
            }
            Question::Fact(Fact::HeaderContains(name, _)) if is_hidden(name) => {
                Self { what: format!("header-contains {name}"), answer: Some("hidden".to_owned()) }
            }
            Question::Change(Change::SetHeader(side, name, _)) if is_hidden(name.as_str()) => {
                let what = format!("set-{}header {name}: hidden", of(*side));
                Self { what, answer: Some(answer.to_string()) }
            }
            Question::Change(Change::AppendHeader(side, name, _)) if is_hidden(name.as_str()) => {
                let what = format!("append-{}header {name}: hidden", of(*side));
                Self { what, answer: Some(answer.to_string()) }
            }
            _ => Self { what: cut(question.to_string()), answer: Some(cut(answer.to_string())) },
        }
    }

    pub(super) fn only(function: &str) -> Self {
        Self { what: function.to_owned(), answer: None }
    }
}

/// Tells of one function more, up to a bound.
pub(super) fn tell(seen: &mut Vec<Seen>, one: impl FnOnce() -> Seen) {
    match seen.len() {
        ..MAX_SEEN => seen.push(one()),
        MAX_SEEN => seen.push(Seen::only("… and so on")),
        _ => {}
    }
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = text.floor_char_boundary(LONGEST);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl fmt::Display for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => text.fmt(f),
            Self::Fact(fact) => fact.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Change(change) => change.fmt(f),
            Self::Route(route) => write!(f, "route-to {:?}", route.0),
        }
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener => f.write_str("listener"),
            Self::ServerName => f.write_str("server-name"),
            Self::Method => f.write_str("method"),
            Self::Scheme => f.write_str("scheme"),
            Self::Authority => f.write_str("authority"),
            Self::Path => f.write_str("path"),
            Self::NormalizedPath => f.write_str("normalized-path"),
            Self::Query => f.write_str("query"),
            Self::QueryParam(name) => write!(f, "query-param {name}"),
            Self::Header(side, name) => write!(f, "{}header {name}", of(*side)),
            Self::Route => f.write_str("route"),
        }
    }
}

impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IsTls => f.write_str("is-tls"),
            Self::ClientVerified => f.write_str("client-verified"),
            Self::HasBody => f.write_str("has-body"),
            Self::MethodIs(method) => write!(f, "method-is {method}"),
            Self::PathStartsWith(prefix) => write!(f, "path-starts-with {prefix:?}"),
            Self::HeaderContains(name, text) => write!(f, "header-contains {name} {text:?}"),
            Self::HasClient(set) => write!(f, "ip-set-has-client #{set}"),
        }
    }
}

impl fmt::Display for Number<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status => f.write_str("status"),
            Self::HeaderCount(side, name) => write!(f, "{}header-count {name}", of(*side)),
            Self::MatchPath(patterns) => write!(f, "match-path #{patterns}"),
            Self::MatchHeader(patterns, side, name) => {
                write!(f, "match-{}header #{patterns} {name}", of(*side))
            }
            Self::Token => f.write_str("token"),
        }
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetHeader(side, name, value) => write!(f, "set-{}header {name}: {value:?}", of(*side)),
            Self::AppendHeader(side, name, value) => {
                write!(f, "append-{}header {name}: {value:?}", of(*side))
            }
            Self::RemoveHeader(side, name) => write!(f, "remove-{}header {name}", of(*side)),
            Self::SetTarget(target) => write!(f, "set-target {target}"),
            Self::SetTimeout(timeout) => write!(f, "set-timeout {:?}", timeout.unwrap_or_default()),
            Self::LimitBody(bytes) => write!(f, "limit-body {bytes}"),
            Self::SetHashKey(key) => write!(f, "set-hash-key {key:?}"),
            Self::UseCache(name) => write!(f, "use-cache {name:?}"),
            Self::BypassCache => f.write_str("bypass-cache"),
            Self::AddCacheKey(part) => write!(f, "add-cache-key {part:?}"),
            Self::SetCacheLifetime(seconds) => write!(f, "set-cache-lifetime {seconds}"),
            Self::AddCacheTag(tag) => write!(f, "add-cache-tag {tag:?}"),
            Self::SetBodyMode(side, mode) => write!(f, "set-{}body-mode {mode:?}", of(*side)),
            Self::DecodeBody(side) => write!(f, "decode-{}body", of(*side)),
            Self::SetToken(token) => write!(f, "set-token {token}"),
        }
    }
}

/// Functions of a response say so.
fn of(side: Side) -> &'static str {
    match side {
        Side::Request => "",
        Side::Response => "response-",
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::NoText | Self::Number(None) => f.write_str("none"),
            Self::Is(answer) => f.write_str(if *answer { "yes" } else { "no" }),
            Self::Number(Some(number)) => number.fmt(f),
            Self::Changed(Ok(_)) | Self::Routed(Ok(())) => f.write_str("done"),
            Self::Changed(Err(error)) => write!(f, "refused: {error:?}"),
            Self::Routed(Err(error)) => write!(f, "refused: {error:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_many_pieces_is_told_up_to_a_bound() {
        let mut witness = Witness::new(Arc::default());
        for _ in 0..10 * MAX_CALLS {
            for _ in 0..2 * MAX_SEEN {
                tell(&mut witness.seen, || Seen::only("chunk"));
            }
            witness.note(Account::default());
        }
        assert_eq!(witness.calls.len(), MAX_CALLS + 1);
        let seen: usize = witness.calls.iter().map(|call| call.seen.len()).sum();
        assert!((MAX_SEEN..=MAX_SEEN_IN_ALL).contains(&seen), "{seen}");
        assert_eq!(witness.calls[MAX_CALLS].verdict, "… and so on");
    }
}
