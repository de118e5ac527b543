//! The normalised form of a path, as the proxy makes it.

/// Unreserved octets decoded and the other triplets in upper case (RFC 3986 §6.2.2), empty segments merged,
/// dot segments removed (§5.2.4), in this order. A `%` that begins no triplet is kept.
pub(crate) fn normalize(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned(); // `*` has no segments
    }
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut normal: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
    if normal.is_empty() || ["/", "/.", "/.."].iter().any(|end| decoded.ends_with(end)) {
        normal.push('/');
    }
    normal
}

fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match digits.and_then(|digits| Some((digits, u8::from_str_radix(digits, 16).ok()?))) {
            Some((_, octet)) if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) => {
                out.push(char::from(octet));
                rest = &after[2..];
            }
            Some((digits, _)) => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
                rest = &after[2..];
            }
            None => {
                out.push('%');
                rest = after;
            }
        }
    }
    out + rest
}
