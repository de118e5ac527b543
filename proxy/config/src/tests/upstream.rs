//! What `[upstream.NAME]` and `resolver` mean, and what is wrong with one; health checks have a file of
//! their own.

use std::path::Path;
use std::time::Duration;

use super::{UPSTREAMS, problems, read, with_listener, with_upstream};
use crate::{
    Address, Balance, Buffer, Certificate, Eject, Protocol, ProxyProtocol, Retries, Server, Upstream,
    UpstreamTls, parse,
};

/// The upstream `app` with these lines.
fn upstream(lines: &str) -> Upstream {
    read(&with_upstream(lines)).expect("the upstream is valid").upstreams.remove("app").expect("app is given")
}

#[test]
fn every_key_arrives() {
    let config = read(UPSTREAMS).expect("the example is valid");
    let servers: Vec<_> = config.resolver.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:5353", "10.0.0.2:53", "[fd00::1]:53"]);
    assert_eq!(config.resolver.timeout, Duration::from_millis(500));

    let app = &config.upstreams["app"];
    let server = |address, weight, backup| Server { address, weight, backup };
    assert_eq!(
        app.servers,
        [
            server(Address::Host { host: "backend.example".to_owned(), port: 80 }, 1, false),
            server(Address::Ip(([127, 0, 0, 1], 9002).into()), 2, true),
            server(Address::Unix("etc/run/app.sock".into()), 1, false),
            server(Address::Unix("/run/app.sock".into()), 1, true),
        ]
    );
    assert_eq!(app.balance, Balance::Hash);
    let eject = Eject {
        failures: 3,
        time: Duration::from_secs(1),
        max_time: Duration::from_secs(60),
        max_percent: 10,
    };
    assert_eq!((app.eject, app.slow_start), (Some(eject), Duration::ZERO));
    assert_eq!((app.max_in_flight, app.max_queued), (10, 0));
    assert_eq!(app.timeouts.queue, Duration::from_millis(100));
    assert_eq!((app.pool.streams, app.pool.max_idle), (7, None));
    assert_eq!(app.retries, Retries { count: 2, budget_percent: 0, buffer: 1024 });
    assert_eq!(app.buffer, Some(Buffer { memory: 16 << 10, disk: 0 }));
    assert_eq!(app.buffer_requests, Some(Buffer { memory: 1 << 20, disk: 1 << 30 }));
    assert_eq!((app.protocol, &app.tls, app.proxy_protocol), (Protocol::H2, &None, None));

    let database = &config.upstreams["database"];
    assert_eq!((database.balance, database.eject), (Balance::RandomTwo, None));
    let tls = UpstreamTls {
        fingerprints: Vec::new(),
        verify: true,
        ca: Some("etc/certs/ca.pem".into()),
        server_name: Some("db.internal".to_owned()),
        client_certificate: Some(Certificate {
            chain: "etc/certs/b.pem".into(),
            key: "etc/certs/b.key".into(),
        }),
    };
    assert_eq!((&database.tls, database.proxy_protocol), (&Some(tls), Some(ProxyProtocol::V2)));

    let rest = &config.upstreams["rest"];
    assert_eq!((rest.balance, &rest.tls), (Balance::LeastRequests, &None));
    assert_eq!(rest.eject, upstream("servers = [\"a:1\"]").eject);
    assert_eq!(rest.proxy_protocol, Some(ProxyProtocol::V1));
    assert_eq!(
        (rest.buffer, rest.buffer_requests),
        (None, Some(Buffer { memory: 256 << 10, disk: 1 << 30 }))
    );
    let plain = &config.upstreams["plain"];
    assert_eq!((plain.protocol, plain.pool.max_idle), (Protocol::Http1, Some(0)));
}

#[test]
fn what_is_not_written_has_its_documented_default() {
    let config = read(&with_upstream("servers = [\"a:1\"]")).expect("the text is valid");
    assert!(config.resolver.servers.is_empty());
    assert_eq!(config.resolver.timeout, Duration::from_secs(2));
    let app = &config.upstreams["app"];
    assert!(!app.servers[0].backup);
    assert_eq!((app.balance, &app.health), (Balance::LeastRequests, &None));
    let eject = Eject {
        failures: 5,
        time: Duration::from_secs(30),
        max_time: Duration::from_secs(300),
        max_percent: 50,
    };
    assert_eq!((app.eject, app.slow_start), (Some(eject), Duration::from_secs(30)));
    assert_eq!((app.max_in_flight, app.max_queued, app.timeouts.queue.as_secs()), (1024, 256, 3));
    assert_eq!(app.pool.streams, 100);
    assert_eq!(app.retries, Retries { count: 1, budget_percent: 20, buffer: 64 << 10 });
    assert_eq!(app.buffer, Some(Buffer { memory: 256 << 10, disk: 1 << 30 }));
    assert_eq!(app.buffer_requests, None);
    assert_eq!((app.protocol, &app.tls, app.proxy_protocol), (Protocol::Auto, &None, None));
}

