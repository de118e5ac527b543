//! What becomes of requests and responses.

use serde_json::{Value, json};

use super::*;

fn configured(config: Value) -> Rewrite {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Rewrite>(config).err().expect("an invalid configuration")
}

fn target(request: &Request) -> String {
    match request.query() {
        Some(query) => format!("{}?{query}", request.path()),
        None => request.path(),
    }
}

/// What is sent upstream for a request.
#[track_caller]
fn assert_rewrites(rule: &Value, from: &str, to: &str) {
    let rewrite = configured(json!({ "rules": [rule] }));
    let request = testing::Request::new("GET", from);
    assert_eq!(rewrite.on_request(&request), Verdict::Next, "{from}");
    assert_eq!(target(&request), to, "{from}");
}

/// The location a request is sent to.
#[track_caller]
fn assert_redirects(rule: &Value, from: &str, to: &str) {
    let rewrite = configured(json!({ "rules": [rule] }));
    let request = testing::Request::new("GET", from);
    assert_eq!(rewrite.on_request(&request), Verdict::Respond, "{from}");
    assert_eq!(request.reply(), Some(Reply::redirect(301, to)), "{from}");
}

#[test]
fn a_redirect_may_keep_the_host_that_was_asked_for() {
    let rewrite =
        configured(json!({ "rules": [{ "path": "^/a/(.*)$", "redirect": "https://${host}/b/$1" }] }));
    let request = testing::Request::new("GET", "/a/x?y").with_host("www.example.com:8080");
    assert_eq!(rewrite.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply(), Some(Reply::redirect(301, "https://www.example.com/b/x?y")));
    for (to, why) in [
        ("https://${host}.evil.example/", "the host is `${host}` as a whole"),
        ("/${host}/x", "`${host}` stands for a host"),
    ] {
        let refused = refused(json!({ "rules": [{ "path": "^/", "redirect": to }] }));
        assert!(refused.starts_with("rules[0].redirect: ") && refused.contains(why), "{refused}");
    }
}

#[test]
fn groups_and_the_host_become_fields() {
    let rewrite = configured(json!({
        "rules": [{
            "path": "^/t/([^/]+)/(.*)$", "to": "/$2",
            "set-headers": { "x-tenant": "$1", "x-asked": "${host}/t/$1", "x-price": "5$$" },
        }],
        "request-headers": { "set": { "x-last": "1" } },
    }));
    let request = testing::Request::new("GET", "/t/a%0d%0ab/c").with_host("h.test:8443");
    assert_eq!(rewrite.on_request(&request), Verdict::Next);
    assert_eq!(target(&request), "/c");
    let field = |name| request.header(name).unwrap_or_default();
    assert_eq!(
        (field("x-tenant"), field("x-asked")),
        ("a%0D%0Ab".to_owned(), "h.test/t/a%0D%0Ab".to_owned())
    );
    assert_eq!((field("x-price"), field("x-last")), ("5$".to_owned(), "1".to_owned()));
    let alone = configured(json!({ "rules": [{ "path": "^/(.*)$", "set-headers": { "x-path": "$1" } }] }));
    let request = testing::Request::new("GET", "/a");
    assert_eq!(alone.on_request(&request), Verdict::Next);
    assert_eq!((target(&request), request.header("x-path").as_deref()), ("/a".to_owned(), Some("a")));
    for (rule, message) in [
        (json!({ "set-headers": { "x": "$2" } }), "rules[0].set-headers.x: `path` has no group `2`"),
        (json!({ "set-headers": { "host": "a" } }), "rules[0].set-headers.host: `host` belongs to the proxy"),
        (
            json!({ "redirect": "/b", "set-headers": { "x": "1" } }),
            "rules[0].set-headers.x: a redirect is not sent on",
        ),
        (json!({}), "rules[0]: has neither `to` nor `redirect` nor `set-headers` nor `response-headers`"),
    ] {
        let mut rule = rule;
        rule["path"] = json!("^/(.*)$");
        let refused = refused(json!({ "rules": [rule] }));
        assert!(refused.starts_with(message), "{refused}");
    }
}

