//! Whether a response may be stored (RFC 9111 §3), and in which form.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use super::directives::Directives;
use super::freshness::{Lifetime, Rules, is_heuristic};
use super::vary::Selection;
use crate::time::Time;

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Only responses to GET are stored.
    Method,
    /// A part is no whole, and 304 nothing by itself.
    Status,
    /// `must-understand`, and the status is not one that is known here.
    NotUnderstood,
    /// The request says `no-store`.
    RequestNoStore,
    /// The response does.
    NoStore,
    /// It is for one client.
    Private,
    /// The request authenticates, and the response does not say that it is for others all the same (§3.5).
    Authorization,
    /// The response sets a cookie.
    SetCookie,
    /// It depends on more than can be compared.
    Vary,
    /// It is not fresh, and there is nothing to validate it with.
    NotFresh,
    /// It is larger than what is stored.
    TooLarge,
    /// It is a stream without an end in sight.
    Stream,
    /// There is no room for it.
    NoRoom,
    /// It broke off.
    BrokenOff,
    /// What was purged meanwhile.
    Purged,
}

impl Refusal {
    /// All of them, for those who count.
    pub const ALL: [Self; 15] = [
        Self::Method,
        Self::Status,
        Self::NotUnderstood,
        Self::RequestNoStore,
        Self::NoStore,
        Self::Private,
        Self::Authorization,
        Self::SetCookie,
        Self::Vary,
        Self::NotFresh,
        Self::TooLarge,
        Self::Stream,
        Self::NoRoom,
        Self::BrokenOff,
        Self::Purged,
    ];

    /// A word for logs, metrics and `Cache-Status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::NotUnderstood => "not-understood",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::NotFresh => "not-fresh",
            Self::TooLarge => "too-large",
            Self::Stream => "stream",
            Self::NoRoom => "no-room",
            Self::BrokenOff => "broken-off",
            Self::Purged => "purged",
        }
    }
}

/// What is to be known of a response to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shielded {
    /// What it says of its reuse.
    pub directives: Directives,
    /// How long it is fresh.
    pub lifetime: Lifetime,
    /// For which requests it is.
    pub selection: Selection,
}

/// Whether a response to a request with the fields `asked`, which came at `received`, may be stored.
///
/// # Errors
/// Why not.
pub fn storable(
    method: &Method,
    asked: &HeaderMap,
    request_no_store: bool,
    status: StatusCode,
    headers: &HeaderMap,
    rules: &Rules,
    received: Time,
) -> Result<Shielded, Refusal> {
    if *method != Method::GET {
        return Err(Refusal::Method);
    }
    if status.is_informational() || matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED) {
        return Err(Refusal::Status);
    }
    let directives = Directives::of(headers);
    // `must-understand` overrules `no-store` where the status is known (§5.2.2.3).
    if directives.must_understand {
        if !is_understood(status) {
            return Err(Refusal::NotUnderstood);
        }
    } else if directives.no_store {
        return Err(Refusal::NoStore);
    }
    if request_no_store {
        return Err(Refusal::RequestNoStore);
    }
    if directives.private {
        return Err(Refusal::Private);
    }
    if asked.contains_key(header::AUTHORIZATION) && !shielded(&directives) {
        return Err(Refusal::Authorization);
    }
    if headers.contains_key(header::SET_COOKIE) && !rules.set_cookie {
        return Err(Refusal::SetCookie);
    }
    let Some(selection) = Selection::of(asked, headers) else { return Err(Refusal::Vary) };
    let has_cookies = asked.contains_key(header::COOKIE);
    let said = Lifetime::of(status, headers, &directives, rules, received, has_cookies);
    // What others may have only because it is validated each time, or for so long, is not theirs for longer.
    let is_narrow = asked.contains_key(header::AUTHORIZATION) && !directives.public;
    // What says nothing gets one as it would get a default.
    let may_have = said != Lifetime::Unknown || is_heuristic(status) && !has_cookies;
    let given = rules.lifetime.filter(|_| may_have && !is_narrow);
    let lifetime = given.map_or(said, Lifetime::Explicit);
    let can_be_validated = headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED);
    let useful_when_stale = directives.stale_while_revalidate.or(directives.stale_if_error).is_some();
    let useful = match lifetime {
        // It does not say that others may have it, nor is it usual (§3); what is validated each time is kept only if it says so.
        Lifetime::Unknown => {
            (directives.public || is_heuristic(status))
                && (useful_when_stale || can_be_validated && (directives.public || directives.no_cache))
        }
        lifetime => lifetime.seconds() > 0 && !directives.no_cache || can_be_validated || useful_when_stale,
    };
    if !useful {
        return Err(Refusal::NotFresh);
    }
    Ok(Shielded { directives, lifetime, selection })
}

/// Whether a response may be given to others although its request authenticated (§3.5).
pub fn shielded(directives: &Directives) -> bool {
    directives.public || directives.must_revalidate || directives.s_maxage.is_some()
}

/// Statuses of which is known what they mean for a cache (RFC 9110 §15).
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200..=204 | 300..=303 | 307 | 308 | 400..=417 | 421 | 422 | 426 | 451 | 500..=505)
}

/// Fields that are about a connection, or that a proxy consumes, whatever `Connection` says of them (§3.1).
const NOT_STORED: [HeaderName; 5] = [
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-authentication-info"),
    header::AGE,
    // What follows a body is not kept.
    header::TRAILER,
];

/// The fields of a response that came at `received`, as they are stored. `Age` is not: what it says is in what is known of
/// it. `Date` is added where there is none (RFC 9110 §6.6.1).
pub fn prepare(headers: &HeaderMap, received: Time) -> HeaderMap {
    let mut stored = headers.clone();
    if !stored.contains_key(header::DATE) {
        stored.insert(header::DATE, received.to_field());
    }
    for name in &NOT_STORED {
        stored.remove(name);
    }
    stored
}
