//! What the next server is told: hop-by-hop fields removed, forwarding fields made or kept.

use serde_json::json;
use tidegate_tests::{
    Client, Proxy, Raw, Upstream, assert_status, assert_values, body, empty, read_head, request,
    request_with, stock,
};
use tokio::io::AsyncWriteExt;

const TRUST: &str = "trusted-proxies = [\"127.0.0.0/8\"]";

#[tokio::test]
async fn hop_by_hop_fields_go_no_further_than_the_proxy() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, X-Hop , x-other\r\nConnection: x-third\r\n\
         Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nX-Hop: 1\r\nX-Other: 2\r\nX-THIRD: 3\r\n\
         TE: gzip\r\nUpgrade: h2c\r\nX-End: stays\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    raw.read_response().await;

    let seen = app.only_request();
    for name in ["keep-alive", "proxy-connection", "x-hop", "x-other", "x-third", "te", "upgrade"] {
        assert_eq!(seen.count(name), 0, "{name}");
    }
    assert!(!seen.header("connection").contains("x-"), "{}", seen.header("connection"));
    assert_eq!(seen.header("x-end"), "stays");
}

#[tokio::test]
async fn a_client_cannot_have_end_to_end_fields_removed_that_matter() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nX-Forwarded-For: 9.9.9.9\r\n\
         Connection: host, content-length, x-forwarded-for, forwarded, x-request-id, via\r\n\r\nhello",
    )
    .await;
    let (head, body) = raw.read_response().await;
    assert_status(&head, 200);
    assert!(body.contains("\"body\":\"hello\""), "{body}");
    let seen = app.only_request();
    assert_eq!(seen.header("host"), "a.test");
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    for name in ["forwarded", "x-request-id", "via"] {
        assert_eq!(seen.count(name), 1, "{name}");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_of_the_response_stay_behind() {
    let app = Upstream::raw(
        "HTTP/1.1 200 OK\r\nconnection: keep-alive, x-hop\r\nkeep-alive: timeout=9\r\nx-hop: 1\r\nx-end: 2\r\n\
         proxy-connection: close\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let answer = proxy.get("/").await;
    for name in ["keep-alive", "x-hop", "proxy-connection"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!(answer.header("x-end"), "2");
}

#[tokio::test]
async fn what_a_stranger_says_of_the_client_is_replaced() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let request = request("GET", "/x")
        .header("host", "a.test:8080")
        .header("x-forwarded-for", "9.9.9.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "evil.test")
        .header("forwarded", "for=9.9.9.9;proto=https")
        .body(empty())
        .expect("valid");
    proxy.send(request).await;

    let seen = app.only_request();
    assert_eq!(seen.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(seen.header("x-forwarded-proto"), "http");
    assert_eq!(seen.header("x-forwarded-host"), "a.test:8080");
    assert_eq!(seen.header("forwarded"), "for=127.0.0.1;host=\"a.test:8080\";proto=http");
    assert_eq!(proxy.access("/x").await["client"], "127.0.0.1");
}

#[tokio::test]
async fn what_a_trusted_proxy_says_is_kept_and_added_to() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).top(TRUST).start().await;
    let request = request("GET", "/x")
        .header("host", "a.test")
        .header("x-forwarded-for", "6.6.6.6, 9.9.9.9")
        .header("x-forwarded-for", "127.0.0.9")
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-host", "public.test")
        .header("forwarded", "for=9.9.9.9;proto=https")
        .body(empty())
        .expect("valid");
    proxy.send(request).await;

    let seen = app.only_request();
    assert_eq!(seen.header("x-forwarded-for"), "6.6.6.6, 9.9.9.9, 127.0.0.9, 127.0.0.1");
    assert_eq!(seen.header("x-forwarded-proto"), "https");
    assert_eq!(seen.header("x-forwarded-host"), "public.test");
    assert!(seen.header("forwarded").starts_with("for=9.9.9.9;proto=https, for=127.0.0.1;"));
    // The client is the last address that is not of a trusted proxy; 6.6.6.6 is only what that client claims.
    let line = proxy.access("/x").await;
    assert_values(&line, json!({ "client": "9.9.9.9", "scheme": "https" }));
}

#[tokio::test]
async fn forwarded_alone_names_the_client_too() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).top(TRUST).start().await;
    for (forwarded, client) in [
        ("for=9.9.9.9", "9.9.9.9"),
        ("For=\"9.9.9.9:4711\";proto=http", "9.9.9.9"),
        ("for=\"[2001:db8::1]:80\"", "2001:db8::1"),
        ("for=6.6.6.6, for=unknown", "unknown"),
        ("for=6.6.6.6, for=9.9.9.9, for=127.0.0.2", "9.9.9.9"),
    ] {
        let mut client_side = proxy.http1().await;
        let target = format!("/{}", forwarded.replace(' ', "").replace(['"', '[', ']'], ""));
        let request = request("GET", &target).header("forwarded", forwarded).body(empty()).expect("valid");
        client_side.send(request).await;
        assert_eq!(proxy.access(&target).await["client"], client, "{forwarded}");
    }
}