#[test]
fn the_client_becomes_a_field() {
    let rewrite = configured(
        json!({ "rules": [{ "path": "^/", "set-headers": { "x-real-ip": "${client}", "x-by": "<${client}>" } }] }),
    );
    let request =
        testing::Request::new("GET", "/a").with_client("192.0.2.7").with_header("x-real-ip", "6.6.6.6");
    assert_eq!(rewrite.on_request(&request), Verdict::Next);
    assert_eq!(request.header("x-real-ip").as_deref(), Some("192.0.2.7"));
    assert_eq!(request.header("x-by").as_deref(), Some("<192.0.2.7>"));
    let refused = refused(json!({ "rules": [{ "path": "^/", "to": "/${client}" }] }));
    assert!(refused.starts_with("rules[0].to: `${client}` belongs in `set-headers`"), "{refused}");
}

#[test]
fn a_rule_edits_the_response_to_what_it_is_about() {
    let rewrite = configured(json!({
        "rules": [
            { "path": "^/api/", "response-headers": {} },
            { "path": "^/go$", "redirect": "/a", "response-headers": { "set": { "x-why": "moved" } } },
            { "path": "^/a/(.*)$", "to": "/b/$1", "response-headers": { "set": { "x-all": "a" }, "remove": ["x-own"] } },
            { "path": "^/", "response-headers": { "append": { "cache-control": "no-cache" } } },
        ],
        "response-headers": { "set": { "x-all": "all" } },
    }));
    for (target, [all, own, cached, why]) in [
        ("/api/x", ["all", "1", "max-age=1", ""]),
        ("/go", ["all", "1", "max-age=1", "moved"]),
        ("/a/x", ["a", "", "max-age=1", ""]),
        ("/x", ["all", "1", "max-age=1, no-cache", ""]),
    ] {
        let request = testing::Request::new("GET", target);
        rewrite.on_request(&request);
        let response =
            testing::Response::new(200).with_header("x-own", "1").with_header("cache-control", "max-age=1");
        assert_eq!(rewrite.on_response(&request, &response), Verdict::Next);
        let field =
            |name| String::from_utf8_lossy(&response.header_values(name).join(&b", "[..])).into_owned();
        assert_eq!(
            [field("x-all"), field("x-own"), field("cache-control"), field("x-why")],
            [all, own, cached, why],
            "{target}"
        );
    }
    let refused =
        refused(json!({ "rules": [{ "path": "^/", "response-headers": { "set": { "connection": "x" } } }] }));
    assert_eq!(refused, "rules[0].response-headers.set.connection: `connection` belongs to the proxy");
}

#[test]
fn a_target_is_rewritten_and_keeps_its_query() {
    let rule = json!({ "path": "^/old/(.*)$", "to": "/new/$1" });
    assert_rewrites(&rule, "/old/a/b", "/new/a/b");
    assert_rewrites(&rule, "/old/a?x=1&y=%20", "/new/a?x=1&y=%20");
    assert_rewrites(&rule, "/older/a", "/older/a");
    let rule = json!({ "path": r"^/u/(?P<id>\d+)/(\w+)$", "to": "/user?id=${id}&view=$2_x&price=$$1" });
    assert_rewrites(&rule, "/u/7/home?z=1", "/user?id=7&view=home_x&price=$1");
    let rule = json!({ "path": "^/app(/.*)?$", "to": "$1" });
    assert_rewrites(&rule, "/app", "/");
    assert_rewrites(&rule, "/app/x", "/x");
}

#[test]
fn rules_match_the_normalised_path() {
    let rule = json!({ "path": "^/old/(.*)$", "to": "/new/$1" });
    assert_rewrites(&rule, "/%6fld//a/./b", "/new/a/b");
    assert_rewrites(&rule, "/old/../secret", "/old/../secret");
    assert_rewrites(&rule, "/old/a%2fb", "/new/a%2Fb");
}

#[test]
fn a_capture_does_not_climb() {
    let rewrite = configured(json!({ "rules": [{ "path": "^/old(.*)$", "to": "/new/$1" }] }));
    let request = testing::Request::new("GET", "/old../secret");
    assert_eq!(rewrite.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply().map(|reply| reply.status), Some(400));
}

