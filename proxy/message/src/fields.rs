//! Lists in fields, and the fields that belong to one connection: found and removed (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Which fields a request has that say how it is framed and what its client can do. As a rule it has none of them,
/// and to look for each would cost more than one pass over all names.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "named like the fields")]
pub struct Marks {
    /// A name that says who the client is, or could be taken for one ([`remove_claims`]).
    pub claims: bool,
    /// A field of the client's connection that is none of the others: `Connection`, `Keep-Alive`, `Proxy-Connection`.
    pub connection: bool,
    pub content_length: bool,
    pub expect: bool,
    pub request_id: bool,
    pub te: bool,
    pub transfer_encoding: bool,
    pub upgrade: bool,
}

impl Marks {
    /// One pass over the names.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut marks = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            marks.claims |= matches!(name.as_bytes(), [b'x', b'-', ..] | [b'c', b'l', ..] | [b's', b's', ..]);
            marks.claims |= is_odd(name);
            match name {
                "connection" | "keep-alive" | "proxy-connection" => marks.connection = true,
                "content-length" => marks.content_length = true,
                "expect" => marks.expect = true,
                "te" => marks.te = true,
                "transfer-encoding" => marks.transfer_encoding = true,
                "upgrade" => marks.upgrade = true,
                "x-request-id" => marks.request_id = true,
                _ => {}
            }
        }
        marks
    }

    /// Whether the request says anything of a body.
    pub fn framed(self) -> bool {
        self.content_length || self.transfer_encoding
    }

    /// Whether there is anything for [`remove_of_request`].
    pub fn of_connection(self) -> bool {
        self.connection || self.te || self.upgrade || self.expect || self.framed()
    }
}

/// The same of a response: which of its fields say how it is framed, and how it is to be delivered.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "named like the fields")]
pub struct ResponseMarks {
    /// A field of the server's connection ([`remove_hop_by_hop`]).
    pub connection: bool,
    pub content_length: bool,
    pub content_type: bool,
    pub transfer_encoding: bool,
    pub x_accel_buffering: bool,
}

impl ResponseMarks {
    /// One pass over the names.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut marks = Self::default();
        for name in headers.keys().map(HeaderName::as_str) {
            match name {
                "content-length" => marks.content_length = true,
                "content-type" => marks.content_type = true,
                "transfer-encoding" => (marks.transfer_encoding, marks.connection) = (true, true),
                "x-accel-buffering" => marks.x_accel_buffering = true,
                name => marks.connection |= is_hop_by_hop(name),
            }
        }
        marks
    }
}

/// Removes what `Connection` names and every other hop-by-hop field.
///
/// `Content-Length`, `Host` and what says who the client is stay even if `Connection` names them: a client has no say in
/// whether they are passed on.
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
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST && !says_who(name.as_str()))
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

/// What the names of fields begin with that say who the client is: servers believe them, so they come from this proxy, or
/// from one that is trusted. RFC 9440 for certificates; the others are what other proxies write.
const IDENTITY: [&str; 6] =
    ["x-forwarded-", "x-real-ip", "client-cert", "x-client-cert", "ssl-client-", "x-ssl-client-"];

/// Removes what says who the client is unless its sender is `believed`; fields of `further` names as well. From
/// anybody it removes names that servers take for one of these, or for another that the proxy sets: CGI and its
/// successors put `_` in place of every character that is neither a letter nor a digit (RFC 3875 §4.1.18).
pub fn remove_claims(headers: &mut HeaderMap, believed: bool, further: &[HeaderName]) {
    let is_identity = |name: &str| says_who(name) || further.iter().any(|other| other == name);
    let is_claim = |name: &str| {
        if is_odd(name) {
            let plain = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let plain = plain.as_str();
            is_identity(plain)
                || is_hop_by_hop(plain)
                || matches!(plain, "content-length" | "x-request-id" | "x-forwarded")
        } else {
            !believed && is_identity(name)
        }
    };
    let claims: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn says_who(name: &str) -> bool {
    name == "forwarded" || IDENTITY.iter().any(|start| name.starts_with(start))
}

/// Removes from the trailers of a request what has no place there: framing, routing, the fields of a connection, and
/// whatever says who the client is, which was looked for in the head (RFC 9110 §6.5.1).
pub fn remove_from_trailers(trailers: &mut HeaderMap) {
    let misplaced: Vec<HeaderName> =
        trailers.keys().filter(|name| is_owned_by_proxy(name) || says_who(name.as_str())).cloned().collect();
    for name in misplaced {
        trailers.remove(name);
    }
    remove_claims(trailers, false, &[]);
}

/// Whether a name has another character than letters, digits and hyphens.
fn is_odd(name: &str) -> bool {
    // Without a branch for each character.
    name.bytes().fold(false, |odd, byte| odd | ODD[usize::from(byte)])
}

const ODD: [bool; 256] = {
    let mut odd = [true; 256];
    let mut byte = 0;
    while byte < 128 {
        odd[byte] = !(byte as u8).is_ascii_alphanumeric() && byte != b'-' as usize;
        byte += 1;
    }
    odd
};

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

/// The members of a comma-separated field, over all its lines. Those that are not text are left out, and cost none of
/// the others.
pub fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> + use<'a> {
    let lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .filter_map(|member| str::from_utf8(trim(member)).ok())
        .filter(|member| !member.is_empty())
}

