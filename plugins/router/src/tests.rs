//! Where requests go.

use serde_json::{Value, json};
use tidegate_plugin_sdk::log::Level;

use super::*;

fn router(rules: Value) -> Router {
    testing::configure(json!({ "rules": rules })).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Router>(config).err().expect("an invalid configuration")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

#[track_caller]
fn assert_goes(router: &Router, request: testing::Request, to: Option<&str>) {
    assert_eq!(router.on_request(&request), Verdict::Next);
    assert_eq!(request.route().as_deref(), to);
}

#[test]
fn the_first_rule_that_applies_wins() {
    let router = router(json!([
        { "paths": ["/images/**", "**.png"], "to": "images" },
        { "paths": ["/images/private/**"], "to": "never" },
        { "hosts": ["api.example.com"], "to": "api" },
        { "methods": ["PUT", "POST"], "paths": ["/upload"], "to": "uploads" },
    ]));
    assert_goes(&router, get("/images/private/a"), Some("images"));
    assert_goes(&router, get("/a/b.png"), Some("images"));
    assert_goes(&router, get("/images/a").with_host("api.example.com"), Some("images"));
    assert_goes(&router, get("/x").with_host("API.example.com:8443"), Some("api"));
    assert_goes(&router, testing::Request::new("POST", "/upload"), Some("uploads"));
    assert_goes(&router, get("/upload"), None);
    assert_goes(&router, get("/"), None);
}

#[test]
fn headers_and_user_agents_choose_too() {
    let router = router(json!([
        { "headers": { "x-canary": "*", "accept": "application/*" }, "to": "canary" },
        { "user-agents": ["Android", "iPhone"], "to": "mobile" },
        { "to": "rest" },
    ]));
    let canary = || get("/").with_header("x-canary", "1");
    assert_goes(&router, canary().with_header("Accept", "application/json"), Some("canary"));
    assert_goes(&router, canary(), Some("rest"));
    assert_goes(&router, get("/").with_header("user-agent", "Mozilla/5.0 (iphone; CPU)"), Some("mobile"));
    assert_goes(&router, get("/"), Some("rest"));
}

#[test]
fn query_cookies_scheme_and_client_choose_too() {
    let router = router(json!([
        { "query": { "version": "2*" }, "to": "next" },
        { "cookies": { "beta": "1" }, "to": "beta" },
        { "clients": ["10.0.0.0/8"], "schemes": ["http"], "to": "inside" },
    ]));
    assert_goes(&router, get("/?version=2.1"), Some("next"));
    assert_goes(&router, get("/").with_header("cookie", "a=b; beta=1"), Some("beta"));
    assert_goes(&router, get("/").with_client("10.1.2.3"), Some("inside"));
    assert_goes(&router, get("/").with_client("10.1.2.3").with_tls(None), None);
}

#[test]
fn weights_are_shares() {
    let router = router(json!([{ "weights": { "blue": 9, "green": 1, "red": 0 } }]));
    let mut green = 0;
    for _ in 0..4000 {
        let request = get("/");
        assert_eq!(router.on_request(&request), Verdict::Next);
        match request.route().as_deref() {
            Some("green") => green += 1,
            other => assert_eq!(other, Some("blue")),
        }
    }
    // 400 are expected; five standard deviations are 95.
    assert!((305..=495).contains(&green), "{green}");
}

#[test]
fn the_spelling_of_a_path_changes_nothing() {
    let router = router(json!([{ "paths": ["/admin/**"], "to": "admin" }]));
    for path in ["/admin", "//admin/x", "/a/../admin", "/%61dmin/x?a=/b", "/a/%2e%2e/admin"] {
        assert_goes(&router, get(path), Some("admin"));
    }
}

#[test]
fn a_destination_that_cannot_be_used_is_a_failure_with_a_reason() {
    let router = router(json!([{ "paths": ["/a"], "to": "app" }, { "to": "apo" }]));
    let request = get("/").with_routes(&["app"]);
    assert_eq!(router.on_request(&request), Verdict::Fail);
    assert_eq!(request.route(), None);
    let message = "rules[1] leads to \"apo\": no upstream or file root has this name".to_owned();
    assert_eq!(testing::take_log(), [(Level::Error, message)]);
}

#[test]
fn mistakes_are_refused_with_their_key() {
    for (config, message) in [
        (json!({}), "missing field `rules`"),
        (json!({ "rules": [{ "paths": ["/a"] }] }), "rules[0]: has neither `to` nor `weights`"),
        (json!({ "rules": [{ "to": "" }] }), "rules[0].to: names no"),
        (json!({ "rules": [{ "to": "a", "weights": { "b": 1 } }] }), "rules[0]: has both"),
        (json!({ "rules": [{ "weights": { "b": 0 } }] }), "rules[0].weights: has no weight above 0"),
        (json!({ "rules": [{ "weights": { "b": -1 } }] }), "rules[0].weights.b: invalid value"),
        (json!({ "rules": [{ "to": "a", "path": "/a" }] }), "rules[0].path: unknown field `path`"),
        (
            json!({ "rules": [{ "to": "a" }, { "to": "a", "paths": ["/a", 7] }] }),
            "rules[1].paths[1]: invalid type",
        ),
        (json!({ "rules": [{ "to": "a", "paths": ["/a", "b"] }] }), "rules[0].paths[1]: `b` matches nothing"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
