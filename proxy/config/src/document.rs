//! Text → a checked file struct: TOML, then later keys, then the schema, then serde.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use crate::later;
use crate::{Position, Positions, Problem, Problems, file, schema, validate};

/// A file all of whose keys are known and all of whose values have the right form.
#[derive(Debug)]
pub(crate) struct Document<T> {
    pub(crate) content: T,
    pub(crate) positions: Positions,
}

/// What one of the two files contains.
pub(crate) trait Content: DeserializeOwned + JsonSchema {
    /// The keys that a later version brings.
    const LATER: &'static [&'static str];
}

impl Content for file::Config {
    const LATER: &'static [&'static str] = &[];
}

impl Content for file::Plugin {
    const LATER: &'static [&'static str] = later::PLUGIN;
}

pub(crate) fn read<T: Content>(text: &str, file: &Path) -> Result<Document<T>, Problems> {
    // Windows editors begin a file with a byte order mark; it is no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report { file, lines: Lines::new(text), problems: Vec::new() };

    let (mut table, mut errors) = DeTable::parse_recoverable(text);
    let too_deep = too_deep(table.get_ref());
    if too_deep.is_some() {
        take_apart(std::mem::take(table.get_mut()));
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        for error in &errors {
            report.add_toml(error);
        }
        // A mistake is often followed by its echoes: a bracket that is not closed spoils every
        // line after it.
        report.problems.dedup_by_key(|problem| problem.position.map(|position| position.line));
        report.problems.truncate(MAX_SYNTAX_PROBLEMS);
        return Err(Problems(report.problems));
    }
    if let Some(at) = too_deep {
        report.add(at, format!("more than {MAX_DEPTH} tables and lists in one another"), None);
        return Err(Problems(report.problems));
    }

    let positions = Positions::new(file, &report.lines, table.get_ref());
    later::take(table.get_mut(), T::LATER, &mut report);
    validate::table(&schema::of::<T>(), table.get_ref(), &mut report);
    if !report.problems.is_empty() {
        return Err(Problems(report.problems).sorted());
    }
    match T::deserialize(Deserializer::from(table)) {
        Ok(content) => Ok(Document { content, positions }),
        // Only what the schema has no words for gets here, such as numbers beyond 64 bits.
        Err(error) => {
            report.add_toml(&error);
            Err(Problems(report.problems))
        }
    }
}

/// Problems of one file as they are found.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    file: &'t Path,
    lines: Lines<'t>,
    problems: Vec<Problem>,
}

impl Report<'_> {
    /// A problem of what begins at byte `at`.
    pub(crate) fn add(&mut self, at: usize, message: impl Into<String>, help: Option<String>) {
        self.problems.push(Problem {
            file: self.file.to_owned(),
            position: Some(self.lines.position(at)),
            message: message.into(),
            help,
        });
    }

    fn add_toml(&mut self, error: &Error) {
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

/// So many are shown of a text that is not TOML.
const MAX_SYNTAX_PROBLEMS: usize = 5;

/// Values are walked by recursion, whose depth must not be the operator's choice: the TOML parser
/// bounds brackets and dotted keys, but not their product. No key of ours is deeper than seven;
/// the rest is for `[config]` of plugins.
const MAX_DEPTH: usize = 64;

/// Where something begins that is nested too deeply.
fn too_deep(table: &DeTable<'_>) -> Option<usize> {
    let mut open: Vec<_> = table.values().map(|value| (value, 1)).collect();
    while let Some((value, depth)) = open.pop() {
        if depth > MAX_DEPTH {
            return Some(value.span().start);
        }
        match value.get_ref() {
            DeValue::Table(table) => open.extend(table.values().map(|value| (value, depth + 1))),
            DeValue::Array(items) => open.extend(items.iter().map(|value| (value, depth + 1))),
            _ => {}
        }
    }
    None
}

/// Drops what is nested too deeply without recursion, which is how it would drop itself.
fn take_apart(table: DeTable<'_>) {
    let mut open: Vec<_> = table.into_iter().map(|(_, value)| value.into_inner()).collect();
    while let Some(value) = open.pop() {
        match value {
            DeValue::Table(table) => open.extend(table.into_iter().map(|(_, value)| value.into_inner())),
            DeValue::Array(items) => open.extend(items.into_iter().map(Spanned::into_inner)),
            _ => {}
        }
    }
}