/// The members of a comma-separated field over all its lines, from the last to the first, so that nothing that stands
/// before a member changes how it is read. A comma within quotes separates nothing (RFC 9110 §5.6.1, §5.6.4).
pub fn members_from_last<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).iter().rev().map(HeaderValue::as_bytes);
    lines.flat_map(|line| Backwards { left: Some(line) }).map(trim).filter(|member| !member.is_empty())
}

struct Backwards<'a> {
    left: Option<&'a [u8]>,
}

impl<'a> Iterator for Backwards<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let left = self.left.take()?;
        let mut quoted = false;
        for at in (0..left.len()).rev() {
            match left[at] {
                b'"' => {
                    // Within quotes a backslash makes the next character an ordinary one.
                    let escapes = left[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
                    quoted ^= escapes % 2 == 0;
                }
                b',' if !quoted => {
                    self.left = Some(&left[..at]);
                    return Some(&left[at + 1..]);
                }
                _ => {}
            }
        }
        Some(left)
    }
}

/// The parts of a member that `separator` separates outside of quotes.
pub fn parts(member: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    member
        .split(move |byte| {
            let plain = !std::mem::take(&mut escaped);
            match byte {
                b'"' if plain => quoted = !quoted,
                b'\\' if plain && quoted => escaped = true,
                _ => return !quoted && *byte == separator,
            }
            false
        })
        .map(trim)
}

/// Without the white space around it (RFC 9110 §5.6.3).
pub fn trim(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = text.iter().take_while(|byte| blank(byte)).count();
    let text = &text[start..];
    &text[..text.len() - text.iter().rev().take_while(|byte| blank(byte)).count()]
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
    fn members_are_read_from_the_last_whatever_stands_before_them() {
        let members = |lines: &[&'static [u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("forwarded", HeaderValue::from_bytes(line).expect("valid"));
            }
            members_from_last(&headers, &header::FORWARDED).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let plain: [&[u8]; 3] = [b"c", b"b", b"a"];
        assert_eq!(members(&[b"a, b", b" c ,,"]), plain);
        let quoted: [&[u8]; 2] = [b"d", b"a=\"b, \\\", c\""];
        assert_eq!(members(&[b"a=\"b, \\\", c\", d"]), quoted);
        let open: [&[u8]; 2] = [b"b", b"\"a"];
        assert_eq!(members(&[b"\"a, b"]), open);
        let raw: [&[u8]; 2] = [b"a", b"\xe9"];
        assert_eq!(members(&[b"\xe9, a"]), raw);
        let params: Vec<&[u8]> = parts(b"for=a;host=\"b;c\"; x", b';').collect();
        assert_eq!(params, [&b"for=a"[..], b"host=\"b;c\"", b"x"]);
    }

    #[test]
    fn what_servers_could_take_for_a_claim_is_removed() {
        let fields = [
            ("x_forwarded_for", "1"),
            ("x-forwarded.proto", "1"),
            ("x-forwarded-port", "1"),
            ("content_length", "1"),
            ("client-cert", "1"),
            ("x-verified", "1"),
            ("x_other", "1"),
            ("x-other", "1"),
        ];
        let left = |believed: bool| {
            let mut headers = headers(&fields);
            remove_claims(&mut headers, believed, &[HeaderName::from_static("x-verified")]);
            let mut left: Vec<_> = headers.keys().map(HeaderName::to_string).collect();
            left.sort_unstable();
            left
        };
        assert_eq!(left(false), ["x-other", "x_other"]);
        assert_eq!(left(true), ["client-cert", "x-forwarded-port", "x-other", "x-verified", "x_other"]);
        assert!(
            fields.iter().all(|(name, _)| *name == "x-other" || Marks::of(&headers(&[(name, "1")])).claims)
        );
    }

    #[test]
    fn a_byte_outside_ascii_does_not_hide_what_connection_names() {
        let mut headers = headers(&[("x-hop", "1")]);
        headers.append("connection", HeaderValue::from_bytes(b"\xe9, x-hop").expect("valid"));
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
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
