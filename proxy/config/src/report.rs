//! Problems of one file as they are found, each with its place.

use std::path::Path;

use toml::de::Error;

use crate::problem::{Position, Problem};

/// Problems of one file as they are found.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    file: &'t Path,
    pub(crate) lines: Lines<'t>,
    pub(crate) problems: Vec<Problem>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str, file: &'t Path) -> Self {
        Self { file, lines: Lines::new(text), problems: Vec::new() }
    }

    /// A problem of what begins at byte `at`.
    pub(crate) fn add(&mut self, at: usize, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position: Some(self.lines.position(at)),
            message: message.into(),
            help,
        });
    }

    /// What the parser says of a text that is not TOML.
    pub(crate) fn add_toml(&mut self, error: &Error) {
        let message = error.message().lines().next().unwrap_or("not TOML");
        // What TOML says of a text without quotes depends on how the text begins.
        let unquoted =
            ["invalid boolean", "invalid float", "invalid integer", "invalid date", "invalid time"];
        let help = unquoted.iter().any(|start| message.starts_with(start));
        let help = help.then(|| "a value that is text stands in quotes".to_owned());
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position: error.span().map(|span| self.lines.position(span.start)),
            message: message.to_owned(),
            help,
        });
    }
}

/// Finds the line and column of a byte.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    /// The byte each line begins at.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_newlines).collect() }
    }

    pub(crate) fn position(&self, at: usize) -> Position {
        let at = self.text.floor_char_boundary(at);
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts[line - 1];
        Position { line, column: self.text[start..at].chars().count() + 1 }
    }
}
