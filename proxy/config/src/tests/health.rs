//! What `health` of an upstream means, and what is wrong with one.

use std::time::Duration;

use super::{UPSTREAMS, problems, read, with_upstream};
use crate::{Health, HttpProbe, Probe};

/// What `health = { … }` comes to.
fn health(content: &str) -> Health {
    let text = with_upstream(&format!("servers = [\"a:1\"]\nhealth = {{ {content} }}"));
    let app = read(&text).expect("the check is valid").upstreams.remove("app");
    app.and_then(|app| app.health).expect("health is given")
}

#[test]
fn every_key_arrives() {
    let config = read(UPSTREAMS).expect("the example is valid");
    let probe = HttpProbe {
        path: "/healthz?deep=1".to_owned(),
        method: "GET".to_owned(),
        host: Some("app.internal:80".to_owned()),
        status: vec![200..=200, 300..=399],
        body: Some("ok".to_owned()),
    };
    let second = Duration::from_secs(1);
    let expected =
        Health { probe: Probe::Http(probe), interval: second, timeout: second, fall: 1, rise: 100 };
    assert_eq!(config.upstreams["app"].health, Some(expected));
}

#[test]
fn what_is_not_written_has_its_documented_default() {
    let probe = HttpProbe {
        path: "/".to_owned(),
        method: "GET".to_owned(),
        host: None,
        status: vec![200..=299],
        body: None,
    };
    let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(2));
    let over = |probe| Health { probe, interval, timeout, fall: 3, rise: 2 };
    assert_eq!(health("path = \"/\""), over(Probe::Http(probe)));
    assert_eq!(health("tcp = true"), over(Probe::Tcp));
}

#[test]
fn the_method_is_one_that_changes_nothing() {
    for method in ["GET", "HEAD", "OPTIONS"] {
        let Probe::Http(probe) = health(&format!("path = \"/\", method = {method:?}")).probe else {
            panic!("a path is checked over HTTP");
        };
        assert_eq!(probe.method, method);
    }
}

#[test]
fn a_host_may_have_a_port() {
    for (host, normal) in
        [("A.b", "a.b"), ("a.b:80", "a.b:80"), ("10.0.0.1", "10.0.0.1"), ("[FD00:0::1]:80", "[fd00::1]:80")]
    {
        let Probe::Http(probe) = health(&format!("path = \"/\", host = {host:?}")).probe else {
            panic!("a path is checked over HTTP");
        };
        assert_eq!(probe.host.as_deref(), Some(normal));
    }
}

#[test]
fn a_check_is_checked() {
    let cases = [
        (
            "",
            r#"6:10: upstream.app.health does not say what to check; add path = "/healthz" to check over HTTP, or tcp = true to check that a server can be reached"#,
        ),
        (
            "path = \"/\", tcp = true",
            "6:30: upstream.app.health: tcp = true cannot stand beside path; leave tcp out to check over HTTP, or path to check that a server can be reached",
        ),
        (
            "tcp = true, status = [\"200\"]",
            "6:33: upstream.app.health: status is of no use without path; only a check over HTTP has it: add path or leave it out",
        ),
        (
            "tcp = true, method = \"GET\"",
            "6:33: upstream.app.health: method is of no use without path; only a check over HTTP has it: add path or leave it out",
        ),
        (
            "tcp = true, host = \"a\"",
            "6:31: upstream.app.health: host is of no use without path; only a check over HTTP has it: add path or leave it out",
        ),
        (
            "tcp = true, body = \"a\"",
            "6:31: upstream.app.health: body is of no use without path; only a check over HTTP has it: add path or leave it out",
        ),
        (
            "path = \"healthz\"",
            r#"6:19: upstream.app.health.path: "healthz" does not start with "/"; write "/healthz""#,
        ),
        ("path = \"http://a:1/x\"", r#"6:19: upstream.app.health.path: "http://a:1/x" is a URL; write "/x""#),
        (
            "path = \"/a b\"",
            r#"6:19: upstream.app.health.path: "/a b" contains ' ', which no path may contain; write it percent-encoded, as in "/a%20b""#,
        ),
        (
            "path = \"/\", method = \"POST\"",
            r#"6:33: "POST" is not a value of upstream.app.health.method; allowed: "GET", "HEAD", "OPTIONS""#,
        ),
        (
            "path = \"/\", method = \"get\"",
            r#"6:33: "get" is not a value of upstream.app.health.method; did you mean "GET"? allowed: "GET", "HEAD", "OPTIONS""#,
        ),
        (
            "path = \"/\", host = \"http://a\"",
            r#"6:31: upstream.app.health.host: "http://a" is a URL, and a host is a part of one; write the host without "http://" and path"#,
        ),
        (
            "path = \"/\", host = \"a:b\"",
            r#"6:31: upstream.app.health.host: "a:b" is not a host with a port; write it as in "app.internal" or "app.internal:8080""#,
        ),
        ("path = \"/\", status = []", "6:33: upstream.app.health.status must not be empty"),
        (
            "path = \"/\", status = [200]",
            r#"6:34: upstream.app.health.status[0] must be text, not 200; write it as in "200-299""#,
        ),
        (
            "path = \"/\", status = [\"2xx\"]",
            r#"6:34: upstream.app.health.status[0]: "2xx" is not a status code and not a range of them; codes go from 100 to 599; write it as in "200" or "200-299""#,
        ),
        (
            "path = \"/\", status = [\"600\"]",
            r#"6:34: upstream.app.health.status[0]: "600" is not a status code and not a range of them; codes go from 100 to 599; write it as in "200" or "200-299""#,
        ),
        (
            "path = \"/\", status = [\"299-200\"]",
            r#"6:34: upstream.app.health.status[0]: "299-200" is empty; write "200-299""#,
        ),
        (
            "path = \"/\", body = \"\"",
            "6:31: upstream.app.health.body is empty, which every body contains; write the text to look for, or leave body out",
        ),
        (
            "path = \"/\", body = \"ok\", method = \"HEAD\"",
            r#"6:31: upstream.app.health: body is looked at with method = "GET" only, not with "HEAD"; leave method or body out"#,
        ),
        (
            "path = \"/\", interval = \"99ms\"",
            "6:35: upstream.app.health.interval must be at least 100ms, not 99ms",
        ),
        (
            "path = \"/\", interval = \"1s\"",
            "6:35: upstream.app.health.timeout is 2s, more than upstream.app.health.interval, which is 1s; raise one or lower the other",
        ),
        (
            "path = \"/\", interval = \"1s\", timeout = \"3s\"",
            "6:51: upstream.app.health.timeout is 3s, more than upstream.app.health.interval, which is 1s; raise one or lower the other",
        ),
        ("path = \"/\", fall = 0", "6:31: upstream.app.health.fall must be at least 1, not 0"),
        ("path = \"/\", rise = 101", "6:31: upstream.app.health.rise must be at most 100, not 101"),
    ];
    for (content, problem) in cases {
        let text = with_upstream(&format!("servers = [\"a:1\"]\nhealth = {{ {content} }}"));
        assert_eq!(problems(&text), [problem], "{content}");
    }
    assert_eq!(
        problems(&with_upstream("servers = [\"a:1\"]\nhealth = true")),
        ["6:10: upstream.app.health must be a table, not true"]
    );
}
