//! One JSON line per exchange.

use std::fs;

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    Authority, Process, Proxy, TlsOptions, Upstream, assert_status, assert_values, body, command, eventually,
    guest, request,
};

#[tokio::test]
async fn a_line_says_what_happened() {
    let app = Upstream::echo("app").await;
    let proxy =
        Proxy::builder(&app).plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"").start().await;
    let request = request("POST", "/a%20b?q=\"1\"".replace('"', "%22").as_str())
        .header("host", "a.test:81")
        .header("user-agent", "test \"agent\"\u{e9}")
        .header("x-request-id", "the-id")
        .body(body("hello"))
        .expect("valid");
    let answer = proxy.send(request).await;
    let line = proxy.access("/a%20b?q=%221%22").await;

    let expected = json!({
        "request_id": "the-id",
        "listener": "web",
        "client": "127.0.0.1",
        "version": "HTTP/1.1",
        "method": "POST",
        "scheme": "http",
        "host": "a.test:81",
        "status": 200,
        "route": "app",
        "server": app.server(),
        "failure": null,
        "bytes_in": 5,
        "bytes_out": answer.body.len(),
        "user_agent": "test \"agent\"\u{e9}",
    });
    assert_values(&line, expected);
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    assert!(text("peer").starts_with("127.0.0.1:"), "{line}");
    assert_eq!(text("id").len(), 16, "{line}");
    assert_eq!(text("time").len(), "2030-01-01T00:00:00.000Z".len(), "{line}");
    assert!(text("time").ends_with('Z') && text("time").as_bytes()[10] == b'T', "{line}");
    let (duration, upstream) = (line["duration_us"].as_u64(), line["upstream_us"].as_u64());
    assert!(upstream > Some(0) && duration >= upstream, "{line}");
    for (step, phase) in [(&line["policies"][0], "request"), (&line["policies"][1], "response")] {
        assert_values(step, json!({ "policy": "10-stamp", "phase": phase, "verdict": "next" }));
        assert!(step["us"].is_u64(), "{step}");
    }
}

#[tokio::test]
async fn http_2_over_tls_is_named() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = Proxy::builder(&app).tls_listener("secure", &leaf, "").start().await;
    let mut client = proxy.tls("secure", &TlsOptions::new(&authority, "a.test")).await.expect("a handshake");
    client.get("/x").await;
    let line = proxy.access("/x").await;
    let expected =
        json!({ "version": "HTTP/2", "scheme": "https", "listener": "secure", "host": "example.test" });
    assert_values(&line, expected);
}

#[tokio::test]
async fn every_exchange_has_a_line_and_an_id_of_its_own() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http2().await;
    for _ in 0..100 {
        client.get("/many").await;
    }
    let lines = proxy.accesses("/many", 100).await;
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line["id"].to_string()).collect();
    assert_eq!(lines.len(), 100);
    assert_eq!(ids.len(), 100, "an id stands twice");
}

#[tokio::test]
async fn an_exchange_the_client_gave_up_has_a_line() {
    let app = Upstream::serve(async |_| std::future::pending().await).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /given-up HTTP/1.1\r\nHost: a\r\n\r\n").await;
    app.until_requests(1).await;
    drop(raw);
    let line = proxy.access("/given-up").await;
    assert_values(&line, json!({ "status": 499, "failure": "client-closed" }));
}

#[tokio::test]
async fn a_file_is_appended_to_and_reopened_on_sighup() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[access-log]\npath = \"logs/access.jsonl\"")
        .file("logs/access.jsonl", "kept\n")
        .start()
        .await;
    let file = proxy.folder().join("logs/access.jsonl");
    let holds = async |path: &std::path::Path, text: &str| {
        eventually(&format!("{text} in {}", path.display()), async || {
            fs::read_to_string(path).ok().filter(|content| content.contains(text))
        })
        .await
    };
    proxy.get("/one").await;
    assert!(holds(&file, "/one").await.starts_with("kept\n{"));

    // As log rotation does it.
    let old = file.with_extension("1");
    fs::rename(&file, &old).expect("the same file system");
    proxy.get("/two").await;
    holds(&old, "/two").await;
    let mark = proxy.log().len();
    proxy.signal(Signal::HUP);
    proxy.log().wait_from(mark, &["SIGHUP"]).await;
    proxy.get("/three").await;
    assert!(!holds(&file, "/three").await.contains("/two"));
    assert!(proxy.access_log().is_empty(), "nothing on stdout");
}

#[tokio::test]
async fn off_writes_nothing() {
    let app = Upstream::echo("app").await;
    let mut proxy = Proxy::builder(&app).section("[access-log]\npath = \"off\"").start().await;
    proxy.get("/").await;
    proxy.signal(Signal::TERM);
    proxy.ended().await;
    proxy.access_log().end().await;
    assert!(proxy.access_log().is_empty());
}

#[tokio::test]
async fn nothing_is_lost_at_the_end() {
    let app = Upstream::echo("app").await;
    let mut proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http1().await;
    for _ in 0..50 {
        client.get("/last").await;
    }
    proxy.signal(Signal::TERM);
    assert!(proxy.ended().await.success());
    proxy.access_log().end().await;
    assert_eq!(proxy.access_log().count("/last"), 50);
}