#[test]
fn a_key_without_settings_is_a_switch() {
    let on = upstream("servers = [\"a:1\"]\ntls = true\neject = {}");
    assert_eq!(on.tls, Some(UpstreamTls::default()));
    assert_eq!(on.eject, upstream("servers = [\"a:1\"]\neject = true").eject);
    assert_eq!(upstream("servers = [\"a:1\"]\ntls = {}").tls, Some(UpstreamTls::default()));
    assert_eq!(upstream("servers = [\"a:1\"]\ntls = false\neject = false").tls, None);
}

#[test]
fn connections_for_one_client_are_not_kept_and_speak_http1() {
    let app = upstream("servers = [\"a:1\"]\ntls = true\nproxy-protocol = \"v1\"");
    assert_eq!((app.pool.max_idle, app.protocol), (Some(0), Protocol::Http1));
    let app = upstream("servers = [\"a:1\"]\npool.idle = 0\nproxy-protocol = \"v1\"");
    assert_eq!(app.pool.max_idle, Some(0));
}

#[test]
fn an_address_is_shown_as_it_is_written() {
    for address in ["a.example:80", "10.0.0.1:80", "[fd00::1]:80", "unix:/run/app.sock"] {
        let server = &upstream(&format!("servers = [{address:?}]")).servers[0];
        assert_eq!(server.address.to_string(), address);
    }
    let text = with_upstream("servers = [\"unix:app.sock\"]");
    let config = parse(&text, Path::new("tidegate.toml")).expect("the text is valid");
    assert_eq!(config.upstreams["app"].servers[0].address, Address::Unix("app.sock".into()));
}

#[test]
fn an_upstream_is_checked() {
    let cases = [
        (
            "servers = [\"unix:run/a\", { address = \"unix:./run/a\", backup = true }]",
            "5:38: upstream.app.servers[1]: unix:./run/a stands in upstream.app.servers[0] already; write it once, with a weight if it is to get more requests",
        ),
        (
            "servers = [{ address = \"a:1\", backup = true }, { address = \"b:1\", backup = true }]",
            "5:11: upstream.app.servers: every server is a backup, so there is none to stand in for; leave backup = true out where it serves in ordinary times",
        ),
        (
            "servers = [{ address = \"a:1\", backup = 1 }]",
            "5:40: upstream.app.servers[0].backup must be true or false, not 1",
        ),
        (
            "servers = [\"a:1\"]\nbalance = \"random\"",
            r#"6:11: "random" is not a value of upstream.app.balance; did you mean "random-two"? allowed: "round-robin", "least-requests", "random-two", "hash""#,
        ),
        (
            "servers = [\"a:1\"]\neject = \"no\"",
            r#"6:9: upstream.app.eject must be true, false or a table, not "no""#,
        ),
        (
            "servers = [\"a:1\"]\nbuffer = { memory = \"8KiB\" }",
            "6:21: upstream.app.buffer.memory must be at least 16KiB, not 8KiB",
        ),
        (
            "servers = [\"a:1\"]\nbuffer-requests = \"1MiB\"",
            r#"6:19: upstream.app.buffer-requests must be true, false or a table, not "1MiB""#,
        ),
        (
            "servers = [\"a:1\"]\neject = { failures = 0 }",
            "6:22: upstream.app.eject.failures must be at least 1, not 0",
        ),
        (
            "servers = [\"a:1\"]\neject = { max-percent = 101 }",
            "6:25: upstream.app.eject.max-percent must be at most 100, not 101",
        ),
        (
            "servers = [\"a:1\"]\neject = { time = \"10m\" }",
            "6:18: upstream.app.eject.time is 10m, more than upstream.app.eject.max-time, which is 5m; raise one or lower the other",
        ),
        (
            "servers = [\"a:1\"]\neject = { max-time = \"1s\" }",
            "6:22: upstream.app.eject.time is 30s, more than upstream.app.eject.max-time, which is 1s; raise one or lower the other",
        ),
        (
            "servers = [\"a:1\"]\nmax-time = \"1s\"",
            r#"6:1: unknown key "max-time" in upstream.app; it belongs in [upstream.NAME.eject]"#,
        ),
        (
            "servers = [\"a:1\"]\nslow-start = 30",
            r#"6:14: upstream.app.slow-start must be text, not 30; write the unit, as in "5s""#,
        ),
        (
            "servers = [\"a:1\"]\nmax-in-flight = 0",
            "6:17: upstream.app.max-in-flight must be at least 1, not 0",
        ),
        (
            "servers = [\"a:1\"]\nmax-queued = 1_000_001",
            "6:14: upstream.app.max-queued must be at most 1000000, not 1000001",
        ),
        (
            "servers = [\"a:1\"]\ntimeouts.queue = \"0s\"",
            "6:18: upstream.app.timeouts.queue must be at least 1ms, not 0s",
        ),
        (
            "servers = [\"a:1\"]\nretry-budget = 20",
            r#"6:16: upstream.app.retry-budget must be text, not 20; write it as in "20%""#,
        ),
        (
            "servers = [\"a:1\"]\nretry-budget = \"20\"",
            r#"6:16: upstream.app.retry-budget: "20" has no unit; write "20%""#,
        ),
        (
            "servers = [\"a:1\"]\nretry-budget = \"0.5%\"",
            r#"6:16: upstream.app.retry-budget: "0.5%" is not a whole number of percent; write it as in "20%""#,
        ),
        (
            "servers = [\"a:1\"]\nretry-budget = \"101%\"",
            r#"6:16: upstream.app.retry-budget: "101%" is more than "100%""#,
        ),
        (
            "servers = [\"a:1\"]\nretry-buffer = 65536",
            r#"6:16: upstream.app.retry-buffer must be text, not 65536; write the unit, as in "16KiB""#,
        ),
        (
            "servers = [\"a:1\"]\nprotocol = \"http2\"",
            r#"6:12: "http2" is not a value of upstream.app.protocol; did you mean "http1"? allowed: "auto", "http1", "h2""#,
        ),
        (
            "servers = [\"a:1\"]\npool.streams = 0",
            "6:16: upstream.app.pool.streams must be at least 1, not 0",
        ),
        (
            "servers = [\"a:1\"]\ntls = \"ca.pem\"",
            r#"6:7: upstream.app.tls must be true, false or a table, not "ca.pem""#,
        ),
        (
            "servers = [\"a:1\"]\ntls = { server-name = \"a.b:443\" }",
            r#"6:23: upstream.app.tls.server-name: "a.b:443" has more than a host; write "a.b" without the port"#,
        ),
        (
            "servers = [\"a:1\"]\ntls = { client-certificate = { chain = \"a\" } }",
            r#"6:30: missing key "key" in upstream.app.tls.client-certificate; write it as in key = "certs/a.key""#,
        ),
        (
            "servers = [\"a:1\", \"unix:/a\"]\ntls = { ca = \"a\" }",
            r#"6:7: upstream.app.tls: a Unix socket has no host name that its certificate could be checked for; add tls.server-name = "app.internal" with a name in the certificate"#,
        ),
        (
            "servers = [\"a:1\"]\nproxy-protocol = true",
            r#"6:18: upstream.app.proxy-protocol must be text, not true; allowed: "v1", "v2""#,
        ),
        (
            "servers = [\"a:1\"]\nproxy-protocol = \"v1\"\nprotocol = \"h2\"",
            r#"6:18: upstream.app: proxy-protocol cannot stand beside protocol = "h2"; one HTTP/2 connection carries many clients, its header one address: leave one out"#,
        ),
        (
            "servers = [\"a:1\"]\nproxy-protocol = \"v1\"\npool = { idle = 1 }",
            "7:17: upstream.app.pool.idle: connections that carry one client's address cannot be kept; with proxy-protocol, leave pool.idle out or write 0",
        ),
    ];
    for (lines, problem) in cases {
        assert_eq!(problems(&with_upstream(lines)), [problem], "{lines}");
    }
}

