//! Clients that have a representation already, and origins that may have a new one (RFC 9111 §4.3, RFC 9110 §13).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use tidegate_message::fields::parts;
use tidegate_message::range::Selection as Range;

use crate::time::Time;

/// What a client gets of a stored response that it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// All of it.
    Whole,
    /// It has it: 304.
    NotModified,
    /// Parts of it, or that there is none such; never [`Range::Whole`].
    Parts(Range),
}

/// What the conditions of a request and its `Range` leave of a stored response whose body has `size` bytes; `None`: not
/// known yet. `received` is when it came.
pub fn answer(
    asked: &HeaderMap,
    status: StatusCode,
    stored: &HeaderMap,
    size: Option<u64>,
    received: Time,
) -> Answer {
    if status != StatusCode::OK {
        return Answer::Whole;
    }
    if has_current(asked, stored, received) {
        return Answer::NotModified;
    }
    match size {
        Some(size) if asked.contains_key(header::RANGE) && is_same_for_range(asked, stored) => {
            match Range::of(asked, size) {
                Range::Whole => Answer::Whole,
                range => Answer::Parts(range),
            }
        }
        _ => Answer::Whole,
    }
}

fn has_current(asked: &HeaderMap, stored: &HeaderMap, received: Time) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let Some(own) = stored.get(header::ETAG).map(HeaderValue::as_bytes) else {
            return asked.get_all(header::IF_NONE_MATCH).iter().any(|line| line.as_bytes() == b"*");
        };
        let lines = asked.get_all(header::IF_NONE_MATCH).iter();
        return lines
            .flat_map(|line| parts(line.as_bytes(), b','))
            .any(|tag| tag == b"*" || opaque(tag) == opaque(own));
    }
    let Some(since) = date(asked, &header::IF_MODIFIED_SINCE) else { return false };
    // Without a date of the last change, when it was made, or came, is the last it can have been (RFC 9111 §4.3.2).
    let changed = date(stored, &header::LAST_MODIFIED).or_else(|| date(stored, &header::DATE));
    changed.unwrap_or(received) <= since
}

/// Compared weakly (RFC 9110 §8.8.3.2).
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<Time> {
    let mut lines = headers.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    Time::of_field(line)
}

/// `If-Range` names what is stored, or is not there (RFC 9110 §13.1.5).
fn is_same_for_range(asked: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(wanted) = asked.get(header::IF_RANGE) else { return true };
    if wanted.as_bytes().starts_with(b"\"") {
        return stored.get(header::ETAG) == Some(wanted);
    }
    // A date is as good only if it cannot have changed again within its second (§8.8.2.2).
    match (date(stored, &header::LAST_MODIFIED), date(stored, &header::DATE), Time::of_field(wanted)) {
        (Some(modified), Some(made), Some(wanted)) => modified == wanted && made.seconds_since(modified) >= 1,
        _ => false,
    }
}

/// Fields of a request that make its response less than a whole representation, or none.
const PRECONDITIONS: [HeaderName; 5] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_RANGE, header::RANGE, header::IF_MATCH];

/// Whether a request has conditions that only the origin can judge (RFC 9111 §4.3.2).
pub fn has_preconditions(asked: &HeaderMap) -> bool {
    asked.contains_key(header::IF_MATCH) || asked.contains_key(header::IF_UNMODIFIED_SINCE)
}

/// Whether a request for a part begins with the first byte: then there is as good as the whole to be fetched.
pub fn asks_for_beginning(asked: &HeaderMap) -> bool {
    asked.get(header::RANGE).is_some_and(|range| range.as_bytes().starts_with(b"bytes=0-"))
}

/// Makes a request one for the whole representation.
pub fn ask_for_whole(asked: &mut HeaderMap) {
    for name in &PRECONDITIONS {
        asked.remove(name);
    }
}

/// Makes a request ask whether a stored response is still good (RFC 9111 §4.3.1); false if there is nothing to ask by.
pub fn validate(asked: &mut HeaderMap, stored: &HeaderMap) -> bool {
    ask_for_whole(asked);
    if let Some(tag) = stored.get(header::ETAG) {
        asked.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = stored.get(header::LAST_MODIFIED) {
        asked.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
    asked.contains_key(header::IF_NONE_MATCH) || asked.contains_key(header::IF_MODIFIED_SINCE)
}

/// Whether a 304 with these fields is about this stored response (RFC 9111 §4.3.4).
pub fn validates(not_modified: &HeaderMap, stored: &HeaderMap) -> bool {
    match (not_modified.get(header::ETAG), stored.get(header::ETAG)) {
        (Some(new), Some(old)) => opaque(new.as_bytes()) == opaque(old.as_bytes()),
        (Some(new), None) => new.as_bytes().starts_with(b"W/"),
        (None, _) => match (not_modified.get(header::LAST_MODIFIED), stored.get(header::LAST_MODIFIED)) {
            (Some(new), Some(old)) if stored.get(header::ETAG).is_none() => new == old,
            _ => true,
        },
    }
}

/// Fields that a 304 does not change: they speak of a body that stays (RFC 9111 §3.2).
const KEPT: [HeaderName; 8] = [
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
];

/// The fields of a stored response after a 304 with those of `news`, which came at `received`.
pub(crate) fn updated(stored: &HeaderMap, news: &HeaderMap, received: Time) -> HeaderMap {
    let mut updated = stored.clone();
    let news = super::storing::prepare(news, received);
    for name in news.keys().filter(|name| !KEPT.contains(name)) {
        updated.remove(name);
        for value in news.get_all(name) {
            updated.append(name, value.clone());
        }
    }
    updated
}

/// The fields of a stored response that go with a 304 (RFC 9110 §15.4.5), and those that say where it comes from.
pub fn of_not_modified(stored: &HeaderMap) -> HeaderMap {
    let of_representation = |name: &HeaderName| {
        name.as_str().starts_with("content-") && *name != header::CONTENT_LOCATION && !is_policy(name)
            || *name == header::ACCEPT_RANGES
    };
    let mut headers = stored.clone();
    let unwanted: Vec<HeaderName> = headers.keys().filter(|name| of_representation(name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
    headers
}

/// What is called content and speaks of a page.
fn is_policy(name: &HeaderName) -> bool {
    name.as_str().starts_with("content-security-policy")
}
