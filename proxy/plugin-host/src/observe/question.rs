//! What can be asked and done again with the same effect: all that memory consists of.
//!
//! Changes are questions too, since a policy may act on their outcome. What many ask differently (client addresses,
//! request ids, lengths) is left out: memory would fill with answers that are needed once.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use tidegate_message::{path, query};

use super::{Asker, Refused};
use crate::bodies::{BodyMode, Side};
use crate::edit::{Editor, editable_name, valid_target, valid_value};
use crate::exchange::Exchange;
use crate::matching::{OverBudget, Unanswered};
use crate::refusal::{EditError, RouteError};

/// What a question is about, and who asks.
pub(crate) struct Subject<'e> {
    pub(crate) exchange: &'e Exchange,
    pub(crate) asker: Asker<'e>,
}

/// One thing that a call asked, or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Question<'a> {
    Text(Text<'a>),
    Fact(Fact<'a>),
    Number(Number<'a>),
    Change(Change<'a>),
    Route(Route<'a>),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Text(Box<str>),
    /// There is no such text.
    NoText,
    Is(bool),
    Number(Option<u64>),
    Changed(Result<u32, EditError>),
    Routed(Result<(), RouteError>),
}

impl Answer {
    pub(crate) fn text(text: Option<&str>) -> Self {
        text.map_or(Self::NoText, |text| Self::Text(text.into()))
    }
}

/// Answered with a text or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Listener,
    ServerName,
    Method,
    Scheme,
    Authority,
    Path,
    NormalizedPath,
    Query,
    QueryParam(Cow<'a, str>),
    Header(Side, Cow<'a, str>),
    Route,
}

impl Text<'_> {
    pub(crate) fn ask<'e>(&self, subject: &Subject<'e>) -> Option<Cow<'e, str>> {
        let exchange = subject.exchange;
        let request = &exchange.request;
        let borrowed = match self {
            Self::Listener => Some(&*exchange.connection.listener),
            Self::ServerName => exchange.connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref()),
            Self::Method => Some(request.method.as_str()),
            Self::Scheme => Some(request.scheme),
            Self::Authority => Some(request.authority.as_str()),
            Self::Path => Some(request.path()),
            Self::NormalizedPath => Some(request.normalized_path()),
            Self::Query => request.target().query(),
            Self::QueryParam(name) => return query::params(request.target().query(), name).next(),
            Self::Header(Side::Request, name) => {
                request.values(name).next().and_then(|value| str::from_utf8(value).ok())
            }
            Self::Header(Side::Response, name) => {
                let value = exchange.response.as_ref().and_then(|response| response.headers.get(&**name));
                value.and_then(|value| str::from_utf8(value.as_bytes()).ok())
            }
            Self::Route => exchange.route.as_deref(),
        };
        borrowed.map(Cow::Borrowed)
    }

    pub(super) fn needs_response(&self) -> bool {
        matches!(self, Self::Header(Side::Response, _))
    }

    pub(super) fn into_owned(self) -> Text<'static> {
        match self {
            Self::Listener => Text::Listener,
            Self::ServerName => Text::ServerName,
            Self::Method => Text::Method,
            Self::Scheme => Text::Scheme,
            Self::Authority => Text::Authority,
            Self::Path => Text::Path,
            Self::NormalizedPath => Text::NormalizedPath,
            Self::Query => Text::Query,
            Self::QueryParam(name) => Text::QueryParam(owned(name)),
            Self::Header(side, name) => Text::Header(side, owned(name)),
            Self::Route => Text::Route,
        }
    }
}