#[tokio::test]
async fn the_proxys_own_log_can_be_json() {
    let app = Upstream::echo("app").await;
    // Not by `start`, which reads the log as text.
    let folder = Proxy::builder(&app).section("[log]\nformat = \"json\"\nlevel = \"debug\"").write();
    let mut run = command(&["run", "--config"]);
    run.arg(folder.path().join("tidegate.toml"));
    let process = Process::start(run);
    let line = process.stderr().wait(&["\"serving\""]).await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["generation"], 1);
}

#[tokio::test]
async fn what_is_no_request_has_a_line_too() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nrequest-headers = \"300ms\"").start().await;
    for (sent, status, failure) in [
        ("GET / HTTP/9\r\n\r\n".to_owned(), 400, "bad-request"),
        (
            format!("GET / HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "x".repeat(40 << 10)),
            431,
            "headers-too-large",
        ),
        ("GET / HTTP/1.1\r\nHost:".to_owned(), 408, "request-timeout"),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(sent).await;
        assert_status(&raw.read_head().await, status);
        let line = proxy.access_log().wait(&[failure]).await;
        let line: Value = serde_json::from_str(&line).expect("JSON");
        assert_values(
            &line,
            json!({ "status": status, "method": null, "target": "", "client": "127.0.0.1" }),
        );
    }
}

/// What stands in a file once a line about `target` is in it.
async fn until_written(path: &std::path::Path, target: &str) -> String {
    eventually(&format!("{target} in {}", path.display()), async || {
        fs::read_to_string(path).ok().filter(|content| content.contains(target))
    })
    .await
}

#[tokio::test]
async fn a_line_looks_as_it_is_configured_to() {
    let app = Upstream::echo("app").await;
    for (config, expected) in [
        (
            "format = \"combined\"",
            "127.0.0.1 - - [@] \"GET /a?b=%22 HTTP/1.1\" 200 @ \"http://r.test/?t=1\" \"an \\x22agent\\x22\"",
        ),
        (
            "format = \"{method} {path} {{{query}} {status} {route} {failure} {header:x-tag}\"",
            "GET /a {b=%22} 200 app - tag",
        ),
        (
            "fields = [\"status\", \"path\", \"header:X-Tag\", \"header:cookie\"]",
            "{\"status\":200,\"path\":\"/a\",\"header:x-tag\":\"tag\",\"header:cookie\":\"***\"}",
        ),
        ("format = \"{target} {referer}\"\nmask-query = [\"b\", \"t\"]", "/a?b=*** http://r.test/?t=***"),
        (
            "fields = [\"user_agent\", \"client\"]\nmask-headers = [\"user-agent\"]",
            "{\"user_agent\":\"***\",\"client\":\"127.0.0.1\"}",
        ),
    ] {
        let section = format!("[access-log]\npath = \"access.log\"\n{config}");
        let proxy = Proxy::builder(&app).section(&section).start().await;
        let fields = [
            ("referer", "http://r.test/?t=1"),
            ("user-agent", "an \"agent\""),
            ("x-tag", "tag"),
            ("cookie", "secret"),
        ];
        proxy.ask("GET", "/a?b=%22", &fields).await;
        let written = until_written(&proxy.folder().join("access.log"), "\n").await;
        // What differs each time stands between the other pieces.
        let mut rest = written.trim_end();
        for piece in expected.split('@') {
            let at = rest.find(piece).unwrap_or_else(|| panic!("{config}: no {piece} in {written}"));
            rest = &rest[at + piece.len()..];
        }
        assert!(
            rest.is_empty() && written.starts_with(expected.split('@').next().expect("one")),
            "{written}"
        );
    }
}

#[tokio::test]
async fn a_part_of_the_lines_is_left_out_but_no_failure() {
    let app = Upstream::echo("app").await;
    let section = "[access-log]\npath = \"access.log\"\nsample = { 2xx = 10, 4xx = 0 }";
    let proxy = Proxy::builder(&app).workers(1).section(section).start().await;
    let mut client = proxy.http1().await;
    for _ in 0..100 {
        client.get("/good").await;
    }
    proxy.ask("GET", "/failed", &[("expect", "miracles")]).await;
    let written = until_written(&proxy.folder().join("access.log"), "/failed").await;
    assert_eq!(written.matches("/good").count(), 10);
}

#[tokio::test]
async fn lines_go_to_syslog_and_to_the_journal() {
    let app = Upstream::echo("app").await;
    for (kind, before) in
        [("syslog", "tidegate["), ("journald", "PRIORITY=6\nSYSLOG_IDENTIFIER=tidegate\nMESSAGE={")]
    {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.sock");
        let socket = tokio::net::UnixDatagram::bind(&path).expect("a socket");
        let section = format!("[access-log]\npath = \"{kind}:{}\"", path.display());
        let proxy = Proxy::builder(&app).section(&section).start().await;
        for target in ["/one", "/two"] {
            proxy.get(target).await;
            let mut datagram = vec![0; 64 << 10];
            let length =
                tidegate_tests::within("a line", socket.recv(&mut datagram)).await.expect("a datagram");
            let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
            assert!(text.contains(before) && text.contains(target), "{text}");
            assert!(kind != "syslog" || text.starts_with("<134>"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_handshake_that_fails_has_a_line() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = Proxy::builder(&app).tls_listener("secure", &leaf, "").start().await;
    let mut raw = tidegate_tests::Raw::connect(proxy.address("secure")).await;
    raw.send("GET / HTTP/1.1\r\n\r\n").await;
    let line = proxy.access_log().wait(&["tls-not-tls"]).await;
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_values(&line, json!({ "version": "TLS", "listener": "secure", "route": null }));
}
