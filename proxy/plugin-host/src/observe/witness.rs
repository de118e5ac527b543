//! What a call asked and did, in words: for people.

use std::fmt;

use super::question::{Answer, Change, Fact, Number, Question, Text};
use crate::bodies::Side;

/// One function that a policy called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it asked or did, in the words of the contract: `header user-agent`.
    pub what: String,
    /// What came of it; `None` for functions of which only the name is known.
    pub answer: Option<String>,
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
