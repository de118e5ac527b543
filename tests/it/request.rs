//! Requests that two implementations could read in two ways are refused before any policy sees them.

use serde_json::json;
use tidegate_tests::{Proxy, Upstream, assert_values, stock};

/// What is sent, `\n` for CRLF, and the status it gets.
const REFUSED: &[(&str, &str, u16)] = &[
    // Framing (RFC 9112 §6).
    (
        "length and chunks",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n",
        400,
    ),
    (
        "chunks and length",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n",
        400,
    ),
    ("two different lengths", "POST / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\nab", 400),
    ("two equal lengths", "POST / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 1\n\na", 400),
    ("a list of lengths", "POST / HTTP/1.1\nHost: a\nContent-Length: 1, 1\n\na", 400),
    ("a signed length", "POST / HTTP/1.1\nHost: a\nContent-Length: +5\n\nhello", 400),
    ("a negative length", "POST / HTTP/1.1\nHost: a\nContent-Length: -5\n\nhello", 400),
    ("a hexadecimal length", "POST / HTTP/1.1\nHost: a\nContent-Length: 0x5\n\nhello", 400),
    ("an empty length", "POST / HTTP/1.1\nHost: a\nContent-Length:\n\n", 400),
    (
        "a length that overflows",
        "POST / HTTP/1.1\nHost: a\nContent-Length: 18446744073709551621\n\nhello",
        400,
    ),
    ("identity coding", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity\n\n", 400),
    ("chunked and identity", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, identity\n\n0\n\n", 400),
    ("identity and chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: identity, chunked\n\n0\n\n", 400),
    ("gzip and chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n0\n\n", 400),
    ("an empty member", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: , chunked\n\n0\n\n", 400),
    ("chunked twice", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked, chunked\n\n0\n\n", 400),
    (
        "chunked on two lines",
        "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n",
        400,
    ),
    ("something like chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: xchunked\n\n0\n\n", 400),
    ("a quoted chunked", "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: \"chunked\"\n\n0\n\n", 400),
    ("chunks in HTTP/1.0", "POST / HTTP/1.0\nHost: a\nTransfer-Encoding: chunked\n\n0\n\n", 400),
    // Host (RFC 9112 §3.2).
    ("no host", "GET / HTTP/1.1\n\n", 400),
    ("two hosts", "GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
    ("the same host twice", "GET / HTTP/1.1\nHost: a\nHost: a\n\n", 400),
    ("an empty host", "GET / HTTP/1.1\nHost:\n\n", 400),
    ("a list of hosts", "GET / HTTP/1.1\nHost: a, b\n\n", 400),
    ("a host with a path", "GET / HTTP/1.1\nHost: a/b\n\n", 400),
    ("a host with a space", "GET / HTTP/1.1\nHost: a b\n\n", 400),
    ("a host with a user", "GET / HTTP/1.1\nHost: me@a\n\n", 400),
    ("a host with a port that is none", "GET / HTTP/1.1\nHost: a:b\n\n", 400),
    ("a host with a port too large", "GET / HTTP/1.1\nHost: a:65536\n\n", 400),
    ("a host with two ports", "GET / HTTP/1.1\nHost: a:1:2\n\n", 400),
    ("a host with a broken address", "GET / HTTP/1.1\nHost: [::1\n\n", 400),
    ("a host with a backslash", "GET / HTTP/1.1\nHost: a\\b\n\n", 400),
    ("an absolute target with a user", "GET http://me@a/ HTTP/1.1\nHost: a\n\n", 400),
    ("an absolute target without host", "GET http:///path HTTP/1.1\nHost: a\n\n", 400),
    // Field lines (RFC 9112 §5).
    ("a space before the colon", "GET / HTTP/1.1\nHost: a\nX-Field : 1\n\n", 400),
    ("a space before the first field", "GET / HTTP/1.1\n Host: a\n\n", 400),
    ("a folded line", "GET / HTTP/1.1\nHost: a\nX-Field: 1\n 2\n\n", 400),
    ("no colon", "GET / HTTP/1.1\nHost: a\nX-Field\n\n", 400),
    ("an empty name", "GET / HTTP/1.1\nHost: a\n: 1\n\n", 400),
    ("a NUL in a value", "GET / HTTP/1.1\nHost: a\nX-Field: a\0b\n\n", 400),
    ("a bare CR in a value", "GET / HTTP/1.1\nHost: a\nX-Field: a\rX-Other: b\n\n", 400),
    ("a DEL in a value", "GET / HTTP/1.1\nHost: a\nX-Field: a\x7fb\n\n", 400),
    ("a bracket in a name", "GET / HTTP/1.1\nHost: a\nX(Field): 1\n\n", 400),
    // The request line (RFC 9112 §3).
    ("a target without slash", "GET path HTTP/1.1\nHost: a\n\n", 400),
    ("a space in the target", "GET /a b HTTP/1.1\nHost: a\n\n", 400),
    ("a tab for a space", "GET\t/ HTTP/1.1\nHost: a\n\n", 400),
    ("an unknown version", "GET / HTTP/1.2\nHost: a\n\n", 400),
    ("HTTP/2 in a request line", "GET / HTTP/2.0\nHost: a\n\n", 400),
    ("no version", "GET /\n\n", 400),
    ("a control character in the target", "GET /a\x01b HTTP/1.1\nHost: a\n\n", 400),
    ("another scheme", "GET ftp://a/ HTTP/1.1\nHost: a\n\n", 400),
    ("a star with another method", "GET * HTTP/1.1\nHost: a\n\n", 400),
    ("a bracket in the method", "GE(T / HTTP/1.1\nHost: a\n\n", 400),
    // Methods that are not for a reverse proxy.
    ("CONNECT", "CONNECT a:443 HTTP/1.1\nHost: a:443\n\n", 405),
    ("TRACE", "TRACE / HTTP/1.1\nHost: a\n\n", 405),
];

#[tokio::test]
async fn ambiguous_requests_are_refused() {
    let app = Upstream::echo("app").await;
    // This policy would answer every request; the proxy must not ask it.
    let allow = "[config]\nrules = [{ paths = [\"/**\"], deny = true }]\nstatus = 418";
    let proxy = Proxy::builder(&app).plugin("10-access", stock("access-control"), allow).start().await;
    let mut wrong = Vec::new();
    for (what, sent, status) in REFUSED {
        let mut raw = proxy.raw().await;
        raw.send(sent.replace('\n', "\r\n")).await;
        raw.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        // A request of a version that the proxy does not speak may get 505.
        let expected =
            [format!("HTTP/1.1 {status} "), format!("HTTP/1.0 {status} "), "HTTP/1.1 505 ".to_owned()];
        let answer = if *status == 405 { raw.read_head().await } else { raw.read_to_end().await };
        if !expected.iter().any(|expected| answer.starts_with(expected)) {
            wrong.push(format!("{what}: {answer:?}"));
        }
        if *status == 400 && answer.matches("HTTP/1.").count() != 1 {
            wrong.push(format!("{what}: went on after the refusal: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(app.requests().is_empty(), "{:#?}", app.requests());
}

/// Bodies whose chunks are wrong (RFC 9112 §7.1). The head was fine, so the upstream may have been asked,
/// but never gets to the end of the body.
const BAD_CHUNKS: &[(&str, &str)] = &[
    ("a size that is no number", "zz\nhello\n0\n\n"),
    ("a negative size", "-5\nhello\n0\n\n"),
    ("a size with a sign", "+5\nhello\n0\n\n"),
    ("a size with a prefix", "0x5\nhello\n0\n\n"),
    ("a size that overflows", "fffffffffffffffff\nhello\n0\n\n"),
    ("an empty size", "\nhello\n0\n\n"),
    ("data longer than its size", "3\nhello\n0\n\n"),
    ("data without its line end", "5\nhello0\n\n"),
    ("a bare CR after a size", "5\rhello\n0\n\n"),
    ("a bare CR in an extension", "5;a\rb\nhello\n0\n\n"),
];

#[tokio::test]
async fn badly_chunked_bodies_are_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut wrong = Vec::new();
    for (what, chunks) in BAD_CHUNKS {
        let mut raw = proxy.raw().await;
        raw.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        raw.send(chunks.replace('\n', "\r\n")).await;
        raw.send("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = raw.read_to_end().await;
        if !answer.starts_with("HTTP/1.1 400 ") || answer.matches("HTTP/1.").count() != 1 {
            wrong.push(format!("{what}: {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(app.requests().iter().all(|request| request.target != "/smuggled"));
}

#[tokio::test]
async fn unusual_but_clear_requests_pass() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for (what, sent, target) in [
        ("odd spacing around a value", "GET /1 HTTP/1.1\nHost:\t a \nX-Field:1\n\n", "/1"),
        ("a host with port", "GET /2 HTTP/1.1\nHost: a:8080\n\n", "/2"),
        ("an IPv6 host", "GET /3 HTTP/1.1\nHost: [::1]:8080\n\n", "/3"),
        ("no host in HTTP/1.0", "GET /4 HTTP/1.0\n\n", "/4"),
        ("an upper-case coding", "POST /5 HTTP/1.1\nHost: a\nTransfer-Encoding: CHUNKED\n\n0\n\n", "/5"),
        (
            "an upper-case chunk size",
            "POST /6 HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nA\n0123456789\n0\n\n",
            "/6",
        ),
        ("leading zeros", "POST /7 HTTP/1.1\nHost: a\nContent-Length: 005\n\nhello", "/7"),
        ("an empty line before the request", "\nGET /8 HTTP/1.1\nHost: a\n\n", "/8"),
        ("an unknown method", "BREW /9 HTTP/1.1\nHost: a\n\n", "/9"),
        ("a query with brackets", "GET /10?a[]=1&b={} HTTP/1.1\nHost: a\n\n", "/10?a[]=1&b={}"),
        ("an encoded slash", "GET /11/%2F/a%2fb HTTP/1.1\nHost: a\n\n", "/11/%2F/a%2fb"),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(sent.replace('\n', "\r\n")).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 "), "{what}: {head}");
        let seen = app.requests();
        assert_eq!(seen.last().expect("a request").target, target, "{what}");
    }
}

#[tokio::test]
async fn the_framing_towards_the_upstream_is_made_anew() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n")
        .await;
    raw.read_response().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello").await;
    raw.read_response().await;

    let seen = app.requests();
    assert_eq!(seen[0].header("transfer-encoding"), "chunked");
    assert_eq!(seen[0].count("content-length"), 0);
    assert_eq!(seen[1].count("transfer-encoding"), 0);
    assert_eq!(seen[1].header("content-length"), "5");
}

#[tokio::test]
async fn a_refusal_says_why_and_is_in_the_access_log() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /twice HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.to_ascii_lowercase().contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("more than one Host"), "{answer}");
    let line = proxy.access("/twice").await;
    assert_values(&line, json!({ "status": 400, "failure": "bad-request" }));
}
