//! Who is let through, and what clients are told.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin_sdk::log::Level;

use super::*;

fn limits(limits: Value) -> RateLimit {
    configured(json!({ "limits": limits }))
}

fn configured(config: Value) -> RateLimit {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<RateLimit>(config).err().expect("an invalid configuration")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

/// One in a minute, counted by this.
fn once_a_minute(key: Value) -> RateLimit {
    limits(json!([{ "name": "once", "key": key, "limit": 1, "period": "1m" }]))
}

#[track_caller]
fn assert_passes(policy: &RateLimit, request: testing::Request) {
    assert_eq!(policy.on_request(&request), Verdict::Next);
    assert_eq!(request.reply(), None);
}

#[track_caller]
fn assert_refused(policy: &RateLimit, request: testing::Request) {
    assert_eq!(refusal(policy, request).status, 429);
}

#[track_caller]
fn refusal(policy: &RateLimit, request: testing::Request) -> Reply {
    assert_eq!(policy.on_request(&request), Verdict::Respond);
    request.reply().expect("a reply")
}

fn field<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let (_, value) = reply.headers.iter().find(|(known, _)| known == name)?;
    str::from_utf8(value).ok()
}

#[test]
fn all_of_a_limit_may_come_at_once_and_then_evenly() {
    let policy = limits(json!([{ "name": "all", "limit": 3, "period": "3s" }]));
    for _ in 0..3 {
        assert_passes(&policy, get("/"));
    }
    let reply = refusal(&policy, get("/"));
    assert_eq!((reply.status, field(&reply, "retry-after")), (429, Some("1")));
    testing::advance(Duration::from_secs(1));
    assert_passes(&policy, get("/"));
    assert_refused(&policy, get("/"));
}

#[test]
fn a_burst_says_how_many_come_at_once() {
    let policy = limits(json!([{ "name": "all", "limit": 60, "period": "1m", "burst": 0 }]));
    assert_passes(&policy, get("/"));
    assert_refused(&policy, get("/"));
    assert_passes(&policy, get("/").with_client("192.0.2.2"));
}

#[test]
fn a_key_tells_requests_apart() {
    // The key, the first request, one that counts as the same, and one that does not.
    for (key, first, same, other) in [
        (json!("everyone"), get("/a"), get("/b").with_client("192.0.2.9"), None),
        (json!("host"), get("/"), get("/b").with_host("EXAMPLE.com.:80"), Some(get("/").with_host("b.test"))),
        (json!("path"), get("/a/b"), get("//%61/./b?x"), Some(get("/a"))),
        (
            json!("header:X-Key"),
            get("/").with_header("x-key", "a"),
            get("/").with_header("x-key", "a").with_client("192.0.2.9"),
            Some(get("/").with_header("x-key", "b")),
        ),
        (
            json!("cookie:id"),
            get("/").with_header("cookie", "x=1; id=a"),
            get("/")
                .with_header("cookie", "x=2")
                .with_header("cookie", " id = a ; y=3")
                .with_client("192.0.2.9"),
            Some(get("/").with_header("cookie", "x=1; id=b")),
        ),
        (json!("query:k"), get("/?k=a"), get("/b?z=1&%6b=%61"), Some(get("/?k=b"))),
        (
            json!("attribute:user"),
            get("/").with_attribute("user", "a"),
            get("/").with_attribute("user", "a").with_client("192.0.2.9"),
            Some(get("/").with_attribute("user", "b")),
        ),
        (json!(["address", "path"]), get("/a"), get("/%61"), Some(get("/a").with_client("192.0.2.9"))),
    ] {
        let policy = once_a_minute(key);
        assert_passes(&policy, first);
        assert_refused(&policy, same);
        if let Some(other) = other {
            assert_passes(&policy, other);
        }
    }
}

