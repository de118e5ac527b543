//! The normalised form of a request path: the one that decisions are made on.
//!
//! A path can be written in many ways that servers treat alike (`/a`, `//a`, `/x/../a`, `/%61`). A
//! policy that compares the raw text is bypassed by the next spelling, so the host offers one form:
//! unreserved octets decoded and the other triplets upper-cased (RFC 3986 §6.2.2), empty segments
//! merged, dot segments removed (RFC 3986 §5.2.4) — in that order, so that `%2e%2e` counts as `..`
//! and `/a//..` as `/a/..`. `%2F` stays as it is: whether it separates segments is the business of
//! the server behind, and merging the two would make different resources look alike. A `%` that
//! does not begin a triplet is kept.

/// The normalised path, or `None` when it is written that way already.
pub fn normalize(path: &str) -> Option<String> {
    // `*` and the authority form have no segments.
    if !path.starts_with('/') || is_normal(path.as_bytes()) {
        return None;
    }
    let decoded = decode_unreserved(path);
    let mut out = String::with_capacity(decoded.len());
    let mut segments = decoded.split('/').skip(1).peekable();
    let mut ends_open = false;
    while let Some(segment) = segments.next() {
        ends_open = segments.peek().is_none();
        match segment {
            "" | "." => {}
            ".." => out.truncate(out.rfind('/').unwrap_or(0)),
            name => {
                out.push('/');
                out.push_str(name);
                // A last segment with a name is the only end without a slash.
                ends_open = false;
            }
        }
    }
    if ends_open || out.is_empty() {
        out.push('/');
    }
    Some(out)
}

/// Whether a request may carry this target: visible ASCII and nothing else (RFC 9112 §3.2, RFC 3986 §2). Everything
/// else is percent-encoded by whoever makes the target; sent raw, servers read it in different ways.
pub fn is_sendable(target: &str) -> bool {
    target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Nearly every path is: one pass without an allocation.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'%' => return false,
            b'/' | b'.' if previous == b'/' => return false,
            _ => previous = byte,
        }
    }
    true
}

fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let triplet = rest.as_bytes().get(at + 1..at + 3).and_then(|digits| {
            let high = char::from(digits[0]).to_digit(16)?;
            let low = char::from(digits[1]).to_digit(16)?;
            u8::try_from(high * 16 + low).ok()
        });
        let Some(octet) = triplet else {
            out.push('%');
            rest = &rest[at + 1..];
            continue;
        };
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push('%');
            out.push_str(&rest[at + 1..at + 3].to_ascii_uppercase());
        }
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::normalize;

    fn normalized(path: &str) -> String {
        normalize(path).unwrap_or_else(|| path.to_owned())
    }

    #[test]
    fn one_form_for_every_spelling() {
        for (written, expected) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b//", "/a/b/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a//../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/%2e", "/"),
            ("/%61dmin", "/admin"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2f../b", "/a%2F../b"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/100%", "/100%"),
            ("/%zz/%4", "/%zz/%4"),
            ("/%é", "/%é"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a/...", "/a/..."),
            ("/a..b/c", "/a..b/c"),
            ("/%7Euser", "/~user"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normalized(written), expected, "{written}");
        }
    }

    #[test]
    fn a_second_pass_changes_nothing() {
        for path in ["/a/%2e%2e//b/%2F/%zz", "/%25%32%65", "/x/..%2f..", "//"] {
            let once = normalized(path);
            assert_eq!(normalized(&once), once);
        }
    }

    #[test]
    fn an_ordinary_path_is_not_copied() {
        assert!(normalize("/static/app.css").is_none());
        assert!(normalize("/a/b/").is_none());
    }
}
