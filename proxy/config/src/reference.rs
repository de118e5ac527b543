//! The tables of the guide, made from the schemas.
//!
//! A generated block of a page stands between two comments:
//!
//! * `<!-- generated: tidegate.toml -->` … `<!-- end -->`: the keys of the file, as the title of its schema
//!   names it, except those with a block of their own;
//! * `<!-- generated: tidegate.toml [upstream.NAME] -->`: the keys of one table, with the same exception;
//! * `<!-- generated: values -->`: the forms of text that the other blocks name.
//!
//! As the first kind is required where the second stands, a key that is added cannot be left out of the
//! guide. What a block says comes from the schema; around it stands what no single key can say.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use schemars::SchemaGenerator;
use serde_json::Value;

use crate::file::text;
use crate::{Positions, plugin_schema, schema};

/// The page with its generated blocks made anew.
pub(crate) fn renew(page: &str) -> Result<String, ReferenceError> {
    let files = [schema(), plugin_schema()].map(|schema| File::of(page, schema));
    let mut renewed = String::with_capacity(page.len());
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        renewed.push_str(line);
        renewed.push('\n');
        let Some(name) = block_name(line) else { continue };
        let line = index + 1;
        let block = match name.split_once(' ').unwrap_or((name, "")) {
            ("values", "") => Some(values()),
            (title, table) => files.iter().find(|file| file.title == title).and_then(|file| {
                let path = table.strip_prefix('[').and_then(|table| table.strip_suffix(']'));
                if table.is_empty() { file.table("") } else { file.table(path?) }
            }),
        };
        let block = block.ok_or_else(|| ReferenceError::Unknown { line, name: name.to_owned() })?;
        // Not every reader of Markdown ends a comment where it ends.
        let _ = write!(renewed, "\n{block}\n");
        let end = lines.find(|(_, line)| *line == END || block_name(line).is_some());
        if end.is_none_or(|(_, line)| line != END) {
            return Err(ReferenceError::Unclosed { line, name: name.to_owned() });
        }
        renewed += END;
        renewed.push('\n');
    }
    match files.iter().find(|file| file.has_gaps()) {
        Some(file) => Err(ReferenceError::Gaps { file: file.title.clone() }),
        None => Ok(renewed),
    }
}

/// Why the blocks of a page cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// A block that is neither `values` nor a file, nor a file and one of its tables.
    #[error("line {line}: there is no table {name:?}")]
    Unknown {
        /// Where the block begins.
        line: usize,
        /// What it is said to be.
        name: String,
    },
    /// A block without an end.
    #[error("line {line}: the block {name:?} does not end; write {END:?} behind it")]
    Unclosed {
        /// Where the block begins.
        line: usize,
        /// What it is.
        name: String,
    },
    /// A page with tables of a file, but without the block for all its other keys.
    #[error("there is no block {file:?} for the keys that stand in no other block")]
    Gaps {
        /// The title of the file.
        file: String,
    },
}

const END: &str = "<!-- end -->";

/// What the block is that begins with this line, if one does.
fn block_name(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- generated: ")?.strip_suffix(" -->")
}

/// A file and the places of its blocks on a page.
struct File {
    title: String,
    schema: Value,
    /// The path of each table with a block of its own, and the anchor of the heading above it. The path of
    /// the file itself is empty.
    blocks: BTreeMap<String, String>,
}

impl File {
    fn of(page: &str, schema: Value) -> Self {
        let title = schema["title"].as_str().unwrap_or_default().to_owned();
        let mut blocks = BTreeMap::new();
        let mut anchor = String::new();
        for line in page.lines() {
            if line.starts_with('#') {
                anchor = anchor_of(line);
            }
            let Some(table) = block_name(line).and_then(|name| name.strip_prefix(&title)) else { continue };
            blocks.insert(table.trim_matches([' ', '[', ']']).to_owned(), anchor.clone());
        }
        Self { title, schema, blocks }
    }