#[test]
fn the_first_rule_that_applies_counts() {
    let rewrite = configured(json!({ "rules": [
        { "path": "^/a", "methods": ["POST"], "to": "/posted" },
        { "path": "^/a", "hosts": ["*.example.org"], "to": "/org" },
        { "path": "^/a/b$", "to": "/b" },
        { "path": "^/b$", "to": "/never/from/a" },
    ]}));
    for (request, to) in [
        (testing::Request::new("POST", "/a/b").with_host("x.example.org"), "/posted"),
        (testing::Request::new("GET", "/a/b").with_host("x.example.org"), "/org"),
        (testing::Request::new("GET", "/a/b"), "/b"),
        (testing::Request::new("GET", "/a"), "/a"),
    ] {
        assert_eq!(rewrite.on_request(&request), Verdict::Next);
        assert_eq!(target(&request), to);
    }
}

#[test]
fn conditions_other_than_the_path_must_hold_too() {
    let rewrite = configured(json!({ "rules": [
        { "path": "[0-9]", "paths": ["/a/**"], "to": "/in/a" },
        { "path": "^/b", "headers": { "x-beta": "*" }, "to": "/beta" },
        { "path": "^/b", "user-agents": ["mobile"], "to": "/small" },
    ]}));
    for (request, to) in [
        (testing::Request::new("GET", "/a/1"), "/in/a"),
        (testing::Request::new("GET", "/c/1"), "/c/1"),
        (testing::Request::new("GET", "/b").with_header("x-beta", "1"), "/beta"),
        (testing::Request::new("GET", "/b").with_header("user-agent", "Some Mobile/1.0"), "/small"),
        (testing::Request::new("GET", "/b"), "/b"),
    ] {
        assert_eq!(rewrite.on_request(&request), Verdict::Next);
        assert_eq!(target(&request), to);
    }
}

#[test]
fn a_redirect_keeps_the_query_before_the_fragment() {
    let rule = json!({ "path": "^/go/(.*)$", "redirect": "https://example.com/$1" });
    assert_redirects(&rule, "/go/a/b?x=1", "https://example.com/a/b?x=1");
    let rule = json!({ "path": "^/go/(.*)$", "redirect": "/there/$1#top" });
    assert_redirects(&rule, "/go/a?x=1", "/there/a?x=1#top");
    let rule = json!({ "path": "^/go$", "redirect": "https://example.com?from=go" });
    assert_redirects(&rule, "/go?x=1", "https://example.com/?from=go");
}

#[test]
fn a_client_cannot_choose_the_host_of_a_redirect() {
    let rule = json!({ "path": "^(.*)$", "redirect": "/$1" });
    assert_redirects(&rule, "/evil.example", "/evil.example");
    assert_redirects(&rule, "//evil.example", "/evil.example");
    assert_redirects(&rule, r"/\evil.example", "/%5Cevil.example");
    let rule = json!({ "path": "^/go(.*)$", "redirect": "https://example.com$1" });
    assert_redirects(&rule, "/go.evil.example/", "https://example.com/.evil.example/");
    assert_redirects(&rule, "/go@evil.example/", "https://example.com/@evil.example/");
    assert_redirects(&rule, "/go/x", "https://example.com/x");
}

#[test]
fn what_cannot_stand_in_a_field_is_encoded() {
    let rule = json!({ "path": "^/go/(.*)$", "redirect": "/x/$1" });
    assert_redirects(&rule, "/go/é\"?q=<é>", "/x/%C3%A9%22?q=%3C%C3%A9%3E");
    assert_redirects(&rule, "/go/a%0d%0aset-cookie:b", "/x/a%0D%0Aset-cookie:b");
}

#[test]
fn the_status_of_a_redirect_is_chosen() {
    let rewrite = configured(json!({ "rules": [{ "path": "^/a$", "redirect": "/b", "status": 308 }] }));
    let request = testing::Request::new("POST", "/a");
    assert_eq!(rewrite.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply(), Some(Reply::redirect(308, "/b")));
}

