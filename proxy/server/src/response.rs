//! Words a failure for the client: the only place that does.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use tidegate_message::{Reply, ResponseHead};

use crate::error::{Consequences, Error};

/// The response to a request that failed. It names the status and nothing about the inside; the
/// cause is in the access log under the same request id.
pub(crate) fn of_error(error: &Error) -> Reply {
    let Consequences { status, passes, .. } = error.consequences();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Error::MethodRefused = error {
        let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, allowed);
    }
    if passes {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    let text: Cow<'static, str> = match error {
        // The client's own mistake, which only the client can mend.
        Error::BadRequest(what) => format!("{status}: {what}\n").into(),
        _ => format!("{status}\n").into(),
    };
    Reply { status, headers, body: Bytes::from(text.into_owned()) }
}

/// Head and body of a response made here.
pub(crate) fn of_reply(reply: Reply) -> (ResponseHead, Bytes) {
    let Reply { status, headers, body } = reply;
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(body.len() as u64);
    (head, body)
}

/// Closes an HTTP/1 connection after this response (RFC 9112 §9.6). HTTP/2 resets the stream itself.
pub(crate) fn close_after(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}
