//! Who passes, and what is left of the key.

use serde_json::{Value, json};

use super::*;

const KEY: &str = "0123456789abcdef0123";

fn with_keys(lines: &str) {
    testing::set_secret("keys", lines);
}

fn digest_line(key: &str) -> String {
    use tidegate_plugin_sdk::crypto::{Hash, digest};
    digest(Hash::Sha256, key).iter().fold("sha256:".to_owned(), |text, byte| text + &format!("{byte:02X}"))
}

fn configured(config: Value) -> ApiKey {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<ApiKey>(config).err().expect("an invalid configuration")
}

/// Everywhere, from these places.
fn from(places: Value) -> ApiKey {
    with_keys(&format!("# ours\nalice:{KEY}\n\n bob:{}\r\n", digest_line("opensesame-opensesame")));
    configured(json!({ "from": places, "rules": [{ "keys": "keys" }] }))
}

fn get(target: &str) -> testing::Request {
    testing::Request::new("GET", target)
}

#[track_caller]
fn assert_passes_as(policy: &ApiKey, request: &testing::Request, name: &str) {
    assert_eq!(policy.on_request(request), Verdict::Next);
    assert_eq!(request.header_values("x-api-key-name"), [name.as_bytes()]);
    assert_eq!(request.attribute("api-key").as_deref(), Some(name));
}

#[track_caller]
fn assert_answered(policy: &ApiKey, request: &testing::Request, status: u16) -> Option<String> {
    assert_eq!(policy.on_request(request), Verdict::Respond);
    let reply = request.reply().expect("a reply");
    assert_eq!(reply.status, status);
    let challenge = reply.headers.into_iter().find(|(name, _)| name == "www-authenticate");
    challenge.map(|(_, value)| String::from_utf8(value).expect("text"))
}

fn target(request: &Request) -> String {
    request.query().map_or(request.path(), |query| format!("{}?{query}", request.path()))
}

#[test]
fn a_key_passes_under_its_name_and_goes_no_further() {
    let policy = from(json!(["header:X-API-Key"]));
    for (key, name) in [(KEY, "alice"), ("opensesame-opensesame", "bob")] {
        let request = get("/")
            .with_header("x-api-key", key)
            .with_header("x-api-key-name", "root")
            .with_header("X_API_KEY_NAME", "root");
        assert_passes_as(&policy, &request, name);
        assert_eq!(request.header_count("x-api-key"), 0);
        assert_eq!(request.header_count("x_api_key_name"), 0);
    }
}

#[test]
fn everything_else_is_asked_for_a_key() {
    let policy = from(json!(["header:x-api-key", "query:key"]));
    assert_eq!(assert_answered(&policy, &get("/"), 401).as_deref(), Some("ApiKey realm=\"api\""));
    for request in [
        get("/").with_header("x-api-key", ""),
        get("/").with_header("x-api-key", &KEY[1..]),
        get("/").with_header("x-api-key", KEY.to_uppercase()),
        get("/").with_header("x-api-key", digest_line(KEY)),
        get("/").with_header("x-api-key", b"\xff"),
        get("/").with_header("x-api-key", KEY.repeat(1000)),
        get("/").with_header("x-api-key", KEY).with_header("x-api-key", KEY),
        get("/").with_header("x-api-key", "x").with_header("x-api-key", KEY),
        get(&format!("/?key={KEY}")).with_header("x-api-key", KEY),
        get(&format!("/?key={KEY}&k%65y={KEY}")),
        get("/?key"),
    ] {
        assert_answered(&policy, &request, 401);
        assert_eq!(request.header_count("x-api-key-name"), 0);
    }
}

#[test]
fn a_key_is_taken_out_of_the_query_and_the_rest_stays() {
    let policy = from(json!(["query:api key"]));
    for (before, after) in [
        (format!("/a//b?api%20key={KEY}"), "/a//b"),
        (format!("/a?x=%20&api+key={KEY}&y=1+2"), "/a?x=%20&y=1+2"),
        (format!("/a?%61pi%20key={}&", KEY.replace("0", "%30")), "/a"),
        (format!("/a?z%zz&%&api+key={KEY}"), "/a?z%zz&%"),
    ] {
        let request = get(&before);
        assert_passes_as(&policy, &request, "alice");
        assert_eq!(target(&request), after, "{before}");
    }
}

#[test]
fn a_key_is_taken_out_of_the_cookies_and_the_others_stay() {
    let policy = from(json!(["cookie:key"]));
    for (before, after) in [
        (format!("key={KEY}"), &[][..]),
        (format!("a=1; key={KEY}; b=2"), &["a=1; b=2"]),
        (format!(" key = \"{KEY}\" ;c=\"x;y\""), &["c=\"x;y\""]),
    ] {
        let request = get("/").with_header("cookie", &before);
        assert_passes_as(&policy, &request, "alice");
        let left = request.header_values("cookie");
        let left = left.iter().map(|value| str::from_utf8(value).unwrap()).collect::<Vec<_>>();
        assert_eq!(left, after, "{before}");
    }
    let request = get("/").with_header("cookie", "a=1").with_header("cookie", format!("key={KEY}"));
    assert_passes_as(&policy, &request, "alice");
    assert_eq!(request.header_values("cookie"), [b"a=1"]);
}

