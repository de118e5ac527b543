//! Text → a checked file struct: TOML, then the schema, then serde.

use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::report::Report;
use crate::{Positions, Problems, schema, validate};

/// A file all of whose keys are known and all of whose values have the right form.
#[derive(Debug)]
pub(crate) struct Document<T> {
    pub(crate) content: T,
    pub(crate) positions: Positions,
}

pub(crate) fn read<T: DeserializeOwned + JsonSchema + 'static>(
    text: &str,
    file: &Path,
) -> Result<Document<T>, Problems> {
    // Windows editors begin a file with a byte order mark; it is no column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new(text, file);

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
    validate::table(schema::made::<T>(), table.get_ref(), &mut report);
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
