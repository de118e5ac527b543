//! Media types that ask for another treatment (RFC 9110 §8.3).

use http::{HeaderMap, HeaderName, header};

const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether the server itself says that the pieces of its response are for the moment, and should find the client where
/// it is: `x-accel-buffering: no`. That field is for the proxy, and is taken out.
pub fn take_unbuffered(headers: &mut HeaderMap) -> bool {
    let said = headers.remove(X_ACCEL_BUFFERING);
    said.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"))
}

/// Whether the response is one of messages, sent when there is something to say: server-sent events or gRPC. Its pieces
/// are for the moment as well.
pub fn is_stream(headers: &HeaderMap) -> bool {
    has_type(headers, &[b"text/event-stream", GRPC])
}

/// Whether a message is gRPC, whose either side may answer what the other has not finished saying.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    has_type(headers, &[GRPC])
}

/// What its media types begin with: application/grpc+proto, application/grpc-web, …
const GRPC: &[u8] = b"application/grpc";

/// Whether the media type begins like one of these.
fn has_type(headers: &HeaderMap, starts: &[&[u8]]) -> bool {
    let Some(media_type) = headers.get(header::CONTENT_TYPE) else { return false };
    let begins = |start: &&[u8]| {
        media_type.as_bytes().get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    starts.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_for_the_moment_is_recognised() {
        for (name, value, streaming) in [
            ("content-type", "text/event-stream; charset=utf-8", true),
            ("content-type", "Application/gRPC+proto", true),
            ("content-type", "application/grpc", true),
            ("content-type", "text/event", false),
            ("content-type", "text/plain", false),
            ("x-accel-buffering", "no", true),
            ("x-accel-buffering", "NO", true),
            ("x-accel-buffering", "yes", false),
            ("accept", "text/event-stream", false),
        ] {
            let name = HeaderName::from_static(name);
            let mut headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
            assert_eq!(take_unbuffered(&mut headers) || is_stream(&headers), streaming, "{value}");
            assert!(!headers.contains_key(X_ACCEL_BUFFERING));
        }
    }
}
