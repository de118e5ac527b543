//! The authority of a request: a host and perhaps a port (RFC 9110 §7.2).

/// The host of an authority: without port, brackets kept, one trailing dot removed, in the case it was
/// written.
pub fn host(authority: &str) -> &str {
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// Whether it is a name as nearly all are: labels of letters, digits, hyphens and underscores between dots, and perhaps a port.
/// Such a one is valid and read in one way, which one look at each byte finds out.
fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut label = 0;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'.' if label > 0 => label = 0,
            b':' if label > 0 => {
                // Up to four digits are a port whatever they are.
                let port = &text[at + 1..];
                let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
                return is_number && (port.len() < 5 || port.parse::<u16>().is_ok());
            }
            _ => return false,
        }
    }
    label > 0
}

/// What is wrong with an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// It is not `uri-host [ ":" port ]` (RFC 9110 §7.2), without user information.
    Invalid,
    /// It is valid, and servers read it in different ways: what is odd about it.
    Ambiguous(&'static str),
}

/// Looks for what is wrong with an authority.
pub fn problem(authority: &str) -> Option<Problem> {
    if is_plain(authority) {
        return None;
    }
    if is_authority(authority) { odd_name(authority).map(Problem::Ambiguous) } else { Some(Problem::Invalid) }
}

/// What in a valid host name servers read in different ways, and no honest client writes: names are letters, digits,
/// hyphens and underscores between dots (RFC 1034 §3.5, as it is used).
fn odd_name(authority: &str) -> Option<&'static str> {
    let host = host(authority);
    // Without a host there is none that could be misread (HTTP/1.0).
    if host.is_empty() || host.starts_with('[') {
        return None;
    }
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    (!host.split('.').all(is_label))
        .then_some("a host name that is none: letters, digits and hyphens between dots")
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), without user information.
pub fn is_valid(text: &str) -> bool {
    is_plain(text) || is_authority(text)
}

/// The same of any text.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, rest)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("v6", rest)
        }
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let port_is_valid = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    // RFC 3986 §3.2.2 without the comma, which some receivers take for a list.
    let host_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte);
    !host.is_empty() && host.bytes().all(host_byte) && port_is_valid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_is_valid_and_read_in_one_way() {
        let mut texts = vec![String::new()];
        let mut plain = 0;
        for _ in 0..6 {
            let longer =
                |text: &String| "a9-.:[ %".chars().map(|next| format!("{text}{next}")).collect::<Vec<_>>();
            texts = texts.iter().flat_map(longer).collect();
            for text in &texts {
                if is_plain(text) {
                    plain += 1;
                    assert!(is_authority(text) && odd_name(text).is_none(), "{text}");
                }
            }
        }
        assert!(plain > 100, "{plain}");
        assert!(is_plain("www.example.com:8080") && !is_plain("www..example.com") && !is_plain("[::1]"));
    }
}
