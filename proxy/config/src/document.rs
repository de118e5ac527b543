//! Text → a checked file struct: TOML, then the schema, then serde.

use std::ops::Range;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::environment::{self, Environment};
use crate::report::{Lines, Report};
use crate::{Position, Positions, Problems, Source, file, schema, validate};

/// A file all of whose keys are known and all of whose values have the right form.
#[derive(Debug)]
pub(crate) struct Document<T> {
    pub(crate) content: T,
    pub(crate) positions: Positions,
}

/// `environment` has what `${NAME}` stands for in texts; without it that is text as any other. The first of the sources may
/// name the others, which is for the caller to see to.
pub(crate) fn read<T: DeserializeOwned + JsonSchema + 'static>(
    sources: &[Source<'_>],
    environment: Option<&Environment<'_>>,
) -> Result<Document<T>, Problems> {
    let sources: Vec<_> = sources.iter().map(Source::without_mark).collect();
    let mut report = Report::new(Lines::new(&sources));
    let mut all = merged(&sources, &mut report)?;
    if let Some(environment) = environment {
        all.iter_mut().for_each(|(_, value)| environment::fill_in(value, environment, &mut report));
    }
    let positions = Positions::new(&report.lines, &all);
    validate::table(schema::made::<T>(), &all, &mut report);
    if !report.problems.is_empty() {
        return Err(Problems(report.problems).sorted(positions.files()));
    }
    match T::deserialize(Deserializer::from(Spanned::new(0..0, all))) {
        Ok(content) => Ok(Document { content, positions }),
        // Only what the schema has no words for gets here, such as numbers beyond 64 bits.
        Err(error) => {
            report.add_toml(&error, 0);
            Err(Problems(report.problems))
        }
    }
}

/// What the texts say together, as it stands there: without what `${NAME}` stands for.
pub(crate) fn written<'t>(sources: &[Source<'t>]) -> Result<DeTable<'t>, Problems> {
    let sources: Vec<_> = sources.iter().map(Source::without_mark).collect();
    merged(&sources, &mut Report::new(Lines::new(&sources)))
}

/// What the texts say of the admin interface, as far as they can be read.
pub(crate) fn admin(sources: &[Source<'_>], environment: &Environment<'_>) -> Option<file::Admin> {
    let sources: Vec<_> = sources.iter().map(Source::without_mark).collect();
    let mut report = Report::new(Lines::new(&sources));
    let mut admin = merged(&sources, &mut report).ok()?.remove("admin")?;
    environment::fill_in(&mut admin, environment, &mut report);
    let DeValue::Table(table) = admin.into_inner() else { return None };
    file::Admin::deserialize(Deserializer::from(Spanned::new(0..0, table))).ok()
}

fn merged<'t>(sources: &[Source<'t>], report: &mut Report<'_>) -> Result<DeTable<'t>, Problems> {
    let mut all = DeTable::new();
    for (index, (source, start)) in sources.iter().zip(report.lines.starts().collect::<Vec<_>>()).enumerate()
    {
        let mut table = parsed(source, start, report)?;
        if index > 0
            && let Some((key, _)) = table.remove_entry("include")
        {
            let help = "name all files in the one that is given to --config".to_owned();
            report.add(key.span().start, "an included file includes no others", Some(help));
        }
        merge(&mut all, table, "", report);
    }
    Ok(all)
}

/// What a text names in `include`, as far as it can be read.
pub(crate) fn includes(source: &Source<'_>, environment: &Environment<'_>) -> Vec<PathBuf> {
    let source = source.without_mark();
    let mut report = Report::new(Lines::new(&[source]));
    let Ok(mut table) = parsed(&source, 0, &mut report) else { return Vec::new() };
    let Some(value) = table.get_mut("include") else { return Vec::new() };
    environment::fill_in(value, environment, &mut report);
    let directory = source.file.parent().unwrap_or(Path::new(""));
    let items = value.get_ref().as_array().into_iter().flatten();
    items.filter_map(|item| Some(directory.join(item.get_ref().as_str()?))).collect()
}

/// One text, whose values begin at byte `start` of all texts.
fn parsed<'t>(source: &Source<'t>, start: usize, report: &mut Report<'_>) -> Result<DeTable<'t>, Problems> {
    let (mut table, mut errors) = DeTable::parse_recoverable(source.text);
    let too_deep = too_deep(table.get_ref());
    if too_deep.is_some() {
        take_apart(std::mem::take(table.get_mut()));
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        // What was said of other texts comes after.
        let mut problems = std::mem::take(&mut report.problems);
        for error in &errors {
            report.add_toml(error, start);
        }
        // A mistake is often followed by its echoes: a bracket that is not closed spoils every
        // line after it.
        report.problems.dedup_by_key(|problem| problem.position.map(|position| position.line));
        report.problems.truncate(MAX_SYNTAX_PROBLEMS);
        report.problems.append(&mut problems);
        return Err(Problems(std::mem::take(&mut report.problems)));
    }
    if let Some(at) = too_deep {
        report.add(start + at, format!("more than {MAX_DEPTH} tables and lists in one another"), None);
        return Err(Problems(std::mem::take(&mut report.problems)));
    }
    Ok(moved_table(table.into_inner(), start))
}

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    if by == 0 {
        return table;
    }
    let moved = |span: Range<usize>| span.start + by..span.end + by;
    table
        .into_iter()
        .map(|(key, value)| (Spanned::new(moved(key.span()), key.into_inner()), moved_value(value, by)))
        .collect()
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(items) => {
            DeValue::Array(items.into_iter().map(|item| moved_value(item, by)).collect())
        }
        other => other,
    };
    Spanned::new(span.start + by..span.end + by, value)
}

/// Adds what another file says. Each value stands once; tables may be in parts.
fn merge<'t>(into: &mut DeTable<'t>, other: DeTable<'t>, path: &str, report: &mut Report<'_>) {
    for (key, value) in other {
        let name = Positions::segment(key.get_ref());
        let path = if path.is_empty() { name } else { format!("{path}.{name}") };
        match into.get_mut(key.get_ref().as_ref()) {
            None => drop(into.insert(key, value)),
            Some(known) => match (known.get_mut(), value.into_inner()) {
                (DeValue::Table(known), DeValue::Table(value)) => merge(known, value, &path, report),
                _ => {
                    let (file, Position { line, .. }) = report.lines.position(known.span().start);
                    let file = report.lines.file(file).display();
                    let message = format!("{path} stands already in line {line} of {file}");
                    report.add(key.span().start, message, Some("leave one of the two out".to_owned()));
                }
            },
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
