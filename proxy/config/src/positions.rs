//! Where each key of the files stands, for problems that are found after it was read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::report::Lines;
use crate::{Position, Problem};

/// Where the keys of files that are read as one stand, by dotted path (`upstream.app.servers[1].weight`).
///
/// A key stands in a path as it is, dots and all; in quotes (`upstream."a.b".retries`) it cannot be
/// taken for two. The default knows no file: every problem it makes is without a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    /// The first is the one that names the others.
    files: Vec<PathBuf>,
    root: Node,
}

/// A value of the file with what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Node {
    /// In which file, and where; `None` for all of them as a whole only.
    place: Option<(usize, Position)>,
    keys: BTreeMap<String, Self>,
    items: Vec<Self>,
}

impl Positions {
    pub(crate) fn new(lines: &Lines<'_>, table: &DeTable<'_>) -> Self {
        Self { files: lines.files(), root: Node { place: None, ..Node::of_table(lines, table) } }
    }

    /// The files that it is about.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The first of them.
    pub(crate) fn file(&self) -> &Path {
        self.files.first().map_or(Path::new(""), |file| file)
    }

    /// Where the value at `path` begins; a table with a header begins at its `[`. For a path that
    /// is not in the file: where the nearest table or list around it begins; `None` when that is
    /// the file itself.
    pub fn at(&self, path: &str) -> Option<Position> {
        self.place(path).map(|(_, position)| position)
    }

    /// The same, with which of the files it is in.
    pub(crate) fn place(&self, path: &str) -> Option<(usize, Position)> {
        self.root.nearest(path).0.place
    }

    /// A problem of the value at `path`, or of its absence.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let (file, position) = self.place(path).unzip();
        let file = self.files.get(file.unwrap_or_default()).cloned().unwrap_or_default();
        Problem { file, position, message: message.into(), help: None }
    }

    /// Whether the file has something at `path`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.root.nearest(path).1 == 0
    }

    /// A key as a step of a path: in quotes if it could be taken for several.
    pub fn segment(key: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if !key.is_empty() && key.chars().all(bare) {
            return key.to_owned();
        }
        format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""))
    }
}

impl Node {
    fn of_table(lines: &Lines<'_>, table: &DeTable<'_>) -> Self {
        let keys = table.iter().map(|(key, value)| (key.get_ref().to_string(), Self::of(lines, value)));
        Self { keys: keys.collect(), ..Self::default() }
    }

    fn of(lines: &Lines<'_>, value: &Spanned<DeValue<'_>>) -> Self {
        let place = Some(lines.position(value.span().start));
        match value.get_ref() {
            DeValue::Table(table) => Self { place, ..Self::of_table(lines, table) },
            DeValue::Array(items) => {
                let items = items.iter().map(|item| Self::of(lines, item)).collect();
                Self { place, items, ..Self::default() }
            }
            _ => Self { place, ..Self::default() },
        }
    }

    /// The innermost node on the way to `path`, and how much of the path is left over there. As a
    /// key may contain dots, several readings of the path are possible; the one that gets furthest
    /// is meant.
    fn nearest(&self, path: &str) -> (&Self, usize) {
        if path.is_empty() {
            return (self, 0);
        }
        let index = path.strip_prefix('[').and_then(|rest| rest.split_once(']')).and_then(|(index, rest)| {
            let item = self.items.get(index.parse::<usize>().ok()?)?;
            Some((item, rest))
        });
        let quoted = unquote(path).and_then(|(key, rest)| Some((self.keys.get(&key)?, rest)));
        let plain = self.keys.iter().filter_map(|(key, node)| {
            let rest = path.strip_prefix(key.as_str())?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some((node, rest))
        });
        index
            .into_iter()
            .chain(quoted)
            .chain(plain)
            .map(|(node, rest)| node.nearest(rest.strip_prefix('.').unwrap_or(rest)))
            .min_by_key(|(_, left)| *left)
            .unwrap_or((self, path.len()))
    }
}

/// The key in quotes at the start of `path`, and the rest after it. `\` takes the next character
/// as it is.
fn unquote(path: &str) -> Option<(String, &str)> {
    let inner = path.strip_prefix('"')?;
    let mut key = String::new();
    let mut characters = inner.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((key, &inner[at + 1..])),
            '\\' => key.push(characters.next()?.1),
            _ => key.push(character),
        }
    }
    None
}
