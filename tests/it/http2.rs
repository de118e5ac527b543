//! HTTP/2 with clients: prior knowledge, streams side by side, and what a hostile one sends.

use serde_json::json;
use tidegate_tests::{
    Client, ErrorCode, Frame, FrameType, H2Frames, Proxy, Raw, Setting, Upstream, assert_values, body,
    chunks, empty, flags, request, until,
};

const GET: [(&str, &str); 4] = H2Frames::GET;

#[tokio::test]
async fn prior_knowledge_works_on_clear_text() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http2().await;

    let request =
        request("POST", "/path?q=1").header("host", "a.test:81").body(body("hello")).expect("valid");
    let answer = client.send(request).await;

    assert_eq!(answer.version, http::Version::HTTP_2);
    let seen = answer.json();
    assert_eq!(seen["target"], "/path?q=1");
    assert_eq!(seen["body"], "hello");
    assert_eq!(seen["headers"]["host"], "a.test:81");
    assert_eq!(seen["headers"]["via"], "2 tidegate");
}

#[tokio::test]
async fn a_listener_for_one_version_does_not_speak_the_other() {
    let app = Upstream::echo("app").await;
    let builder = Proxy::builder(&app).listener("old", "http = [\"1.1\"]");
    let proxy = builder.listener("new", "http = [\"2\"]").start().await;

    assert_eq!(Client::http2(proxy.address("new")).await.get("/").await.status, 200);
    assert_eq!(Client::http1(proxy.address("old")).await.get("/").await.status, 200);
    let mut frames = H2Frames::connect(proxy.address("old")).await;
    frames.request(1, &GET).await;
    while let Some(frame) = frames.next().await {
        assert_ne!(frame.kind, FrameType::Headers, "a response from a listener without HTTP/2");
    }
    let mut raw = Raw::connect(proxy.address("new")).await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(!raw.read_to_end().await.contains("200"));
    assert_eq!(app.requests().len(), 2);
}

#[tokio::test]
async fn streams_are_served_side_by_side() {
    let app = Upstream::builder().meeting(20).await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.http2().await.side_by_side(20).await, [200; 20]);
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("x-sum", "42".parse().expect("a value"));
    let (feed, upload) = chunks();
    let request = request("POST", "/").header("trailer", "x-sum").body(upload).expect("valid");
    let mut client = proxy.http2().await;
    let answer = tokio::spawn(async move { client.send(request).await });
    assert!(feed.send("hello").await);
    feed.trailers(trailers).await;
    let answer = answer.await.expect("no panic");
    assert_eq!(answer.json()["body"], "hello");
    assert_eq!(answer.json()["trailers"]["x-sum"], "42");

    let trailing = Upstream::raw(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    )
    .await;
    let proxy = Proxy::builder(&trailing).start().await;
    let answer = proxy.http2().await.get("/").await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7");
}

#[tokio::test]
async fn cookie_crumbs_become_one_field_for_http_1() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let request =
        request("GET", "/").header("cookie", "a=1").header("cookie", "b=2").body(empty()).expect("valid");
    proxy.http2().await.send(request).await;
    let seen = app.only_request();
    assert_eq!(seen.count("cookie"), 1);
    assert_eq!(seen.header("cookie"), "a=1; b=2");
}

