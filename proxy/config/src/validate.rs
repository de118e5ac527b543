//! A TOML tree against the JSON Schema of its file: every problem, with its place and a hint.
//!
//! Not a validator for any schema: it knows the words that `schema` uses, and a test holds it to
//! that. A general one would not know where a value stands, nor what was probably meant.

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use crate::file::text;
use crate::report::Report;
use crate::{schema, suggest};

/// Checks a whole file.
pub(crate) fn table(schema: &Value, table: &DeTable<'_>, report: &mut Report<'_>) {
    let mut validator = Validator { root: schema, report };
    validator.table(schema, table, 0, "");
}

struct Validator<'v, 't> {
    root: &'v Value,
    report: &'v mut Report<'t>,
}

impl Validator<'_, '_> {
    /// `path` names the value in messages.
    fn value(&mut self, schema: &Value, value: &Spanned<DeValue<'_>>, path: &str) {
        let at = value.span().start;
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            let fits = |branch: &&Value| type_of(branch).is_some_and(|name| has_type(value.get_ref(), name));
            return match branches.iter().find(fits) {
                Some(branch) => self.value(branch, value, path),
                None => {
                    let names: Vec<_> = branches.iter().filter_map(type_of).collect();
                    let message = format!("{path} must be {}, not {}", one_of(&names), kind(schema, value));
                    self.report.add(at, message, None);
                }
            };
        }
        let choices = choices(schema);
        let Some(expected) = type_of(schema).or(choices.as_ref().map(|_| "string")) else {
            // A schema without a type takes anything: what is below `[config]`.
            return;
        };
        match (expected, value.get_ref()) {
            ("object", DeValue::Table(table)) => self.table(schema, table, at, path),
            ("array", DeValue::Array(items)) => self.list(schema, items, at, path),
            ("string", DeValue::String(text)) => match choices {
                Some(choices) => self.choice(&choices, text, at, path),
                None => self.text(schema, text, at, path),
            },
            ("integer", DeValue::Integer(number)) => self.integer(schema, number, at, path),
            ("boolean", DeValue::Boolean(_)) => {}
            _ => {
                let message = format!("{path} must be {}, not {}", type_name(expected), kind(schema, value));
                self.report.add(
                    at,
                    message,
                    type_help(schema, expected, choices.as_deref(), value.get_ref()),
                );
            }
        }
    }

    /// `at` is where the table begins, for what is missing in it.
    fn table(&mut self, schema: &Value, table: &DeTable<'_>, at: usize, path: &str) {
        let nothing = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&nothing);
        let other = schema.get("additionalProperties").filter(|other| **other != Value::Bool(false));
        let names = schema.pointer("/propertyNames/format").and_then(Value::as_str);
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if let Some(Err(complaint)) = names.map(|format| text::check(format, name)) {
                self.report.add(key.span().start, complaint.message, complaint.help);
            }
            match properties.get(name).or(other) {
                Some(schema) => self.value(schema, value, &join(path, name)),
                None => self.unknown(properties, name, key.span().start, path),
            }
        }
        for required in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
            let Some(name) = required.as_str() else { continue };
            if !table.contains_key(name) {
                let example = properties.get(name).and_then(example);
                let help = example.map(|example| format!("write it as in {name} = {example}"));
                self.report.add(at, format!("missing key {name:?}{}", inside(path)), help);
            }
        }
    }

    fn unknown(&mut self, properties: &Map<String, Value>, name: &str, at: usize, path: &str) {
        let elsewhere = tables_with(self.root, name);
        let is_top = !path.is_empty() && self.root.pointer(&format!("/properties/{name}")).is_some();
        let has = |key: &str| properties.contains_key(key);
        let known = match name {
            "chain" | "key" | "cert" | "certificate" if has("certificates") => {
                Some("write certificates = [{ chain = \"FILE.pem\", key = \"FILE.key\" }]".to_owned())
            }
            "cert" | "certificate" if has("chain") => Some("did you mean \"chain\"?".to_owned()),
            "listen" | "bind" | "port" if has("address") => {
                Some("write address = \"0.0.0.0:8080\"".to_owned())
            }
            "format" if path == "access-log" => {
                Some("its lines are JSON, and cannot be anything else".to_owned())
            }
            // What is right at the top is most likely meant there: a table ends with the next one alone.
            _ if is_top => Some(format!("it stands before the first [table]: move {name} to the top")),
            _ if path.is_empty() && has("config") && has("on-error") && elsewhere.is_empty() => {
                let near = suggest::nearest(name, properties.keys().map(String::as_str));
                let help =
                    "what the policy itself is told stands under [config]: write that above it".to_owned();
                near.is_none().then_some(help)
            }
            // The same word in another table is nearer than another word in this one.
            _ if !elsewhere.is_empty() && path == "timeouts" => {
                Some(format!("it belongs in {}", elsewhere.join(" or ")))
            }
            _ => None,
        };
        if let Some(help) = known {
            self.report.add(at, format!("unknown key {}{}", shown(name), inside(path)), Some(help));
            return;
        }
        let help = match suggest::nearest(name, properties.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None => match elsewhere.as_slice() {
                [] => {
                    let known: Vec<_> = properties.keys().map(String::as_str).collect();
                    format!("known keys here: {}", known.join(", "))
                }
                tables => format!("it belongs in {}", tables.join(" or ")),
            },
        };
        self.report.add(at, format!("unknown key {}{}", shown(name), inside(path)), Some(help));
    }

    fn list(&mut self, schema: &Value, items: &[Spanned<DeValue<'_>>], at: usize, path: &str) {
        if items.is_empty() && schema.get("minItems").is_some_and(|least| *least != 0) {
            self.report.add(at, format!("{path} must not be empty"), None);
        }
        let unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        for (index, item) in items.iter().enumerate() {
            if let Some(schema) = schema.get("items") {
                self.value(schema, item, &format!("{path}[{index}]"));
            }
            let text = item.get_ref().as_str();
            if unique && text.is_some() && items[..index].iter().any(|other| other.get_ref().as_str() == text)
            {
                let message = format!("{} stands twice in {path}", kind(schema, item));
                self.report.add(item.span().start, message, None);
            }
        }
    }

    fn choice(&mut self, choices: &[&str], text: &str, at: usize, path: &str) {
        if choices.contains(&text) {
            return;
        }
        let allowed: Vec<_> = choices.iter().map(|choice| format!("{choice:?}")).collect();
        let allowed = format!("allowed: {}", allowed.join(", "));
        let help = match suggest::nearest(text, choices.iter().copied()) {
            Some(meant) if choices.len() > 1 => format!("did you mean {meant:?}? {allowed}"),
            Some(meant) => format!("did you mean {meant:?}?"),
            None => allowed,
        };
        self.report.add(at, format!("{} is not a value of {path}", shown(text)), Some(help));
    }

    fn text(&mut self, schema: &Value, text: &str, at: usize, path: &str) {
        let Some(format) = schema.get("format").and_then(Value::as_str) else { return };
        if let Err(complaint) = text::check(format, text) {
            self.report.add(at, format!("{path}: {}", complaint.message), complaint.help);
            return;
        }
        let bound = |word: &str| {
            let bound = schema.get(word)?.as_str()?;
            Some((bound, text::measure(format, bound)?))
        };
        let Some(measured) = text::measure(format, text) else { return };
        match (bound("x-minimum"), bound("x-maximum")) {
            (Some((least, number)), _) if measured < number => {
                self.report.add(at, format!("{path} must be at least {least}, not {text}"), None);
            }
            (_, Some((most, number))) if measured > number => {
                self.report.add(at, format!("{path} must be at most {most}, not {text}"), None);
            }
            _ => {}
        }
    }

    fn integer(&mut self, schema: &Value, number: &DeInteger<'_>, at: usize, path: &str) {
        let bound = |word: &str| schema.get(word).and_then(Value::as_i64);
        let value = i128::from_str_radix(number.as_str(), number.radix());
        let message = match (bound("minimum"), bound("maximum"), value) {
            (_, Some(most), Ok(value)) if value > most.into() => format!("at most {most}"),
            (Some(least), _, Ok(value)) if value < least.into() => format!("at least {least}"),
            (_, _, Ok(_)) => return,
            (_, _, Err(_)) => "a number that fits 64 bits".to_owned(),
        };
        self.report.add(at, format!("{path} must be {message}, not {}", shorten(number.as_str())), None);
    }
}