/// Answered with yes or no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact<'a> {
    IsTls,
    ClientVerified,
    HasBody,
    MethodIs(Cow<'a, str>),
    PathStartsWith(Cow<'a, str>),
    /// Of the request.
    HeaderContains(Cow<'a, str>, Cow<'a, str>),
    /// A set of addresses has the client.
    HasClient(u32),
}

impl Fact<'_> {
    /// # Errors
    ///
    /// Only where a matcher is asked.
    pub(crate) fn ask(&self, subject: &Subject<'_>) -> Result<bool, Unanswered> {
        let Subject { exchange, asker } = subject;
        let request = &exchange.request;
        Ok(match self {
            Self::IsTls => exchange.connection.tls.is_some(),
            Self::ClientVerified => exchange.connection.tls.as_ref().is_some_and(|tls| tls.client_verified),
            Self::HasBody => exchange.has_body,
            Self::MethodIs(method) => request.method.as_str() == &**method,
            Self::PathStartsWith(prefix) => request.normalized_path().starts_with(&*path::spelled(prefix)),
            Self::HeaderContains(name, text) => {
                request.values(name).any(|value| String::from_utf8_lossy(value).contains(&**text))
            }
            Self::HasClient(set) => asker.matchers.ips(*set)?.has(exchange.client),
        })
    }

    pub(super) fn into_owned(self) -> Fact<'static> {
        match self {
            Self::IsTls => Fact::IsTls,
            Self::ClientVerified => Fact::ClientVerified,
            Self::HasBody => Fact::HasBody,
            Self::MethodIs(method) => Fact::MethodIs(owned(method)),
            Self::PathStartsWith(prefix) => Fact::PathStartsWith(owned(prefix)),
            Self::HeaderContains(name, text) => Fact::HeaderContains(owned(name), owned(text)),
            Self::HasClient(set) => Fact::HasClient(set),
        }
    }
}

/// Answered with a number or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Number<'a> {
    Status,
    HeaderCount(Side, Cow<'a, str>),
    /// Of the first pattern that matches the path.
    MatchPath(u32),
    /// Of the first pattern that matches any value of a field.
    MatchHeader(u32, Side, Cow<'a, str>),
    Token,
}

impl Number<'_> {
    /// # Errors
    ///
    /// Only where a matcher is asked.
    pub(crate) fn ask(&self, subject: &Subject<'_>) -> Result<Option<u64>, Unanswered> {
        let Subject { exchange, asker } = subject;
        Ok(match self {
            Self::Status => exchange.response.as_ref().map(|response| response.status.as_u16().into()),
            Self::HeaderCount(side, name) => Some(header_count(exchange, *side, name)),
            Self::MatchPath(patterns) => {
                let patterns = asker.matchers.path_patterns(*patterns)?;
                patterns.first_match(exchange.request.normalized_path(), asker.watch)?.map(u64::from)
            }
            Self::MatchHeader(patterns, side, name) => match_header(subject, *patterns, *side, name)?,
            Self::Token => Some(exchange.token(asker.plugin)),
        })
    }

    pub(super) fn needs_response(&self) -> bool {
        matches!(
            self,
            Self::Status | Self::HeaderCount(Side::Response, _) | Self::MatchHeader(_, Side::Response, _)
        )
    }

    pub(super) fn into_owned(self) -> Number<'static> {
        match self {
            Self::Status => Number::Status,
            Self::HeaderCount(side, name) => Number::HeaderCount(side, owned(name)),
            Self::MatchPath(patterns) => Number::MatchPath(patterns),
            Self::MatchHeader(patterns, side, name) => Number::MatchHeader(patterns, side, owned(name)),
            Self::Token => Number::Token,
        }
    }
}

fn header_count(exchange: &Exchange, side: Side, name: &str) -> u64 {
    let count = match (side, &exchange.response) {
        (Side::Request, _) => exchange.request.values(name).count(),
        (Side::Response, Some(response)) => response.headers.get_all(name).iter().count(),
        (Side::Response, None) => 0,
    };
    count as u64
}

fn match_header(
    subject: &Subject<'_>,
    patterns: u32,
    side: Side,
    name: &str,
) -> Result<Option<u64>, Unanswered> {
    let Subject { exchange, asker } = subject;
    let patterns = asker.matchers.patterns(patterns)?;
    let mut first = None::<u32>;
    // Bytes that are not UTF-8 must not hide the rest of a value from a pattern.
    let mut match_value = |value: &[u8]| -> Result<(), OverBudget> {
        let found = patterns.first_match(&String::from_utf8_lossy(value), asker.watch)?;
        first = [first, found].into_iter().flatten().min();
        Ok(())
    };
    match side {
        Side::Request => exchange.request.values(name).try_for_each(&mut match_value)?,
        Side::Response => {
            let mut values = exchange.response.iter().flat_map(|response| response.headers.get_all(name));
            values.try_for_each(|value| match_value(value.as_bytes()))?;
        }
    }
    Ok(first.map(u64::from))
}

