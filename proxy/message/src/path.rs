//! The normalised form of a request path: the one that decisions are made on.
//!
//! A path can be written in many ways that servers treat alike (`/a`, `//a`, `/x/../a`, `/%61`). A
//! policy that compares the raw text is bypassed by the next spelling, so the host offers one form: what may stand in
//! a segment as it is does so, and everything else is a triplet in upper case (RFC 3986 §3.3, §6.2.2), empty segments
//! are merged, dot segments removed (RFC 3986 §5.2.4) — in that order, so that `%2e%2e` counts as `..`
//! and `/a//..` as `/a/..`. `%2F` stays as it is: whether it separates segments is the business of
//! the server behind, and merging the two would make different resources look alike. `*` is always `%2A`, as in a glob it
//! would mean something else, and a `%` that does not begin a triplet is `%25`: it must not begin one when what follows
//! has been decoded.

use std::borrow::Cow;

/// The normalised path, or `None` when it is written that way already.
pub fn normalize(path: &str) -> Option<String> {
    // `*` and the authority form have no segments.
    if !path.starts_with('/') || is_normal(path.as_bytes()) {
        return None;
    }
    let decoded = spell(path);
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

/// [`spell`] without a copy of what is spelled so already.
pub fn spelled(piece: &str) -> Cow<'_, str> {
    if piece.bytes().all(|byte| byte == b'/' || is_plain(byte)) { piece.into() } else { spell(piece).into() }
}

/// The spelling of a piece of a path in its normalised form.
pub fn spell(piece: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(piece.len());
    let mut rest = piece.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let octet = match (byte, triplet(after)) {
            (b'%', Some(octet)) => {
                rest = &after[2..];
                octet
            }
            (b'/', _) => {
                out.push('/');
                continue;
            }
            _ => byte,
        };
        if is_plain(octet) {
            out.push(char::from(octet));
        } else {
            out.push('%');
            out.extend([octet >> 4, octet & 0xf].map(|digit| char::from(DIGITS[usize::from(digit)])));
        }
    }
    out
}

/// A glob as it has to be written to match normalised paths: what is no `*` or `?` is spelled as they are, without empty
/// and dot segments.
///
/// # Errors
/// It has a `..` after a wildcard, or a query, and matches nothing.
pub fn spell_glob(glob: &str) -> Result<String, &'static str> {
    if glob.starts_with('/') && glob.split_once('?').is_some_and(|(_, query)| query.contains('=')) {
        return Err("paths are compared without the query: `?` is one character");
    }
    let mut spelled = String::with_capacity(glob.len());
    let mut rest = glob;
    while let Some(at) = rest.find(['*', '?']) {
        spelled.push_str(&spell(&rest[..at]));
        spelled.push_str(&rest[at..=at]);
        rest = &rest[at + 1..];
    }
    spelled.push_str(&spell(rest));
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = spelled.split('/');
    // A glob may begin in the middle of a path.
    let first = parts.next().unwrap_or_default();
    let mut ends_open = false;
    for part in parts {
        ends_open = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." if segments.last().is_some_and(|last| last.contains(['*', '?'])) => {
                return Err("`..` after a wildcard matches nothing: paths are compared without dot segments");
            }
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut out = first.to_owned();
    for segment in segments {
        out.push('/');
        out.push_str(segment);
    }
    if ends_open || out.is_empty() && !glob.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// A regex over normalised paths, with what people write for the path they see: `^/café/(.*)$` becomes
