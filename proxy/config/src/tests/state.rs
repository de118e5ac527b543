//! Where policies keep what they share, and that a password stays where it was written.

use std::path::Path;
use std::time::Duration;

use super::{FULL, problems, read, with_listener};
use crate::{Config, Credentials, Password, Redis, RedisTls, StateBackend, schema};

fn with(lines: &str) -> String {
    with_listener(&format!("[state]\n{lines}"))
}

fn redis(url: &str) -> Redis {
    let config =
        read(&with(&format!("backend = \"{url}\""))).unwrap_or_else(|found| panic!("{url}: {found}"));
    let StateBackend::Redis(redis) = config.state.backend else { panic!("{url} is that of a Redis") };
    redis
}

fn credentials(user: Option<&str>, password: &str) -> Option<Credentials> {
    Some(Credentials { user: user.map(str::to_owned), password: Password::new(password.to_owned()) })
}

#[test]
fn every_key_arrives() {
    let state = read(FULL).expect("the example is valid").state;
    let expected = Redis {
        host: "redis.internal".to_owned(),
        port: 6380,
        database: 3,
        credentials: credentials(Some("edge"), "hunter2"),
        tls: Some(RedisTls { ca: Some("etc/certs/redis.pem".into()) }),
    };
    assert_eq!(state.backend, StateBackend::Redis(expected));
    assert_eq!([state.timeout, state.store_timeout], [10, 50].map(Duration::from_millis));
}

#[test]
fn it_is_memory_unless_another_is_named() {
    for text in [with_listener(""), with("backend = \"memory\"")] {
        let state = read(&text).expect("the text is valid").state;
        assert_eq!(state.backend, StateBackend::Memory);
        assert_eq!([state.timeout, state.store_timeout], [20, 100].map(Duration::from_millis));
    }
}

#[test]
fn a_url_says_where_redis_is_and_who_asks() {
    let plain = |host: &str, port: u16, database: u32| Redis {
        host: host.to_owned(),
        port,
        database,
        credentials: None,
        tls: None,
    };
    assert_eq!(redis("redis://localhost"), plain("localhost", 6379, 0));
    assert_eq!(redis("redis://localhost/"), plain("localhost", 6379, 0));
    assert_eq!(redis("redis://10.0.0.2:1/15"), plain("10.0.0.2", 1, 15));
    assert_eq!(redis("redis://[fd00::1]"), plain("fd00::1", 6379, 0));
    assert_eq!(redis("redis://[FD00::1]:6380/1"), plain("fd00::1", 6380, 1));
    let secured = redis("rediss://localhost");
    assert_eq!(secured, Redis { tls: Some(RedisTls { ca: None }), ..plain("localhost", 6379, 0) });
    for (written, expected) in [
        ("edge:secret", credentials(Some("edge"), "secret")),
        (":secret", credentials(None, "secret")),
        ("edge:a:b", credentials(Some("edge"), "a:b")),
        ("edge:a@b", credentials(Some("edge"), "a@b")),
        ("a%3Ab:%2f%3F%23%40%25%c3%a9", credentials(Some("a:b"), "/?#@%é")),
    ] {
        assert_eq!(redis(&format!("redis://{written}@localhost/2")).credentials, expected, "{written}");
    }
}