    fn has_gaps(&self) -> bool {
        !self.blocks.is_empty() && !self.blocks.contains_key("")
    }

    /// The rows of the table at `path`.
    fn table(&self, path: &str) -> Option<String> {
        let steps = path.split('.').filter(|step| !step.is_empty());
        let table = steps.clone().try_fold(&self.schema, |schema, step| match step {
            "NAME" => schema.get("additionalProperties"),
            key => tables_in(schema).find_map(|table| table["properties"].get(key)),
        })?;
        tables_in(table).next()?;
        // Within [upstream.NAME.health] operators write `health.path`, as the table they see is the upstream.
        let section = match (steps.clone().next(), steps.clone().nth(1)) {
            (Some(table), Some("NAME")) => format!("{table}.NAME."),
            (Some(table), _) => format!("{table}."),
            (None, _) => String::new(),
        };
        let mut rows = "| key | value | default | meaning |\n|---|---|---|---|\n".to_owned();
        self.keys(table, path, &section, &mut rows);
        Some(rows)
    }

    /// Rows for what stands in `schema`, which is at `path`.
    fn keys(&self, schema: &Value, path: &str, section: &str, rows: &mut String) {
        for table in tables_in(schema) {
            let required = table.get("required").and_then(Value::as_array);
            for (key, value) in table["properties"].as_object().into_iter().flatten() {
                let required = required.is_some_and(|required| required.iter().any(|name| name == key));
                let mut path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let mut inner = value;
                if let Some(named) = value.get("additionalProperties").filter(|named| is_table(named)) {
                    path += ".NAME";
                    inner = named;
                }
                let anchor = self.blocks.get(&path);
                let shown = path.strip_prefix(section).unwrap_or(&path);
                let shown = match anchor {
                    Some(anchor) if section.is_empty() => format!("[`[{shown}]`](#{anchor})"),
                    Some(anchor) => format!("[`{shown}`](#{anchor})"),
                    None => format!("`{shown}`"),
                };
                let (allowed, default, meaning) = (allowed(value), default(value, required), meaning(value));
                // Writing to a string does not fail.
                let _ = writeln!(rows, "| {shown} | {allowed} | {default} | {meaning} |");
                if anchor.is_none() {
                    self.keys(inner, &path, section, rows);
                }
            }
        }
        if let Some(items) = schema.get("items") {
            self.keys(items, &format!("{path}[]"), section, rows);
        }
    }
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    schema.get("anyOf").and_then(Value::as_array).into_iter().flatten()
}