#[tokio::test]
async fn via_names_the_proxy_and_the_version_received() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let request = request("GET", "/").header("via", "1.1 before").body(empty()).expect("valid");
    let answer = proxy.send(request).await;
    assert_eq!(answer.json()["headers"]["via"], "1.1 before, 1.1 tidegate");
    let answer = Client::http2(proxy.address("web")).await.get("/").await;
    assert_eq!(answer.json()["headers"]["via"], "2 tidegate");
}

#[tokio::test]
async fn a_request_id_is_made_or_kept() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let with = |id: &str| request("GET", "/kept").header("x-request-id", id).body(empty()).expect("valid");

    proxy.get("/made").await;
    proxy.get("/made-2").await;
    proxy.send(with("abc-123")).await;
    proxy.send(with("with space")).await;
    proxy.send(with(&"x".repeat(1000))).await;

    let ids: Vec<String> =
        app.requests().iter().map(|request| request.header("x-request-id").to_owned()).collect();
    assert!(ids[0].len() >= 16 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(ids[2], "abc-123");
    assert!(!ids[3].contains(' ') && ids[4].len() < 200, "what could spoil a log is replaced: {ids:?}");
    assert_eq!(proxy.access("/made").await["request_id"], ids[0]);
}

#[tokio::test]
async fn fields_keep_their_values_and_their_order() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        b"GET / HTTP/1.1\r\nHost: a.test\r\nX-Raw: caf\xe9\r\nX-List: 1\r\nX-List: 2\r\nX-Empty:\r\n\r\n"
            .as_slice(),
    )
    .await;
    raw.read_response().await;
    let seen = app.only_request();
    assert_eq!(seen.headers["x-raw"].as_bytes(), b"caf\xe9");
    let list: Vec<_> = seen.headers.get_all("x-list").iter().collect();
    assert_eq!(list, ["1", "2"]);
    assert_eq!(seen.headers["x-empty"], "");
}

#[tokio::test]
async fn the_host_the_client_asked_for_is_passed_on() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let request = request("POST", "/").header("host", "Mixed.Case.test:1234").body(body("x")).expect("valid");
    proxy.send(request).await;
    assert_eq!(app.only_request().header("host"), "Mixed.Case.test:1234");
}

/// Its `/admin/` is for this machine only.
async fn admin_alone(app: &Upstream) -> Proxy {
    let rules = "[config]\nrules = [{ paths = [\"/admin/**\"], allow = [\"127.0.0.0/8\"] }]";
    Proxy::builder(app).top(TRUST).plugin("1-access", stock("access-control"), rules).start().await
}