#[test]
fn one_mistake_gives_one_problem_at_its_place() {
    let url = r#"write "memory", or a URL as in "redis://10.0.0.2:6379/0""#;
    let neither = format!(r#"this is neither "memory" nor the URL of a Redis or Valkey; {url}"#);
    let host = concat!(
        "the URL has no host, or not a right one, or a port that is none; ",
        r#"write it as in "redis://10.0.0.2:6379" or "redis://[fd00::1]:6379""#
    );
    let database = concat!(
        "what follows the host in the URL is not the number of a database; ",
        r#"write it as in "redis://10.0.0.2:6379/0"; in a password write %2F for "/""#
    );
    let password = concat!(
        r#"the URL has no password before the "@"; write "redis://user:password@host", "#,
        r#"or "redis://:password@host" for a password without a user"#
    );
    let query = concat!(
        r##"the URL has a "?" or a "#", which says nothing to the proxy; "##,
        "leave it out; in a password write %3F and %23"
    );
    let octet = r#"user or password in the URL has a "%" that begins no octet; write %25 for "%""#;
    let cases = [
        ("", &*neither),
        ("redis", &*neither),
        ("Memory", &*neither),
        ("hunter2@localhost:6379", &*neither),
        ("http://:hunter2@localhost", &*neither),
        ("redis://", host),
        ("redis:///1", host),
        ("redis://:hunter2@", host),
        ("redis://localhost:", host),
        ("redis://localhost:0", host),
        ("redis://localhost:65536", host),
        ("redis://localhost:hunter2", host),
        ("redis://fd00::1", host),
        ("redis://[fd00::1", host),
        ("redis://a b", host),
        ("redis://unix:/run/redis.sock", host),
        ("redis://localhost/a", database),
        ("redis://localhost/-1", database),
        ("redis://localhost/1/2", database),
        ("redis://localhost/4294967296", database),
        ("redis://edge:65/hunter2@localhost", database),
        ("redis://hunter2@localhost", password),
        ("redis://edge:@localhost", password),
        ("redis://:@localhost", password),
        ("redis://:hunt#er2@localhost", query),
        ("redis://:hunt?er2@localhost", query),
        ("redis://localhost?protocol=resp3", query),
        ("redis://:hunter2%@localhost", octet),
        ("redis://:hunter2%4@localhost", octet),
        ("redis://:hunter2%zz@localhost", octet),
        ("redis://:hunter2%ff@localhost", "user or password in the URL is not UTF-8"),
    ];
    for (backend, problem) in cases {
        let found = problems(&with(&format!("backend = \"{backend}\"")));
        assert_eq!(found, [format!("2:11: state.backend: {problem}")], "{backend}");
    }
    let cases = [
        ("backend = [\"hunter2\"]", "2:11: state.backend must be text, not a list"),
        (
            "backend = 12345678",
            r#"2:11: state.backend must be text, not a number; write it as in "redis://10.0.0.2:6379/0""#,
        ),
        (
            "url = \"hunter2\"",
            r#"2:1: unknown key "url" in state; known keys here: backend, timeout, store-timeout, ca"#,
        ),
        ("timeout = \"0s\"", "2:11: state.timeout must be at least 1ms, not 0s"),
        ("timeout = \"5001ms\"", "2:11: state.timeout must be at most 5s, not 5001ms"),
        ("store-timeout = \"0s\"", "2:17: state.store-timeout must be at least 1ms, not 0s"),
        ("store-timeout = \"6s\"", "2:17: state.store-timeout must be at most 5s, not 6s"),
        (
            "ca = \"a.pem\"",
            r#"2:6: state.ca is of no use without TLS; begin state.backend with "rediss://", or leave ca out"#,
        ),
        (
            "backend = \"redis://:hunter2@localhost\"\nca = \"a.pem\"",
            r#"3:6: state.ca is of no use without TLS; begin state.backend with "rediss://", or leave ca out"#,
        ),
    ];
    for (lines, problem) in cases {
        assert_eq!(problems(&with(lines)), [problem], "{lines}");
    }
    assert_eq!(
        problems(&with_listener("state = \"redis://:hunter2@localhost\"")),
        ["1:9: state must be a table, not text"]
    );
}

/// Wherever a URL goes wrong.
#[test]
fn no_problem_repeats_a_piece_of_a_password() {
    let url = "redis://edge:hunter2hunter2@localhost:6379/3";
    for piece in ["/", "?", "#", "%", "@", ":", " ", "[", "]", "é", "//", "\\u0000"] {
        for (at, _) in url.char_indices() {
            let url = format!("{}{piece}{}", &url[..at], &url[at..]);
            if let Err(found) = read(&with(&format!("backend = \"{url}\""))) {
                let shown = found.to_string();
                assert!(!shown.contains("hunt") && !shown.contains("ter2"), "{url}: {shown}");
            }
        }
    }
}

#[test]
fn a_password_is_revealed_only_to_who_asks_for_it() {
    let config: Config = read(FULL).expect("the example is valid");
    let shown = format!("{config:?} {config:#?}");
    assert!(shown.contains("redis.internal") && !shown.contains("hunter"), "{shown}");
    let StateBackend::Redis(redis) = &config.state.backend else { panic!("it names a Redis") };
    assert_eq!(redis.to_string(), "rediss://redis.internal:6380/3");
    let Some(Credentials { password, .. }) = &redis.credentials else { panic!("it has a password") };
    assert_eq!(password.reveal(), "hunter2");
    let published = schema();
    let backend = &published["properties"]["state"]["properties"]["backend"];
    assert_eq!(backend["examples"], serde_json::json!(["redis://10.0.0.2:6379/0"]));
    assert_eq!(redis.tls.as_ref().and_then(|tls| tls.ca.as_deref()), Some(Path::new("etc/certs/redis.pem")));
}