/// Changes the exchange; answered with what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    SetHeader(Side, HeaderName, HeaderValue),
    AppendHeader(Side, HeaderName, HeaderValue),
    /// Answered with how many values there were.
    RemoveHeader(Side, HeaderName),
    SetTarget(PathAndQuery),
    SetTimeout(Option<Duration>),
    LimitBody(u64),
    SetHashKey(Cow<'a, str>),
    /// Answered with 1 if there is one of this name.
    UseCache(Cow<'a, str>),
    BypassCache,
    AddCacheKey(Cow<'a, str>),
    SetCacheLifetime(u32),
    AddCacheTag(Cow<'a, str>),
    SetBodyMode(Side, BodyMode),
    /// Answered with 1 if it is so.
    DecodeBody(Side),
    SetToken(u64),
}

impl Change<'_> {
    pub(crate) fn set_header(side: Side, name: &str, value: Vec<u8>) -> Result<Self, Refused> {
        let field = || Ok(Self::SetHeader(side, editable_name(name)?, valid_value(value)?));
        field().map_err(|error| Refused { side, error })
    }

    pub(crate) fn append_header(side: Side, name: &str, value: Vec<u8>) -> Result<Self, Refused> {
        let field = || Ok(Self::AppendHeader(side, editable_name(name)?, valid_value(value)?));
        field().map_err(|error| Refused { side, error })
    }

    pub(crate) fn remove_header(side: Side, name: &str) -> Result<Self, Refused> {
        let name = editable_name(name).map_err(|error| Refused { side, error })?;
        Ok(Self::RemoveHeader(side, name))
    }

    pub(crate) fn set_target(target: String) -> Result<Self, Refused> {
        valid_target(target).map(Self::SetTarget).map_err(|error| Refused { side: Side::Request, error })
    }

    /// Makes the change, and notes in the editor's journal what was before.
    pub(crate) fn apply(&self, editor: &mut Editor<'_>) -> Result<u32, EditError> {
        match self {
            Self::SetHeader(side, name, value) => editor.set_field(*side, name.clone(), value.clone())?,
            Self::AppendHeader(side, name, value) => {
                editor.append_field(*side, name.clone(), value.clone())?;
            }
            Self::RemoveHeader(side, name) => return editor.remove_field(*side, name),
            Self::SetTarget(target) => editor.set_parsed_target(target.clone())?,
            Self::SetTimeout(timeout) => editor.set_timeout(*timeout),
            Self::LimitBody(bytes) => editor.limit_body(*bytes),
            Self::SetHashKey(key) => editor.set_hash_key(key),
            Self::UseCache(name) => return Ok(editor.use_cache(name).into()),
            Self::BypassCache => editor.bypass_cache(),
            Self::AddCacheKey(part) => editor.add_cache_key(part)?,
            Self::SetCacheLifetime(seconds) => editor.set_cache_lifetime(*seconds),
            Self::AddCacheTag(tag) => editor.add_cache_tag(tag)?,
            Self::SetBodyMode(side, mode) => editor.set_body_mode(*side, *mode),
            Self::DecodeBody(side) => return Ok(editor.decode_body(*side).into()),
            Self::SetToken(token) => editor.set_token(*token),
        }
        Ok(0)
    }

    pub(super) fn into_owned(self) -> Change<'static> {
        match self {
            Self::SetHeader(side, name, value) => Change::SetHeader(side, name, value),
            Self::AppendHeader(side, name, value) => Change::AppendHeader(side, name, value),
            Self::RemoveHeader(side, name) => Change::RemoveHeader(side, name),
            Self::SetTarget(target) => Change::SetTarget(target),
            Self::SetTimeout(timeout) => Change::SetTimeout(timeout),
            Self::LimitBody(bytes) => Change::LimitBody(bytes),
            Self::SetHashKey(key) => Change::SetHashKey(owned(key)),
            Self::UseCache(name) => Change::UseCache(owned(name)),
            Self::BypassCache => Change::BypassCache,
            Self::AddCacheKey(part) => Change::AddCacheKey(owned(part)),
            Self::SetCacheLifetime(seconds) => Change::SetCacheLifetime(seconds),
            Self::AddCacheTag(tag) => Change::AddCacheTag(owned(tag)),
            Self::SetBodyMode(side, mode) => Change::SetBodyMode(side, mode),
            Self::DecodeBody(side) => Change::DecodeBody(side),
            Self::SetToken(token) => Change::SetToken(token),
        }
    }
}

/// Sends the request to this destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route<'a>(pub(crate) Cow<'a, str>);

impl Route<'_> {
    pub(super) fn into_owned(self) -> Route<'static> {
        Route(owned(self.0))
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}
