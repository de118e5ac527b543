//! How a message is framed (RFC 9112 §6): the length of its body, and heads that two recipients could read in
//! two ways.

use http::{HeaderMap, Method, Response, StatusCode, header};

use crate::fields::ResponseMarks;

/// Refuses a response whose framing two recipients could read in two ways (RFC 9112 §6), and answers
/// with the length of its body where it declares one.
pub fn check_response<B>(
    response: &Response<B>,
    marks: ResponseMarks,
    upgrade_asked: bool,
) -> Result<Option<u64>, &'static str> {
    let headers = response.headers();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS && !upgrade_asked {
        return Err("101 although no upgrade was asked for");
    }
    if marks.transfer_encoding {
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let coding = codings.next();
        if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked"))
            || codings.next().is_some()
        {
            return Err("a Transfer-Encoding other than exactly one chunked");
        }
    }
    let length = if marks.content_length { declared_length(headers)? } else { None };
    if length.is_some() && marks.transfer_encoding {
        return Err("Content-Length beside Transfer-Encoding");
    }
    Ok(length)
}

/// The value of the only `Content-Length`, digits and nothing else (RFC 9110 §8.6).
pub fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
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

/// Whether a response of this status to this method has no body, whatever its fields say (RFC 9112 §6.3).
pub fn is_bodyless(status: StatusCode, method: &Method) -> bool {
    *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}
