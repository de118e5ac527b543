//! What responses carry.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

fn configured(config: Value) -> SecurityHeaders {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<SecurityHeaders>(config).err().expect("an invalid configuration")
}

/// What becomes of a response to a request.
fn answered(policy: &SecurityHeaders, request: &Request, response: testing::Response) -> testing::Response {
    assert_eq!(policy.on_request(request), Verdict::Next);
    assert_eq!(policy.on_response(request, &response), Verdict::Next);
    response
}

fn secure(path: &str) -> testing::Request {
    testing::Request::new("GET", path).with_tls(None)
}

#[track_caller]
fn assert_has(response: &Response, fields: &[(&str, &str)]) {
    for (name, value) in fields {
        assert_eq!(
            response.header(name).as_deref(),
            Some(*value).filter(|value| !value.is_empty()),
            "{name}"
        );
    }
}

#[test]
fn a_site_is_protected_by_default() {
    let policy = configured(json!({}));
    let response = testing::Response::new(200)
        .with_header("server", "x/1.2")
        .with_header("X-Powered-By", "y")
        .with_header("x-frame-options", "ALLOWALL")
        .with_header("x-frame-options", "DENY");
    let response = answered(&policy, &secure("/"), response);
    assert_has(
        &response,
        &[
            ("strict-transport-security", "max-age=31536000"),
            ("content-security-policy", "base-uri 'self'; frame-ancestors 'self'; object-src 'none'"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "SAMEORIGIN"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("cross-origin-opener-policy", "same-origin-allow-popups"),
            ("cross-origin-resource-policy", ""),
            ("server", ""),
            ("x-powered-by", ""),
        ],
    );
    assert_eq!(response.header_count("x-frame-options"), 1);
}

#[test]
fn hsts_is_not_sent_in_clear_text() {
    let policy = configured(json!({}));
    let clear = testing::Request::new("GET", "/");
    let response = testing::Response::new(200).with_header("strict-transport-security", "max-age=1");
    assert_has(
        &answered(&policy, &clear, response),
        &[("strict-transport-security", ""), ("x-frame-options", "SAMEORIGIN")],
    );
}

#[test]
fn presets_are_a_beginning() {
    let api = configured(
        json!({ "preset": "api", "set": { "referrer-policy": false, "x-frame-options": "SAMEORIGIN" } }),
    );
    let response = answered(&api, &secure("/"), testing::Response::new(502).with_failure("connect-timeout"));
    assert_has(
        &response,
        &[
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cross-origin-resource-policy", "same-origin"),
            ("referrer-policy", ""),
            ("x-frame-options", "SAMEORIGIN"),
        ],
    );
    let none = configured(
        json!({ "preset": "none", "set": { "permissions-policy": "camera=()" }, "remove": ["x-a"] }),
    );
    let response = testing::Response::new(200)
        .with_header("server", "x")
        .with_header("x-a", "1")
        .with_header("x-a", "2");
    let response = answered(&none, &secure("/"), response);
    assert_eq!(
        response.headers(),
        [("server".to_owned(), b"x".to_vec()), ("permissions-policy".to_owned(), b"camera=()".to_vec()),]
    );
}

#[test]
fn what_the_server_set_can_be_kept() {
    let policy = configured(json!({ "override": false }));
    let response = testing::Response::new(200)
        .with_header("content-security-policy", "default-src 'self'")
        .with_header("strict-transport-security", "max-age=60")
        .with_header("server", "x");
    assert_has(
        &answered(&policy, &secure("/"), response),
        &[
            ("content-security-policy", "default-src 'self'"),
            ("strict-transport-security", "max-age=60"),
            ("x-content-type-options", "nosniff"),
            ("server", ""),
        ],
    );
}

#[test]
fn rules_change_single_fields_and_the_last_one_counts() {
    let policy = configured(json!({ "rules": [
        { "paths": ["/embed/**"], "set": { "x-frame-options": false, "content-security-policy": "frame-ancestors *" } },
        { "paths": ["/embed/own/**"], "set": { "x-frame-options": "DENY" }, "override": false },
        { "hosts": ["api.example.com"], "remove": ["x-debug"] },
    ]}));
    let seen = |path: &str| {
        let response =
            testing::Response::new(200).with_header("x-debug", "1").with_header("referrer-policy", "origin");
        let response = answered(&policy, &secure(path), response);
        let text = |name| response.header(name).unwrap_or_default();
        (text("x-frame-options"), text("content-security-policy"), text("referrer-policy"), text("x-debug"))
    };
    let strict = "strict-origin-when-cross-origin";
    assert_eq!(seen("/embed/x"), (String::new(), "frame-ancestors *".into(), strict.into(), "1".into()));
    assert_eq!(
        seen("/embed/own/x"),
        ("DENY".into(), "frame-ancestors *".into(), "origin".into(), "1".into())
    );
    let request = secure("/").with_host("api.example.com");
    let response = answered(&policy, &request, testing::Response::new(200).with_header("x-debug", "1"));
    assert_has(&response, &[("x-debug", ""), ("x-frame-options", "SAMEORIGIN")]);
}

#[test]
fn what_applies_is_settled_before_the_path_is_rewritten() {
    let policy = configured(json!({ "rules": [{ "paths": ["/a"], "set": { "x-frame-options": "DENY" } }] }));
    let request = secure("/a");
    assert_eq!(policy.on_request(&request), Verdict::Next);
    request.set_target("/b").unwrap();
    let response = testing::Response::new(200);
    assert_eq!(policy.on_response(&request, &response), Verdict::Next);
    assert_has(&response, &[("x-frame-options", "DENY")]);
}

const WITH_NONCE: &str = "script-src 'nonce-{nonce}' 'strict-dynamic'; style-src 'nonce-{nonce}'";

#[test]
fn server_and_browser_are_told_the_same_nonce_and_never_the_same_twice() {
    let policy = configured(json!({ "set": { "content-security-policy": WITH_NONCE } }));
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let request = secure("/").with_header("x-csp-nonce", "mine").with_header("X-CSP-Nonce", "mine");
        let response = answered(&policy, &request, testing::Response::new(200));
        assert_eq!(request.header_count("x-csp-nonce"), 1);
        let nonce = request.header("x-csp-nonce").unwrap();
        assert!(
            nonce.len() == 22
                && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        );
        let expected = WITH_NONCE.replace("{nonce}", &nonce);
        assert_has(&response, &[("content-security-policy", &expected)]);
        assert!(seen.insert(nonce));
    }
}

