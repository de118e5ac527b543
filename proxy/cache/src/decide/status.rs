//! What `Cache-Status` says of how a request was met (RFC 9211).

use std::fmt::Write as _;

use http::{HeaderValue, StatusCode};

use super::storing::Refusal;

/// Who says it, unless the operator has another name.
pub const fn name() -> &'static str {
    "tidegate"
}

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Forward {
    /// The cache has nothing to do with it.
    Bypass,
    /// Its method.
    Method,
    /// There is nothing for its target.
    UriMiss,
    /// There is something for its target, but not for its fields.
    VaryMiss,
    /// It asked for it.
    Request,
    /// What there was is stale.
    Stale,
}

impl Forward {
    /// All of them, for those who count.
    pub const ALL: [Self; 6] =
        [Self::Bypass, Self::Method, Self::UriMiss, Self::VaryMiss, Self::Request, Self::Stale];

    /// Its token.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
        }
    }
}

/// How a request was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// `None`: by what was stored, without asking anybody.
    pub forward: Option<Forward>,
    /// What the origin answered, where that is not the status of the response.
    pub forward_status: Option<StatusCode>,
    /// Seconds of freshness, negative for what is stale; of what is stored.
    pub ttl: Option<i64>,
    /// The response is stored.
    pub stored: bool,
    /// Another's request was shared.
    pub collapsed: bool,
    /// What else there is to say.
    pub detail: Option<&'static str>,
}

impl Status {
    /// By what was stored.
    pub fn hit(ttl: i64) -> Self {
        let (stored, collapsed) = (false, false);
        Self { forward: None, forward_status: None, ttl: Some(ttl), stored, collapsed, detail: None }
    }

    /// By the origin.
    pub fn forwarded(forward: Forward) -> Self {
        Self { forward: Some(forward), ttl: None, ..Self::hit(0) }
    }

    /// By the origin, whose response is not stored.
    pub fn refused(forward: Forward, refusal: Refusal) -> Self {
        Self { detail: Some(refusal.as_str()), ..Self::forwarded(forward) }
    }

    /// The member that this cache adds.
    pub fn to_field(self) -> HeaderValue {
        let mut text = String::from(name());
        match self.forward {
            None => text.push_str("; hit"),
            Some(forward) => {
                // Writing to a string does not fail.
                let _ = write!(text, "; fwd={}", forward.as_str());
            }
        }
        if let Some(status) = self.forward_status {
            let _ = write!(text, "; fwd-status={}", status.as_u16());
        }
        if let Some(ttl) = self.ttl {
            let _ = write!(text, "; ttl={ttl}");
        }
        if self.stored {
            text.push_str("; stored");
        }
        if self.collapsed {
            text.push_str("; collapsed");
        }
        if let Some(detail) = self.detail {
            let _ = write!(text, "; detail={detail}");
        }
        HeaderValue::try_from(text).expect("names and numbers")
    }
}
