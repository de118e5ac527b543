//! Objects of JSON: lines of logs, echoes, what the admin interface says.

use serde_json::Value;

/// Panics, and says which value differs, unless an object has these values; it may have others. What it
/// does not have is `null`.
#[track_caller]
pub fn assert_values(object: &Value, expected: Value) {
    let Value::Object(expected) = expected else { panic!("not an object: {expected}") };
    for (key, value) in expected {
        assert!(object[&key] == value, "{key} is {}, not {value}: {object}", object[&key]);
    }
}
