//! How long a response is fresh, and how old it is (RFC 9111 §4.2).

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::directives::{Directives, seconds};
use crate::time::Time;

/// What the operator adds to what responses say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Seconds that a response is fresh, in place of what it says of that, or where it may have a default.
    pub lifetime: Option<u64>,
    /// Seconds that a response is fresh which says nothing of it, neither directly nor by `Last-Modified`; 0 = none.
    pub default_lifetime: u64,
    /// Seconds at most that a guess by `Last-Modified` may give (§4.2.2); 0 = nothing is guessed.
    pub heuristic: u64,
    /// Seconds that what is stale may be served while it is validated, where the response does not say.
    pub stale_while_revalidate: u64,
    /// The same when the origin fails.
    pub stale_if_error: u64,
    /// Responses that set cookies are stored, with these.
    pub set_cookie: bool,
    /// What clients say in `Cache-Control` and `Pragma` counts.
    pub obeys_requests: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            lifetime: None,
            default_lifetime: 0,
            heuristic: 3600,
            stale_while_revalidate: 0,
            stale_if_error: 0,
            set_cookie: false,
            obeys_requests: true,
        }
    }
}

/// Seconds of freshness, and where they come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// The response says so.
    Explicit(u64),
    /// A guess: a tenth of the time since it was changed.
    Heuristic(u64),
    /// The operator says so.
    Default(u64),
    /// Nobody says anything.
    Unknown,
}

impl Lifetime {
    /// Of a response that came at `received`.
    pub(super) fn of(
        status: StatusCode,
        headers: &HeaderMap,
        directives: &Directives,
        rules: &Rules,
        received: Time,
        has_cookies: bool,
    ) -> Self {
        if let Some(seconds) = directives.s_maxage.or(directives.max_age) {
            return Self::Explicit(seconds);
        }
        let date = headers.get(header::DATE).and_then(Time::of_field).unwrap_or(received);
        if let Some(expires) = headers.get(header::EXPIRES).filter(|_| !directives.targeted) {
            // What is no date is in the past (§5.3).
            return Self::Explicit(Time::of_field(expires).map_or(0, |expires| expires.seconds_since(date)));
        }
        if !(is_heuristic(status) || directives.public) {
            return Self::Unknown;
        }
        // What is made for one client rarely says when it was last modified, but where it does, it says nothing of others.
        if rules.heuristic > 0
            && !has_cookies
            && let Some(modified) = headers.get(header::LAST_MODIFIED).and_then(Time::of_field)
            && modified < date
        {
            return Self::Heuristic((date.seconds_since(modified) / 10).min(rules.heuristic));
        }
        if rules.default_lifetime > 0 && !has_cookies {
            return Self::Default(rules.default_lifetime);
        }
        Self::Unknown
    }

    /// In seconds.
    pub fn seconds(self) -> u64 {
        match self {
            Self::Explicit(seconds) | Self::Heuristic(seconds) | Self::Default(seconds) => seconds,
            Self::Unknown => 0,
        }
    }
}

/// Statuses whose responses may be fresh without saying so (RFC 9110 §15.1), but for 206, which is not stored.
pub(super) fn is_heuristic(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Seconds of an age that is not known: no response is fresh for so long.
const UNKNOWN: u64 = 1 << 31;

/// How old a response was when it came (§4.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aged {
    /// Seconds, when it was received.
    pub initial: u64,
    /// When that was.
    pub received: Time,
}

impl Aged {
    /// Of a response to a request that was sent at `requested`.
    pub fn of(headers: &HeaderMap, requested: Time, received: Time) -> Self {
        let date = headers.get(header::DATE).and_then(Time::of_field).unwrap_or(received);
        let apparent = received.seconds_since(date);
        // Of a list its first member (§5.1), and of several lines the oldest. What cannot be read stands for unknown, which is too
        // old.
        let first = |line: &HeaderValue| seconds(line.as_bytes().split(|byte| *byte == b',').next()?);
        let lines = headers.get_all(header::AGE).iter();
        let said = lines.map(|line| first(line).unwrap_or(UNKNOWN)).max().unwrap_or(0);
        let corrected = said.saturating_add(received.seconds_since(requested));
        Self { initial: apparent.max(corrected), received }
    }

    /// Seconds.
    pub fn now(self, now: Time) -> u64 {
        self.initial.saturating_add(now.seconds_since(self.received))
    }
}