/// The texts a schema allows, if it allows only certain ones.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    let choices: Vec<_> = schema::choices(schema).map(|choice| choice.text).collect();
    (!choices.is_empty()).then_some(choices)
}

fn type_of(schema: &Value) -> Option<&str> {
    schema.get("type").and_then(Value::as_str)
}

fn has_type(value: &DeValue<'_>, name: &str) -> bool {
    match value {
        DeValue::String(_) => name == "string",
        DeValue::Integer(_) => name == "integer",
        DeValue::Boolean(_) => name == "boolean",
        DeValue::Array(_) => name == "array",
        DeValue::Table(_) => name == "object",
        DeValue::Float(_) | DeValue::Datetime(_) => false,
    }
}

fn type_name(name: &str) -> &str {
    match name {
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}

/// The types with these names as alternatives: `true, false or a table`.
fn one_of(names: &[&str]) -> String {
    let names: Vec<_> =
        names.iter().map(|name| if *name == "boolean" { "true, false" } else { type_name(name) }).collect();
    match &names[..] {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [before @ .., last] => format!("{} or {last}", before.join(", ")),
    }
}

/// What a value is, in an error message.
fn kind(schema: &Value, value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(_) if may_be_secret(schema) => "text".to_owned(),
        DeValue::Integer(_) | DeValue::Float(_) if may_be_secret(schema) => "a number".to_owned(),
        DeValue::String(text) => shown(text),
        DeValue::Integer(number) => shorten(&number.to_string()),
        DeValue::Float(number) => shorten(&number.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// Whether a value that is out of place here may be a secret.
fn may_be_secret(schema: &Value) -> bool {
    schema.get("x-secret") == Some(&Value::Bool(true))
}

/// What to write when a value has the wrong type.
fn type_help(
    schema: &Value,
    expected: &str,
    choices: Option<&[&str]>,
    value: &DeValue<'_>,
) -> Option<String> {
    let number = match value {
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        _ => None,
    };
    match (expected, value) {
        ("string", _) if number.is_some() => {
            let written = number.unwrap_or_default();
            match schema.get("format").and_then(Value::as_str) {
                Some(format) if text::is_measured(format) => {
                    Some(format!("write the unit, as in {}", example(schema)?))
                }
                _ if choices.is_some_and(|choices| choices.contains(&written.as_str())) => {
                    Some(format!("write {written:?}, in quotes"))
                }
                _ => Some(format!("write it as in {}", example(schema)?)),
            }
        }
        ("string", DeValue::Boolean(_)) if choices.is_some() => {
            let allowed: Vec<_> = choices?.iter().map(|choice| format!("{choice:?}")).collect();
            Some(format!("allowed: {}", allowed.join(", ")))
        }
        ("integer", DeValue::String(text)) if text.parse::<u64>().is_ok() => {
            Some(format!("write {text}, without quotes"))
        }
        ("boolean", DeValue::String(text)) if matches!(text.as_ref(), "true" | "false") => {
            Some(format!("write {text}, without quotes"))
        }
        ("object", _) if may_be_secret(schema) && schema.pointer("/properties/env").is_some() => Some(
            "write { file = \"FILE\" } or { env = \"NAME\" }: a secret does not stand in this file"
                .to_owned(),
        ),
        ("array", DeValue::String(text)) => Some(format!("write [{}]", shown(text))),
        _ => None,
    }
}

/// A correct value, as it is written in the file.
fn example(schema: &Value) -> Option<&Value> {
    schema.get("examples")?.get(0)
}

/// The tables of the file that know `name`, as headers.
fn tables_with(root: &Value, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![(root, String::new())];
    while let Some((schema, path)) = open.pop() {
        if !path.is_empty() && schema.get("properties").is_some_and(|keys| keys.get(name).is_some()) {
            found.push(format!("[{path}]"));
        }
        let keys = schema.get("properties").and_then(Value::as_object);
        open.extend(keys.into_iter().flatten().map(|(key, schema)| (schema, join(&path, key))));
        if let Some(any) = schema.get("additionalProperties") {
            open.push((any, join(&path, "NAME")));
        }
        let branches = schema.get("anyOf").and_then(Value::as_array);
        open.extend(branches.into_iter().flatten().map(|branch| (branch, path.clone())));
    }
    found.sort();
    found
}

fn inside(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in {path}") }
}

fn join(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let key = if key.chars().all(bare) { shorten(key) } else { shown(key) };
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// A text of the file in a message: in quotes, on one line, of bounded length.
fn shown(text: &str) -> String {
    format!("{:?}", shorten(text))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
