//! What a request may get of a stored response (RFC 9111 §4, RFC 5861, RFC 8246).

use http::StatusCode;

use super::directives::{Asked, Directives};
use super::freshness::Rules;

/// How stale a stored response is: what time has made of it, and what people have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// Fresh for so many seconds yet.
    Fresh(u64),
    /// Stale for so many seconds.
    Stale(u64),
    /// Something changed it: it is of no use until it was validated.
    Invalid,
}

impl Staleness {
    /// Of a response that is so old, and was fresh for so long.
    pub fn of(age: u64, lifetime: u64) -> Self {
        if lifetime > age { Self::Fresh(lifetime - age) } else { Self::Stale(age - lifetime) }
    }
}

/// What a request may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It as it is.
    Hit,
    /// It as it is, while it is validated for those who come next.
    WhileRevalidating,
    /// It, once the origin said that it is good; this is why.
    Validate(Why),
}

/// Why a stored response has to be validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It is stale.
    Stale,
    /// The client wants it so.
    Asked,
}

/// Whether a request gets a stored response of this staleness, so many seconds old.
pub fn reuse(directives: &Directives, asked: &Asked, staleness: Staleness, age: u64, rules: &Rules) -> Use {
    let fresh_for = match staleness {
        Staleness::Invalid => return Use::Validate(Why::Stale),
        // Fresh or not, it is not to be used without asking (§5.2.2.4).
        _ if directives.no_cache => return Use::Validate(Why::Stale),
        Staleness::Fresh(seconds) => Some(seconds),
        Staleness::Stale(_) => None,
    };
    if asked.no_cache {
        return Use::Validate(Why::Asked);
    }
    // Who reloads a page asks so for all of it. What never changes while it is fresh need not be asked for (RFC 8246 §2).
    let never_changes = directives.immutable && fresh_for.is_some();
    let too_old = asked.max_age.is_some_and(|most| age > most || most == 0) && !never_changes;
    if too_old {
        return Use::Validate(Why::Asked);
    }
    let stale_for = match staleness {
        Staleness::Fresh(seconds) if asked.min_fresh.is_some_and(|least| seconds < least) => {
            return Use::Validate(Why::Asked);
        }
        Staleness::Stale(seconds) => seconds,
        Staleness::Fresh(_) | Staleness::Invalid => return Use::Hit,
    };
    if directives.must_revalidate || directives.proxy_revalidate {
        return Use::Validate(Why::Stale);
    }
    // What the origin says for shared caches is meant so (§5.2.2.10), unless it says itself how stale it may be.
    let allowed = match directives.stale_while_revalidate {
        None if directives.s_maxage.is_some() => 0,
        said => said.unwrap_or(rules.stale_while_revalidate),
    };
    if stale_for < allowed {
        return Use::WhileRevalidating;
    }
    let takes_stale = asked.max_stale.is_some_and(|most| most.is_none_or(|most| stale_for <= most));
    if takes_stale && directives.s_maxage.is_none() { Use::Hit } else { Use::Validate(Why::Stale) }
}

/// Whether a request may get a stale response because the origin failed, with this status if it has one (RFC 5861 §4).
pub fn serves_stale_on_error(
    directives: &Directives,
    asked: &Asked,
    staleness: Staleness,
    status: Option<StatusCode>,
    rules: &Rules,
) -> bool {
    let failed = status.is_none_or(|status| matches!(status.as_u16(), 500 | 502 | 503 | 504));
    if !failed || directives.must_revalidate || directives.proxy_revalidate || directives.no_cache {
        return false;
    }
    let said = directives.stale_if_error.or(asked.stale_if_error);
    let allowed = match said {
        None if directives.s_maxage.is_some() => 0,
        said => said.unwrap_or(rules.stale_if_error),
    };
    match staleness {
        Staleness::Fresh(_) => true,
        Staleness::Stale(seconds) => seconds < allowed,
        Staleness::Invalid => false,
    }
}
