//! A WebSocket handshake over HTTP/2 as HTTP/1.1 puts it, and the answer back (RFC 8441 §5).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::ext::Protocol;
use sha1::{Digest, Sha1};

/// As `:protocol` and as `Upgrade` have it.
pub(crate) const PROTOCOL: &str = "websocket";

/// What every server adds to a key (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request opens a WebSocket over HTTP/2: an extended CONNECT (RFC 8441 §4).
pub(crate) fn is_opening<B>(request: &Request<B>) -> bool {
    let protocol = request.extensions().get::<Protocol>();
    request.method() == Method::CONNECT
        && protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(PROTOCOL))
}

/// Makes such a request the GET of HTTP/1.1. `Connection` and `Upgrade` belong to the next hop and are set
/// there. The key proves to us, in the client's place, that the server understood; over HTTP/2 there is none,
/// and one that the client sent means nothing.
pub(crate) fn ask(parts: &mut Parts) {
    parts.method = Method::GET;
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    parts.headers.insert(SEC_WEBSOCKET_KEY, value(&key));
}

/// Whether a 101 agrees to the handshake that was sent with these fields (RFC 6455 §4.1).
pub(crate) fn check(asked: &HeaderMap, answered: &HeaderMap) -> Result<(), &'static str> {
    let protocol = answered.get(UPGRADE);
    if !protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        return Err("101 to another protocol than WebSocket");
    }
    let mut accepts = answered.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    match (asked.get(SEC_WEBSOCKET_KEY), accepts.next(), accepts.next()) {
        (Some(key), Some(accept), None) if *accept == expected(key) => Ok(()),
        _ => Err("101 without the Sec-WebSocket-Accept that goes with the key"),
    }
}

/// Makes the 101 the 200 of HTTP/2.
pub(crate) fn answer<B>(response: &mut Response<B>) {
    *response.status_mut() = StatusCode::OK;
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
        response.headers_mut().remove(name);
    }
}

/// RFC 6455 §4.2.2.
fn expected(key: &HeaderValue) -> HeaderValue {
    let digest = Sha1::new().chain_update(key.as_bytes()).chain_update(GUID).finalize();
    value(&STANDARD.encode(digest))
}

/// Base64 is visible ASCII.
fn value(base64: &str) -> HeaderValue {
    HeaderValue::from_str(base64).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_the_extended_connect_of_websocket_opens_one() {
        let request = |method: Method, protocol: Option<&'static str>| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            request.extensions_mut().extend(
                protocol
                    .map(|protocol| {
                        let mut extensions = http::Extensions::new();
                        extensions.insert(Protocol::from_static(protocol));
                        extensions
                    })
                    .unwrap_or_default(),
            );
            request
        };
        assert!(is_opening(&request(Method::CONNECT, Some("websocket"))));
        assert!(!is_opening(&request(Method::CONNECT, Some("connect-udp"))));
        assert!(!is_opening(&request(Method::CONNECT, None)));
        assert!(!is_opening(&request(Method::GET, None)));
    }

    #[test]
    fn a_server_agrees_with_the_answer_to_the_key() {
        // The example of RFC 6455 §1.3.
        let asked = headers(&[("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        let accept = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(check(&asked, &headers(&[("upgrade", "WebSocket"), accept])), Ok(()));
        for (what, asked, answered) in [
            ("another protocol", &asked, &[("upgrade", "h2c"), accept][..]),
            ("no protocol", &asked, &[accept]),
            ("no answer to the key", &asked, &[("upgrade", "websocket")]),
            ("two answers", &asked, &[("upgrade", "websocket"), accept, accept]),
            ("a wrong one", &asked, &[("upgrade", "websocket"), ("sec-websocket-accept", "abc")]),
            ("an answer without a key", &HeaderMap::new(), &[("upgrade", "websocket"), accept]),
        ] {
            assert!(check(asked, &headers(answered)).is_err(), "{what}");
        }
    }

    #[test]
    fn each_handshake_has_a_key_of_its_own() {
        let key = || {
            let (mut parts, ()) = Request::new(()).into_parts();
            ask(&mut parts);
            (parts.method, parts.headers[SEC_WEBSOCKET_KEY].clone())
        };
        let ((method, first), (_, second)) = (key(), key());
        assert_eq!((method, first.len()), (Method::GET, 24));
        assert_ne!(first, second);
    }
}