/// `^/(?:caf%C3%A9)/(.*)$` in effect. Characters outside ASCII, spaces and quotation marks are spelled as triplets, and
/// triplets as normalised paths have them; classes (`[…]`) stay as they are.
pub fn spell_regex(source: &str) -> String {
    let verbose = source.contains("(?x") || source.contains("x)");
    let mut spelled = String::with_capacity(source.len());
    let (mut rest, mut class) = (source, 0_u32);
    while let Some(character) = rest.chars().next() {
        let (this, after) = rest.split_at(character.len_utf8());
        rest = after;
        match character {
            '\\' => {
                let escaped = rest.chars().next().map_or(0, char::len_utf8);
                spelled.push_str(this);
                spelled.push_str(&rest[..escaped]);
                rest = &rest[escaped..];
            }
            '[' => {
                class += 1;
                spelled.push('[');
            }
            ']' => {
                class = class.saturating_sub(1);
                spelled.push(']');
            }
            _ if class > 0 => spelled.push(character),
            '%' => match rest.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(octet) if octet.is_ascii_alphanumeric() || b"-_~!&',;=:@".contains(&octet) => {
                    spelled.push(char::from(octet));
                    rest = &rest[2..];
                }
                // These mean something in a regex.
                Some(octet) if b".$()+".contains(&octet) => {
                    spelled.push('\\');
                    spelled.push(char::from(octet));
                    rest = &rest[2..];
                }
                Some(_) => {
                    spelled.push('%');
                    spelled.push_str(&rest[..2].to_ascii_uppercase());
                    rest = &rest[2..];
                }
                None => spelled.push('%'),
            },
            ' ' if verbose => spelled.push(' '),
            ' ' | '"' => spelled.push_str(&format!("(?:%{:02X})", u32::from(character))),
            plain if plain.is_ascii() => spelled.push(plain),
            other => {
                let triplets: String =
                    other.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("%{byte:02X}")).collect();
                spelled.push_str(&format!("(?:{triplets})"));
            }
        }
    }
    spelled
}

/// Whether a request may carry this target: visible ASCII and nothing else (RFC 9112 §3.2, RFC 3986 §2). Everything
/// else is percent-encoded by whoever makes the target; sent raw, servers read it in different ways.
pub fn is_sendable(target: &str) -> bool {
    target.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What in a path servers read in different ways, and no honest client writes: a rule for a path would hold for some
/// of them only.
pub fn ambiguity(path: &str) -> Option<&'static str> {
    if !path.bytes().any(|byte| matches!(byte, b'%' | b';' | b'\\')) {
        return None;
    }
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let octet = match byte {
            b'\\' => return Some("`\\` in the path, which some servers take for `/`"),
            b'%' => triplet(&bytes[at + 1..]),
            _ => continue,
        };
        // What stands behind a `%` that is one, by itself or in a triplet, must not make another triplet of it.
        let behind = match octet {
            Some(b'%') => Some(at + 3),
            None => Some(at + 1),
            Some(_) => None,
        };
        if let Some(behind) = behind {
            let again = spell(path.get(behind..path.len().min(behind + 6)).unwrap_or_default());
            let again = again.get(..2).and_then(|digits| triplet(digits.as_bytes()));
            if again.is_some_and(|octet| is_unreserved(octet) || b"/\\%;".contains(&octet)) {
                return Some("a path that is percent-encoded twice");
            }
        }
        match octet {
            Some(b'\\') => return Some("`%5C` in the path, which some servers take for `/`"),
            Some(0..=0x1f | 0x7f) => return Some("a control character in the path"),
            // More octets than it takes (RFC 3629 §3).
            Some(first @ (0xc0 | 0xc1 | 0xe0 | 0xf0)) if bytes.get(at + 3) == Some(&b'%') => {
                let most = match first {
                    0xe0 => 0x9f,
                    0xf0 => 0x8f,
                    _ => 0xbf,
                };
                if triplet(&bytes[at + 4..]).is_some_and(|second| (0x80..=most).contains(&second)) {
                    return Some("an overlong UTF-8 sequence in the path");
                }
            }
            _ => {}
        }
    }
    let spelled = spell(path);
    let is_dotted = |segment: &str| matches!(segment.split_once(';'), Some(("" | "." | "..", _)));
    if spelled.split('/').any(is_dotted) {
        return Some("a dot segment, or an empty one, with parameters");
    }
    // Where `%2F` is taken for `/`, rules for paths below would not hold.
    let leads_up = |segment: &str| {
        let names = segment.split("%2F").map(|part| part.split(';').next());
        segment.contains("%2F") && names.flatten().any(|name| matches!(name, "." | ".."))
    };
    let begins_so = normalize(path).is_some_and(|normal| normal.starts_with("/%2F"));
    (begins_so || spelled.split('/').any(leads_up)).then_some(
        "`%2F` beside a dot segment, or in the beginning, which leads elsewhere where it is taken for `/`",
    )
}

/// Nearly every path is: one pass without an allocation.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        match byte {
            b'/' | b'.' if previous == b'/' => return false,
            b'/' => previous = byte,
            _ if is_plain(byte) => previous = byte,
            _ => return false,
        }
    }
    true
}