#[test]
fn a_key_may_be_a_bearers() {
    let policy = from(json!(["bearer"]));
    let request = get("/").with_header("authorization", format!("bEARER  {KEY}"));
    assert_passes_as(&policy, &request, "alice");
    assert_eq!(request.header_count("authorization"), 0);
    let none = get("/").with_header("authorization", "Basic x");
    assert_eq!(assert_answered(&policy, &none, 401).as_deref(), Some("Bearer realm=\"api\""));
    let wrong = get("/").with_header("authorization", "Bearer x");
    let challenge = "Bearer realm=\"api\", error=\"invalid_token\"";
    assert_eq!(assert_answered(&policy, &wrong, 401).as_deref(), Some(challenge));
}

#[test]
fn rules_say_whose_keys_will_do() {
    with_keys(&format!("alice:{KEY}\nops:{KEY}-ops\n"));
    let policy = configured(json!({ "forward-key": true, "rules": [
        { "paths": ["/health"], "open": true },
        { "paths": ["/admin/**"], "keys": "keys", "allow": ["ops"] },
        { "paths": ["/api/**"], "methods": ["GET"], "keys": "keys" },
        { "paths": ["/api/**"], "keys": "keys", "allow": ["ops"] },
    ]}));
    for path in ["/health", "/elsewhere"] {
        let request = get(path).with_header("x-api-key-name", "ops").with_header("x-api-key", "x");
        assert_eq!(policy.on_request(&request), Verdict::Next);
        assert_eq!(request.header_count("x-api-key-name"), 0);
        assert_eq!(request.header_count("x-api-key"), 1);
    }
    let ops = format!("{KEY}-ops");
    assert_answered(&policy, &get("/admin").with_header("x-api-key", KEY), 403);
    assert_answered(&policy, &get("//%61dmin/x").with_header("x-api-key", KEY), 403);
    let request = get("/admin").with_header("x-api-key", &ops);
    assert_passes_as(&policy, &request, "ops");
    assert_eq!(request.header_count("x-api-key"), 1, "it is forwarded");
    assert_passes_as(&policy, &get("/api/x").with_header("x-api-key", KEY), "alice");
    let post = |key: &str| testing::Request::new("POST", "/api/x").with_header("x-api-key", key);
    assert_answered(&policy, &post(KEY), 403);
    assert_passes_as(&policy, &post(&ops), "ops");
}

#[test]
fn several_keys_may_have_one_name() {
    with_keys(&format!("alice:{KEY}\nalice:{KEY}-next\n"));
    let policy = configured(json!({ "rules": [{ "keys": "keys" }] }));
    for key in [KEY.to_owned(), format!("{KEY}-next")] {
        assert_passes_as(&policy, &get("/").with_header("x-api-key", key), "alice");
    }
}

#[test]
fn lines_that_are_no_keys_are_refused_without_being_shown() {
    for (line, message) in [
        ("bob", "is not `name:key`"),
        (":0123456789abcdef", "the name is not 1 to 128"),
        ("b b:0123456789abcdef", "the name is not 1 to 128"),
        ("bob:short", "the key is shorter than 16 characters"),
        ("bob:0123456789 abcdef", "the key is longer than 1024 characters, or has some"),
        ("bob:sha256:0123", "`sha256:` is not followed by 64"),
        (&format!("bob:{KEY}"), "the key stands in an earlier line"),
        (&format!("bob:{}", digest_line(KEY)), "the key stands in an earlier line"),
    ] {
        with_keys(&format!("alice:{KEY}\n# two\n{line}\n"));
        let error = refused(json!({ "rules": [{ "keys": "keys" }] }));
        assert!(error.starts_with(&format!("rules[0].keys: line 3 of the secret: {message}")), "{error}");
        assert!(!error.contains("0123") && !error.contains("bob"), "{error}");
    }
    with_keys("");
    assert!(refused(json!({ "rules": [{ "keys": "keys" }] })).starts_with("rules[0].keys: no key stands in"));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    with_keys(&format!("alice:{KEY}"));
    let rule = |rule: Value| json!({ "rules": [rule] });
    let with = |key: &str, value: Value| json!({ "rules": [{ "keys": "keys" }], key: value });
    for (config, message) in [
        (json!({}), "missing field `rules`"),
        (json!({ "rules": [] }), "rules: an empty list asks nobody"),
        (rule(json!({})), "rules[0]: has neither `keys` nor `open = true`"),
        (rule(json!({ "open": true, "keys": "keys" })), "rules[0].open: nobody is asked"),
        (rule(json!({ "open": true, "allow": ["a"] })), "rules[0].allow: nobody is asked"),
        (rule(json!({ "keys": "other" })), "rules[0].keys: there is no secret of this name; add `[secrets]`"),
        (rule(json!({ "keys": "keys", "allow": [] })), "rules[0].allow: an empty list lets nobody pass"),
        (rule(json!({ "keys": "keys", "allow": ["alice", "b"] })), "rules[0].allow[1]: `b` has no key in"),
        (rule(json!({ "key": "keys" })), "rules[0].key: unknown field `key`"),
        (with("from", json!([])), "from: an empty list has no place"),
        (with("from", json!(["x-api-key"])), "from[0]: `x-api-key` is not `header:NAME`, `bearer`"),
        (with("from", json!(["bearer", "header:a b"])), "from[1]: `a b` is not a name"),
        (with("from", json!(["query:"])), "from[0]: `query:` lacks a name"),
        (
            with("from", json!(["header:Authorization"])),
            "from[0]: for a key in `authorization` write `bearer`",
        ),
        (with("from", json!(["header:host"])), "from[0]: `host` is no field for keys"),
        (with("name-header", json!("X-Api-Key")), "name-header: `x-api-key` is where keys stand"),
        (with("name-header", json!("a b")), "name-header: `a b` is not a field name"),
        (with("realm", json!("é")), "realm: \"é\" is not plain ASCII"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
