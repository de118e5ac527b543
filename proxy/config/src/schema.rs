//! The JSON Schemas of the files, generated from the structs in `file`.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::transform_subschemas;
use serde_json::Value;

/// The schema of `T`, without references: every description stands where it is needed, and
/// `validate` has none to follow.
pub(crate) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.with_transform(restrict_to_toml).into_generator().into_root_schema_for::<T>().to_value()
}

/// The same, made once for each type: it is longer work than to read a file by it, and a hundred plugins have a hundred
/// files.
pub(crate) fn made<T: JsonSchema + 'static>() -> &'static Value {
    static MADE: Mutex<BTreeMap<TypeId, &'static Value>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    made.entry(TypeId::of::<T>()).or_insert_with(|| Box::leak(Box::new(of::<T>())))
}

/// TOML has no null (absent is absent), and its integers have no width.
fn restrict_to_toml(schema: &mut schemars::Schema) {
    transform_subschemas(&mut restrict_to_toml, schema);
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::String(description)) = object.get_mut("description") {
        // The line breaks are those of the source code.
        *description = description.replace('\n', " ");
    }
    if object.get("default") == Some(&Value::Null) {
        object.shift_remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = &branches[..] {
            let only = only.clone();
            object.shift_remove("anyOf");
            for (key, value) in only {
                // The description of the field says more than that of its type.
                object.entry(key).or_insert(value);
            }
        }
    }
    let width = |format: &Value| format.as_str().is_some_and(|format| format.starts_with("uint"));
    if object.get("format").is_some_and(width) {
        object.shift_remove("format");
    }
}

/// A text that a schema allows, where it allows only certain ones.
pub(crate) struct Choice<'s> {
    pub text: &'s str,
    pub description: Option<&'s str>,
}

/// Empty if the schema does not list what it allows. A description of its own makes a choice a schema.
pub(crate) fn choices(schema: &Value) -> impl Iterator<Item = Choice<'_>> {
    let described = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|branch| {
        let description = branch.get("description").and_then(Value::as_str);
        texts(branch).map(move |text| Choice { text, description })
    });
    texts(schema).map(|text| Choice { text, description: None }).chain(described)
}

fn texts(schema: &Value) -> impl Iterator<Item = &str> {
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    listed.chain(schema.get("const")).filter_map(Value::as_str)
}
