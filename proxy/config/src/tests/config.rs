//! What `tidegate.toml` means, and what is wrong with one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{FULL, problems, read, with_listener, with_upstream};
use crate::{
    Balance, Certificate, ClientAuth, HttpVersions, LineFormat, LogField, LogFormat, LogLevel, LogOutput,
    Serves, TlsVersion, parse,
};

#[test]
fn every_key_arrives() {
    let config = read(FULL).expect("the example is valid");
    assert_eq!(config.default_upstream.as_deref(), Some("app"));
    assert_eq!(config.workers, 4);
    let networks: Vec<_> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]);
    assert_eq!(config.plugin_directory, Path::new("etc/policies"));
    assert_eq!(config.temporary_directory.as_deref(), Some(Path::new("etc/spool")));

    let web = &config.listeners["web"];
    assert_eq!(web.address.to_string(), "0.0.0.0:8080");
    assert_eq!(web.serves, Serves::Http(HttpVersions { http1: true, http2: false }));
    assert!(web.tls.is_none());
    let secure = config.listeners["secure"].tls.as_ref().expect("tls is given");
    assert_eq!(
        secure.certificates,
        [Certificate { chain: "etc/certs/a.pem".into(), key: "etc/certs/a.key".into() }]
    );
    assert_eq!((secure.client_auth, secure.min_version), (ClientAuth::None, TlsVersion::V1_2));
    let mutual = config.listeners["v6.mutual"].tls.as_ref().expect("tls is given");
    assert_eq!(mutual.certificates[0].chain, Path::new("/etc/b.pem"));
    assert_eq!(mutual.client_ca.as_deref(), Some(Path::new("etc/certs/clients.pem")));
    assert_eq!((mutual.client_auth, mutual.min_version), (ClientAuth::Required, TlsVersion::V1_3));

    let app = &config.upstreams["app"];
    let servers: Vec<_> =
        app.servers.iter().map(|server| (server.address.to_string(), server.weight)).collect();
    let expected =
        [("127.0.0.1:9001", 1), ("127.0.0.1:9002", 2), ("backend.example:80", 1), ("[::1]:9003", 1)];
    assert_eq!(servers, expected.map(|(address, weight)| (address.to_owned(), weight)));
    assert_eq!(app.balance, Balance::RoundRobin);
    assert_eq!(app.timeouts.connect, Duration::from_millis(250));
    assert_eq!(app.timeouts.response, Duration::from_secs(90));
    assert_eq!(app.timeouts.idle, Duration::from_secs(3600));
    assert_eq!(
        (app.pool.max_idle, app.pool.idle_time.as_secs(), app.pool.max_age.as_secs()),
        (Some(8), 30, 600)
    );
    assert_eq!(app.retries.count, 0);

    let limits = config.limits;
    assert_eq!((limits.request_headers, limits.request_target), (16 << 10, 4 << 10));
    assert_eq!((limits.response_headers, limits.request_body), (128 << 10, 1 << 30));
    assert_eq!((limits.policy_body, limits.temporary_space), (256 << 10, 8 << 30));
    assert_eq!((limits.request_header_count, limits.http2_streams), (50, 32));
    assert_eq!((limits.connections, limits.connections_per_client), (1000, 10));
    assert_eq!(limits.requests_per_connection, 100);
    let timeouts = config.timeouts;
    let seconds = [
        timeouts.request_headers,
        timeouts.tls_handshake,
        timeouts.body_idle,
        timeouts.keep_alive,
        timeouts.connection_age,
        timeouts.tunnel_idle,
        timeouts.drain,
        timeouts.drain_tunnels,
        timeouts.drain_delay,
        timeouts.upgrade,
    ]
    .map(|duration| duration.as_secs());
    assert_eq!(seconds, [5, 6, 7, 8, 540, 7200, 0, 1, 15, 180]);

    let log = config.access_log;
    assert_eq!(log.output, LogOutput::File(PathBuf::from("etc/logs/access.log")));
    assert_eq!(log.line, LineFormat::Json(vec![LogField::Time, LogField::Header("accept".to_owned())]));
    assert_eq!((log.mask_query, &*log.mask_headers[0]), (vec!["token".to_owned()], "x-secret"));
    assert_eq!((log.sample.success, log.sample.client_error), (10, 100));
    assert!(config.metrics.servers);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Debug, LogFormat::Json));
    assert_eq!(config.admin.map(|admin| admin.address.to_string()).as_deref(), Some("127.0.0.1:9900"));
}

