//! Listeners that forward connections, and those that learn the client's address from a header.

use super::{UPSTREAMS, problems, read, with_listener};
use crate::{Config, Serves};

/// A valid file but for the lines of the listener, which begin on line 10.
fn with(lines: &str) -> String {
    format!(
        r#"[upstream.app]
servers = ["a:1"]
[upstream.h2]
servers = ["a:1"]
protocol = "h2"
[upstream.tls]
servers = ["a:1"]
tls = true
[listener.a]
{lines}
address = "127.0.0.1:80"
"#
    )
}

#[test]
fn every_key_arrives() {
    let config = read(UPSTREAMS).expect("the example is valid");
    let database = &config.listeners["database"];
    assert_eq!(database.serves, Serves::Tcp("database".to_owned()));
    assert!(database.tls.is_some() && database.proxy_protocol.is_empty());
    assert!(!config.listeners["web"].proxy_protocol.is_empty());
}

#[test]
fn names_stand_in_the_order_in_which_they_are_tried() {
    let config = read(UPSTREAMS).expect("the example is valid");
    let Serves::TlsPassthrough(entries) = &config.listeners["names"].serves else {
        panic!("names are passed through");
    };
    let entries: Vec<_> = entries.iter().map(|entry| (&*entry.name, &*entry.upstream)).collect();
    assert_eq!(
        entries,
        [("a.example.com", "plain"), ("*.b.example.org", "rest"), ("*.example.org", "plain"), ("*", "rest")]
    );
}

#[test]
fn an_upstream_with_tls_can_stand_behind_tcp() {
    let config: Config = read(&with("tcp = \"tls\"")).expect("the proxy begins TLS");
    assert_eq!(config.listeners["a"].serves, Serves::Tcp("tls".to_owned()));
}

#[test]
fn a_listener_that_forwards_is_checked() {
    let one = "a listener either speaks HTTP or forwards connections: leave one out";
    let cases = [
        (
            "tcp = \"ap\"",
            r#"10:7: listener.a.tcp: there is no upstream "ap"; did you mean "app"?"#.to_owned(),
        ),
        ("tcp = true", "10:7: listener.a.tcp must be text, not true".to_owned()),
        (
            "tcp = \"h2\"",
            r#"10:7: listener.a.tcp: connections are forwarded as they are, but upstream "h2" has protocol = "h2"; leave protocol out there, or name an upstream without it"#.to_owned(),
        ),
        (
            "tcp = \"app\"\nhttp = [\"1.1\"]",
            format!("11:8: listener.a: tcp cannot stand beside http; {one}"),
        ),
        (
            "http = [\"1.1\"]\ntcp = \"app\"",
            format!("11:7: listener.a: tcp cannot stand beside http; {one}"),
        ),
        (
            "http = [\"1.1\"]\ntls-passthrough = { \"*\" = \"app\" }",
            format!("11:19: listener.a: tls-passthrough cannot stand beside http; {one}"),
        ),
        (
            "tcp = \"app\"\ntls-passthrough = { \"*\" = \"app\" }",
            r#"11:19: listener.a: tls-passthrough cannot stand beside tcp; write every name in tls-passthrough, with "*" for everything else"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"*\" = \"app\" }\ntls = { certificates = [{ chain = \"a\", key = \"b\" }] }",
            "11:7: listener.a: tls-passthrough cannot stand beside tls; tls-passthrough leaves TLS to the servers: leave tls out, or end TLS here and forward with tcp".to_owned(),
        ),
        (
            "tls-passthrough = true",
            "10:19: listener.a.tls-passthrough must be a table, not true".to_owned(),
        ),
        (
            "tls-passthrough = {}",
            r#"10:19: listener.a.tls-passthrough must not be empty; add names with their upstreams, as in "a.example.com" = "NAME""#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.b\" = \"apq\" }",
            r#"10:29: listener.a.tls-passthrough."a.b": there is no upstream "apq"; did you mean "app"?"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.b\" = \"h2\" }",
            r#"10:29: listener.a.tls-passthrough."a.b": connections are forwarded as they are, but upstream "h2" has protocol = "h2"; leave protocol out there, or name an upstream without it"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.b\" = \"tls\" }",
            r#"10:29: listener.a.tls-passthrough."a.b": upstream "tls" has tls, and what is passed through is TLS already; leave tls out there, or name an upstream without it"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"A.b\" = \"app\", \"a.B\" = \"app\" }",
            r#"10:44: listener.a.tls-passthrough."a.B" stands there already in another spelling; names are compared without regard to case: write it once"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.b:443\" = \"app\" }",
            r#"10:21: "a.b:443" has more than a host; write "a.b" without the port"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.*.b\" = \"app\" }",
            r#"10:21: "a.*.b" has a "*" in the wrong place; "*." stands for any labels and only at the start, as in "*.example.org""#.to_owned(),
        ),
        (
            "tls-passthrough = { \"10.0.0.1\" = \"app\" }",
            r#"10:21: "10.0.0.1" is an IP address, and clients only send host names; write "*" for clients that send none"#.to_owned(),
        ),
        (
            "tls-passthrough = { \"a.b.\" = \"app\" }",
            r#"10:21: "a.b." ends with a dot, which clients never send; write "a.b""#.to_owned(),
        ),
        (
            "proxy-protocol = \"v1\"",
            r#"10:18: listener.a.proxy-protocol must be true, false or a table, not "v1""#.to_owned(),
        ),
        (
            "proxy-protocol = true",
            r#"10:18: listener.a.proxy-protocol: without trusted-proxies nobody's header would be believed; add trusted-proxies = ["10.0.0.0/8"] with the networks the proxies in front are in, or proxy-protocol = { trusted = ["10.0.0.0/8"] } if they are believed in nothing else"#.to_owned(),
        ),
    ];
    for (lines, problem) in cases {
        assert_eq!(problems(&with(lines)), [problem], "{lines}");
    }
    for name in ["[::1]", "fd00::1", "*.10.0.0.1", "*.", "", "*a.b", "a_b.", "ä.b"] {
        let problems = problems(&with(&format!("tls-passthrough = {{ {name:?} = \"app\" }}")));
        assert!(problems.len() == 1 && problems[0].starts_with("10:21: "), "{name}: {problems:?}");
    }
}

#[test]
fn without_any_upstream_one_is_asked_for() {
    let found = problems(&with_listener("listener.b = { address = \"[::]:1\", tcp = \"app\" }"));
    assert_eq!(
        found,
        [r#"1:42: listener.b.tcp: there is no upstream "app"; add [upstream.NAME] with its servers"#]
    );
}

#[test]
fn a_header_that_is_not_expected_needs_nobody_to_believe() {
    let config = read(&with("proxy-protocol = false")).expect("the text is valid");
    assert!(config.listeners["a"].proxy_protocol.is_empty());
}