#[tokio::test]
async fn an_upstreams_connection_fields_do_not_reach_http_2() {
    let app = Upstream::raw(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=5\r\nconnection: keep-alive, x-hop\r\nx-hop: 1\r\n\r\nok",
    )
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let answer = proxy.http2().await.get("/").await;
    assert_eq!(answer.text(), "ok");
    for name in ["connection", "keep-alive", "x-hop"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn the_settings_tell_the_limits() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[limits]\nhttp2-streams = 7").start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    let settings = frames.next_of(&[FrameType::Settings]).await.expect("settings");
    assert_eq!(settings.setting(Setting::MaxConcurrentStreams), Some(7), "{settings:?}");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused() {
    // No request is ever answered, so every stream stays open.
    let app = Upstream::serve(async |_| std::future::pending().await).await;
    let proxy = Proxy::builder(&app).section("[limits]\nhttp2-streams = 2").start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    for stream in [1, 3, 5] {
        frames.request(stream, &GET).await;
    }
    let frame = frames.next_of(&[FrameType::RstStream, FrameType::GoAway]).await.expect("a refusal");
    assert_eq!(frame.kind, FrameType::RstStream, "a stream is refused, not the connection");
    assert_eq!(frame.stream, 5, "the two before it are allowed");
    assert_eq!(frame.error_code(), ErrorCode::RefusedStream);
}

/// What becomes of a request made of these fields: a status, or `None` for a reset.
async fn outcome(proxy: &Proxy, fields: &[(&str, &str)]) -> Option<u16> {
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    frames.request(1, fields).await;
    let frame = answer(&mut frames).await;
    (frame.kind == FrameType::Headers).then(|| frame.status().expect("a common status"))
}

/// The frame by which a request is answered or refused.
async fn answer(frames: &mut H2Frames) -> Frame {
    let answers = [FrameType::Headers, FrameType::RstStream, FrameType::GoAway];
    frames.next_of(&answers).await.expect("an answer")
}

#[tokio::test]
async fn malformed_requests_are_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let with = |more: &[(&'static str, &'static str)]| [&GET[..], more].concat();
    let without = |name: &str| GET.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>();
    let refused = [
        ("an authority that is not the host", with(&[("host", "b.test")])),
        ("two hosts", with(&[("host", "a.test"), ("host", "a.test")])),
        ("user information", replaced(":authority", "me@a.test")),
        ("a space in the authority", replaced(":authority", "a test")),
        ("an empty authority", replaced(":authority", "")),
        ("no authority and no host", without(":authority")),
        ("a connection field", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "websocket")])),
        ("a te other than trailers", with(&[("te", "gzip")])),
        ("an upper-case name", with(&[("X-Upper", "1")])),
        ("a newline in a value", with(&[("x-line", "a\r\nb: c")])),
        ("a NUL in a value", with(&[("x-nul", "a\0b")])),
        ("two lengths", with(&[("content-length", "0"), ("content-length", "0")])),
        ("a length that is no number", with(&[("content-length", "+0")])),
        ("a length without body", with(&[("content-length", "5")])),
        ("an empty path", replaced(":path", "")),
        ("a path without slash", replaced(":path", "path")),
        ("a space in the path", replaced(":path", "/a b")),
        ("another scheme", replaced(":scheme", "ftp")),
        ("a method with a space", replaced(":method", "GE T")),
        ("a pseudo-field twice", with(&[(":path", "/other")])),
        ("an unknown pseudo-field", with(&[(":other", "1")])),
        ("no path", without(":path")),
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
    ];
    for (what, fields) in refused {
        let outcome = outcome(&proxy, &fields).await;
        assert!(matches!(outcome, None | Some(400)), "{what}: {outcome:?}");
    }
    assert!(app.requests().is_empty(), "{:#?}", app.requests());

    for (what, fields) in [
        ("the authority repeated as host", with(&[("host", "a.test")])),
        ("a host instead of an authority", [&without(":authority")[..], &[("host", "a.test")]].concat()),
        ("te: trailers", with(&[("te", "trailers")])),
    ] {
        assert_eq!(outcome(&proxy, &fields).await, Some(200), "{what}");
    }
    assert!(
        app.requests().iter().all(|request| request.header("host") == "a.test" && request.count("host") == 1)
    );
}

fn replaced(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    GET.iter().map(|field| if field.0 == name { (field.0, value) } else { *field }).collect()
}

#[tokio::test]
async fn a_body_shorter_or_longer_than_declared_is_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for data in [&b"abc"[..], b"abcdefg"] {
        let mut frames = H2Frames::connect(proxy.address("web")).await;
        let post = [(":method", "POST"), GET[1], GET[2], GET[3], ("content-length", "5")];
        frames.request_head(1, &post).await;
        frames.send(FrameType::Data, flags::END_STREAM, 1, data).await;
        let frame = answer(&mut frames).await;
        assert!(frame.kind != FrameType::Headers || frame.status() == Some(400), "{frame:?}");
    }
}

#[tokio::test]
async fn a_half_sent_preface_is_cut() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nrequest-headers = \"200ms\"").start().await;

    let mut nothing = H2Frames::connect_bare(proxy.address("web")).await;
    assert_eq!(nothing.next().await, None);

    let mut half = H2Frames::connect_bare(proxy.address("web")).await;
    half.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r").await;
    while half.next().await.is_some() {}

    let mut frames = H2Frames::connect(proxy.address("web")).await;
    frames.half_a_request(1, &GET).await;
    while frames.next().await.is_some() {}

    // HEADERS without END_HEADERS, and no CONTINUATION.
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    frames.send(FrameType::Headers, flags::NONE, 1, &[]).await;
    while frames.next().await.is_some() {}
}