#[test]
fn what_is_not_written_has_its_documented_default() {
    let text = "[listener.web]\naddress = \"127.0.0.1:0\"\n[upstream.app]\nservers = [\"a:80\"]\n";
    let config = parse(text, Path::new("tidegate.toml")).expect("the text is valid");
    assert_eq!((config.default_upstream, config.workers, config.trusted_proxies), (None, 0, vec![]));
    assert_eq!(config.plugin_directory, Path::new("plugins"));
    let web = &config.listeners["web"];
    assert_eq!(web.serves, Serves::Http(HttpVersions { http1: true, http2: true }));
    assert!(web.tls.is_none());

    let app = &config.upstreams["app"];
    let waits = [app.timeouts.connect, app.timeouts.response, app.timeouts.idle];
    assert_eq!(waits.map(|wait| wait.as_secs()), [3, 30, 60]);
    assert_eq!(
        (app.pool.max_idle, app.pool.idle_time.as_secs(), app.pool.max_age.as_secs()),
        (None, 60, 3600)
    );
    assert_eq!((app.balance, app.retries.count), (Balance::LeastRequests, 1));

    let limits = config.limits;
    assert_eq!((limits.request_headers, limits.request_target), (32 << 10, 8 << 10));
    assert_eq!((limits.response_headers, limits.request_body), (64 << 10, 16 << 20));
    assert_eq!(limits.policy_body, 1 << 20);
    assert_eq!((limits.request_header_count, limits.http2_streams), (100, 100));
    assert_eq!((limits.connections, limits.connections_per_client), (10_000, 256));
    assert_eq!(limits.requests_per_connection, 10_000);
    assert_eq!((limits.temporary_space, &config.temporary_directory), (4 << 30, &None));
    let timeouts = config.timeouts;
    let seconds = [
        timeouts.request_headers,
        timeouts.tls_handshake,
        timeouts.body_idle,
        timeouts.keep_alive,
        timeouts.connection_age,
        timeouts.tunnel_idle,
        timeouts.drain,
        timeouts.drain_tunnels,
        timeouts.drain_delay,
        timeouts.upgrade,
    ]
    .map(|duration| duration.as_secs());
    assert_eq!(seconds, [10, 10, 30, 75, 3600, 3600, 30, 5, 0, 60]);
    assert_eq!(config.access_log.output, LogOutput::Stdout);
    assert_eq!(config.access_log.line, LineFormat::Json(LogField::usual()));
    assert!(!config.metrics.servers);
    assert_eq!((config.log.level, config.log.format), (LogLevel::Info, LogFormat::Text));
    assert_eq!(config.admin, None);
}

#[test]
fn the_access_log_can_be_off() {
    let config = read(&with_listener("access-log.path = \"off\"")).expect("the text is valid");
    assert_eq!(config.access_log.output, LogOutput::Off);
}