#[test]
fn a_name_for_a_unix_socket_makes_its_certificate_checkable() {
    let app = upstream("servers = [\"unix:/a\"]\ntls.server-name = \"FD00:0::1\"");
    assert_eq!(app.tls.and_then(|tls| tls.server_name).as_deref(), Some("fd00::1"));
    assert!(upstream("servers = [\"10.0.0.1:1\"]\ntls = true").tls.is_some());
}

#[test]
fn the_path_of_a_socket_has_the_length_the_system_allows() {
    // The directory of the file is "etc/".
    let socket = |length: usize| with_upstream(&format!("servers = [\"unix:{}\"]", "a".repeat(length)));
    assert!(read(&socket(103)).is_ok());
    assert_eq!(
        problems(&socket(104)),
        [
            "5:12: upstream.app.servers[0]: the path of the socket has 108 bytes with the directory of this file; the system allows 107: write a shorter one"
        ]
    );
}

#[test]
fn a_resolver_is_checked() {
    let help = r#"write it as in "10.0.0.2", "127.0.0.1:5353" or "[fd00::1]:5353""#;
    let cases = [
        ("resolver = \"10.0.0.1\"", r#"1:12: resolver must be a table, not "10.0.0.1""#.to_owned()),
        (
            "resolver = { servers = [\"dns.example\"] }",
            format!(
                r#"1:25: resolver.servers[0]: "dns.example" is not an IP address, with or without a port; {help}"#
            ),
        ),
        (
            "resolver = { servers = [\"10.0.0.1:0\"] }",
            format!(r#"1:25: resolver.servers[0]: "10.0.0.1:0" has port 0, where no server can be; {help}"#),
        ),
        (
            "resolver = { servers = [\"10.0.0.1\", \"10.0.0.1\"] }",
            r#"1:37: "10.0.0.1" stands twice in resolver.servers"#.to_owned(),
        ),
        ("resolver = { timeout = \"0s\" }", "1:24: resolver.timeout must be at least 1ms, not 0s".to_owned()),
    ];
    for (line, problem) in cases {
        assert_eq!(problems(&with_listener(line)), [problem], "{line}");
    }
}
