//! Who passes, and what it costs.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

/// `secret`, by `htpasswd -nbB -C 4`.
const BCRYPT: &str = "$2y$04$FQ4PR9BXhB1AQ3bDx4VhdeT4SMKrLh2l/.53bqihMXRXeTvakz3Wa";

fn with_users(users: &str) {
    testing::set_secret("users", users);
}

fn auth(config: Value) -> BasicAuth {
    testing::configure(config).expect("a valid configuration")
}

fn everywhere() -> BasicAuth {
    with_users(&format!("# people\n\nalice:{BCRYPT}\nbøb:{BCRYPT}:a comment\r\n"));
    auth(json!({ "rules": [{ "users": "users", "realm": "the \"lab\"" }] }))
}

fn refused(config: Value) -> String {
    testing::configure::<BasicAuth>(config).err().expect("an invalid configuration")
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

fn get(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
}

fn with(pair: &str) -> testing::Request {
    get("/").with_header("authorization", basic(pair))
}

#[track_caller]
fn assert_answered(auth: &BasicAuth, request: &testing::Request, status: u16) -> Vec<(String, Vec<u8>)> {
    assert_eq!(auth.on_request(request), Verdict::Respond);
    let reply = request.reply().expect("a reply");
    assert_eq!(reply.status, status);
    reply.headers
}

#[test]
fn a_right_password_passes_and_servers_learn_whose_it_is() {
    let auth = everywhere();
    for user in ["alice", "bøb"] {
        let request = with(&format!("{user}:secret"))
            .with_header("x-remote-user", "root")
            .with_header("X_Remote_User", "root")
            .with_header("proxy-authorization", "Basic x");
        assert_eq!(auth.on_request(&request), Verdict::Next);
        assert_eq!(request.header_values("x-remote-user"), [user.as_bytes()]);
        assert_eq!(request.header_count("x_remote_user"), 0);
        assert_eq!(request.header_count("authorization"), 0);
        assert_eq!(request.header_count("proxy-authorization"), 1);
        assert_eq!(request.attribute("user").as_deref(), Some(user));
    }
}

#[test]
fn everything_else_is_asked_for_a_password() {
    let auth = everywhere();
    for request in [
        get("/"),
        with("alice:Secret"),
        with("alice:"),
        with("carol:secret"),
        with(":"),
        with("alice:secret").with_header("authorization", basic("carol:x")),
        get("/").with_header("authorization", "Bearer x"),
        get("/").with_header("authorization", b"Basic \xff"),
        with(&format!("alice:{}", "x".repeat(600))),
        with(&format!("alice:{}", "x".repeat(100_000))),
    ] {
        let headers = assert_answered(&auth, &request, 401);
        let challenge =
            ("www-authenticate".to_owned(), br#"Basic realm="the \"lab\"", charset="UTF-8""#.to_vec());
        assert!(headers.contains(&challenge), "{headers:?}");
        assert_eq!(request.attribute("user"), None);
    }
}

#[test]
fn forged_names_are_removed_where_nobody_is_asked() {
    with_users(&format!("alice:{BCRYPT}"));
    let auth = auth(json!({ "user-header": "X-User", "forward-credentials": true, "rules": [
        { "paths": ["/open/**"], "open": true }, { "paths": ["/in/**"], "users": "users" },
    ]}));
    for path in ["/open/x", "/elsewhere"] {
        let request = get(path).with_header("x-user", "alice").with_header("authorization", "Basic x");
        assert_eq!(auth.on_request(&request), Verdict::Next);
        assert_eq!(request.header_count("x-user"), 0, "{path}");
        assert_eq!(request.header_count("authorization"), 1, "{path}");
    }
    assert_answered(&auth, &get("/in/x").with_header("x-user", "alice"), 401);
    assert_answered(&auth, &get("/open/../%69n"), 401);
    let request = get("/in/x").with_header("authorization", basic("alice:secret"));
    assert_eq!(auth.on_request(&request), Verdict::Next);
    assert_eq!(request.header_count("authorization"), 1, "it is forwarded");
}

#[test]
fn areas_have_users_of_their_own() {
    testing::set_secret("staff", format!("alice:{BCRYPT}"));
    testing::set_secret("guests", format!("gast:{BCRYPT}"));
    let auth = auth(json!({ "rules": [
        { "hosts": ["a.test"], "users": "staff" }, { "users": "guests" },
    ]}));
    for (host, user, verdict) in [
        ("a.test", "alice", Verdict::Next),
        ("a.test", "gast", Verdict::Respond),
        ("b.test", "alice", Verdict::Respond),
        ("b.test", "gast", Verdict::Next),
    ] {
        let request = with(&format!("{user}:secret")).with_host(host);
        assert_eq!(auth.on_request(&request), verdict, "{user} at {host}");
    }
}

#[test]
fn wrong_passwords_are_limited_for_each_client_before_they_cost() {
    with_users(&format!("alice:{BCRYPT}"));
    let auth = auth(json!({ "rules": [{ "users": "users" }], "failures": { "limit": 3, "period": "1m" } }));
    for _ in 0..10 {
        assert_eq!(auth.on_request(&with("alice:secret")), Verdict::Next, "who is right is not counted");
    }
    for user in ["alice", "nobody", "alice"] {
        let request = with(&format!("{user}:wrong"));
        assert_answered(&auth, &request, 401);
        assert_eq!(request.attribute("basic-auth").as_deref(), Some("wrong"));
    }
    let request = with("alice:secret");
    let headers = assert_answered(&auth, &request, 429);
    assert!(headers.contains(&("retry-after".to_owned(), b"20".to_vec())), "{headers:?}");
    assert_eq!(request.attribute("basic-auth").as_deref(), Some("limited"));
    assert_answered(&auth, &get("/"), 401);
    assert_eq!(auth.on_request(&with("alice:secret").with_client("192.0.2.2")), Verdict::Next);
    testing::advance(Duration::from_secs(20));
    assert_eq!(auth.on_request(&with("alice:secret")), Verdict::Next);
}

#[test]
fn a_user_who_does_not_exist_takes_as_long_as_one_who_does() {
    // Dear enough that a check can be told from none.
    with_users(&format!("alice:{}", BCRYPT.replace("$04$", "$08$")));
    let auth = auth(json!({ "rules": [{ "users": "users" }], "failures": { "limit": 100 } }));
    let time = |user: &str| {
        let began = Instant::now();
        assert_answered(&auth, &with(&format!("{user}:wrong")), 401);
        began.elapsed()
    };
    let (known, unknown) = (time("alice"), time("nobody"));
    assert!(unknown * 4 > known, "{unknown:?}, and {known:?} for one who exists");
}

#[test]
fn hashes_that_protect_nothing_are_refused_with_their_line() {
    let config = || json!({ "rules": [{ "users": "users" }] });
    for (line, message) in [
        (
            "bob:$apr1$salt$LhYKCM0KYMGmMuWUzRVQ0/",
            "the hash is one of MD5, which protects nothing; make it anew",
        ),
        ("bob:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "the hash is one of SHA-1"),
        ("bob:secret", "the hash is plain text or DES crypt"),
        ("bob:$2y$04$short", "the hash is damaged, or neither bcrypt"),
        ("bob:$2y$31$FQ4PR9BXhB1AQ3bDx4VhdeT4SMKrLh2l/.53bqihMXRXeTvakz3Wa", "the hash costs more"),
        ("bob", "is not `user:hash`"),
        (":x", "the user has no name"),
        (&format!("alice:{BCRYPT}"), "the user stands in an earlier line"),
    ] {
        with_users(&format!("# first\nalice:{BCRYPT}\n{line}\n"));
        let error = refused(config());
        let expected = format!("rules[0].users: line 3 of the secret: {message}");
        assert!(error.starts_with(&expected), "{error}");
        assert!(!error.contains("qUqP5") && !error.contains("bob"), "{error}");
    }
    with_users("\n# nobody\n");
    assert!(refused(config()).starts_with("rules[0].users: nobody stands in the secret"));
    testing::set_secret("users", b"a:\xff");
    assert!(refused(config()).starts_with("rules[0].users: the secret is not UTF-8"));
}

#[test]
fn mistakes_are_refused_with_their_key() {
    with_users(&format!("alice:{BCRYPT}"));
    let rule = |rule: Value| json!({ "rules": [rule] });
    let good = || json!([{ "users": "users" }]);
    for (config, message) in [
        (json!({}), "missing field `rules`"),
        (json!({ "rules": [] }), "rules: an empty list asks nobody"),
        (rule(json!({})), "rules[0]: has neither `users` nor `open = true`"),
        (rule(json!({ "open": false })), "rules[0]: has neither `users`"),
        (rule(json!({ "open": true, "users": "users" })), "rules[0].open: nobody is asked"),
        (rule(json!({ "open": true, "realm": "x" })), "rules[0].realm: nobody is asked"),
        (
            rule(json!({ "users": "admins" })),
            "rules[0].users: there is no secret of this name; add `[secrets]`",
        ),
        (rule(json!({ "users": "users", "realm": "a\nb" })), "rules[0].realm: \"a\\nb\" is not plain ASCII"),
        (rule(json!({ "users": "users", "path": ["/"] })), "rules[0].path: unknown field `path`"),
        (json!({ "rules": good(), "user-header": "a b" }), "user-header: `a b` is not a field name"),
        (json!({ "rules": good(), "user-header": "Authorization" }), "user-header: `authorization` is where"),
        (json!({ "rules": good(), "failures": { "limit": 0 } }), "failures.limit: 0 lets nobody"),
        (json!({ "rules": good(), "failures": { "period": "x" } }), "failures.period: `x`: a duration is"),
        (json!({ "rules": good(), "failures": { "per": "x" } }), "failures.per: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