#[tokio::test]
async fn a_byte_that_cannot_be_read_makes_nobody_a_trusted_proxy() {
    let app = Upstream::echo("app").await;
    let proxy = admin_alone(&app).await;
    for (fields, client) in [
        (&b"X-Forwarded-For: \xe9, 203.0.113.9"[..], "203.0.113.9"),
        (b"X-Forwarded-For: \xe9\r\nX-Forwarded-For: 203.0.113.9", "203.0.113.9"),
        (b"Forwarded: for=203.0.113.9;by=\xe9", "203.0.113.9"),
        (b"X-Forwarded-For: 203.0.113.9, \xe9", "unknown"),
        (b"X-Forwarded-For: 203.0.113.9, unix:", "unknown"),
        (b"Forwarded: for=_hidden", "unknown"),
    ] {
        let mut raw = proxy.raw().await;
        raw.send([b"GET /admin/ HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n\r\n"].concat()).await;
        assert_status(&raw.read_head().await, 403);
        let line = proxy.access_log().wait(&["/admin/", &format!("\"client\":\"{client}\"")]).await;
        assert!(line.contains("403"), "{line}");
    }
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn what_says_who_the_client_is_comes_from_trusted_proxies_alone() {
    let claims = [
        ("client-cert", ":AAAA:"),
        ("x-real-ip", "10.0.0.1"),
        ("x-forwarded-port", "443"),
        ("x-verified", "yes"),
        ("x_forwarded_for", "10.0.0.1"),
        ("x-forwarded_proto", "https"),
        ("x_verified", "yes"),
    ];
    for (trust, kept) in
        [("", &[][..]), (TRUST, &["client-cert", "x-forwarded-port", "x-real-ip", "x-verified"])]
    {
        let app = Upstream::echo("app").await;
        let proxy = Proxy::builder(&app).top("identity-headers = [\"X-Verified\"]").top(trust).start().await;
        proxy.ask("GET", "/", &claims).await;
        let seen = app.only_request();
        let mut left: Vec<_> =
            claims.iter().map(|(name, _)| *name).filter(|name| seen.count(name) > 0).collect();
        left.sort_unstable();
        assert_eq!(left, kept);
    }
}

#[tokio::test]
async fn a_listener_may_have_the_client_in_a_field_of_its_own() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::bare()
        .top("default-upstream = \"app\"")
        .top(TRUST)
        .listener("web", "client-address = { field = \"CF-Connecting-IP\" }")
        .upstream("app", &app)
        .start()
        .await;
    let fields = [("cf-connecting-ip", "203.0.113.9"), ("x-forwarded-for", "6.6.6.6")];
    proxy.ask("GET", "/one", &fields).await;
    assert_eq!(proxy.access("/one").await["client"], "203.0.113.9");
    proxy.ask("GET", "/two", &[("cf-connecting-ip", "203.0.113.9, 6.6.6.6")]).await;
    assert_eq!(proxy.access("/two").await["client"], "unknown");
}

#[tokio::test]
async fn servers_may_be_told_less_and_in_other_letters() {
    let app = Upstream::script(|mut stream, _| async move {
        let head = read_head(&mut stream).await;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        let _ = stream.write_all(answer.as_bytes()).await;
    })
    .await;
    let lines = format!("servers = [\"{}\"]\nvia = false\nheader-case = \"title\"", app.server());
    let proxy = Proxy::with_app(&lines).listener("old", "header-case = \"title\"").start().await;
    let mut raw = Raw::connect(proxy.address("old")).await;
    raw.send("GET / HTTP/1.1\r\nhost: a\r\nvia: 1.1 other\r\nx-some-thing: 1\r\n\r\n").await;
    let (head, seen) = raw.read_response().await;
    assert!(head.contains("Content-Length: "), "{head}");
    assert!(seen.contains("\r\nX-Some-Thing: 1\r\n"), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("\r\nvia:"), "{seen}");
}