/// Whether an octet stands for itself in a segment (RFC 3986 §3.3, `pchar`), `*` excepted.
fn is_plain(octet: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let (mut plain, mut octet) = ([false; 256], 0_u8);
        while octet < 128 {
            plain[octet as usize] = octet.is_ascii_alphanumeric()
                || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
                || matches!(octet, b'+' | b',' | b';' | b'=' | b':' | b'@');
            octet += 1;
        }
        plain
    };
    PLAIN[usize::from(octet)]
}

/// RFC 3986 §2.3: nobody has a reason to encode these.
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._~".contains(&octet)
}

/// The octet that stands behind a `%`.
fn triplet(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let high = char::from(*high).to_digit(16)?;
    let low = char::from(*low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

#[cfg(test)]
mod tests {
    use super::{ambiguity, normalize, spell_glob};

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
            ("/café", "/caf%C3%A9"),
            ("/comma%2c%28x%29", "/comma,(x)"),
            ("/a\"b|c", "/a%22b%7Cc"),
            ("/a*b%2ac", "/a%2Ab%2Ac"),
            ("/a%25", "/a%25"),
            ("/100%", "/100%25"),
            ("/%zz/%4", "/%25zz/%254"),
            ("/%%32%65%%32%65/admin", "/%252e%252e/admin"),
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
        for path in [
            "/a/%2e%2e//b/%2F/%zz",
            "/%25%32%65",
            "/x/..%2f..",
            "//",
            "/é*",
            "/%%32%65%%32%65/x",
            "/%%%36%31",
        ] {
            let once = normalized(path);
            assert_eq!(normalized(&once), once);
        }
    }

    #[test]
    fn an_ordinary_path_is_not_copied() {
        assert!(normalize("/static/app.css").is_none());
        assert!(normalize("/a/b/").is_none());
        assert!(normalize("/a;b=1/(c),d").is_none());
    }

    #[test]
    fn globs_are_spelled_like_paths() {
        for (written, expected) in [
            ("/api/**", "/api/**"),
            ("/café/**", "/caf%C3%A9/**"),
            ("/my docs/*", "/my%20docs/*"),
            ("/th%c3%a9/?", "/th%C3%A9/?"),
            ("/%7Euser/**", "/~user/**"),
            ("//double//**", "/double/**"),
            ("/dot/./x/", "/dot/x/"),
            ("/a/../up/**", "/up/**"),
            ("/paren%281%29", "/paren(1)"),
            ("/star%2A/*", "/star%2A/*"),
            ("**/.git/**", "**/.git/**"),
            ("*.php", "*.php"),
            ("/", "/"),
            ("/**", "/**"),
            ("", ""),
        ] {
            assert_eq!(spell_glob(written).as_deref(), Ok(expected), "{written}");
        }
        assert!(spell_glob("/a*/../b").is_err() && spell_glob("/a?x=1").is_err());
    }

    #[test]
    fn what_servers_read_in_different_ways_is_named() {
        for path in [
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/%2e%2e%3b/admin",
            "/.;/a",
            "/a\\b",
            "/a%5cb",
            "/%252e%252e/a",
            "/a%252fb",
            "/a%25%32%66b",
            "/a%25252e",
            "/%2561dmin",
            "/x/%%32%65%%32%65/admin",
            "/%%361dmin",
            "/;/admin",
            "/;x=1/admin",
            "/%e0%80%ae%e0%80%ae/a",
            "/a%00b",
            "/a%0d%0a",
            "/%c0%ae%c0%ae/a",
            "/x/..%2fadmin",
            "/x/%2e%2e%2Fadmin",
            "/x%2f..%2fadmin",
            "/x%2f../admin",
            "/x/.%2fadmin",
            "/x/..;v%2fadmin",
            "/%2fadmin",
            "/./%2fadmin",
            "//%2fadmin",
        ] {
            assert!(ambiguity(path).is_some(), "{path}");
        }
        for path in [
            "/a;v=1/b",
            "/a%2Fb",
            "/100%25",
            "/50%2520off",
            "/a..;b",
            "/caf%C3%A9",
            "/%C0x",
            "/%zz",
            "/@scope%2fname",
            "/queues/%2F/mail",
            "/fetch/http%3A%2F%2Fa.test%2Fx",
            "/a%2f...%2fb",
        ] {
            assert_eq!(ambiguity(path), None, "{path}");
        }
    }
}