#[tokio::test]
async fn a_client_that_resets_all_its_streams_is_sent_away() {
    let app = Upstream::serve(|request: http::Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/" {
            std::future::pending::<()>().await;
        }
        http::Response::new(body("ok"))
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    for n in 0..2000_u32 {
        let stream = 2 * n + 1;
        frames.request(stream, &GET).await;
        frames.reset(stream, ErrorCode::Cancel).await;
    }
    while frames.next().await.is_some() {}
    until_noted(&proxy, "web", "http2-flood").await;
    assert_eq!(proxy.get("/other-clients").await.text(), "ok");
}

#[tokio::test]
async fn a_slow_stream_does_not_hold_up_the_others() {
    let app = Upstream::serve(|request: http::Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/fast" {
            return http::Response::new(body("ok"));
        }
        let (feed, slow) = chunks();
        tokio::spawn(async move { feed.abandoned().await });
        http::Response::new(slow)
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http2().await;
    let slow = client.start_get("/slow").await;
    assert_eq!(client.get("/fast").await.text(), "ok");
    drop(slow);
}

#[tokio::test]
async fn a_trusted_proxys_clients_may_all_go_away() {
    let app = Upstream::serve(|request: http::Request<hyper::body::Incoming>| async move {
        if request.uri().path() == "/" {
            std::future::pending::<()>().await;
        }
        http::Response::new(body("ok"))
    })
    .await;
    let proxy = Proxy::builder(&app).top("trusted-proxies = [\"127.0.0.1\"]").start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    for n in 0..150_usize {
        let stream = 2 * u32::try_from(n).expect("few") + 1;
        frames.request(stream, &GET).await;
        app.until_requests(n + 1).await;
        frames.reset(stream, ErrorCode::Cancel).await;
    }
    let last = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/last")];
    frames.request(2001, &last).await;
    let frame = frames.next_of(&[FrameType::Headers, FrameType::GoAway]).await.expect("an answer");
    assert_eq!((frame.kind, frame.stream), (FrameType::Headers, 2001));
}

/// Waits for the line and the count of what did not become a request.
async fn until_noted(proxy: &Proxy, listener: &str, failure: &str) {
    let line = proxy.access_log().wait(&[&format!("\"{failure}\"")]).await;
    let line = serde_json::from_str(&line).expect("JSON");
    assert_values(&line, json!({ "version": "HTTP/2", "listener": listener, "method": null, "target": "" }));
    let series =
        format!("tidegate_requests_refused_total{{listener=\"{listener}\",reason=\"{failure}\"}} 1\n");
    until(&series, async || proxy.admin("GET", "/metrics").await.text().contains(&series)).await;
}

#[tokio::test]
async fn what_is_no_request_has_a_line_and_is_counted() {
    let app = Upstream::serve(async |_| std::future::pending().await).await;
    let proxy = Proxy::builder(&app)
        .listener("new", "http = [\"2\"]")
        .section(
            "[limits]\nhttp2-streams = 1\nrequest-headers = \"8KiB\"\n[timeouts]\nrequest-headers = \"2s\"",
        )
        .start()
        .await;
    let connect = async || H2Frames::connect(proxy.address("web")).await;

    let mut bare = H2Frames::connect_bare(proxy.address("new")).await;
    bare.send_bytes(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    until_noted(&proxy, "new", "http2-preface").await;

    let errors = [
        ("http2-protocol", FrameType::Data, 0, vec![]),
        ("http2-frame-size", FrameType::Ping, 0, vec![0; 20 << 10]),
        ("http2-flow-control", FrameType::WindowUpdate, 0, 0x7fff_ffff_u32.to_be_bytes().to_vec()),
    ];
    for (failure, kind, stream, payload) in errors {
        let mut frames = connect().await;
        frames.send(kind, flags::NONE, stream, &payload).await;
        until_noted(&proxy, "web", failure).await;
        while frames.next().await.is_some() {}
    }

    let long = "x".repeat(120);
    let large = [&GET[..], &[("x-large", long.as_str()); 80]].concat();
    let mut frames = connect().await;
    frames.request(1, &large).await;
    until_noted(&proxy, "web", "headers-too-large").await;
    frames.request(3, &[&GET[..], &[("connection", "close")]].concat()).await;
    until_noted(&proxy, "web", "bad-request").await;
    frames.request(5, &GET).await;
    frames.request(7, &GET).await;
    until_noted(&proxy, "web", "http2-streams").await;
    frames.half_a_request(9, &GET).await;
    until_noted(&proxy, "web", "request-timeout").await;
    // The stream that was served has a line of its own, and no more than that.
    assert_eq!(proxy.accesses("/", 1).await.len(), 1);
    assert_eq!(proxy.access_log().len(), 9);
}
