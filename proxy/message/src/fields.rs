//! Lists in fields, and the fields that belong to one connection: found and removed (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Which fields a request has that say how it is framed and what its client can do. As a rule it has none of them,
/// and to look for each would cost more than one pass over all names.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "named like the fields")]
pub struct Marks {
    pub content_length: bool,
    pub expect: bool,
    pub te: bool,
    pub transfer_encoding: bool,
    pub upgrade: bool,
}

impl Marks {
    /// One pass over the names.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut marks = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "content-length" => marks.content_length = true,
                "expect" => marks.expect = true,
                "te" => marks.te = true,
                "transfer-encoding" => marks.transfer_encoding = true,
                "upgrade" => marks.upgrade = true,
                _ => {}
            }
        }
        marks
    }

    /// Whether the request says anything of a body.
    pub fn framed(self) -> bool {
        self.content_length || self.transfer_encoding
    }
}

/// Removes what `Connection` names and every other hop-by-hop field.
///
/// `Content-Length` and `Host` stay even if `Connection` names them: they are framing and routing, and
/// a client has no say in whether they are passed on.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    remove(headers, is_hop_by_hop);
}

/// The same for a request that is sent on, and what the proxy words anew: its length is in the head, and
/// its expectation is met here.
pub fn remove_of_request(headers: &mut HeaderMap) {
    remove(headers, |name| is_hop_by_hop(name) || matches!(name, "content-length" | "expect"));
}

/// Most messages have none of these fields, or a `Connection` that names nothing else: one look at the names finds
/// out.
fn remove(headers: &mut HeaderMap, unwanted: fn(&str) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name.as_str())).cloned() {
        if name == header::CONNECTION {
            for named in named_by_connection(headers, unwanted) {
                headers.remove(named);
            }
        }
        headers.remove(name);
    }
}

/// The fields that `Connection` names, beside those that are removed anyhow.
fn named_by_connection(headers: &HeaderMap, unwanted: fn(&str) -> bool) -> Vec<HeaderName> {
    // As a rule it names none, and says one word.
    let mut lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let names_none =
        |line: &[u8]| line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close");
    if lines.all(names_none) {
        return Vec::new();
    }
    tokens(headers, &header::CONNECTION)
        .filter(|token| !unwanted(token) && *token != "close")
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
        .collect()
}

/// Fields about a connection, whether or not `Connection` names them. `Trailer` is not among them: it
/// announces what the next hop gets as well. Compared as text, which is decided by length nearly always.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(name, "connection" | "te" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection")
}

/// Joins the `Cookie` fields that HTTP/2 clients send one for each cookie (RFC 9113 §8.2.3); HTTP/1 allows
/// only one.
pub fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (cookies.next(), cookies.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for cookie in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    // Valid, since its parts were; and one field replaces all.
    if let Ok(joined) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The protocol a client or server wants to switch to, if its message says so in both places RFC 9110
/// §7.8 asks for. Never `h2c`: a client that tunnels HTTP/2 past the policies would be out of sight.
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    let asked = lists(headers, &header::CONNECTION, "upgrade");
    let h2c = lists(headers, &header::UPGRADE, "h2c");
    (asked && !h2c).then(|| protocol.clone())
}

/// Whether the sender accepts trailers (RFC 9110 §10.1.4).
pub fn accepts_trailers(headers: &HeaderMap) -> bool {
    lists(headers, &header::TE, "trailers")
}

/// Whether a comma-separated field has this member, in any case, on any of its lines.
pub fn lists(headers: &HeaderMap, name: &HeaderName, member: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(member))
}

/// The members of a comma-separated field, over all its lines. Lines that are not text have none.
pub fn tokens<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl DoubleEndedIterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

/// True for fields that only the proxy sets: framing, hop-by-hop (RFC 9110 §7.6.1), `host`, which is set with the
/// authority, and `expect` and `http2-settings`, which concern one connection without being listed there: the proxy
/// meets the expectation of a client itself (§10.1.1), and has none of a server.
pub fn is_owned_by_proxy(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content-length"
            | "expect"
            | "host"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
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
    fn fields_named_by_connection_are_removed_but_not_framing() {
        let mut headers = headers(&[
            ("connection", "x-secret, content-length, close"),
            ("x-secret", "1"),
            ("content-length", "5"),
            ("te", "trailers"),
            ("keep-alive", "1"),
            ("trailer", "x-sum"),
        ]);
        remove_hop_by_hop(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(|name| name.as_str()).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "trailer"]);
    }

    #[test]
    fn h2c_is_never_an_upgrade() {
        let asks =
            |protocol| upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", protocol)]));
        assert_eq!(asks("websocket"), Some(HeaderValue::from_static("websocket")));
        assert_eq!(asks("h2c"), None);
        assert_eq!(upgrade(&headers(&[("upgrade", "websocket")])), None);
    }
}
