//! What ranges of a body are sent, and what its head says of them (RFC 9110 §14, §15.3.7).

use http::{HeaderMap, HeaderValue, StatusCode, header};
use tidegate_message::range::{Multipart, Part, Selection};

use super::send::Segment;

/// The status, and what is sent of a body of `size` bytes; the fields say so afterwards. `None`: nothing of what is asked for is
/// there.
pub(crate) fn select(
    selection: Selection,
    size: u64,
    headers: &mut HeaderMap,
) -> Option<(StatusCode, Vec<Segment>)> {
    match selection {
        Selection::Whole => {
            let all = (size > 0).then_some(Segment::File(Part { first: 0, length: size }));
            Some((StatusCode::OK, Vec::from_iter(all)))
        }
        Selection::One(part) => {
            headers.insert(header::CONTENT_RANGE, ascii(part.content_range(size)));
            Some((StatusCode::PARTIAL_CONTENT, vec![Segment::File(part)]))
        }
        Selection::Several(parts) => {
            let multipart = Multipart::draw();
            let kind = headers.insert(header::CONTENT_TYPE, multipart.content_type());
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            let segments = parts.iter().enumerate().flat_map(|(index, part)| {
                let before = multipart.before(index == 0, *part, size, &kind);
                [Segment::Text(before.into()), Segment::File(*part)]
            });
            let end = Segment::Text(multipart.end().into());
            Some((StatusCode::PARTIAL_CONTENT, segments.chain([end]).collect()))
        }
        Selection::Nothing => None,
    }
}

/// The `Content-Range` of a response that has nothing of what is asked for (RFC 9110 §15.5.17).
pub(crate) fn unsatisfied(size: u64) -> HeaderValue {
    ascii(format!("bytes */{size}"))
}

/// A value that the proxy made of numbers.
fn ascii(value: String) -> HeaderValue {
    HeaderValue::try_from(value).expect("digits and ASCII signs")
}
