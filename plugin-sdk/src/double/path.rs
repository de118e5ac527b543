//! The normalised form of a path, as the proxy makes it.

/// What may stand in a segment as it is does so, and all else is a triplet in upper case (RFC 3986 §3.3, §6.2.2); empty
/// segments merged, dot segments removed (§5.2.4), in this order. A `%` that begins no triplet is `%25`.
pub(crate) fn normalize(path: &str) -> String {
    if !path.starts_with('/') {
        return path.to_owned(); // `*` has no segments
    }
    let spelled = spell(path);
    let mut segments: Vec<&str> = Vec::new();
    for segment in spelled.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut normal: String = segments.iter().flat_map(|segment| ["/", segment]).collect();
    if normal.is_empty() || ["/", "/.", "/.."].iter().any(|end| spelled.ends_with(end)) {
        normal.push('/');
    }
    normal
}

/// The spelling of a piece of a path in its normalised form.
pub(crate) fn spell(piece: &str) -> String {
    let mut spelled = String::new();
    let mut rest = piece.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let coded = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        rest = if coded.is_some() { &after[2..] } else { after };
        match (byte, coded.unwrap_or(byte)) {
            (b'/', _) => spelled.push('/'),
            (_, plain) if plain.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&plain) => {
                spelled.push(char::from(plain));
            }
            (_, other) => spelled.push_str(&format!("%{other:02X}")),
        }
    }
    spelled
}

/// A glob as it is compared with normalised paths; `None`: it matches none of them.
pub(crate) fn spell_glob(glob: &str) -> Option<String> {
    if glob.starts_with('/') && glob.split_once('?').is_some_and(|(_, query)| query.contains('=')) {
        return None;
    }
    let pieces = glob.split_inclusive(['*', '?']).map(|piece| {
        let literal = piece.trim_end_matches(['*', '?']);
        spell(literal) + &piece[literal.len()..]
    });
    let spelled: String = pieces.collect();
    let (first, path) = spelled.split_once('/').unwrap_or((&spelled, ""));
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                if segments.pop().is_some_and(|last| last.contains(['*', '?'])) {
                    return None;
                }
            }
            name => segments.push(name),
        }
    }
    let mut out: String =
        [first].into_iter().chain(segments.iter().flat_map(|segment| ["/", segment])).collect();
    if ["/", "/.", "/.."].iter().any(|end| spelled.ends_with(end)) {
        out.push('/');
    }
    Some(out)
}
