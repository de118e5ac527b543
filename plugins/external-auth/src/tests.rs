//! Who passes, and what is told to whom.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin_sdk::callout::CalloutError;

use super::*;

fn config(keys: Value) -> Value {
    let mut config = json!({
        "upstream": "auth", "path": "/verify?rd=1", "server-headers": ["Remote-User", "remote-groups"],
        "client-headers": ["set-cookie", "x-session"],
    });
    for (name, value) in keys.as_object().expect("a table") {
        config[name] = value.clone();
    }
    config
}

fn auth(keys: Value) -> ExternalAuth {
    testing::answer_callouts(|_| Err(CalloutError::TooMany));
    testing::configure(config(keys)).expect("a valid configuration")
}

/// What the service was asked.
type Asked = Rc<RefCell<Vec<testing::Callout>>>;

fn answer(reply: Result<Reply, CalloutError>) -> Asked {
    let asked = Asked::default();
    let seen = asked.clone();
    testing::answer_callouts(move |callout| {
        seen.borrow_mut().push(callout.clone());
        reply.clone()
    });
    asked
}

fn yes() -> Reply {
    Reply::new(200).header("remote-user", "alice")
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

#[track_caller]
fn assert_passes(auth: &ExternalAuth, request: &testing::Request) {
    let verdict = auth.on_request(request);
    assert_eq!((verdict, request.reply()), (Verdict::Next, None));
}

#[track_caller]
fn refused(auth: &ExternalAuth, request: &testing::Request) -> Reply {
    assert_eq!(auth.on_request(request), Verdict::Respond);
    request.reply().expect("a reply")
}

#[test]
fn no_spelling_of_a_forged_field_stays() {
    let auth = auth(json!({ "on-unavailable": "allow", "rules": [{ "paths": ["/open"], "ask": false }] }));
    for (path, reply) in
        [("/", Ok(yes())), ("/", Err(CalloutError::Failed)), ("/open", Err(CalloutError::Failed))]
    {
        answer(reply);
        let request = get(path)
            .with_header("remote_user", "root")
            .with_header("Remote_Groups", "admins")
            .with_header("x_auth_unavailable", "true");
        assert_passes(&auth, &request);
        for name in ["remote_user", "remote_groups", "x_auth_unavailable"] {
            assert_eq!(request.header_count(name), 0, "{path} {name}");
        }
    }
}

#[test]
fn the_question_says_what_was_asked_for() {
    let auth = auth(json!({ "host": "auth.internal", "timeout": "250ms" }));
    let asked = answer(Ok(yes()));
    let request = testing::Request::new("POST", "/a/../b?x=1")
        .with_host("shop.example.com:8443")
        .with_tls(None)
        .with_body()
        .with_client("198.51.100.7")
        .with_header("cookie", "a=1")
        .with_header("cookie", "b=2")
        .with_header("content-type", "text/plain")
        .with_header("content-length", "3")
        .with_header("if-none-match", "\"x\"")
        .with_header("range", "bytes=0-1")
        .with_header("connection", "upgrade")
        .with_header("upgrade", "websocket")
        .with_header("x-forwarded-for", "6.6.6.6")
        .with_header("X-Forwarded-Method", "GET")
        .with_header("x-forwarded-uri", "/public")
        .with_header("x-original-uri", "/public")
        .with_header("X_Original_Uri", "/public")
        .with_header("Remote_User", "root");
    assert_passes(&auth, &request);
    let asked = asked.borrow();
    let [callout] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((callout.destination.as_str(), callout.method.as_str()), ("auth", "GET"));
    assert_eq!((callout.target.as_str(), callout.host.as_deref()), ("/verify?rd=1", Some("auth.internal")));
    assert_eq!((callout.timeout, callout.body.is_empty()), (Some(Duration::from_millis(250)), true));
    let mut fields: Vec<String> = callout
        .headers
        .iter()
        .map(|(name, value)| format!("{}: {}", name.to_lowercase(), String::from_utf8_lossy(value)))
        .collect();
    fields.sort();
    let expected = [
        "cookie: a=1",
        "cookie: b=2",
        "x-forwarded-for: 198.51.100.7",
        "x-forwarded-host: shop.example.com:8443",
        "x-forwarded-method: POST",
        "x-forwarded-proto: https",
        "x-forwarded-uri: /a/../b?x=1",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn the_service_sees_no_more_than_was_chosen() {
    let auth = auth(json!({
        "request-headers": ["Authorization", "authorization", "x-original-uri"], "original-headers": true, "method": "original",
    }));
    let asked = answer(Ok(yes()));
    let request = testing::Request::new("DELETE", "/x")
        .with_header("authorization", "Basic YTpi")
        .with_header("cookie", "a=1")
        .with_header("x-original-uri", "/public");
    assert_passes(&auth, &request);
    let asked = asked.borrow();
    let callout = &asked[0];
    assert_eq!(callout.method, "DELETE");
    assert_eq!(callout.headers.iter().filter(|(name, _)| name == "authorization").count(), 1);
    for (name, value) in [
        ("x-original-method", Some("DELETE")),
        ("x-original-uri", Some("/x")),
        ("x-original-url", Some("http://example.com/x")),
        ("cookie", None),
    ] {
        assert_eq!(callout.header(name), value, "{name}");
    }
    assert_eq!(callout.headers.iter().filter(|(name, _)| name == "x-original-uri").count(), 1);
}

#[test]
fn a_positive_answer_says_who_it_is_and_nobody_else_does() {
    let auth = auth(json!({}));
    let groups = yes().header("Remote-Groups", "a").header("remote-groups", b"b\xff").header("x-other", "1");
    answer(Ok(groups));
    let request = get("/")
        .with_header("remote-user", "root")
        .with_header("Remote-User", "root")
        .with_header("x-other", "2");
    assert_passes(&auth, &request);
    assert_eq!(request.header_values("remote-user"), [b"alice"]);
    assert_eq!(request.header_values("remote-groups"), [&b"a"[..], b"b\xff"]);
    assert_eq!(request.header_values("x-other"), [b"2"]);
    answer(Ok(Reply::new(204)));
    let request = get("/").with_header("remote-user", "root").with_header("x-auth-unavailable", "true");
    assert_passes(&auth, &request);
    assert_eq!((request.header_count("remote-user"), request.header_count("x-auth-unavailable")), (0, 0));
}

#[test]
fn the_client_gets_what_was_chosen_with_the_response() {
    let auth = auth(json!({}));
    let cookies =
        yes().header("set-cookie", "s=2; Path=/").header("Set-Cookie", "t=3").header("x-session", "new");
    answer(Ok(cookies));
    let request = get("/");
    assert_passes(&auth, &request);
    let response =
        testing::Response::new(200).with_header("set-cookie", "own=1").with_header("x-session", "old");
    assert_eq!(auth.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.header_values("set-cookie"), [&b"own=1"[..], b"s=2; Path=/", b"t=3"]);
    assert_eq!(response.header_values("x-session"), [b"new"]);

    answer(Ok(yes()));
    let request = get("/");
    assert_passes(&auth, &request);
    let response = testing::Response::new(200).with_header("x-session", "old");
    assert_eq!(auth.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.header_values("x-session"), [b"old"]);
}

#[test]
fn a_negative_answer_is_the_response() {
    let auth = auth(json!({}));
    for status in [300, 302, 304, 400, 401, 403, 404, 429, 499] {
        let said = Reply::new(status)
            .header("location", "https://login.example.com/?rd=x")
            .header("www-authenticate", "Basic realm=\"x\"")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body("not you");
        let hop = said.clone().header("Connection", "close").header("transfer-encoding", "chunked");
        answer(Ok(hop));
        assert_eq!(refused(&auth, &get("/")), said);
    }
}

/// Each way in which a service can fail.
fn failures() -> Vec<Result<Reply, CalloutError>> {
    vec![
        Err(CalloutError::Failed),
        Err(CalloutError::Timeout),
        Ok(Reply::new(500).header("remote-user", "root")),
        Ok(Reply::new(503)),
        Ok(Reply::new(600)),
    ]
}

#[test]
fn without_an_answer_nobody_passes() {
    let auth = auth(json!({}));
    for failure in failures() {
        answer(failure);
        let reply = refused(&auth, &get("/"));
        assert_eq!(
            reply,
            Reply::new(503).header("retry-after", "1").text("nobody can say now who may pass\n")
        );
    }
}

#[test]
fn without_an_answer_all_pass_if_wished_and_the_server_is_told() {
    let auth = auth(json!({ "on-unavailable": "allow" }));
    for failure in failures() {
        answer(failure);
        let request = get("/").with_header("remote-user", "root").with_header("x-auth-unavailable", "false");
        assert_passes(&auth, &request);
        assert_eq!(request.header_count("remote-user"), 0);
        assert_eq!(request.header_values("x-auth-unavailable"), [b"true"]);
    }
    answer(Ok(Reply::new(403)));
    assert_eq!(refused(&auth, &get("/")).status, 403);
}

#[test]
fn a_question_that_is_not_asked_opens_no_way() {
    let auth = auth(json!({ "on-unavailable": "allow" }));
    for error in [
        CalloutError::TooMany,
        CalloutError::InvalidRequest,
        CalloutError::TooLarge,
        CalloutError::NotGranted,
    ] {
        answer(Err(error));
        assert_eq!(refused(&auth, &get("/")).status, 503, "{error}");
    }
}

#[test]
fn rules_say_about_which_requests_it_is_asked() {
    let auth = auth(json!({ "rules": [
        { "paths": ["/public/secret"], "ask": true },
        { "paths": ["/public/**"], "ask": false },
    ]}));
    let asked = answer(Ok(Reply::new(401)));
    let request =
        get("/public/x").with_header("remote-user", "root").with_header("x-auth-unavailable", "true");
    assert_passes(&auth, &request);
    assert_eq!((request.header_count("remote-user"), request.header_count("x-auth-unavailable")), (0, 0));
    assert!(asked.borrow().is_empty());
    for path in ["/public/secret", "/other", "/public/../other"] {
        assert_eq!(refused(&auth, &get(path)).status, 401, "{path}");
    }
}

/// How often the service is asked about these, which all pass.
fn times_asked(auth: &ExternalAuth, reply: Reply, requests: &[testing::Request]) -> usize {
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    testing::answer_callouts(move |_| {
        count.set(count.get() + 1);
        Ok(reply.clone())
    });
    for request in requests {
        assert_passes(auth, request);
    }
    asked.get()
}

#[test]
fn a_positive_answer_is_remembered_if_wished() {
    let auth = auth(json!({ "cache": { "ttl": "10s", "headers": ["authorization"] } }));
    let bearing = |path: &str, credentials: &str| get(path).with_header("authorization", credentials);
    let same = [bearing("/", "a").with_header("remote-user", "root"), bearing("/", "a"), bearing("/", "a")];
    assert_eq!(times_asked(&auth, yes().header("x-session", "1"), &same), 1);
    for request in &same {
        assert_eq!(request.header_values("remote-user"), [b"alice"]);
        let response = testing::Response::new(200);
        assert_eq!(auth.on_response(request, &response), Verdict::Next);
        assert_eq!(response.header("x-session").as_deref(), Some("1"));
    }
    let others = [
        bearing("/", "b"),
        bearing("/?x", "a"),
        bearing("/", "a").with_host("other.example"),
        testing::Request::new("PUT", "/").with_header("authorization", "a"),
        bearing("/", "a").with_header("authorization", "b"),
        get("/"),
        get("/"),
    ];
    assert_eq!(times_asked(&auth, yes(), &others), others.len());
    testing::advance(Duration::from_secs(10));
    assert_eq!(times_asked(&auth, yes(), &[bearing("/", "a")]), 1);
    for once in [yes().header("cache-control", "No-Store"), yes().header("set-cookie", "a=1")] {
        assert_eq!(times_asked(&auth, once, &[bearing("/once", "a"), bearing("/once", "a")]), 2);
    }
    answer(Ok(Reply::new(403)));
    assert_eq!(refused(&auth, &bearing("/never", "a")).status, 403);
    assert_eq!(times_asked(&auth, yes(), &[bearing("/never", "a")]), 1, "a refusal is not remembered");
}

#[test]
fn users_alone_may_be_told_from_each_other() {
    let auth = auth(
        json!({ "cache": { "ttl": "1m", "headers": ["cookie", "authorization"], "per-target": false } }),
    );
    let with = |name: &str, path: &str| get(path).with_header(name, "a");
    let requests = [with("cookie", "/a"), with("cookie", "/b"), with("authorization", "/a")];
    assert_eq!(times_asked(&auth, yes(), &requests), 2);
}

#[test]
fn mistakes_are_refused_with_their_key() {
    testing::answer_callouts(|_| Err(CalloutError::NotGranted));
    for (keys, message) in [
        (json!({ "upstream": 1 }), "upstream: invalid type"),
        (json!({}), "upstream: is not granted: write `grants = { callout = [\"auth\"] }`"),
        (json!({ "path": "verify" }), "path: `verify` does not begin with `/`"),
        (json!({ "method": "POST" }), "method: unknown variant `POST`"),
        (json!({ "timeout": "0s" }), "timeout: has to be longer"),
        (json!({ "server-headers": ["a", "a b"] }), "server-headers[1]: `a b` is not a field name"),
        (json!({ "server-headers": ["Host"] }), "server-headers[0]: `Host` belongs to the proxy"),
        (json!({ "client-headers": ["content-length"] }), "client-headers[0]: `content-length` belongs"),
        (
            json!({ "server-headers": ["X-Auth-Unavailable"] }),
            "server-headers[0]: `X-Auth-Unavailable` is said",
        ),
        (
            json!({ "server-headers": ["x_auth-unavailable"] }),
            "server-headers[0]: `x_auth-unavailable` is said",
        ),
        (json!({ "server-headers": ["a", "x-a-b-c-d-e"] }), "server-headers: `x-a-b-c-d-e` has more than 4"),
        (json!({ "request-headers": [""] }), "request-headers[0]: `` is not"),
        (json!({ "on-unavailable": "pass" }), "on-unavailable: unknown variant"),
        (json!({ "rules": [{ "paths": ["/a"] }] }), "rules[0]: missing field `ask`"),
        (json!({ "rules": [{ "path": "/a", "ask": true }] }), "rules[0].path: unknown field"),
        (json!({ "header": [] }), "header: unknown field"),
    ] {
        let error = testing::configure::<ExternalAuth>(config(keys)).err().expect("an invalid configuration");
        assert!(error.starts_with(message), "{error}");
    }
    testing::answer_callouts(|_| Err(CalloutError::TooMany));
    for (cache, message) in [
        (json!({ "ttl": "10m", "headers": ["a"] }), "cache.ttl: `10m` is not 1ms to 5m"),
        (json!({ "ttl": "0s", "headers": ["a"] }), "cache.ttl: `0s` is not"),
        (json!({ "ttl": "1s", "headers": [] }), "cache.headers: is empty"),
        (json!({ "ttl": "1s", "headers": ["a b"] }), "cache.headers[0]: `a b` is not"),
        (json!({ "ttl": "1s" }), "cache: missing field `headers`"),
    ] {
        let error = testing::configure::<ExternalAuth>(config(json!({ "cache": cache })))
            .err()
            .expect("it is invalid");
        assert!(error.starts_with(message), "{error}");
    }
}
