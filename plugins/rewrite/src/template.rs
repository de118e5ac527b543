//! `to`, `redirect` and the values of `set-headers`: text with captured groups in it, and what was asked for by whom.

use regex_lite::{Captures, Regex};

/// A target or a location with `$1` and `${name}` in it.
///
/// The client chooses what the groups capture, so it must not be able to choose more than the operator
/// meant: the host of a redirect is literal, the path after it begins with exactly one `/` (`//host` and
/// `/\host` lead elsewhere), bytes that end a field or a path are percent-encoded, and dot segments are refused.
#[derive(Debug)]
pub(crate) struct Template {
    /// `https://example.com`; empty in a target and a redirect on the same host.
    origin: String,
    /// The host that the client asked for stands at the end of that.
    asks_host: bool,
    /// From the path on.
    pieces: Vec<Piece>,
    /// A `?` of its own: the query of the request is not kept.
    has_query: bool,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    /// Index of the group.
    Group(usize),
    /// The host that the client asked for, without its port.
    Host,
    /// The client's address.
    Client,
}

/// What the client asked for beside the groups.
pub(crate) trait Asked {
    fn host(&self) -> String;
    fn query(&self) -> Option<String>;
    fn client(&self) -> String;
}

impl Template {
    /// Errors say what is wrong with the text.
    pub(crate) fn of_target(text: &str, path: &Regex) -> Result<Self, String> {
        if text.contains('#') {
            return Err("a target has no fragment".to_owned());
        }
        Self::parse("", text, path)
    }

    pub(crate) fn of_redirect(text: &str, path: &Regex) -> Result<Self, String> {
        let Some(scheme_end) = ["http://", "https://"].iter().find(|scheme| text.starts_with(**scheme))
        else {
            return Self::parse("", text, path);
        };
        let host = &text[scheme_end.len()..];
        if let Some(rest) = host.strip_prefix("${host}") {
            if !rest.is_empty() && !rest.starts_with(['/', '?', '#', '$']) {
                return Err("the host is `${host}` as a whole, or has none of it".to_owned());
            }
            return Ok(Self { asks_host: true, ..Self::parse(scheme_end, rest, path)? });
        }
        let host_end = host.find(['/', '?', '#', '$']).unwrap_or(host.len());
        let (origin, rest) = text.split_at(scheme_end.len() + host_end);
        if host_end == 0 {
            return Err("the host cannot come from the request".to_owned());
        }
        Self::parse(origin, rest, path)
    }

    fn parse(origin: &str, rest: &str, path: &Regex) -> Result<Self, String> {
        if let Some(bad) =
            [origin, rest].concat().chars().find(|char| !char.is_ascii_graphic() || *char == '\\')
        {
            return Err(format!("{bad:?} must be percent-encoded"));
        }
        if origin.is_empty() && (!rest.starts_with(['/', '$']) || rest.starts_with("//")) {
            return Err(format!("`{rest}` begins with neither `/` nor a group"));
        }
        let pieces = pieces(rest, path)?;
        let has_query = pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('?')));
        if pieces.iter().any(|piece| matches!(piece, Piece::Host)) {
            return Err("`${host}` stands for a host: after `https://` alone, or in `set-headers`".to_owned());
        }
        if pieces.iter().any(|piece| matches!(piece, Piece::Client)) {
            return Err("`${client}` belongs in `set-headers`".to_owned());
        }
        Ok(Self { origin: origin.to_owned(), asks_host: false, pieces, has_query })
    }

    /// The query is asked for only if it is kept. `None` if a capture made a dot segment, as `^/old(.*)$` and
    /// `/new/$1` do with `/old../x`.
    pub(crate) fn fill(&self, captures: &Captures<'_>, asked: &impl Asked) -> Option<String> {
        let mut filled = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Group(index) => encode(group(captures, *index), b"?#", &mut filled),
                // Neither stands in a path: `parse` refuses them.
                Piece::Host | Piece::Client => {}
            }
        }
        let path_end = filled.find(['?', '#']).unwrap_or(filled.len());
        let (path, rest) = filled.split_at(path_end);
        if path.split('/').any(|segment| matches!(segment, "." | "..")) {
            return None;
        }
        let (own_query, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));

        let mut out = self.origin.clone();
        if self.asks_host {
            out.push_str(&asked.host());
        }
        out.push('/');
        out.push_str(path.trim_start_matches('/'));
        out.push_str(own_query);
        if !self.has_query
            && let Some(query) = asked.query()
        {
            out.push('?');
            encode(&query, b"#", &mut out);
        }
        out.push_str(fragment);
        Some(out)
    }
}

/// A value of a field with groups in it.
#[derive(Debug)]
pub(crate) struct Value(Vec<Piece>);

impl Value {
    /// Errors say what is wrong with the text.
    pub(crate) fn new(text: &str, path: &Regex) -> Result<Self, String> {
        pieces(text, path).map(Self)
    }

    /// What cannot stand in a path is percent-encoded in groups, as it came.
    pub(crate) fn fill(&self, captures: &Captures<'_>, asked: &impl Asked) -> String {
        let mut filled = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Group(index) => encode(group(captures, *index), b"", &mut filled),
                Piece::Host => filled.push_str(&asked.host()),
                Piece::Client => filled.push_str(&asked.client()),
            }
        }
        filled
    }
}

fn group<'t>(captures: &Captures<'t>, index: usize) -> &'t str {
    captures.get(index).map_or("", |group| group.as_str())
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
        pieces.push(match group_index(group, path) {
            Err(_) if group == "host" => Piece::Host,
            Err(_) if group == "client" => Piece::Client,
            index => Piece::Group(index?),
        });
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
    index.ok_or_else(|| format!("`path` has no group `{group}`"))
}

/// Percent-encodes what cannot stand in a URI or means something else to a browser (`\` is `/`), and `also`.
fn encode(text: &str, also: &[u8], out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !br#""<>\"#.contains(&byte) && !also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}