#[test]
fn one_mistake_gives_one_problem_at_its_place() {
    let cases = [
        ("worker = 1", r#"1:1: unknown key "worker"; did you mean "workers"?"#),
        ("Workers = 1", r#"1:1: unknown key "Workers"; did you mean "workers"?"#),
        ("  [listner.a]\n", r#"1:4: unknown key "listner"; did you mean "listener"?"#),
        (
            "request-body = \"1MiB\"",
            r#"1:1: unknown key "request-body"; it belongs in [limits] or [upstream.NAME]"#,
        ),
        ("log = { colour = 1 }", r#"1:9: unknown key "colour" in log; known keys here: level, format"#),
        ("workers = \"4\"", r#"1:11: workers must be a whole number, not "4"; write 4, without quotes"#),
        ("workers = 1.5", "1:11: workers must be a whole number, not 1.5"),
        ("workers = 1025", "1:11: workers must be at most 1024, not 1025"),
        ("workers = -1", "1:11: workers must be at least 0, not -1"),
        (
            "workers = 99999999999999999999999999999999999999999",
            "1:11: workers must be a number that fits 64 bits, not 99999999999999999999999999999999999999999",
        ),
        ("limits = 5", "1:10: limits must be a table, not 5"),
        (
            "log = { level = \"warning\" }",
            concat!(
                r#"1:17: "warning" is not a value of log.level; "#,
                r#"did you mean "warn"? allowed: "error", "warn", "info", "debug", "trace""#
            ),
        ),
        (
            "log = { format = \"xml\" }",
            r#"1:18: "xml" is not a value of log.format; allowed: "text", "json""#,
        ),
        (
            "trusted-proxies = [\n \"10.0.0.0/8\",\n \"10.0.0.0/33\"]",
            concat!(
                r#"3:2: trusted-proxies[1]: "10.0.0.0/33" is not a network and not an address; "#,
                r#"write it as in "10.0.0.0/8", "fd00::/8" or "192.0.2.1""#
            ),
        ),
        (
            "trusted-proxies = \"10.0.0.1\"",
            r#"1:19: trusted-proxies must be a list, not "10.0.0.1"; write ["10.0.0.1"]"#,
        ),
        ("timeouts.drain = 5", r#"1:18: timeouts.drain must be text, not 5; write the unit, as in "5s""#),
        ("timeouts.drain = \"5\"", r#"1:18: timeouts.drain: "5" has no unit; write the unit, as in "5s""#),
        ("timeouts.keep-alive = \"0s\"", "1:23: timeouts.keep-alive must be at least 1ms, not 0s"),
        ("timeouts.drain = \"8761h\"", "1:18: timeouts.drain must be at most 8760h, not 8761h"),
        ("limits.policy-body = \"1B\"", "1:22: limits.policy-body must be at least 1KiB, not 1B"),
        (
            "limits.request-body = \"1mib\"",
            r#"1:23: limits.request-body: "mib" in "1mib" is not a unit; did you mean "MiB"?"#,
        ),
        (
            "limits.request-headers = \"8191B\"",
            "1:26: limits.request-headers must be at least 8KiB, not 8191B",
        ),
        (
            "limits.response-headers = \"4KiB\"",
            "1:27: limits.response-headers must be at least 8KiB, not 4KiB",
        ),
        (
            "limits.request-target = \"64KiB\"",
            concat!(
                "1:25: limits.request-target is 64KiB, more than limits.request-headers, which is 32KiB; ",
                "the request target is part of the request headers: raise one or lower the other"
            ),
        ),
        ("limits.connections = 0", "1:22: limits.connections must be at least 1, not 0"),
        ("plugins.directory = \"\"", "1:21: plugins.directory: a path must not be empty"),
        ("admin = {}", r#"1:9: missing key "address" in admin; write it as in address = "0.0.0.0:8080""#),
        (
            "default-upstream = \"app\"",
            concat!(
                r#"1:20: default-upstream: there is no upstream "app"; "#,
                "add [upstream.NAME] with its servers"
            ),
        ),
        (
            "admin.address = \"0.0.0.0:9900\"",
            concat!(
                "1:17: admin.address: others reach 0.0.0.0:9900, and nothing keeps them out; ",
                "add token-file = \"admin.token\" with a secret in it, or tls with a client-ca, or listen on 127.0.0.1"
            ),
        ),
        (
            "admin = { address = \"0.0.0.0:8080\", token-file = \"t\" }",
            concat!(
                "3:11: listener.web.address: 127.0.0.1:8080 is taken by [admin] with 0.0.0.0:8080; ",
                "write another port or another address"
            ),
        ),
    ];
    for (line, problem) in cases {
        assert_eq!(problems(&with_listener(line)), [problem], "{line}");
    }
}

#[test]
fn something_to_listen_on_is_needed() {
    let expected = r#"nothing to listen on; add [listener.NAME] with address = "0.0.0.0:8080""#;
    assert_eq!(problems(""), [expected]);
    assert_eq!(read("").expect_err("empty").to_string(), format!("etc/tidegate.toml: {expected}"));
}

#[test]
fn a_listener_is_checked() {
    let cases = [
        (
            "address = \"8080\"",
            r#"2:11: listener.a.address: "8080" is not an IP address with a port; write "0.0.0.0:8080" for every address of the machine"#,
        ),
        (
            "address = \":8080\"",
            r#"2:11: listener.a.address: ":8080" is not an IP address with a port; write "0.0.0.0:8080" for every address of the machine"#,
        ),
        (
            "address = \"localhost:80\"",
            r#"2:11: listener.a.address: "localhost:80" is not an IP address with a port; write "127.0.0.1:80""#,
        ),
        (
            "address = \"127.0.0.1\"",
            r#"2:11: listener.a.address: "127.0.0.1" is not an IP address with a port; write the port, as in "127.0.0.1:8080""#,
        ),
        (
            "address = \"::1:x\"",
            r#"2:11: listener.a.address: "::1:x" is not an IP address with a port; write it as in "0.0.0.0:8080" or "[::]:8080""#,
        ),
        ("http = []\naddress = \"[::]:80\"", "2:8: listener.a.http must not be empty"),
        ("address = \"[::]:80\"\nhttp = [\"2\", \"2\"]", r#"3:14: "2" stands twice in listener.a.http"#),
        (
            "address = \"[::]:80\"\nhttp = [\"3\"]",
            r#"3:9: "3" is not a value of listener.a.http[0]; allowed: "1.1", "2""#,
        ),
        (
            "address = \"[::]:80\"\nhttp = [1.1]",
            r#"3:9: listener.a.http[0] must be text, not 1.1; write "1.1", in quotes"#,
        ),
        (
            "address = \"[::]:80\"\ntls.certificates = []",
            "3:20: listener.a.tls.certificates must not be empty",
        ),
        (
            "address = \"[::]:80\"\ntls = {}",
            r#"3:7: listener.a.tls has no certificate; add certificates = [{ chain = "FILE.pem", key = "FILE.key" }], or acme = ["example.com"] to have them obtained"#,
        ),
        (
            "address = \"[::]:80\"\ntls = { cipher-suites = [\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"], min-version = \"1.3\", certificates = [{ chain = \"a\", key = \"b\" }] }",
            r#"3:25: listener.a.tls.cipher-suites: none of these is for TLS 1.3, and min-version is "1.3"; add "TLS_AES_128_GCM_SHA256", or lower min-version"#,
        ),
        (
            "address = \"[::]:80\"\ntls.certificates = [{ chain = \"a\" }]",
            r#"3:21: missing key "key" in listener.a.tls.certificates[0]; write it as in key = "certs/a.key""#,
        ),
        (
            "address = \"[::]:80\"\ntls = { client-auth = \"required\", certificates = [{ chain = \"a\", key = \"b\" }] }",
            r#"3:23: listener.a.tls: client-auth needs to know who signs client certificates; add client-ca = "FILE.pem""#,
        ),
        (
            "address = \"[::]:80\"\ntls = { client-ca = \"c\", certificates = [{ chain = \"a\", key = \"b\" }] }",
            r#"3:21: listener.a.tls: client-ca is of no use without client-auth; add client-auth = "required" or "optional", or leave client-ca out"#,
        ),
        ("", r#"1:1: missing key "address" in listener.a; write it as in address = "0.0.0.0:8080""#),
    ];
    for (lines, problem) in cases {
        assert_eq!(problems(&format!("[listener.a]\n{lines}\n")), [problem], "{lines}");
    }
}

#[test]
fn names_are_plain() {
    let text = "[listener.\"a b\"]\naddress = \"127.0.0.1:80\"\n[upstream.\"\"]\nservers = [\"a:80\"]\n";
    let help = r#"names consist of the letters A-Z and a-z, digits, "_", "." and "-""#;
    assert_eq!(
        problems(text),
        [format!("1:11: \"a b\" is not a name; {help}"), format!("3:11: \"\" is not a name; {help}")]
    );
}

#[test]
fn addresses_that_overlap_are_refused() {
    let overlaps = |first: &str, second: &str| {
        let text = format!("[listener.b]\naddress = \"{first}\"\n[listener.a]\naddress = \"{second}\"\n");
        match read(&text) {
            Ok(_) => false,
            Err(found) => {
                let [problem] = &found.0[..] else { panic!("one problem expected: {found}") };
                assert_eq!(problem.position.map(|position| (position.line, position.column)), Some((4, 11)));
                assert!(problem.message.contains("taken by [listener.b]"), "{problem}");
                true
            }
        }
    };
    assert!(overlaps("127.0.0.1:80", "127.0.0.1:80"));
    assert!(overlaps("0.0.0.0:80", "127.0.0.1:80"));
    assert!(overlaps("127.0.0.1:80", "0.0.0.0:80"));
    assert!(overlaps("[::]:80", "[::1]:80"));
    assert!(!overlaps("127.0.0.1:80", "127.0.0.2:80"));
    assert!(!overlaps("127.0.0.1:80", "127.0.0.1:81"));
    assert!(!overlaps("127.0.0.1:0", "127.0.0.1:0"));
    assert!(!overlaps("0.0.0.0:80", "[::]:80"));
}

#[test]
fn an_upstream_is_checked() {
    let cases = [
        ("servers = []", "5:11: upstream.app.servers must not be empty"),
        ("", r#"3:1: missing key "servers" in upstream.app"#),
        ("servers = \"a:80\"", r#"5:11: upstream.app.servers must be a list, not "a:80"; write ["a:80"]"#),
        ("servers = [1]", "5:12: upstream.app.servers[0] must be text or a table, not 1"),
        (
            "servers = [{ weight = 1 }]",
            r#"5:12: missing key "address" in upstream.app.servers[0]; write it as in address = "127.0.0.1:9001""#,
        ),
        (
            "servers = [\"a:1\", { address = \"b:1\", wieght = 1 }]",
            r#"5:38: unknown key "wieght" in upstream.app.servers[1]; did you mean "weight"?"#,
        ),
        (
            "servers = [{ address = \"b:1\", weight = 0 }]",
            "5:40: upstream.app.servers[0].weight must be at least 1, not 0",
        ),
        (
            "servers = [{ address = \"b:1\", weight = 1001 }]",
            "5:40: upstream.app.servers[0].weight must be at most 1000, not 1001",
        ),
        (
            "servers = [\"A:1\", { address = \"a:1\" }]",
            "5:31: upstream.app.servers[1]: a:1 stands in upstream.app.servers[0] already; write it once, with a weight if it is to get more requests",
        ),
        (
            "servers = [\"a:1\"]\nbalance = \"roundrobin\"",
            r#"6:11: "roundrobin" is not a value of upstream.app.balance; did you mean "round-robin"? allowed: "round-robin", "least-requests", "random-two", "hash""#,
        ),
        ("servers = [\"a:1\"]\nretries = 11", "6:11: upstream.app.retries must be at most 10, not 11"),
        (
            "servers = [\"a:1\"]\ntimeouts.connect = \"1min\"",
            r#"6:20: upstream.app.timeouts.connect: "min" in "1min" is not a unit; did you mean "m"?"#,
        ),
        (
            "servers = [\"a:1\"]\npool = { idle = true }",
            "6:17: upstream.app.pool.idle must be a whole number, not true",
        ),
    ];
    for (lines, problem) in cases {
        assert_eq!(problems(&with_upstream(lines)), [problem], "{lines}");
    }
}

#[test]
fn a_server_is_a_host_and_a_port() {
    let cases = [
        (
            "http://127.0.0.1:9001/x",
            r#"is a URL, and a server is an address; write "127.0.0.1:9001" without "http://""#,
        ),
        (
            "https://example.com",
            r#"is a URL, and a server is an address; write "host:port" without "https://""#,
        ),
        ("/run/app.sock", r#"is a path; write "unix:/run/app.sock" if it is that of a socket"#),
        ("./app.sock", r#"is a path; write "unix:./app.sock" if it is that of a socket"#),
        ("unix:", r#"has no path of a socket; write it as in "unix:/run/app.sock""#),
        ("example.com", r#"has no port; write it as in "example.com:80""#),
        ("example.com:", r#"has no port; write it as in "example.com:80""#),
        ("[::1]", r#"has no port; write it as in "[::1]:80""#),
        ("example.com:80/x", r#"has more than a host and a port; write it without "/x""#),
        ("example.com:0", "has port 0, where no server can be"),
        ("::1:80", r#"is an IPv6 address without brackets; write "[::1]:80""#),
    ];
    for (server, complaint) in cases {
        let problem = format!("5:12: upstream.app.servers[0]: {server:?} {complaint}");
        assert_eq!(problems(&with_upstream(&format!("servers = [\"{server}\"]"))), [problem]);
    }
    for server in [
        "a:65536",
        "a:-1",
        "a:+1",
        "a:x",
        "[::g]:80",
        "300.1.1.1:80",
        "1.2.3:80",
        "-a.b:80",
        "a..b:80",
        ":80",
        "ä.b:80",
        "a b:80",
        "u@h:80",
    ] {
        let problems = problems(&with_upstream(&format!("servers = [\"{server}\"]")));
        assert!(problems.len() == 1 && problems[0].starts_with("5:12: "), "{server}: {problems:?}");
    }
    for server in ["localhost:1", "a.b.c.:65535", "my_service:80", "10.0.0.1:80", "[fe80::1]:80", "1a.2b:80"]
    {
        assert!(read(&with_upstream(&format!("servers = [\"{server}\"]"))).is_ok(), "{server}");
    }
}

#[test]
fn every_problem_of_a_step_is_listed_in_the_order_of_the_text() {
    let text = "workers = \"x\"\n[upstream.b]\nservers = [\"a\"]\n[listener.a]\nadress = \"127.0.0.1:1\"\n";
    assert_eq!(
        problems(text),
        [
            r#"1:11: workers must be a whole number, not "x""#,
            r#"3:12: upstream.b.servers[0]: "a" has no port; write it as in "a:80""#,
            r#"4:1: missing key "address" in listener.a; write it as in address = "0.0.0.0:8080""#,
            r#"5:1: unknown key "adress" in listener.a; did you mean "address"?"#,
        ]
    );
    let text = "default-upstream = \"ap\"\n[upstream.app]\nservers = [\"a:1\", \"a:1\"]\n";
    let found = problems(text);
    assert_eq!(found.len(), 3);
    assert!(found[0].starts_with("nothing to listen on"));
    assert_eq!(found[1], r#"1:20: default-upstream: there is no upstream "ap"; did you mean "app"?"#);
    assert!(found[2].starts_with("3:19: "));
}
