//! Who may use what.

use serde_json::{Value, json};

use super::*;

fn cors(rules: Value) -> Cors {
    testing::configure(json!({ "rules": rules })).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<Cors>(config).err().expect("an invalid configuration")
}

fn preflight(path: &str, origin: &str) -> testing::Request {
    testing::Request::new("OPTIONS", path)
        .with_header("origin", origin)
        .with_header("access-control-request-method", "PUT")
}

/// What becomes of a response of a server that allows everything by itself.
fn answered(cors: &Cors, request: &testing::Request) -> testing::Response {
    let response = testing::Response::new(200)
        .with_header("access-control-allow-origin", "*")
        .with_header("Access-Control-Allow-Credentials", "true")
        .with_header("access-control-expose-headers", "x-server")
        .with_header("vary", "accept");
    assert_eq!(cors.on_request(request), Verdict::Next);
    assert_eq!(cors.on_response(request, &response), Verdict::Next);
    response
}

fn allowed(cors: &Cors, origin: &str) -> bool {
    let request = testing::Request::new("GET", "/").with_header("origin", origin);
    let allowed = answered(cors, &request).header("access-control-allow-origin");
    assert!(allowed.is_none() || allowed.as_deref() == Some(origin));
    allowed.is_some()
}

fn fields(reply: &Reply) -> Vec<(&str, &str)> {
    reply.headers.iter().map(|(name, value)| (&**name, str::from_utf8(value).unwrap())).collect()
}

#[test]
fn a_preflight_is_answered_with_what_is_allowed() {
    let cors = cors(json!([{
        "allow-origins": ["https://app.example.com"], "allow-methods": ["GET", "PUT"], "allow-headers": ["x-a", "content-type"],
        "allow-credentials": true, "max-age": 600, "expose-headers": ["x-b"], "allow-private-network": true,
    }]));
    let request = preflight("/x", "https://app.example.com");
    assert_eq!(cors.on_request(&request), Verdict::Respond);
    let reply = request.reply().unwrap();
    let expected = [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, PUT"),
        ("vary", "origin, access-control-request-method, access-control-request-headers"),
        ("access-control-allow-headers", "x-a, content-type"),
        ("access-control-allow-credentials", "true"),
        ("access-control-max-age", "600"),
    ];
    assert_eq!((reply.status, fields(&reply)), (204, expected.to_vec()));
    // The policy sees its own reply again, and leaves it alone.
    let response = testing::Response::new(204).with_header("access-control-allow-methods", "GET, PUT");
    assert_eq!(cors.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.header_count("access-control-allow-methods"), 1);

    let request = preflight("/x", "https://app.example.com")
        .with_header("access-control-request-private-network", "true");
    assert_eq!(cors.on_request(&request), Verdict::Respond);
    let reply = request.reply().unwrap();
    assert_eq!(fields(&reply).last(), Some(&("access-control-allow-private-network", "true")));
}

#[test]
fn an_origin_that_is_not_allowed_learns_nothing() {
    let rules = json!([{ "allow-origins": ["https://app.example.com"] }]);
    for (denied, status) in [("refuse", 403), ("plain", 204)] {
        let cors: Cors = testing::configure(json!({ "rules": rules, "denied-preflights": denied })).unwrap();
        let request = preflight("/", "https://evil.example");
        assert_eq!(cors.on_request(&request), Verdict::Respond);
        let reply = request.reply().unwrap();
        assert_eq!(reply.status, status);
        assert!(fields(&reply).iter().all(|(name, _)| !name.starts_with("access-control")));
        assert!(fields(&reply).contains(&("vary", "origin")));
    }
}

#[test]
fn what_is_no_preflight_goes_to_the_server() {
    let cors = cors(json!([{ "paths": ["/api/**"], "allow-origins": ["*"] }]));
    for request in [
        testing::Request::new("OPTIONS", "/api/x").with_header("origin", "https://a.example"),
        testing::Request::new("OPTIONS", "/api/x").with_header("access-control-request-method", "PUT"),
        testing::Request::new("GET", "/api/x")
            .with_header("origin", "https://a.example")
            .with_header("access-control-request-method", "PUT"),
        preflight("/other", "https://a.example"),
    ] {
        assert_eq!(cors.on_request(&request), Verdict::Next);
    }
}

