//! Who gets what compressed, what the head says, and that the codings hold what they promise.

mod head;

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields in the form `name: value`.
fn fields(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").expect("a field");
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    headers
}
