//! What goes with requests and responses: verdicts, replies and refusals.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

pub use crate::bindings::imports::tidegate::policy::types::{BodyMode, Verdict, Version};
use crate::host;

/// A response made by a policy: `Reply::new(403).text("not from here\n")`.
///
/// Sent with [`Request::respond`](crate::Request::respond) or
/// [`Response::respond`](crate::Response::respond), which check it. The proxy adds `content-length` and `date`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a reply is sent with `respond`"]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    /// In order. Values need not be UTF-8.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Not sent where the status or the method rules a body out (RFC 9110 §6.4.1).
    pub body: Vec<u8>,
}

impl Reply {
    /// Without headers and body.
    pub const fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Sends the client to another place. `status` is 301, 302, 303, 307 or 308 (RFC 9110 §15.4).
    pub fn redirect(status: u16, location: impl AsRef<[u8]>) -> Self {
        Self::new(status).header("location", location)
    }

    /// One more header field.
    pub fn header(mut self, name: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.into(), value.as_ref().to_vec()));
        self
    }

    /// A plain text body and its `content-type`.
    pub fn text(self, text: impl Into<String>) -> Self {
        self.header("content-type", "text/plain; charset=utf-8").body(text.into())
    }

    /// The body; set `content-type` with [`Reply::header`].
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }
}

/// Whether the text may stand as a method or as the name of a field (RFC 9110 §5.6.2).
pub fn is_token(text: &str) -> bool {
    let tchar = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(tchar)
}

/// Whether only the proxy sets the field of this name, in any case: framing, hop-by-hop fields (RFC 9110
/// §7.6.1), `expect`, which the proxy meets itself, `http2-settings`, and `host`, which is set with
/// [`Request::set_authority`](crate::Request::set_authority). An edit of it is refused with [`EditError::Forbidden`].
pub fn is_owned_by_proxy(field: &str) -> bool {
    const OWNED: [&str; 11] = [
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    OWNED.iter().any(|owned| owned.eq_ignore_ascii_case(field))
}

/// The host of an authority as the proxy reads it: without port and without one trailing dot, in the case it was
/// written. An IPv6 address keeps its brackets (RFC 3986 §3.2.2).
pub fn host_of(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Why an edit was refused. A refused edit changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EditError {
    /// A bad name, value, target or status.
    #[error("not valid HTTP")]
    Invalid,
    /// Framing and hop-by-hop fields, or an edit in a phase where it is too late.
    #[error("owned by the proxy")]
    Forbidden,
    /// Over the operator's size limits.
    #[error("over the size limit")]
    TooLarge,
}

impl From<host::http::EditError> for EditError {
    fn from(error: host::http::EditError) -> Self {
        match error {
            host::http::EditError::Invalid => Self::Invalid,
            host::http::EditError::Forbidden => Self::Forbidden,
            host::http::EditError::TooLarge => Self::TooLarge,
        }
    }
}

/// Why a route was refused. The route chosen before stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RouteError {
    /// No upstream or file root of this name in the running configuration.
    #[error("no upstream or file root has this name")]
    Unknown,
    /// Not among `grants.routes` of this plugin.
    #[error("the operator did not grant this route")]
    NotGranted,
}

impl From<host::http::RouteError> for RouteError {
    fn from(error: host::http::RouteError) -> Self {
        match error {
            host::http::RouteError::Unknown => Self::Unknown,
            host::http::RouteError::NotGranted => Self::NotGranted,
        }
    }
}

/// Why a request is not sent once more. The response stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RetryError {
    /// No upstream or file root of this name in the running configuration.
    #[error("no upstream or file root has this name")]
    Unknown,
    /// Not among `grants.routes` of this plugin.
    #[error("the operator did not grant this route")]
    NotGranted,
    /// It was done before, the body is gone, or this is not `on_response`.
    #[error("the request cannot be sent again")]
    NotPossible,
}

impl From<host::http::RetryError> for RetryError {
    fn from(error: host::http::RetryError) -> Self {
        match error {
            host::http::RetryError::Unknown => Self::Unknown,
            host::http::RetryError::NotGranted => Self::NotGranted,
            host::http::RetryError::NotPossible => Self::NotPossible,
        }
    }
}

impl From<IpAddr> for host::http::IpAddress {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                Self::Ipv4((a, b, c, d))
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h] = address.segments();
                Self::Ipv6((a, b, c, d, e, f, g, h))
            }
        }
    }
}

impl From<host::http::IpAddress> for IpAddr {
    fn from(address: host::http::IpAddress) -> Self {
        match address {
            host::http::IpAddress::Ipv4((a, b, c, d)) => Ipv4Addr::new(a, b, c, d).into(),
            host::http::IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => {
                Ipv6Addr::new(a, b, c, d, e, f, g, h).into()
            }
        }
    }
}
