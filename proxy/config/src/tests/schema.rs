//! The published schemas, and that nothing in them goes unchecked.

use serde_json::Value;

use crate::file::text;
use crate::{Config, PluginFile, Positions, parse, parse_plugin, plugin_schema, schema};

/// Words that `validate` acts upon, that another word it acts upon implies (`pattern` and
/// `minLength`: the format), or that check nothing.
const KNOWN: [&str; 25] = [
    "$schema",
    "title",
    "description",
    "default",
    "examples",
    "type",
    "properties",
    "required",
    "additionalProperties",
    "propertyNames",
    "items",
    "minItems",
    "uniqueItems",
    "anyOf",
    "oneOf",
    "enum",
    "const",
    "minimum",
    "maximum",
    "format",
    "x-minimum",
    "x-maximum",
    "x-secret",
    "pattern",
    "minLength",
];

/// Calls `look` for every schema in `schema`, with a path for messages.
fn walk(schema: &Value, path: &str, look: &mut impl FnMut(&Value, &str)) {
    if schema.is_boolean() {
        return;
    }
    look(schema, path);
    for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(inner, &format!("{path}.{key}"), look);
    }
    for word in ["items", "additionalProperties", "propertyNames"] {
        if let Some(inner) = schema.get(word) {
            walk(inner, &format!("{path}.{word}"), look);
        }
    }
    for word in ["anyOf", "oneOf"] {
        for inner in schema.get(word).and_then(Value::as_array).into_iter().flatten() {
            walk(inner, &format!("{path}.{word}"), look);
        }
    }
}

#[test]
fn the_validator_knows_every_word() {
    for schema in [schema(), plugin_schema()] {
        walk(&schema, "", &mut |schema, path| {
            let object = schema.as_object().expect("a schema is an object");
            for word in object.keys() {
                assert!(KNOWN.contains(&word.as_str()), "{path}: {word}");
            }
            if let Some(format) = schema.get("format") {
                let format = format.as_str().expect("a format is a string");
                for example in schema["examples"].as_array().expect("a format has an example") {
                    let example = example.as_str().expect("an example is a string");
                    assert!(text::check(format, example).is_ok(), "{path}: {example}");
                }
                assert!(text::form(format).is_some(), "{path}: {format}");
            } else {
                assert!(schema.get("pattern").is_none() && schema.get("minLength").is_none(), "{path}");
            }
            for bound in ["x-minimum", "x-maximum"] {
                if let Some(bound) = schema.get(bound) {
                    let format = schema["format"].as_str().expect("a bound needs a format");
                    let bound = bound.as_str().expect("a bound is a string");
                    assert!(text::measure(format, bound).is_some(), "{path}: {bound}");
                }
            }
            if schema.get("type").is_some_and(|name| name == "integer") {
                // Without one a number could be too large for its field, which serde would find out,
                // but could not explain.
                assert!(schema.get("maximum").is_some_and(Value::is_i64), "{path}");
                assert!(schema.get("minimum").is_some_and(Value::is_i64), "{path}");
            }
        });
    }
}

#[test]
fn every_key_has_a_description() {
    for schema in [schema(), plugin_schema()] {
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        walk(&schema, "", &mut |schema, path| {
            for (key, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                assert!(inner["description"].is_string(), "{path}.{key}");
            }
        });
    }
}

#[test]
fn defaults_are_published() {
    let schema = schema();
    let limits = &schema["properties"]["limits"]["properties"];
    assert_eq!(limits["request-headers"]["default"], "32KiB");
    assert_eq!(limits["request-headers"]["x-minimum"], "8KiB");
    assert_eq!(limits["connections"]["default"], 10_000);
    let upstream = &schema["properties"]["upstream"]["additionalProperties"]["properties"];
    assert_eq!(upstream["timeouts"]["properties"]["connect"]["default"], "3s");
    assert_eq!(upstream["retries"]["default"], 1);
    assert_eq!(upstream["eject"]["default"], true);
    assert_eq!(upstream["retry-budget"]["default"], "20%");
    assert_eq!(upstream["pool"]["properties"]["idle-time"]["default"], "1m");
    assert_eq!(upstream["health"]["properties"]["interval"]["x-minimum"], "100ms");
    assert_eq!(plugin_schema()["properties"]["enabled"]["default"], true);
}

/// The defaults that are published are those that apply: a file that spells out every default
/// means the same as one that does not.
#[test]
fn published_defaults_are_the_real_ones() {
    fn spell_out(schema: &Value, path: &str, text: &mut String) {
        for (key, inner) in schema["properties"].as_object().expect("a table") {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match inner.get("default") {
                Some(Value::Object(_)) if inner.get("properties").is_some() => spell_out(inner, &path, text),
                Some(Value::Object(_)) | None => {}
                Some(default) => *text += &format!("{path} = {default}\n"),
            }
        }
    }
    let file = "tidegate.toml".as_ref();
    let least = r#"
listener.a.address = "127.0.0.1:80"
upstream.a.servers = ["a:1"]
upstream.a.health.path = "/"
files.b.root = "b"
"#;
    let mut text = least.to_owned();
    let schema = schema();
    spell_out(&schema, "", &mut text);
    spell_out(&schema["properties"]["listener"]["additionalProperties"], "listener.a", &mut text);
    let upstream = &schema["properties"]["upstream"]["additionalProperties"];
    spell_out(upstream, "upstream.a", &mut text);
    spell_out(&upstream["properties"]["health"], "upstream.a.health", &mut text);
    spell_out(&schema["properties"]["files"]["additionalProperties"], "files.b", &mut text);
    assert!(text.contains("files.b.index = ") && text.contains("files.b.precompressed = true\n"));
    assert!(text.contains("limits.http2-streams = 100\n") && text.contains("upstream.a.pool.age = "));
    assert!(text.contains("state.backend = \"memory\"\n") && text.contains("state.store-timeout = "));
    assert!(text.contains("upstream.a.eject = true\n") && text.contains("upstream.a.health.status = "));
    let least = parse(least, file).expect("the least is valid");
    let spelt_out = parse(&text, file).expect("defaults are valid");
    let (positions, shown) = (least.positions.clone(), least.shown.clone());
    assert_eq!(Config { positions, shown, ..spelt_out }, least);

    let mut text = String::new();
    spell_out(&plugin_schema(), "", &mut text);
    assert!(text.contains("limits.callouts = 8\n") && text.contains("grants.rate-limit = false\n"));
    let spelt_out = parse_plugin(&text, "a.toml".as_ref()).expect("defaults are valid");
    assert_eq!(PluginFile { positions: Positions::default(), ..spelt_out }, PluginFile::default());
}
