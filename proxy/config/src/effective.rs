//! A file with every key in effect, and where each is from: `tidegate check --explain-defaults`.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use crate::document::{self, Document};
use crate::{Positions, Problems, Source, reference, schema};

/// Comments stand behind the value, in this column where it is shorter.
const COLUMN: usize = 44;

/// The text of a file that says the same as these, but all of it.
///
/// # Errors
///
/// As [`document::read`].
pub(crate) fn write<T>(sources: &[Source<'_>]) -> Result<String, Problems>
where
    T: DeserializeOwned + Serialize + JsonSchema + 'static,
{
    let Document { content, positions } = document::read::<T>(sources, Some(&crate::of_process))?;
    let values = serde_json::to_value(&content).unwrap_or_default();
    let written = document::written(sources)?;
    let mut writer = Writer { positions: &positions, text: String::new() };
    writer.table(schema::made::<T>(), &values, Some(&written), "");
    Ok(writer.text)
}

struct Writer<'w> {
    positions: &'w Positions,
    text: String,
}

impl Writer<'_> {
    /// `written` is what the operator wrote of it.
    fn table(&mut self, schema: &Value, values: &Value, written: Option<&DeTable<'_>>, path: &str) {
        let nothing = Map::new();
        let keys = values.as_object().unwrap_or(&nothing);
        let is_inner = |value: &Value| {
            matches!(value, Value::Object(keys) if !keys.is_empty()) && !reference::is_date(value)
        };
        for (key, value) in keys.iter().filter(|(_, value)| !is_inner(value)) {
            self.value(
                key,
                value,
                written.and_then(|table| table.get(key.as_str())),
                path,
                inner(schema, key),
            );
        }
        for (key, value) in keys.iter().filter(|(_, value)| is_inner(value)) {
            let path = join(path, key);
            // A table of nothing but tables has no header of its own.
            if !value.as_object().is_some_and(|keys| keys.values().all(is_inner)) {
                let place = self.place(&path);
                let _ = write!(self.text, "\n[{path}]");
                self.comment(path.chars().count() + 2, &place);
            }
            let written = written.and_then(|table| table.get(key.as_str())?.get_ref().as_table());
            self.table(inner(schema, key), value, written, &path);
        }
    }

    fn value(
        &mut self,
        key: &str,
        value: &Value,
        written: Option<&toml::Spanned<DeValue<'_>>>,
        path: &str,
        schema: &Value,
    ) {
        let place = self.place(&join(path, key));
        // Where it matters whether a key was written, its default is in the schema alone.
        let published = schema.get("default").filter(|_| value.is_null());
        let value = &as_written(published.unwrap_or(value), written.map(toml::Spanned::get_ref));
        let is_table = value.is_object() || reference::is_table(schema);
        let line = match value {
            // What it names is here.
            Value::Array(_) if path.is_empty() && key == "include" && written.is_some() => {
                format!("# include = {}", reference::toml(value))
            }
            Value::Null | Value::Object(_) if is_table && !reference::is_date(value) => {
                format!("# [{}]", join(path, key))
            }
            Value::Null => format!("# {}", Positions::segment(key)),
            value => format!("{} = {}", Positions::segment(key), reference::toml(value)),
        };
        self.text += &line;
        let is_unset = line.starts_with("# ") && written.is_none();
        let place = if is_unset { "not set".to_owned() } else { place };
        self.comment(line.chars().count(), &place);
    }

    fn comment(&mut self, width: usize, text: &str) {
        let _ = writeln!(self.text, "{:1$} # {text}", "", COLUMN.saturating_sub(width));
    }

    fn place(&self, path: &str) -> String {
        match self.positions.place(path) {
            Some((file, position)) if self.positions.has(path) => {
                format!("{}:{}", self.positions.files()[file].display(), position.line)
            }
            _ => "default".to_owned(),
        }
    }
}

/// The value, with texts as they stand in the file where those name the environment: what that has is nobody's business.
fn as_written(value: &Value, written: Option<&DeValue<'_>>) -> Value {
    match (value, written) {
        (_, Some(DeValue::String(text))) if text.contains("${") => text.as_ref().into(),
        (Value::Array(values), Some(DeValue::Array(items))) => {
            let items = items.iter().map(|item| Some(item.get_ref())).chain(std::iter::repeat(None));
            values.iter().zip(items).map(|(value, item)| as_written(value, item)).collect()
        }
        (Value::Object(keys), Some(DeValue::Table(table))) => keys
            .iter()
            .map(|(key, value)| {
                let item = table.get(key.as_str()).map(toml::Spanned::get_ref);
                (key.clone(), as_written(value, item))
            })
            .collect(),
        _ => value.clone(),
    }
}

/// The schema of what a key has.
fn inner<'s>(schema: &'s Value, key: &str) -> &'s Value {
    let known = reference::tables_in(schema).find_map(|table| table["properties"].get(key));
    known.or_else(|| schema.get("additionalProperties")).unwrap_or(&Value::Null)
}

fn join(path: &str, key: &str) -> String {
    let key = Positions::segment(key);
    if path.is_empty() { key } else { format!("{path}.{key}") }
}