pub(crate) fn is_table(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

/// The schema itself and its alternatives, as far as they are tables with known keys.
pub(crate) fn tables_in(schema: &Value) -> impl Iterator<Item = &Value> {
    std::iter::once(schema).chain(branches(schema)).filter(|schema| is_table(schema))
}

/// What may be written.
fn allowed(schema: &Value) -> String {
    one_of(&alternatives(schema, false))
}

/// In the plural, for what stands in a list, or not.
fn alternatives(schema: &Value, plural: bool) -> Vec<String> {
    let choices: Vec<_> = schema::choices(schema).map(|choice| code(&choice.text.into())).collect();
    if !choices.is_empty() {
        return choices;
    }
    if schema.get("anyOf").is_some() {
        return branches(schema).flat_map(|branch| alternatives(branch, plural)).collect();
    }
    let word = |word: &str| match (plural, word) {
        (false, word) => word.to_owned(),
        (true, word) if word.ends_with('s') => format!("{word}es"),
        (true, word) => format!("{word}s"),
    };
    // A schema of keys has a form but no type.
    if let Some(form) = schema.get("format").and_then(Value::as_str).and_then(text::form) {
        let name = word(form.name);
        let bounds = bounds(schema, &usual(form));
        return vec![bounds.map_or(name.clone(), |bounds| format!("{name}, {bounds}"))];
    }
    let only = match schema.get("type").and_then(Value::as_str) {
        Some("string") => word("text"),
        Some("boolean") => return vec!["`true`".to_owned(), "`false`".to_owned()],
        Some("integer") => match (schema.get("minimum"), schema.get("maximum")) {
            (Some(least), Some(most)) => format!("{} to {}", code(least), code(most)),
            _ => word("whole number"),
        },
        Some("array") => {
            let empty = schema.get("minItems").map_or("", |_| ", not empty");
            let items = schema.get("items").map(|items| one_of(&alternatives(items, true)));
            format!("list of {}{empty}", items.unwrap_or_default())
        }
        Some("object") => match schema.get("additionalProperties") {
            Some(value) if schema.get("propertyNames").is_some() && !is_table(value) => {
                format!("table: {} = {}", allowed(&schema["propertyNames"]), allowed(value))
            }
            _ => word("table"),
        },
        _ => word("value"),
    };
    vec![only]
}

/// The schema of a field that says no more than that its text has this form.
fn usual(form: &text::AnyForm) -> Value {
    (form.schema)(&mut SchemaGenerator::default()).to_value()
}

/// The bounds of a value with a unit, as far as they are not those of every such value.
fn bounds(schema: &Value, usual: &Value) -> Option<String> {
    let bound = |word| schema.get(word).filter(|bound| usual.get(word) != Some(bound)).map(code);
    match (bound("x-minimum"), bound("x-maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

fn one_of(alternatives: &[String]) -> String {
    match alternatives {
        [] => String::new(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

fn default(schema: &Value, required: bool) -> String {
    match schema.get("default") {
        _ if required => "required".to_owned(),
        None => "none".to_owned(),
        Some(Value::Object(_)) if is_table(schema) => "below".to_owned(),
        Some(Value::Object(keys)) if keys.is_empty() => "none".to_owned(),
        Some(default) => code(default),
    }
}

fn meaning(schema: &Value) -> String {
    let description = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut meaning = description.to_owned();
    for schema in std::iter::once(schema).chain(schema.get("items")) {
        for choice in schema::choices(schema) {
            if let Some(description) = choice.description {
                let _ = write!(meaning, " {}: {description}", code(&choice.text.into()));
            }
        }
    }
    meaning.replace('|', "\\|")
}

const DATE: &str = "$__toml_private_datetime";

/// Whether a value is a date, in the form in which it comes here.
pub(crate) fn is_date(value: &Value) -> bool {
    value.as_object().is_some_and(|keys| keys.len() == 1 && keys.contains_key(DATE))
}

/// A value as it is written in the file.
fn code(value: &Value) -> String {
    format!("`{}`", toml(value))
}

pub(crate) fn toml(value: &Value) -> String {
    match value {
        // As serde has the dates of TOML.
        Value::Object(keys) if is_date(value) => keys[DATE].as_str().unwrap_or_default().to_owned(),
        Value::Object(keys) => {
            let keys = keys.iter().filter(|(_, value)| !value.is_null());
            let keys: Vec<_> =
                keys.map(|(key, value)| format!("{} = {}", Positions::segment(key), toml(value))).collect();
            if keys.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", keys.join(", ")) }
        }
        Value::Number(number) if number.is_u64() => grouped(&number.to_string()),
        // What JSON writes raw, and TOML does not.
        Value::String(text) => Value::from(text.as_str()).to_string().replace('\u{7f}', "\\u007f"),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        // The JSON of a text or a switch is TOML as well.
        other => other.to_string(),
    }
}

/// Digits in groups of three where there are more than four, as TOML has them: `10_000`.
fn grouped(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// A row for each form of text.
fn values() -> String {
    let mut rows = "| value | for example | what is written |\n|---|---|---|\n".to_owned();
    for form in text::FORMS {
        let example = code(&form.example.into());
        let bounds = bounds(&usual(form), &Value::Null);
        let bounds = bounds.map(|bounds| format!("; {bounds} unless the key says otherwise"));
        let bounds = bounds.unwrap_or_default();
        let _ = writeln!(rows, "| {} | {example} | {}{bounds}. |", form.name, form.rule);
    }
    rows
}
