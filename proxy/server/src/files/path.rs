//! From the path of a request to the path of a file below a root, or to no file at all.
//!
//! A request target has many spellings, and every one that leads out of a root has been used somewhere. So
//! there is one way in: the normal form that policies decide on, each octet of which is decoded once, split
//! into names none of which can mean anything but a name. [`super::open`] does not rely on that.

/// A path below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Names with `/` between them, in the bytes of the file system; empty for the root itself.
    pub(super) path: Vec<u8>,
    /// It ends with a slash: only a directory will do.
    pub(super) directory: bool,
}

/// Why a request can lead to no file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A `%` that begins no octet (RFC 3986 §2.1). It is not guessed at: decoding what the normal form left
    /// alone would decode its neighbours for a second time.
    Malformed,
    /// A name that no file has or that is hidden.
    NotServed,
}

/// The hidden directory that is served all the same, at the top: RFC 8615, for ACME and `security.txt`.
const WELL_KNOWN: &[u8] = b".well-known";

/// `raw` is the path as the request has it, `normal` its normal form; neither has the query.
pub(super) fn read(raw: &str, normal: &str) -> Result<Wanted, Refusal> {
    if !is_well_formed(raw) {
        return Err(Refusal::Malformed);
    }
    let mut segments = normal.strip_prefix('/').ok_or(Refusal::NotServed)?.split('/').peekable();
    let mut path = Vec::with_capacity(normal.len());
    while let Some(segment) = segments.next() {
        if segment.is_empty() && segments.peek().is_none() {
            return Ok(Wanted { path, directory: true });
        }
        let first = path.is_empty();
        if !first {
            path.push(b'/');
        }
        let start = path.len();
        decode(segment, &mut path);
        let name = &path[start..];
        let hidden = name.starts_with(b".") && !(first && name == WELL_KNOWN);
        // A backslash is a letter here and a separator elsewhere: files with one in their name are rare, and
        // software that takes it for a separator is not.
        if name.is_empty() || hidden || name.iter().any(|byte| matches!(byte, b'/' | b'\\' | 0)) {
            return Err(Refusal::NotServed);
        }
    }
    Ok(Wanted { path, directory: false })
}

/// The reference that leads from a directory without its slash to the same with it. It is relative: policies
/// may have changed the path before the last segment, and it cannot name another host.
pub(super) fn with_slash(normal: &str, query: Option<&str>) -> String {
    let segment = normal.rsplit('/').next().unwrap_or_default();
    let mark = if query.is_some() { "?" } else { "" };
    // `./` keeps a colon in the segment from making a scheme of it (RFC 3986 §4.2).
    format!("./{segment}/{mark}{}", query.unwrap_or_default())
}

fn is_well_formed(path: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let mut bytes = path.as_bytes();
    while let Some(at) = bytes.iter().position(|byte| *byte == b'%') {
        if !digit(bytes.get(at + 1)) || !digit(bytes.get(at + 2)) {
            return false;
        }
        bytes = &bytes[at + 3..];
    }
    true
}

/// Decodes every octet of a well-formed segment once.
fn decode(segment: &str, out: &mut Vec<u8>) {
    let mut parts = segment.split('%');
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        // Two hexadecimal digits, so the halves fall on characters.
        let (digits, rest) = part.split_at_checked(2).unwrap_or(("25", part));
        out.push(u8::from_str_radix(digits, 16).unwrap_or(b'%'));
        out.extend_from_slice(rest.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusal, Wanted, read, with_slash};

    /// Reads a path that is its own normal form.
    fn of(path: &str) -> Result<Wanted, Refusal> {
        read(path, path)
    }

    fn wanted(path: &[u8], directory: bool) -> Result<Wanted, Refusal> {
        Ok(Wanted { path: path.to_vec(), directory })
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(of("/"), wanted(b"", true));
        assert_eq!(of("/a/b.txt"), wanted(b"a/b.txt", false));
        assert_eq!(of("/a/b/"), wanted(b"a/b", true));
        assert_eq!(of("/a%20b"), wanted(b"a b", false));
        assert_eq!(of("/caf%C3%A9"), wanted("café".as_bytes(), false));
        assert_eq!(of("/%FF"), wanted(b"\xff", false));
        assert_eq!(of("/%252E%252E"), wanted(b"%2E%2E", false));
        assert_eq!(of("/%25"), wanted(b"%", false));
    }

    #[test]
    fn what_can_mean_more_than_a_name_is_not_served() {
        for path in [
            "/..",
            "/../a",
            "/a/..",
            "/.",
            "/a/%2E%2E/b",
            "/%2e%2e%2fa",
            "/a%2Fb",
            "/a%5Cb",
            "/a\\b",
            "/a%00",
            "/a%00.html",
            "//a",
            "/a//b",
            "*",
            "a",
            "",
        ] {
            assert_eq!(of(path), Err(Refusal::NotServed), "{path}");
        }
    }

    #[test]
    fn hidden_names_are_not_served_but_for_one() {
        for path in
            ["/.git/config", "/a/.env", "/%2Egit", "/.well-known-not", "/a/.well-known/b", "/.well-known/.a"]
        {
            assert_eq!(of(path), Err(Refusal::NotServed), "{path}");
        }
        assert_eq!(of("/.well-known/security.txt"), wanted(b".well-known/security.txt", false));
        assert_eq!(of("/a.b/c."), wanted(b"a.b/c.", false));
    }

    #[test]
    fn an_octet_that_is_none_is_refused_before_the_normal_form_could_complete_it() {
        // The normal form of `%%32e` is `%2e`.
        for raw in ["/%%32e%%32e/a", "/%", "/%4", "/%zz", "/a%2", "/%é"] {
            assert_eq!(read(raw, "/%2e%2e/a"), Err(Refusal::Malformed), "{raw}");
        }
    }

    #[test]
    fn the_way_to_the_slash_stays_on_this_host() {
        assert_eq!(with_slash("/a/docs", None), "./docs/");
        assert_eq!(with_slash("/a/docs", Some("b=/c&d")), "./docs/?b=/c&d");
        assert_eq!(with_slash("/javascript:x", Some("")), "./javascript:x/?");
        assert_eq!(with_slash("/evil.example", None), "./evil.example/");
    }
}
