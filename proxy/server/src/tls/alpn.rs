//! The names of HTTP's versions in ALPN (RFC 7301).

pub(crate) const ALPN_HTTP2: &[u8] = b"h2";
pub(crate) const ALPN_HTTP1: &[u8] = b"http/1.1";