#[test]
fn request_headers_are_removed_set_and_appended() {
    let rewrite = configured(json!({ "request-headers": {
        "remove": ["X-Internal"],
        "set": { "x-edge": "tidegate", "Host": "app.internal:8080" },
        "append": { "via-note": "b", "x-internal": "mine" },
    }}));
    let request = testing::Request::new("GET", "/")
        .with_header("x-internal", "1")
        .with_header("x-internal", "2")
        .with_header("x-edge", "forged")
        .with_header("via-note", "a");
    assert_eq!(rewrite.on_request(&request), Verdict::Next);
    assert_eq!(request.header_values("x-internal"), [b"mine"]);
    assert_eq!(request.header_values("x-edge"), [b"tidegate"]);
    assert_eq!(request.header_values("via-note"), [b"a", b"b"]);
    assert_eq!(request.authority(), "app.internal:8080");
}

#[test]
fn response_headers_are_edited_whatever_made_the_response() {
    let rewrite = configured(json!({ "response-headers": {
        "set": { "x-frame-options": "DENY" }, "remove": ["server"], "append": { "vary": "accept" },
    }}));
    let request = testing::Request::new("GET", "/");
    let response = testing::Response::new(502)
        .with_failure("connect-timeout")
        .with_header("server", "x")
        .with_header("vary", "cookie");
    assert_eq!(rewrite.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.header_count("server"), 0);
    assert_eq!(response.header("x-frame-options").as_deref(), Some("DENY"));
    assert_eq!(response.header_values("vary"), [&b"cookie"[..], b"accept"]);
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    for (config, message) in [
        (rule(json!({ "path": "^/a" })), "rules[0]: has neither"),
        (rule(json!({ "path": "^/a", "to": "/b", "redirect": "/b" })), "rules[0]: has both"),
        (rule(json!({ "to": "/b" })), "rules[0]: missing field `path`"),
        (rule(json!({ "path": "^/a", "too": "/b" })), "rules[0].too: unknown field `too`"),
        (rule(json!({ "path": "^/a", "to": "/b", "paths": ["a"] })), "rules[0].paths[0]: `a` matches"),
        (rule(json!({ "path": "(", "to": "/b" })), "rules[0].path: "),
        (rule(json!({ "path": r"^/\p{Greek}", "to": "/b" })), "rules[0].path: "),
        (rule(json!({ "path": "^/a", "to": "/$1" })), "rules[0].to: `path` has no group `1`"),
        (rule(json!({ "path": "^/a", "to": "/${x}" })), "rules[0].to: `path` has no group `x`"),
        (rule(json!({ "path": "^/a", "to": "/$x" })), "rules[0].to: `$` names no group"),
        (rule(json!({ "path": "^/a", "to": "/${1" })), "rules[0].to: `${` without `}`"),
        (rule(json!({ "path": "^/a", "to": "b" })), "rules[0].to: `b` begins with neither"),
        (rule(json!({ "path": "^/a", "to": "/b c" })), "rules[0].to: ' ' must be percent-encoded"),
        (rule(json!({ "path": "^/a", "to": "/b#c" })), "rules[0].to: a target has no fragment"),
        (rule(json!({ "path": "^/a", "to": "/b", "status": 301 })), "rules[0].status: belongs to"),
        (rule(json!({ "path": "^/a", "redirect": "/b", "status": 200 })), "rules[0].status: 200 is not"),
        (rule(json!({ "path": "^/a", "redirect": "//b" })), "rules[0].redirect: `//b` begins"),
        (rule(json!({ "path": "^/(a)", "redirect": "https://$1" })), "rules[0].redirect: the host cannot"),
        (rule(json!({ "path": "^/a", "redirect": "/a\r\nx: y" })), "rules[0].redirect: '\\r' must"),
        (json!({ "request-headers": { "set": { "a b": "c" } } }), "request-headers.set.a b: `a b` is not"),
        (json!({ "request-headers": { "set": { "a": "b\nc" } } }), "request-headers.set.a: \"b\\nc\" is not"),
        (json!({ "request-headers": { "set": { "Te": "b" } } }), "request-headers.set.Te: `Te` belongs"),
        (json!({ "request-headers": { "set": { "host": "b\n" } } }), "request-headers.set.host: "),
        (
            json!({ "response-headers": { "set": { "host": "b" } } }),
            "response-headers.set.host: `host` belongs",
        ),
        (
            json!({ "response-headers": { "remove": ["a", "connection"] } }),
            "response-headers.remove[1]: `connection`",
        ),
        (json!({ "response-headers": { "add": {} } }), "response-headers.add: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
