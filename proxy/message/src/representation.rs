//! Fields that speak of a representation's bytes, for code that changes them (RFC 9110 §8).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Digests of the content or of the representation (RFC 9530, and what came before it).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// For a response whose body may be another one than the server sent: its length, its digests and its
/// ranges are not known, and it is equivalent to the server's at best (§8.8.1).
pub fn forget_body(headers: &mut HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    headers.remove(header::ACCEPT_RANGES);
    remove_digests(headers);
    weaken_etag(headers);
}

/// For a message whose bytes are no longer those its digests were made of.
pub fn remove_digests(headers: &mut HeaderMap) {
    for name in &DIGESTS {
        headers.remove(name);
    }
}

/// A strong entity tag promises the same bytes (§8.8.1).
pub fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get_mut(header::ETAG) else { return };
    if tag.as_bytes().starts_with(b"W/") {
        return;
    }
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) if tag.as_bytes().starts_with(b"\"") => *tag = weak,
        // Without quotes it is no entity tag, and nothing tells how a recipient would compare it.
        _ => drop(headers.remove(header::ETAG)),
    }
}