#[tokio::test]
async fn the_reason_phrase_of_the_server_passes_and_none_is_invented() {
    for (said, passed) in [
        ("401 Token+timed+out", "401 Token+timed+out"),
        ("520 Unknown Error", "520 Unknown Error"),
        ("599 ", "599 "),
        ("200 OK", "200 OK"),
    ] {
        let app = Upstream::raw(format!("HTTP/1.1 {said}\r\ncontent-length: 0\r\n\r\n")).await;
        let proxy = Proxy::builder(&app).start().await;
        let mut raw = proxy.raw().await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {passed}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn a_response_may_have_more_fields_where_that_is_said() {
    let fields: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let app = Upstream::raw(format!("HTTP/1.1 200 OK\r\n{fields}content-length: 0\r\n\r\n")).await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.get("/").await.status, 502);
    proxy.log().wait(&["limits.response-header-count"]).await;
    let proxy = Proxy::builder(&app).section("[limits]\nresponse-header-count = 200").start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let head = raw.read_head().await;
    assert_status(&head, 200);
    assert!(head.contains("\r\nx-149: 1\r\n"), "{head}");
}

#[tokio::test]
async fn a_connection_that_a_server_authenticated_is_nobody_elses() {
    for scheme in ["NTLM", "Negotiate"] {
        let app = Upstream::script(|mut stream, _| async move {
            let mut user = "";
            loop {
                let head = read_head(&mut stream).await;
                let (status, fields) = if head.contains("T1") {
                    ("401 Unauthorized", "www-authenticate: NTLM challenge\r\n")
                } else if head.contains("T3") {
                    user = "alice";
                    ("200 OK", "")
                } else {
                    ("200 OK", "")
                };
                let length = user.len();
                let answer = format!("HTTP/1.1 {status}\r\n{fields}content-length: {length}\r\n\r\n{user}");
                if head.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await;
        let proxy = Proxy::builder(&app).start().await;
        let (mut alice, mut other) = (proxy.http1().await, proxy.http1().await);
        let handshake = |token: &str| {
            request_with("GET", "/", &[("authorization", &format!("{scheme} {token}"))])
                .body(empty())
                .expect("valid")
        };
        assert_eq!(alice.send(handshake("T1")).await.status, 401);
        assert_eq!(alice.send(handshake("T3")).await.text(), "alice");
        for _ in 0..3 {
            assert_eq!(other.get("/").await.text(), "", "{scheme}");
            assert_eq!(alice.get("/").await.text(), "alice", "{scheme}");
        }
        assert_eq!(app.connections(), 2);
        // A proxy's connection carries several clients.
        let proxy = Proxy::builder(&app).top(TRUST).start().await;
        let mut front = proxy.http1().await;
        let from = |client: &str, credentials: &str| {
            let fields = [("x-forwarded-for", client), ("authorization", credentials)];
            let fields = if credentials.is_empty() { &fields[..1] } else { &fields[..] };
            request_with("GET", "/", fields).body(empty()).expect("valid")
        };
        front.send(from("1.1.1.1", &format!("{scheme}\tT3"))).await.assert_is(200, "alice");
        front.send(from("2.2.2.2", "")).await.assert_is(200, "");
        front.send(from("1.1.1.1", "")).await.assert_is(200, "alice");
        drop(front);
        // They end with the client's.
        app.until_closed(1).await;
    }
}

#[tokio::test]
async fn connection_has_no_say_in_who_the_client_is() {
    let app = Upstream::echo("app").await;
    let proxy = admin_alone(&app).await;
    for fields in [
        "X-Forwarded-For: 8.8.8.8\r\nConnection: close, X-Forwarded-For",
        "X-Forwarded-For: 8.8.8.8\r\nForwarded: for=127.9.9.9\r\nConnection: X-Forwarded-For",
        "Forwarded: for=8.8.8.8\r\nConnection: forwarded",
    ] {
        let mut raw = proxy.raw().await;
        raw.send(format!("GET /admin/ HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n")).await;
        assert_status(&raw.read_head().await, 403);
    }
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn trailers_say_nothing_of_who_the_client_is() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let names = "x-sum, x-forwarded-for, x_forwarded_for, x-real-ip, connection";
    let mut raw = proxy.raw().await;
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nTrailer: {names}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
         x-sum: 1\r\nx-forwarded-for: 6.6.6.6\r\nx_forwarded_for: 6.6.6.6\r\nx-real-ip: 6.6.6.6\r\nconnection: x\r\n\r\n"
    ))
    .await;
    let (_, body) = raw.read_response().await;
    let seen: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(seen["trailers"], json!({ "x-sum": "1" }));
}
