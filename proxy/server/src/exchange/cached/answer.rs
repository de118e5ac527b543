//! The response to one request, made of one that is stored, or is being stored.

use std::io::Read;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use tidegate_body::Body;
use tidegate_cache::Time;
use tidegate_cache::decide::{self, Answer, Status};
use tidegate_cache::store::{Growing, Head, Object, Unopened};
use tidegate_message::range::{Part, Selection};
use tidegate_message::{RequestHead, ResponseHead};
use tokio::task::spawn_blocking;

use super::body::GrowingBody;
use crate::cache::Settings;
use crate::files::{FileBody, Segment, ranges};

/// How the request was met (RFC 9211).
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Says how a request was met.
pub(super) fn note(cache: &Settings, headers: &mut HeaderMap, status: Status) {
    if cache.status_field {
        headers.append(CACHE_STATUS, status.to_field());
    }
}

/// The response with what is stored; `None` if its file cannot be used, and nothing is stored any more.
pub(super) async fn of_object(
    cache: &Settings,
    request: &RequestHead,
    object: &Arc<Object>,
    status: Status,
) -> Option<(ResponseHead, Body)> {
    let content = match object.bytes() {
        Some(bytes) => Content::Bytes(bytes.clone()),
        // The head alone is wanted.
        None if request.method == Method::HEAD => Content::Bytes(Bytes::new()),
        None => open(cache, object).await?,
    };
    Some(respond(cache, request, object.head(), Some(object.size()), content, status))
}

/// The response with what is being stored; `None` if its beginning is not there any more.
pub(super) fn of_growing(
    cache: &Settings,
    request: &RequestHead,
    growing: &Arc<Growing>,
    status: Status,
) -> Option<(ResponseHead, Body)> {
    // Whoever is answered without its body keeps it growing all the same, until this is dropped.
    let content = Content::Growing(growing.clone());
    // What is read from its beginning until the response is made.
    let _place = growing.read(0, u64::MAX)?;
    Some(respond(cache, request, growing.head(), growing.size(), content, status))
}

/// Where a body is.
enum Content {
    Bytes(Bytes),
    File(Arc<std::fs::File>),
    Growing(Arc<Growing>),
}

/// Opens the file of an object, on this thread if the kernel has in memory what that takes. A small one is read, and is in
/// memory from then on.
async fn open(cache: &Settings, object: &Arc<Object>) -> Option<Content> {
    let file = object.file()?;
    let is_small = cache.store.is_small(object.size());
    if !is_small && let Ok(file) = file.open(false) {
        return Some(Content::File(Arc::new(file)));
    }
    let (file, size) = (file.clone(), object.size());
    let opened = spawn_blocking(move || {
        let mut open = file.open(true)?;
        if !is_small {
            return Ok(Content::File(Arc::new(open)));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        open.read_exact(&mut bytes).map_err(Unopened::Unusable)?;
        Ok(Content::Bytes(bytes.into()))
    });
    match opened.await {
        Ok(Ok(content)) => {
            if let Content::Bytes(bytes) = &content {
                cache.store.promote(object, bytes.clone());
            }
            Some(content)
        }
        Ok(Err(Unopened::Unusable(error))) => {
            tracing::debug!(target: "cache", cache = %cache.name, "a file cannot be used: {error}");
            cache.store.unusable(object);
            None
        }
        Ok(Err(Unopened::WouldWait)) | Err(_) => None,
    }
}

fn respond(
    cache: &Settings,
    request: &RequestHead,
    stored: &Head,
    size: Option<u64>,
    content: Content,
    status: Status,
) -> (ResponseHead, Body) {
    let answer =
        match decide::answer(&request.headers, stored.status, &stored.headers, size, stored.aged.received) {
            // Ranges are defined for GET alone (RFC 9110 §14.2), and several of what is not there yet come as a whole.
            Answer::Parts(_) if request.method != Method::GET => Answer::Whole,
            Answer::Parts(Selection::Several(_)) if matches!(content, Content::Growing(_)) => Answer::Whole,
            answer => answer,
        };
    let now = Time::now();
    let (mut head, body) = match (answer, size) {
        (Answer::NotModified, _) => {
            let head = ResponseHead::new(StatusCode::NOT_MODIFIED, decide::of_not_modified(&stored.headers));
            (head, Body::empty())
        }
        (Answer::Parts(selection), Some(size)) => parts(cache, stored, size, content, selection),
        (Answer::Whole | Answer::Parts(_), size) => {
            let mut headers = stored.headers.clone();
            if let Some(size) = size {
                headers.insert(header::CONTENT_LENGTH, size.into());
            }
            let mut head = ResponseHead::new(stored.status, headers);
            head.content_length = size;
            head.reason = stored.reason.clone().map(|reason| (stored.status, reason));
            (head, whole(cache, size, content))
        }
    };
    head.headers.insert(header::AGE, stored.age(now).into());
    head.origin = Some(cache.name.clone());
    note(cache, &mut head.headers, status);
    let body = if request.method == Method::HEAD { Body::empty() } else { body };
    (head, body)
}

fn whole(cache: &Settings, size: Option<u64>, content: Content) -> Body {
    match content {
        Content::Bytes(bytes) => Body::full(bytes),
        Content::File(file) => {
            let part = size.filter(|size| *size > 0).map(|length| Segment::File(Part { first: 0, length }));
            Body::boxed(FileBody::new(cache.name.clone(), file, part))
        }
        Content::Growing(growing) => reading(cache, &growing, 0, u64::MAX),
    }
}

fn reading(cache: &Settings, growing: &Arc<Growing>, first: u64, end: u64) -> Body {
    match growing.read(first, end) {
        Some(reader) => Body::boxed(GrowingBody::new(cache.name.clone(), reader)),
        None => Body::empty(),
    }
}

/// Some of a body of `size` bytes.
fn parts(
    cache: &Settings,
    stored: &Head,
    size: u64,
    content: Content,
    selection: Selection,
) -> (ResponseHead, Body) {
    let mut headers = stored.headers.clone();
    let Some((status, segments)) = ranges::select(selection, size, &mut headers) else {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_RANGE, ranges::unsatisfied(size));
        headers.insert(header::CONTENT_LENGTH, 0.into());
        let mut head = ResponseHead::new(StatusCode::RANGE_NOT_SATISFIABLE, headers);
        head.content_length = Some(0);
        return (head, Body::empty());
    };
    let length: u64 = segments.iter().map(Segment::len).sum();
    headers.insert(header::CONTENT_LENGTH, length.into());
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(length);
    let body = match content {
        Content::File(file) => Body::boxed(FileBody::new(cache.name.clone(), file, segments)),
        Content::Growing(growing) => match segments.first() {
            Some(Segment::File(part)) => reading(cache, &growing, part.first, part.first + part.length),
            _ => Body::empty(),
        },
        Content::Bytes(bytes) => {
            let slice = |part: &Part| {
                let [first, end] = [part.first, part.first + part.length].map(|at| at as usize);
                bytes.slice(first..end)
            };
            let mut all = BytesMut::with_capacity(length as usize);
            for segment in &segments {
                match segment {
                    Segment::Text(text) => all.extend_from_slice(text),
                    Segment::File(part) => all.extend_from_slice(&slice(part)),
                }
            }
            Body::full(all.freeze())
        }
    };
    (head, body)
}
