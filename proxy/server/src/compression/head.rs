//! The head of a response: whether its body may be compressed, and what it says once it is.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::types::Types;
use tidegate_message::fields::lists;
use tidegate_message::{Coding, representation};

/// Whether a response of this kind is compressed for clients that want it.
pub(super) fn is_compressible(status: StatusCode, headers: &HeaderMap, types: &Types) -> bool {
    // A part is one of the body as it is stored; the others have none.
    const NOT: [StatusCode; 3] =
        [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT, StatusCode::PARTIAL_CONTENT];
    status.is_success()
        && !NOT.contains(&status)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && !headers.contains_key(header::CONTENT_RANGE)
        && types.include(headers)
        && !forbids_transformation(headers)
}

/// `Cache-Control: no-transform` (RFC 9111 §5.2.1.6, §5.2.2.6).
pub(super) fn forbids_transformation(headers: &HeaderMap) -> bool {
    lists(headers, &header::CACHE_CONTROL, "no-transform")
}

/// Adds `Accept-Encoding` to the fields the response depends on (RFC 9110 §12.5.5).
pub(super) fn vary(headers: &mut HeaderMap) {
    if lists(headers, &header::VARY, "accept-encoding") || lists(headers, &header::VARY, "*") {
        return;
    }
    // In the same line: some recipients look at one only.
    let name = HeaderValue::from_static("accept-encoding");
    match headers.get_mut(header::VARY) {
        Some(others) if !others.is_empty() => {
            let joined = [others.as_bytes(), b", accept-encoding"].concat();
            // Valid, since its parts are.
            *others = HeaderValue::from_bytes(&joined).unwrap_or(name);
        }
        _ => drop(headers.insert(header::VARY, name)),
    }
}

/// What the head says beside a body that is coded on its way.
pub(super) fn code(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, coding.value());
    representation::forget_body(headers);
}

/// Of a 304: if what the client has was compressed here, it knows the entity-tag as a weak one, and a strong
/// one would match nothing it has (RFC 9111 §4.3.4).
pub(super) fn revalidate(request: &HeaderMap, response: &mut HeaderMap) {
    let Some(tag) = response.get(header::ETAG).and_then(|tag| tag.to_str().ok()) else { return };
    if !tag.starts_with('"') {
        return;
    }
    let (mut weak, mut strong) = (false, false);
    // A tag contains no quotes, so it begins and ends where its quotes do.
    for line in request.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok()) {
        for (at, _) in line.match_indices(tag) {
            *(if line[..at].ends_with("W/") { &mut weak } else { &mut strong }) = true;
        }
    }
    if weak && !strong {
        representation::weaken_etag(response);
        vary(response);
    }
}