#[test]
fn a_stored_page_keeps_the_nonce_it_was_stored_with() {
    let policy = configured(json!({ "set": { "content-security-policy": WITH_NONCE } }));
    let response = answered(&policy, &secure("/"), testing::Response::new(304));
    assert_has(&response, &[("content-security-policy", ""), ("x-content-type-options", "nosniff")]);
}

#[test]
fn where_no_nonce_is_meant_a_client_sends_none_either() {
    let policy = configured(json!({ "nonce-header": "x-nonce", "rules": [
        { "paths": ["/app"], "set": { "content-security-policy-report-only": WITH_NONCE } },
    ]}));
    let request = secure("/").with_header("x-nonce", "mine");
    answered(&policy, &request, testing::Response::new(200));
    assert_eq!(request.header_count("x-nonce"), 0);
    let request = secure("/app");
    let response = answered(&policy, &request, testing::Response::new(200));
    let expected = WITH_NONCE.replace("{nonce}", &request.header("x-nonce").unwrap());
    assert_has(&response, &[("content-security-policy-report-only", &expected)]);
}

#[test]
fn a_nonce_is_base64_without_padding() {
    assert_eq!(nonce_of(&[0xfb, 0xff, 0xbf]), "-_-_");
    assert_eq!(nonce_of(b"abcd"), "YWJjZA");
    assert_eq!(nonce_of(b"abcde"), "YWJjZGU");
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let set = |name: &str, value: Value| json!({ "set": { name: value } });
    for (config, message) in [
        (
            json!({ "preset": "strict" }),
            "preset: unknown variant `strict`, expected one of `web`, `api`, `none`",
        ),
        (json!({ "set": { "x-xss-protection": "1" } }), "set.x-xss-protection: unknown field"),
        (set("x-frame-options", json!(true)), "set.x-frame-options: say what"),
        (set("x-frame-options", json!(7)), "set.x-frame-options: expected a text, or `false`"),
        (set("x-frame-options", json!("ALLOWALL")), "set.x-frame-options: `ALLOWALL` is not one of `DENY`"),
        (set("x-content-type-options", json!("")), "set.x-content-type-options: is empty"),
        (set("referrer-policy", json!("origin, never")), "set.referrer-policy: `never` is not one of"),
        (set("permissions-policy", json!("camera")), "set.permissions-policy: `camera` grants"),
        (
            set("cross-origin-opener-policy", json!("same-site")),
            "set.cross-origin-opener-policy: `same-site`",
        ),
        (set("content-security-policy", json!("a\nb")), "set.content-security-policy: \"a\\nb\" is not"),
        (
            set("content-security-policy", json!("script-src nonce-{nonce}")),
            "set.content-security-policy: braces",
        ),
        (set("content-security-policy", json!("script-src '{once}'")), "set.content-security-policy: braces"),
        (
            set("content-security-policy", json!("script-src 'nonce-abc'")),
            "set.content-security-policy: a nonce",
        ),
        (
            set("strict-transport-security", json!("includeSubDomains")),
            "set.strict-transport-security: has no",
        ),
        (
            set("strict-transport-security", json!("max-age=1; preload")),
            "set.strict-transport-security: `preload`",
        ),
        (set("strict-transport-security", json!("max-age=1, x")), "set.strict-transport-security: has no"),
        (json!({ "remove": ["a", "b c"] }), "remove[1]: `b c` is not a field name"),
        (json!({ "remove": ["content-length"] }), "remove[0]: `content-length` belongs"),
        (json!({ "nonce-header": "te" }), "nonce-header: `te` is no name"),
        (json!({ "rules": [{ "paths": ["/a"] }] }), "rules[0]: changes nothing"),
        (json!({ "rules": [{ "set": { "x-frame-options": "x" } }] }), "rules[0].set.x-frame-options: `x`"),
        (json!({ "rules": [{ "sets": {} }] }), "rules[0].sets: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