#[test]
fn addresses_count_by_network() {
    for (prefixes, first, same, other) in [
        (json!({}), "2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
        (json!({}), "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        (json!({ "ipv6-prefix": 48 }), "2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"),
        (json!({ "ipv6-prefix": 128 }), "2001:db8::1", "2001:db8::1", "2001:db8::2"),
        (json!({ "ipv4-prefix": 24 }), "192.0.2.1", "192.0.2.9", "192.0.3.1"),
        (json!({ "ipv4-prefix": 0 }), "192.0.2.1", "10.0.0.1", "2001:db8::1"),
    ] {
        let mut limit = json!({ "name": "once", "limit": 1, "period": "1m" });
        limit.as_object_mut().unwrap().extend(prefixes.as_object().unwrap().clone());
        let policy = limits(json!([limit]));
        assert_passes(&policy, get("/").with_client(first));
        assert_refused(&policy, get("/").with_client(same));
        assert_passes(&policy, get("/").with_client(other));
    }
}

#[test]
fn who_has_no_key_is_not_free_of_charge() {
    let keyless = [
        || get("/"),
        || get("/").with_header("x-key", ""),
        || get("/").with_header("x-key", "a").with_header("x-key", "b"),
        || get("/").with_header("x-key", "192.0.2.1").with_header("x-key", "c"),
    ];
    let policy = once_a_minute(json!("header:x-key"));
    assert_passes(&policy, get("/"));
    for request in keyless {
        assert_refused(&policy, request());
    }
    assert_passes(&policy, get("/").with_client("192.0.2.2"));
    assert_passes(&policy, get("/").with_header("x-key", "192.0.2.1"));

    let together = json!({ "name": "once", "key": "header:x-key", "without-key": "together", "limit": 1, "period": "1m" });
    let policy = limits(json!([together]));
    assert_passes(&policy, get("/"));
    assert_refused(&policy, get("/").with_client("192.0.2.2"));
    assert_passes(&policy, get("/").with_header("x-key", "-"));
}

#[test]
fn keys_are_short_whatever_a_client_sends() {
    let long = "x".repeat(10_000);
    let key = |key: &str| {
        let prefixes = key::Prefixes { ipv4: 32, ipv6: 64 };
        key::Key::new(key::Written::One(key.to_owned()), key::WithoutKey::Address, prefixes).unwrap()
    };
    for (by, request) in [
        ("header:a", get("/").with_header("a", &long)),
        ("header:a", get("/").with_header("a", b"\xff|\xfe")),
        ("path", get(&format!("/{long}"))),
        ("query:a", get(&format!("/?a={long}"))),
        ("host", get("/").with_host(&long)),
    ] {
        let key::Subject::Named(name) = key(by).of(&request) else { panic!("{by}") };
        assert!(name.starts_with('=') && name.len() == 33, "{by}: {name}");
    }
}

#[test]
fn all_limits_must_let_a_request_pass_and_none_counts_what_another_refuses() {
    let policy = limits(json!([
        { "name": "many", "limit": 3, "period": "1h" },
        { "name": "few", "paths": ["/login"], "limit": 1, "period": "1m" },
    ]));
    assert_passes(&policy, get("/login"));
    for _ in 0..5 {
        let reply = refusal(&policy, get("/login"));
        assert_eq!(field(&reply, "ratelimit"), Some("\"few\";r=0;t=60"));
        assert_eq!(field(&reply, "ratelimit-policy"), Some("\"many\";q=3;w=3600, \"few\";q=1;w=60"));
    }
    assert_passes(&policy, get("/"));
    assert_passes(&policy, get("/"));
    let reply = refusal(&policy, get("/login"));
    assert_eq!(field(&reply, "retry-after"), Some("1200"), "of those that refuse, the longest");
}

#[test]
fn only_requests_that_fit_are_counted() {
    let policy = limits(
        json!([{ "name": "posts", "methods": ["POST"], "paths": ["/a/**"], "limit": 1, "period": "1m" }]),
    );
    for _ in 0..3 {
        assert_passes(&policy, get("/a"));
        assert_passes(&policy, testing::Request::new("POST", "/b"));
    }
    assert_passes(&policy, testing::Request::new("POST", "/a"));
    assert_refused(&policy, testing::Request::new("POST", "/x/..//%61"));
}

#[test]
fn the_exempt_are_not_counted() {
    let policy = configured(json!({
        "limits": [{ "name": "one", "key": "everyone", "limit": 1, "period": "1m" }], "exempt": ["10.0.0.0/8"],
    }));
    for _ in 0..3 {
        assert_passes(&policy, get("/").with_client("10.1.2.3"));
    }
    assert_passes(&policy, get("/"));
    assert_refused(&policy, get("/"));
}

#[test]
fn a_dry_run_counts_and_tells_and_refuses_nothing() {
    let policy = limits(json!([
        { "name": "real", "limit": 2, "period": "1m" },
        { "name": "trial", "limit": 1, "period": "1m", "dry-run": true },
    ]));
    assert_passes(&policy, get("/"));
    testing::take_log();
    let request = get("/");
    assert_eq!(policy.on_request(&request), Verdict::Next);
    assert_eq!(request.attribute("rate-limit-dry-run").as_deref(), Some("trial"));
    assert_eq!(testing::take_log(), [(Level::Info, "limit `trial` would refuse 192.0.2.1".to_owned())]);
    assert_eq!(testing::metric("rate_limit_refused", &["trial", "dry-run"]), Some(1.0));

    let request = get("/");
    assert_eq!(policy.on_request(&request), Verdict::Respond);
    assert_eq!(request.attribute("rate-limit").as_deref(), Some("real"));
    assert_eq!(request.attribute("rate-limit-dry-run"), None);
    assert_eq!(testing::metric("rate_limit_refused", &["real", "enforced"]), Some(1.0));
    assert_eq!(testing::metric("rate_limit_refused", &["trial", "dry-run"]), Some(1.0));
}

#[test]
fn clients_are_told_of_the_tightest_limit() {
    let config = |fields: &str| {
        json!({ "fields": fields, "limits": [
            { "name": "hour", "limit": 100, "period": "1h" },
            { "name": "minute", "limit": 6, "period": "1m", "burst": 2 },
        ]})
    };
    let told = |policy: &RateLimit| {
        let request = get("/");
        let verdict = policy.on_request(&request);
        let response = testing::Response::new(200).with_header("ratelimit", "\"theirs\";r=1");
        policy.on_response(&request, &response);
        let ours = response.header_values("ratelimit").pop().unwrap();
        (verdict, String::from_utf8(ours).unwrap(), response.header("ratelimit-policy"))
    };
    let policies = Some("\"hour\";q=100;w=3600, \"minute\";q=6;w=60".to_owned());
    let policy = configured(config("all"));
    assert_eq!(told(&policy), (Verdict::Next, "\"minute\";r=2;t=10".to_owned(), policies.clone()));
    assert_eq!(told(&policy), (Verdict::Next, "\"minute\";r=1;t=10".to_owned(), policies.clone()));
    testing::advance(Duration::from_secs(4));
    assert_eq!(told(&policy), (Verdict::Next, "\"minute\";r=0;t=6".to_owned(), policies));
    assert_eq!(told(&policy).0, Verdict::Respond);

    for fields in ["refused", "none"] {
        assert_eq!(told(&configured(config(fields))).1, "\"theirs\";r=1", "{fields}");
    }
    let policy = configured(
        json!({ "fields": "none", "status": 503, "limits": [{ "name": "one", "limit": 1, "period": "1m" }] }),
    );
    assert_passes(&policy, get("/"));
    let reply = refusal(&policy, get("/"));
    assert_eq!(
        (reply.status, field(&reply, "ratelimit"), field(&reply, "retry-after")),
        (503, None, Some("60"))
    );
}

#[test]
fn no_more_than_the_quota_is_told() {
    let policy = configured(
        json!({ "fields": "all", "limits": [{ "name": "a", "limit": 5, "period": "1m", "burst": 50 }] }),
    );
    let (request, response) = (get("/"), testing::Response::new(200));
    assert_eq!(policy.on_request(&request), Verdict::Next);
    policy.on_response(&request, &response);
    assert_eq!(response.header("ratelimit").as_deref(), Some("\"a\";r=5;t=12"));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let limit = |more: Value| {
        let mut limit = json!({ "name": "a", "limit": 1, "period": "1m" });
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "limits": [limit] })
    };
    for (config, message) in [
        (json!({}), "missing field `limits`"),
        (json!({ "limits": [] }), "limits: an empty list limits nothing"),
        (json!({ "limits": [{ "name": "a", "limit": 1 }] }), "limits[0]: missing field `period`"),
        (json!({ "limits": [{ "limit": 1, "period": "1s" }] }), "limits[0]: missing field `name`"),
        (
            json!({ "limits": [{ "name": "a", "limit": 1, "period": "1s" }, { "name": "a", "limit": 2, "period": "1s" }] }),
            "limits[1].name: `a` is the name of another limit",
        ),
        (limit(json!({ "name": "a\"b" })), "limits[0].name: `a\"b` is not"),
        (limit(json!({ "limit": 0 })), "limits[0].limit: 0 is not 1 to"),
        (
            limit(json!({ "period": "60" })),
            "limits[0].period: `60`: a duration is whole numbers with the units",
        ),
        (limit(json!({ "period": "500ms" })), "limits[0].period: `500ms` is not whole seconds"),
        (limit(json!({ "period": "0s" })), "limits[0].period: `0s` is not"),
        (limit(json!({ "period": "9999h" })), "limits[0].period: `9999h` is not"),
        (limit(json!({ "burst": -1 })), "limits[0].burst: invalid value"),
        (limit(json!({ "scope": "global" })), "limits[0].scope: unknown variant `global`, expected one of"),
        (limit(json!({ "when-down": "allow" })), "limits[0].when-down: belongs to `scope"),
        (limit(json!({ "key": "ip" })), "limits[0].key: `ip` is not `address`, `host`"),
        (limit(json!({ "key": "header:a b" })), "limits[0].key: `a b` is not a name"),
        (limit(json!({ "key": "query:" })), "limits[0].key: `query:` lacks a name, as in `query:NAME`"),
        (limit(json!({ "key": [] })), "limits[0].key: an empty list"),
        (limit(json!({ "key": ["path", "everyone"] })), "limits[0].key[1]: `everyone` stands alone"),
        (limit(json!({ "key": 7 })), "limits[0].key: expected a text or a list of texts"),
        (limit(json!({ "ipv4-prefix": 33 })), "limits[0].ipv4-prefix: 33 is not 0 to 32"),
        (limit(json!({ "ipv6-prefix": 129 })), "limits[0].ipv6-prefix: 129 is not 0 to 128"),
        (limit(json!({ "path": ["/a"] })), "limits[0].path: unknown field `path`"),
        (
            json!({ "limits": [{ "name": "a", "limit": 1, "period": "1s" }], "exempt": ["x"] }),
            "exempt[0]: `x` is neither",
        ),
        (
            json!({ "limits": [{ "name": "a", "limit": 1, "period": "1s" }], "exempt": [] }),
            "exempt: an empty list",
        ),
        (
            json!({ "limits": [{ "name": "a", "limit": 1, "period": "1s" }], "status": 200 }),
            "status: 200 is not",
        ),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
