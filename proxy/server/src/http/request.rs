//! Refuses requests that two HTTP implementations could read in two ways, before any policy decides on them.

use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version, header};
use tidegate_config::{Ambiguous, Limits};
use tidegate_message::authority::{self, Problem};
use tidegate_message::path;

use super::websocket;
use crate::error::Error;
use tidegate_message::fields::Marks;
use tidegate_message::framing::declared_length;

/// What every accepted request has: exactly one of each.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Host and, if given, port; empty only for HTTP/1.0 without `Host`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: PathAndQuery,
    /// The length of the body where the client declared one.
    pub(crate) content_length: Option<u64>,
}

/// Checks a request head against RFC 9110, RFC 9112, RFC 9113 and the operator's limits. Nobody takes a body over
/// `largest_body`; some may take less. `content_lengths`
/// are those the driver saw, `marks` those of the fields. The only CONNECT that is accepted opens a WebSocket.
pub(crate) fn accept<B>(
    request: &Request<B>,
    content_lengths: usize,
    marks: Marks,
    limits: &Limits,
    largest_body: u64,
) -> Result<Accepted, Error> {
    let headers = request.headers();
    let refused = matches!(*request.method(), Method::CONNECT | Method::TRACE);
    if refused && !websocket::is_opening(request) {
        return Err(Error::MethodRefused);
    }
    let target = target(request.uri(), request.method(), limits)?;
    if headers.len() > limits.request_header_count {
        return Err(Error::HeadersTooLarge("limits.request-header-count"));
    }
    let (authority, odd) = authority(request)?;
    if limits.ambiguous_paths == Ambiguous::Refuse
        && let Some(why) = path::ambiguity(target.path()).or(odd)
    {
        return Err(Error::BadRequest(why));
    }
    let content_length = framing(headers, content_lengths, marks)?;
    if content_length.is_some_and(|length| length > largest_body) {
        return Err(Error::BodyTooLarge);
    }
    let is_met = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if marks.expect && !headers.get_all(header::EXPECT).iter().all(is_met) {
        return Err(Error::ExpectationFailed);
    }
    Ok(Accepted { authority, target, content_length })
}

/// The target in origin form, or `*` for OPTIONS (RFC 9112 §3.2).
fn target(uri: &Uri, method: &Method, limits: &Limits) -> Result<PathAndQuery, Error> {
    if uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Error::BadRequest("the scheme of the target is neither http nor https"));
    }
    let target = match uri.path_and_query() {
        Some(target) => target.clone(),
        // `OPTIONS http://example.com` (RFC 9112 §3.2.4) and `GET http://example.com`.
        None if uri.scheme().is_some() => PathAndQuery::from_static("/"),
        None => return Err(Error::BadRequest("the target is neither a path nor a whole URI")),
    };
    let text = target.as_str();
    if text.len() > limits.request_target {
        return Err(Error::TargetTooLong);
    }
    if !path::is_sendable(text) {
        return Err(Error::BadRequest("the target has characters that must be percent-encoded"));
    }
    let of_the_server = text == "*" && *method == Method::OPTIONS;
    if !text.starts_with('/') && !of_the_server {
        return Err(Error::BadRequest("the target is not an absolute path"));
    }
    Ok(target)
}

/// One authority, from one place (RFC 9112 §3.2, RFC 9113 §8.3.1), and what servers could read in different ways in it.
fn authority<B>(request: &Request<B>) -> Result<(String, Option<&'static str>), Error> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Error::BadRequest("more than one Host"));
    }
    let host = match host {
        Some(host) => Some(host.to_str().map_err(|_| Error::BadRequest("Host is not ASCII"))?.trim()),
        None => None,
    };
    let of_target = request.uri().authority().map(Authority::as_str);
    let authority = match (request.version(), of_target, host) {
        (Version::HTTP_2, Some(of_target), Some(host)) if !of_target.eq_ignore_ascii_case(host) => {
            return Err(Error::BadRequest(":authority and Host differ"));
        }
        // In HTTP/1 a whole URI as the target overrules Host (RFC 9112 §3.2.2).
        (_, Some(of_target), _) => of_target,
        (_, None, Some(host)) => host,
        (Version::HTTP_10, None, None) => return Ok((String::new(), None)),
        (_, None, None) => return Err(Error::BadRequest("no Host")),
    };
    match authority::problem(authority) {
        None => Ok((authority.to_owned(), None)),
        Some(Problem::Ambiguous(why)) => Ok((authority.to_owned(), Some(why))),
        Some(Problem::Invalid) => {
            Err(Error::BadRequest("Host is not a host name or address with an optional port"))
        }
    }
}

/// One framing (RFC 9112 §6): a declared length, chunks, or no body.
fn framing(headers: &HeaderMap, content_lengths: usize, marks: Marks) -> Result<Option<u64>, Error> {
    if marks.transfer_encoding {
        if content_lengths > 0 || marks.content_length {
            return Err(Error::BadRequest("Content-Length beside Transfer-Encoding"));
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let chunked = codings.next().is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        return if chunked && codings.next().is_none() {
            Ok(None)
        } else {
            Err(Error::BadRequest("a Transfer-Encoding other than exactly one chunked"))
        };
    }
    if content_lengths > 1 {
        return Err(Error::BadRequest("more than one Content-Length"));
    }
    if marks.content_length { declared_length(headers).map_err(Error::BadRequest) } else { Ok(None) }
}
