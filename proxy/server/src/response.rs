//! Turns replies and failures into responses; the only place that decides what a client is told of a failure.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, header};
use tidegate_plugin_host::Reply;

use crate::body::Body;
use crate::error::Error;

/// The response to a request that failed. It names the status and nothing about the inside; the
/// cause is in the access log under the same request id.
pub(crate) fn of_error(error: &Error) -> Reply {
    let status = error.status();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    match error {
        Error::MethodRefused => {
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            headers.insert(header::ALLOW, allowed);
        }
        // All pass: a server comes back, a policy leaves quarantine, others are answered.
        Error::TemporarySpace
        | Error::Policy { .. }
        | Error::NoServer { .. }
        | Error::QueueFull { .. }
        | Error::QueueTimeout { .. }
        | Error::Connect { .. }
        | Error::ConnectTimeout { .. } => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        _ => {}
    }
    let text: Cow<'static, str> = match error {
        // The client's own mistake, which only the client can mend.
        Error::BadRequest(what) => format!("{status}: {what}\n").into(),
        _ => format!("{status}\n").into(),
    };
    Reply { status, headers, body: Bytes::from(text.into_owned()) }
}

/// Refuses a response whose framing two recipients could read in two ways (RFC 9112 §6), and answers
/// with the length of its body where it declares one.
pub(crate) fn check<B>(response: &Response<B>, upgrade_asked: bool) -> Result<Option<u64>, &'static str> {
    let headers = response.headers();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade_asked {
        return Err("101 although no upgrade was asked for");
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
        || codings.next().is_some()
    {
        return Err("a Transfer-Encoding other than exactly one chunked");
    }
    let length = declared_length(headers)?;
    if length.is_some() && coding.is_some() {
        return Err("Content-Length beside Transfer-Encoding");
    }
    Ok(length)
}

/// The value of the only `Content-Length`, digits and nothing else (RFC 9110 §8.6).
pub(crate) fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err("more than one Content-Length");
    }
    let digits = length.as_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("Content-Length is not a number");
    }
    let add = |length: u64, digit: &u8| length.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    digits.iter().try_fold(0, add).map(Some).ok_or("Content-Length is too large")
}

/// A whole response, ready to be sent.
pub(crate) fn of_reply(reply: Reply) -> Response<Body> {
    let mut response = Response::new(Body::full(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// Closes an HTTP/1 connection after this response (RFC 9112 §9.6). HTTP/2 resets the stream itself.
pub(crate) fn close_after(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Whether a response of this status to this method has no body, whatever its fields say (RFC 9112 §6.3).
pub(crate) fn is_bodyless(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
