//! Problems of files as they are found, each with its place.

use std::path::{Path, PathBuf};

use toml::de::Error;

use crate::Source;
use crate::problem::{Position, Problem};

/// Problems of files as they are found.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    pub(crate) lines: Lines<'t>,
    pub(crate) problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(lines: Lines<'t>) -> Self {
        Self { lines, problems: Vec::new() }
    }

    /// A problem of what begins at byte `at`.
    pub(crate) fn add(&mut self, at: usize, message: impl Into<String>, help: Option<String>) {
        let (file, position) = self.lines.position(at);
        self.problems.push(Problem {
            file: self.lines.file(file).to_owned(),
            position: Some(position),
            message: message.into(),
            help,
        });
    }

    /// What the parser says of a text that is not TOML, which begins at byte `start`.
    pub(crate) fn add_toml(&mut self, error: &Error, start: usize) {
        let message = error.message().lines().next().unwrap_or("not TOML");
        // What TOML says of a text without quotes depends on how the text begins.
        let unquoted =
            ["invalid boolean", "invalid float", "invalid integer", "invalid date", "invalid time"];
        let help = unquoted.iter().any(|start| message.starts_with(start));
        let help = help.then(|| "a value that is text stands in quotes".to_owned());
        let at = error.span().map(|span| self.lines.position(start + span.start));
        self.problems.push(Problem {
            file: self.lines.file(at.map_or(0, |(file, _)| file)).to_owned(),
            position: at.map(|(_, position)| position),
            message: message.to_owned(),
            help,
        });
    }
}

/// Finds the file, line and column of a byte. Texts are counted as if they followed one another.
#[derive(Debug)]
pub(crate) struct Lines<'t>(Vec<Part<'t>>);

#[derive(Debug)]
struct Part<'t> {
    file: &'t Path,
    text: &'t str,
    /// The byte it begins at.
    start: usize,
    /// The byte each line begins at, from there.
    lines: Vec<usize>,
}

impl<'t> Lines<'t> {
    /// `sources` is not empty.
    pub(crate) fn new(sources: &[Source<'t>]) -> Self {
        let mut end = 0;
        let parts = sources.iter().map(|Source { text, file }| {
            let start = end;
            // What is missing at its end is not at the beginning of the next.
            end += text.len() + 1;
            let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
            Part { file, text, start, lines: std::iter::once(0).chain(after_newlines).collect() }
        });
        Self(parts.collect())
    }

    /// The byte that each text begins at.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|part| part.start)
    }

    pub(crate) fn file(&self, index: usize) -> &'t Path {
        self.0[index].file
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.0.iter().map(|part| part.file.to_owned()).collect()
    }

    /// Which file it is in, and where.
    pub(crate) fn position(&self, at: usize) -> (usize, Position) {
        let index = self.0.partition_point(|part| part.start <= at) - 1;
        let Part { text, start, lines, .. } = &self.0[index];
        let at = text.floor_char_boundary(at - start);
        let line = lines.partition_point(|start| *start <= at);
        let start = lines[line - 1];
        (index, Position { line, column: text[start..at].chars().count() + 1 })
    }
}
