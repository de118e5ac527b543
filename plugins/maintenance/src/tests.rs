//! Who sees the page, and who the site.

use serde_json::{Value, json};

use super::*;

const SECRET: &str = "correct-horse-battery";

fn configured(config: Value) -> Maintenance {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Maintenance>(config).err().expect("an invalid configuration")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

/// What the client gets; `None` = what the server says.
fn shown(policy: &Maintenance, request: &testing::Request) -> Option<Reply> {
    match policy.on_request(request) {
        Verdict::Next => None,
        Verdict::Respond => request.reply(),
        other => panic!("{other:?}"),
    }
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let (_, value) = reply.headers.iter().find(|(known, _)| known == name)?;
    str::from_utf8(value).ok()
}

#[test]
fn everyone_sees_the_page_while_it_is_on() {
    let policy = configured(
        json!({ "enabled": true, "page": "soon", "content-type": "text/plain", "retry-after": 600 }),
    );
    let reply = shown(&policy, &get("/x")).expect("the page");
    assert_eq!((reply.status, &*reply.body), (503, &b"soon"[..]));
    for (name, value) in [
        ("content-type", "text/plain"),
        ("cache-control", "no-store"),
        ("retry-after", "600"),
        ("vary", "accept"),
    ] {
        assert_eq!(header(&reply, name), Some(value), "{name}");
    }
    let policy = configured(json!({ "enabled": false }));
    assert_eq!(shown(&policy, &get("/x")), None);
}

#[test]
fn programs_get_json() {
    let date = "Wed, 21 Oct 2026 07:28:00 GMT";
    let policy = configured(json!({ "enabled": true, "status": 502, "retry-after": date }));
    for accept in
        ["application/json", "application/json, text/plain, */*", "application/problem+json, text/html;q=0.5"]
    {
        let reply = shown(&policy, &get("/").with_header("accept", accept)).expect("the page");
        assert_eq!(header(&reply, "content-type"), Some("application/problem+json"));
        assert_eq!(header(&reply, "retry-after"), Some(date));
        let problem: Value = serde_json::from_slice(&reply.body).expect("JSON");
        assert_eq!((&problem["status"], &problem["type"]), (&json!(502), &json!("about:blank")));
        assert_eq!(problem["title"], "Bad Gateway", "that of the status");
    }
    for accept in ["*/*", "text/html,application/xhtml+xml,application/json;q=0.9", "image/png"] {
        let reply = shown(&policy, &get("/").with_header("accept", accept)).expect("the page");
        assert_eq!(header(&reply, "content-type"), Some("text/html; charset=utf-8"), "{accept}");
    }
    let policy = configured(json!({ "enabled": true, "json": "{}" }));
    let reply = shown(&policy, &get("/").with_header("accept", "application/json")).expect("the page");
    assert_eq!((header(&reply, "content-type"), &*reply.body), (Some("application/json"), &b"{}"[..]));
}

#[test]
fn some_see_the_site() {
    let policy =
        configured(json!({ "enabled": true, "allow": ["10.0.0.0/8"], "exempt": ["/health", "/assets/**"] }));
    for request in [get("/").with_client("10.1.2.3"), get("/health"), get("//assets/x.css")] {
        assert_eq!(shown(&policy, &request), None);
    }
    for request in [get("/"), get("/healthy"), get("/assets/../x")] {
        assert!(shown(&policy, &request).is_some());
    }
}

#[test]
fn a_secret_opens_the_site_and_goes_no_further() {
    testing::set_secret("bypass", format!("{SECRET}\n"));
    let policy = configured(json!({ "enabled": true }));
    for request in [
        get("/").with_header("x-maintenance-bypass", SECRET),
        get("/").with_header("x-maintenance-bypass", "x").with_header("X-Maintenance-Bypass", SECRET),
        get("/").with_header("cookie", format!("a=b; maintenance-bypass={SECRET}")),
    ] {
        assert_eq!(shown(&policy, &request), None);
        assert_eq!(request.header_count("x-maintenance-bypass"), 0, "the server has no use for it");
    }
    for request in [
        get("/"),
        get("/").with_header("x-maintenance-bypass", ""),
        get("/").with_header("x-maintenance-bypass", &SECRET[1..]),
        get("/").with_header("x-maintenance-bypass", format!("{SECRET}x")),
        get("/").with_header("cookie", "maintenance-bypass="),
        get("/").with_header("cookie", format!("other={SECRET}")),
    ] {
        assert!(shown(&policy, &request).is_some());
    }
    let policy = configured(json!({ "enabled": false }));
    let request = get("/").with_header("x-maintenance-bypass", SECRET);
    assert_eq!(shown(&policy, &request), None);
    assert_eq!(request.header_count("x-maintenance-bypass"), 0);
}

#[test]
fn without_a_secret_nothing_opens_it() {
    let policy = configured(json!({ "enabled": true }));
    for value in ["", "undefined", "null"] {
        assert!(shown(&policy, &get("/").with_header("x-maintenance-bypass", value)).is_some());
    }
}

#[test]
fn a_file_is_the_switch() {
    for (switch, is_on) in [("on", true), (" ON\n", true), ("off\n", false)] {
        testing::set_secret("switch", switch);
        let policy = configured(json!({}));
        assert_eq!(shown(&policy, &get("/")).is_some(), is_on, "{switch:?}");
    }
    for switch in ["", "yes", "on off"] {
        testing::set_secret("switch", switch);
        assert_eq!(refused(json!({})), "the secret `switch` is neither `on` nor `off`");
    }
    testing::set_secret("switch", "on");
    assert!(refused(json!({ "enabled": false })).starts_with("enabled: the secret `switch` decides already"));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    for (config, message) in [
        (json!({}), "enabled: nothing says whether it is on"),
        (json!({ "enabled": "on" }), "enabled: invalid type"),
        (json!({ "enabled": true, "status": 200 }), "status: 200 is not 400 to 599"),
        (json!({ "enabled": true, "content-type": "html" }), "content-type: \"html\" is no media type"),
        (json!({ "enabled": true, "retry-after": "soon" }), "retry-after: \"soon\" is no date"),
        (json!({ "enabled": true, "retry-after": -1 }), "retry-after: expected seconds, or a date"),
        (json!({ "enabled": true, "allow": ["10.0.0.0/8", "x"] }), "allow[1]: `x` is neither"),
        (json!({ "enabled": false, "exempt": ["x"] }), "exempt[0]: "),
        (json!({ "enabled": true, "bypass-header": "host" }), "bypass-header: `host` is no name"),
        (json!({ "enabled": true, "bypass-cookie": "a b" }), "bypass-cookie: `a b` is no name"),
        (json!({ "enabled": true, "pages": "" }), "pages: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
    testing::set_secret("bypass", "short");
    let error = refused(json!({ "enabled": true }));
    assert!(
        error.starts_with("the secret `bypass` is shorter than 16") && !error.contains("short\""),
        "{error}"
    );
}
