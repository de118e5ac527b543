//! `from` and `to` of a rule: globs that capture, and text with what they captured.

use regex_lite::{Captures, Regex};

/// A location with `$1` and `${name}` in it.
///
/// The client chooses what the groups capture, so it must not be able to choose more than the operator meant: the
/// host is literal, the path after it begins with exactly one `/`, and dot segments are refused. Normalised paths,
/// which groups capture from, have no character that ends a field or a path.
#[derive(Debug)]
pub(crate) struct Template {
    /// `https://example.com`; empty for the same host.
    origin: String,
    /// From the path on.
    pieces: Vec<Piece>,
    keeps_query: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// Index of the group.
    Group(usize),
}

impl Template {
    /// Errors say what is wrong with the text.
    pub(crate) fn new(text: &str, path: &Regex, keep_query: Option<bool>) -> Result<Self, String> {
        if let Some(bad) = text.chars().find(|char| !char.is_ascii_graphic() || r#"\"<>"#.contains(*char)) {
            return Err(format!("{bad:?} must be percent-encoded"));
        }
        let scheme_end = ["http://", "https://"].iter().find(|scheme| text.starts_with(**scheme));
        let origin_end = match scheme_end {
            None => 0,
            Some(scheme) => {
                let host = &text[scheme.len()..];
                let host_end = host.find(['/', '?', '#', '$']).unwrap_or(host.len());
                if host_end == 0 {
                    return Err("the host cannot come from the request".to_owned());
                }
                if host[..host_end].contains('@') {
                    return Err("names a user, not a host".to_owned());
                }
                scheme.len() + host_end
            }
        };
        let (origin, rest) = text.split_at(origin_end);
        if origin.is_empty() && (!rest.starts_with(['/', '$']) || rest.starts_with("//")) {
            return Err(format!("`{rest}` begins with neither `/`, `http://`, `https://` nor a group"));
        }
        let pieces = pieces(rest, path)?;
        let has_query = pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('?')));
        let keeps_query = keep_query.unwrap_or(!has_query);
        Ok(Self { origin: origin.to_owned(), pieces, keeps_query })
    }

    /// It names a host of its own.
    pub(crate) fn is_absolute(&self) -> bool {
        !self.origin.is_empty()
    }

    /// `query` is asked for only if it is kept. `None` if a capture made a dot segment, as `^/old(.*)$` and
    /// `/new/$1` do with `/old../x`.
    pub(crate) fn fill(
        &self,
        captures: &Captures<'_>,
        query: impl FnOnce() -> Option<String>,
    ) -> Option<String> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Group(index) => {
                    filled.push_str(captures.get(*index).map_or("", |group| group.as_str()));
                }
            }
        }
        let (filled, fragment) = filled.split_at(filled.find('#').unwrap_or(filled.len()));
        let (path, own_query) = filled.split_at(filled.find('?').unwrap_or(filled.len()));
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return None;
        }
        let mut out = format!("{}/{}{own_query}", self.origin, path.trim_start_matches('/'));
        if self.keeps_query
            && let Some(query) = query()
        {
            out.push(if own_query.is_empty() { '?' } else { '&' });
            out.push_str(&encoded(&query));
        }
        out.push_str(fragment);
        Some(out)
    }
}

fn pieces(text: &str, path: &Regex) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        literal.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            literal.push('$');
            rest = after;
            continue;
        }
        let (group, after) = match after.strip_prefix('{') {
            Some(after) => after.split_once('}').ok_or("`${` without `}`")?,
            None => after.split_at(after.find(|char: char| !char.is_ascii_digit()).unwrap_or(after.len())),
        };
        if group.is_empty() {
            return Err("`$` names no group; write `$1`, `${name}` or `$$`".to_owned());
        }
        pieces.push(Piece::Text(std::mem::take(&mut literal)));
        pieces.push(Piece::Group(group_index(group, path)?));
        rest = after;
    }
    literal.push_str(rest);
    pieces.push(Piece::Text(literal));
    Ok(pieces)
}

fn group_index(group: &str, path: &Regex) -> Result<usize, String> {
    let index = match group.parse() {
        Ok(index) => Some(index).filter(|&index: &usize| index < path.captures_len()),
        Err(_) => path.capture_names().position(|name| name == Some(group)),
    };
    index.ok_or_else(|| format!("nothing captures `{group}`"))
}

/// The regex that matches what the glob does, with a group for each `*` and `**`.
pub(crate) fn glob_regex(glob: &str) -> String {
    let mut regex = String::from("^");
    let (body, has_tail) = match glob.strip_suffix("/**") {
        Some(body) => (body, true),
        None => (glob, false),
    };
    let mut rest = body;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' if rest.starts_with('*') => {
                rest = &rest[1..];
                regex.push_str("(.*)");
            }
            '*' => regex.push_str("([^/]*)"),
            '?' => regex.push_str("[^/]"),
            plain if r".+()|[]{}^$\".contains(plain) => regex.extend(['\\', plain]),
            plain => regex.push(plain),
        }
    }
    // `/old/**` is `/old` as well.
    regex + if has_tail { "(?:/(.*))?$" } else { "$" }
}

/// Percent-encodes what cannot stand in a URI, means something else to a browser (`\` is `/`), or ends a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !br#""<>\#"#.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
