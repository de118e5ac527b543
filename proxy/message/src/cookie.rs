//! Cookies of a request (RFC 6265 §4.2.1).

/// The value of the first cookie of this name in the values of the field `cookie`, without quotation marks around it;
/// `None` if there is none or it is not UTF-8. Names are compared with regard to case.
pub fn find<'v>(values: impl IntoIterator<Item = &'v [u8]>, name: &str) -> Option<&'v str> {
    let mut pairs = values.into_iter().flat_map(|value| value.split(|byte| *byte == b';'));
    let value = pairs.find_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        (pair[..at].trim_ascii() == name.as_bytes()).then(|| pair[at + 1..].trim_ascii())
    })?;
    let bare = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
    str::from_utf8(bare).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cookie_of_a_name_counts() {
        let fields = [&b"a=1; b=\"two\";c = 3 ; d"[..], b"b=later; e==x; f=\xff; =g"];
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("two")),
            ("c", Some("3")),
            ("d", None),
            ("e", Some("=x")),
            ("f", None),
            ("A", None),
            ("", Some("g")),
        ] {
            assert_eq!(find(fields, name), value, "{name}");
        }
    }
}