#[test]
fn what_the_server_allows_by_itself_is_replaced() {
    let cors = cors(json!([
        { "paths": ["/open/**"], "allow-origins": ["*"], "expose-headers": ["*"] },
        { "paths": ["/**"], "allow-origins": ["https://app.example.com"], "allow-credentials": true, "expose-headers": ["x-a", "x-b"] },
    ]));
    let get = |path: &str| testing::Request::new("GET", path);
    let response = answered(&cors, &get("/x").with_header("origin", "https://app.example.com"));
    assert_eq!(response.header("access-control-allow-origin").as_deref(), Some("https://app.example.com"));
    assert_eq!(response.header("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(response.header_values("access-control-expose-headers"), [b"x-a, x-b"]);
    assert_eq!(response.header_values("vary"), [&b"accept"[..], b"origin"]);
    for request in [get("/x"), get("/x").with_header("origin", "https://evil.example")] {
        let response = answered(&cors, &request);
        assert_eq!(response.header_count("access-control-allow-origin"), 0);
        assert_eq!(response.header_count("access-control-allow-credentials"), 0);
        assert_eq!(response.header_count("access-control-expose-headers"), 0);
        assert_eq!(response.header_values("vary"), [&b"accept"[..], b"origin"]);
    }
    // The same for everyone, so that a cache may keep it.
    for request in [get("/open/x"), get("/open/x").with_header("origin", "https://a.example")] {
        let response = answered(&cors, &request);
        assert_eq!(response.header("access-control-allow-origin").as_deref(), Some("*"));
        assert_eq!(response.header_count("access-control-allow-credentials"), 0);
        assert_eq!(response.header_values("vary"), [b"accept"]);
    }
}

#[test]
fn vary_names_the_origin_once() {
    let cors = cors(json!([{ "allow-origins": ["https://app.example.com"] }]));
    for (vary, count) in
        [("Accept, Origin", 1), ("*", 1), ("origin-trial", 2), ("x-origin", 2), ("a,origin ,b", 1)]
    {
        let request = testing::Request::new("GET", "/");
        let response = testing::Response::new(200).with_header("vary", vary);
        assert_eq!(cors.on_request(&request), Verdict::Next);
        assert_eq!(cors.on_response(&request, &response), Verdict::Next);
        assert_eq!(response.header_count("vary"), count, "{vary}");
    }
}

#[test]
fn origins_are_compared_whole() {
    let cors = cors(json!([{
        "allow-origins": ["https://app.example.com", "https://*.example.org", "http://localhost:*", "https://a.example:8443", "HTTPS://Up.example"],
        "allow-origin-regexes": [r"https://pr-\d+\.preview\.example", "https://one.example|https://two.example"],
    }]));
    for origin in [
        "https://app.example.com",
        "https://a.example.org",
        "https://b.a.example.org",
        "http://localhost",
        "http://localhost:3000",
        "https://a.example:8443",
        "https://up.example",
        "https://pr-12.preview.example",
        "https://one.example",
        "https://two.example",
    ] {
        assert!(allowed(&cors, origin), "{origin}");
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil.example/https://app.example.com",
        "https://appxexample.com",
        "https://example.org",
        "https://evilexample.org",
        "https://evil.com/.example.org",
        "https://evil.com#.example.org",
        "https://.example.org",
        "https://a.example",
        "http://localhost:1:2",
        "http://localhost.evil.example",
        "null",
        "",
        "*",
        "https://pr-12.preview.example.evil.example",
        "https://pr-1.previewXexample",
        "xhttps://one.example",
        "https://two.example.evil",
        "https://one.examplex",
    ] {
        assert!(!allowed(&cors, origin), "{origin}");
    }
}

#[test]
fn two_origins_are_none() {
    let cors = cors(json!([{ "allow-origins": ["https://app.example.com"] }]));
    let both = |request: testing::Request| {
        request.with_header("origin", "https://app.example.com").with_header("origin", "https://evil.example")
    };
    let response = answered(&cors, &both(testing::Request::new("GET", "/")));
    assert_eq!(response.header_count("access-control-allow-origin"), 0);
    let request =
        both(testing::Request::new("OPTIONS", "/")).with_header("access-control-request-method", "PUT");
    assert_eq!(cors.on_request(&request), Verdict::Respond);
    assert_eq!(request.reply().map(|reply| reply.status), Some(403));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let rule = |rule: Value| json!({ "rules": [rule] });
    let origin = |origin: &str| json!({ "rules": [{ "allow-origins": ["https://a.example", origin] }] });
    for (config, message) in [
        (json!({}), "missing field `rules`"),
        (rule(json!({ "paths": ["/a"] })), "rules[0]: neither `allow-origins` nor"),
        (
            rule(json!({ "allow-origins": ["*"], "allow-credentials": true })),
            "rules[0].allow-origins: `*` with",
        ),
        (
            rule(json!({ "allow-origins": ["*", "https://a.example"] })),
            "rules[0].allow-origins: `*` is everyone",
        ),
        (
            rule(
                json!({ "allow-origins": ["https://a.example"], "allow-credentials": true, "allow-headers": ["a", "*"] }),
            ),
            "rules[0].allow-headers[1]: `*` means nothing",
        ),
        (
            rule(
                json!({ "allow-origins": ["https://a.example"], "allow-credentials": true, "expose-headers": ["*"] }),
            ),
            "rules[0].expose-headers[0]: `*` means nothing",
        ),
        (origin("null"), "rules[0].allow-origins[1]: `null` is what every"),
        (origin("app.example.com"), "rules[0].allow-origins[1]: `app.example.com` has no scheme"),
        (origin("https://a.example/"), "rules[0].allow-origins[1]: `https://a.example/` has more"),
        (
            origin("https://a.example:443"),
            "rules[0].allow-origins[1]: `https://a.example:443`: browsers leave",
        ),
        (origin("https://a.example:x"), "rules[0].allow-origins[1]: `https://a.example:x` has a port"),
        (origin("https://*"), "rules[0].allow-origins[1]: `https://*` has no host"),
        (origin("https://a.*.example"), "rules[0].allow-origins[1]: `https://a.*.example` has no host"),
        (rule(json!({ "allow-origin-regexes": ["a", "("] })), "rules[0].allow-origin-regexes[1]: "),
        (rule(json!({ "allow-origin-regexes": ["a)|(b"] })), "rules[0].allow-origin-regexes[0]: "),
        (
            rule(json!({ "allow-origins": ["*"], "methods": ["GET"] })),
            "rules[0].methods: a preflight has OPTIONS",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "cookies": { "beta": "1" } })),
            "rules[0].cookies: a preflight carries no cookies",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "headers": { "x-a": "*", "Cookie": "*" } })),
            "rules[0].headers.Cookie: a preflight carries no credentials",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "headers": { "authorization": "Bearer *" } })),
            "rules[0].headers.authorization: a preflight carries no credentials",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "allow-methods": ["get"] })),
            "rules[0].allow-methods[0]: `get`: the case",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "allow-methods": [] })),
            "rules[0].allow-methods: an empty list",
        ),
        (
            rule(json!({ "allow-origins": ["*"], "allow-headers": ["a b"] })),
            "rules[0].allow-headers[0]: `a b` is",
        ),
        (rule(json!({ "allow-origins": ["*"], "max-age": "1h" })), "rules[0].max-age: invalid type"),
        (rule(json!({ "allow-origin": ["*"] })), "rules[0].allow-origin: unknown field"),
        (json!({ "rules": [], "denied-preflights": "drop" }), "denied-preflights: unknown variant"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
