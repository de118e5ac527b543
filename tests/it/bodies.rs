//! Bodies stream both ways, with back-pressure and without being held in memory.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use tidegate_tests::{
    Builder, Client, FrameType, H2Frames, PATIENCE, Proxy, Upstream, Zeros, assert_status, body, chunked,
    chunks, empty, flags, next_chunk, request, stock, within,
};

/// Bytes of a large body: 64 MiB, or 1 GiB with `TIDEGATE_TEST_FULL` set.
fn large() -> u64 {
    if std::env::var_os("TIDEGATE_TEST_FULL").is_some() { 1 << 30 } else { 64 << 20 }
}

/// What memory may grow by while a large body passes; buffers on both sides of a few connections.
const GROWTH: u64 = 16 << 20;

fn unlimited(upstream: &Upstream) -> Builder {
    Proxy::builder(upstream).section("[limits]\nrequest-body = \"2GiB\"")
}

#[tokio::test]
async fn a_large_upload_passes_in_flat_memory() {
    let app = Upstream::serve(async |request: http::Request<hyper::body::Incoming>| {
        let mut incoming = request.into_body();
        let mut length = 0;
        while let Some(frame) = incoming.frame().await {
            length += frame.expect("a whole body").data_ref().map_or(0, Bytes::len);
        }
        Response::new(body(length.to_string()))
    })
    .await;
    let proxy = unlimited(&app).start().await;
    for mut client in proxy.both().await {
        client.get("/warm").await;
        let before = proxy.resident_memory();
        let upload = request("POST", "/").body(Zeros { left: large() }.boxed()).expect("valid");
        // Not bounded by the harness: it takes as long as the machine needs.
        let answer = client.start(upload).await.expect("a response");
        let received = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(received, large().to_string());
        let grown = proxy.resident_memory().saturating_sub(before);
        assert!(grown < GROWTH, "{grown} bytes more after the upload");
    }
}

#[tokio::test]
async fn a_large_download_passes_in_flat_memory() {
    let app = Upstream::serve(async |_| Response::new(Zeros { left: large() }.boxed())).await;
    let proxy = Proxy::builder(&app).start().await;
    for mut client in proxy.both().await {
        let before = proxy.resident_memory();
        let answer = client.start_get("/").await;
        assert_eq!(answer.headers()["content-length"], large().to_string());
        let mut download = answer.into_body();
        let mut length = 0;
        while let Some(frame) = within("the next chunk", download.frame()).await {
            length += frame.expect("a whole body").data_ref().map_or(0, Bytes::len) as u64;
        }
        assert_eq!(length, large());
        let grown = proxy.resident_memory().saturating_sub(before);
        assert!(grown < GROWTH, "{grown} bytes more after the download");
    }
}

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let (app, feed) = Upstream::fed("").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http1().await;
    let answer = client.start_get("/").await;
    let mut answer = answer.into_body();
    // The next chunk is sent only when the one before has arrived.
    for chunk in ["one", "two", "three"] {
        assert!(feed.send(chunk).await);
        assert_eq!(next_chunk(&mut answer).await, chunk);
    }
    drop(feed);
    assert!(within("the end", answer.frame()).await.is_none());
}

#[tokio::test]
async fn an_upload_reaches_the_upstream_before_it_is_complete() {
    let (arrived, mut first) = tokio::sync::mpsc::channel(1);
    let app = Upstream::serve(move |request: http::Request<hyper::body::Incoming>| {
        let arrived = arrived.clone();
        async move {
            let mut incoming = request.into_body();
            arrived.send(next_chunk(&mut incoming).await).await.expect("a test that listens");
            incoming.collect().await.expect("the rest");
            Response::new(body("done"))
        }
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let (feed, upload) = chunks();
    let mut client = proxy.http1().await;
    let answer = tokio::spawn(async move {
        client.send(request("POST", "/").body(upload).expect("valid")).await.text().to_owned()
    });
    assert!(feed.send("first").await);
    assert_eq!(within("the first chunk", first.recv()).await.expect("a chunk"), "first");
    drop(feed);
    assert_eq!(within("the answer", answer).await.expect("no panic"), "done");
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_upstream_back() {
    let (tell, told) = tokio::sync::watch::channel(0_u64);
    let app = Upstream::serve(move |_| {
        let tell = tell.clone();
        async move {
            let (feed, endless) = chunks();
            tokio::spawn(async move {
                let chunk = Bytes::from(vec![0; 64 << 10]);
                while feed.send(chunk.clone()).await {
                    tell.send_modify(|sent| *sent += 64 << 10);
                }
            });
            Response::new(endless)
        }
    })
    .await;
    // With a buffer the proxy would take as much as that holds; see `buffering`.
    let lines = format!("servers = [\"{}\"]\nbuffer = false", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let before = proxy.resident_memory();
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    raw.read_head().await;

    // Wait until nothing moves any more: a whole quiet second.
    let mut told = told;
    while tokio::time::timeout(PATIENCE / 30, told.changed()).await.is_ok() {}

    let sent = *told.borrow();
    assert!(sent < 32 << 20, "the upstream could send {sent} bytes that nobody read");
    let grown = proxy.resident_memory().saturating_sub(before);
    assert!(grown < GROWTH, "{grown} bytes held for a client that does not read");
}

#[tokio::test]
async fn a_body_the_upstream_breaks_off_is_not_completed() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let app = Upstream::raw(response).await;
        let proxy = Proxy::builder(&app).start().await;
        for mut client in proxy.both().await {
            let request = request("GET", "/").body(empty()).expect("valid");
            client.try_send(request).await.expect_err("a client must not take this for the whole body");
        }
        assert_eq!(proxy.access("/").await["failure"], "broken-off");
    }
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_whole() {
    let app = Upstream::raw("HTTP/1.1 200 OK\r\n\r\nuntil the end").await;
    let proxy = Proxy::builder(&app).start().await;
    for mut client in proxy.both().await {
        assert_eq!(client.get("/").await.text(), "until the end");
        // The client's connection goes on.
        assert_eq!(client.get("/").await.text(), "until the end");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_the_upstreams_work() {
    let (gone, mut waits) = tokio::sync::mpsc::channel(1);
    let app = Upstream::serve(move |_| {
        let gone = gone.clone();
        async move {
            let (feed, endless) = chunks();
            tokio::spawn(async move {
                feed.send("first").await;
                feed.abandoned().await;
                let _ = gone.send(()).await;
            });
            Response::new(endless)
        }
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    for client in proxy.both().await {
        let mut client: Client = client;
        let answer = client.start_get("/away").await;
        drop(answer);
        drop(client);
        within("the upstream to be told", waits.recv()).await.expect("an upstream that waits");
    }
    let line = proxy.access("/away").await;
    assert_eq!(line["failure"], "broken-off");
}

#[tokio::test]
async fn an_upload_the_client_breaks_off_reaches_nobody_as_whole() {
    let (tell, mut outcomes) = tokio::sync::mpsc::channel(1);
    let app = Upstream::serve(move |request: http::Request<hyper::body::Incoming>| {
        let tell = tell.clone();
        async move {
            let outcome = request.into_body().collect().await.is_ok();
            tell.send(outcome).await.expect("a test that listens");
            Response::new(body("done"))
        }
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await;
    app.until_requests(1).await;
    drop(raw);
    assert!(!within("the upstream's view", outcomes.recv()).await.expect("an outcome"));

    let (feed, upload) = chunks();
    let mut client = proxy.http2().await;
    let sending = tokio::spawn(async move {
        let _ = client.try_send(request("POST", "/").body(upload).expect("valid")).await;
    });
    feed.send("only this").await;
    app.until_requests(2).await;
    feed.break_off().await;
    assert!(!within("the upstream's view", outcomes.recv()).await.expect("an outcome"));
    within("the client", sending).await.expect("no panic");
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    // A server may refuse an upload without reading it (RFC 9112 §9.3).
    let app =
        Upstream::raw("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\npart of it").await;
    let (head, body) = raw.read_response().await;
    assert_status(&head, 403);
    assert_eq!(body, "no");
}

#[tokio::test]
async fn a_body_that_falls_silent_is_given_up() {
    let app = Upstream::echo("app").await;
    let everywhere = Proxy::builder(&app).section("[timeouts]\nbody-idle = \"200ms\"");
    let here = format!("servers = [\"{}\"]\ntimeouts = {{ body-idle = \"200ms\" }}", app.server());
    let here = Proxy::with_app(&here).section("[timeouts]\nbody-idle = \"1h\"");
    for builder in [everywhere, here] {
        let proxy = builder.start().await;
        let mut raw = proxy.raw().await;
        raw.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await;
        let answer = raw.read_to_end().await;
        assert_status(&answer, 408);
        assert_eq!(proxy.access("/").await["failure"], "body-timeout");
    }
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut() {
    let app = Upstream::serve(async |_| Response::new(Zeros { left: 64 << 20 }.boxed())).await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nbody-idle = \"200ms\"").start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /slow-reader HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.read_head().await;
    // Nothing more is read until the proxy has given up.
    let line = proxy.access("/slow-reader").await;
    assert_eq!(line["failure"], "broken-off");
}

#[tokio::test]
async fn the_body_of_a_get_arrives_whatever_its_length_is_called() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for method in ["GET", "OPTIONS", "SEARCH"] {
        let mut raw = proxy.raw().await;
        raw.send(format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        ))
        .await;
        let (_, body) = raw.read_response().await;
        assert!(body.contains("\"body\":\"hello\""), "{method}: {body}");
    }
    let (feed, upload) = chunks();
    let mut client = proxy.http2().await;
    let asked = request("GET", "/").body(upload).expect("valid");
    let answer = tokio::spawn(async move { client.send(asked).await });
    assert!(feed.send("hello").await);
    drop(feed);
    assert_eq!(answer.await.expect("no panic").json()["body"], "hello");
}

const DENY: &str = "[config]\nrules = [{ paths = [\"/denied\"], deny = true }]";

#[tokio::test]
async fn the_answer_to_an_upload_arrives_though_nobody_wants_it() {
    const MIB: usize = 1 << 20;
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1-access", stock("access-control"), DENY).start().await;
    for (size, closes) in [(100_000, false), (8 * MIB, true), (17 * MIB, true)] {
        let target = if size > 16 * MIB { "/large" } else { "/denied" };
        let mut raw = proxy.raw().await;
        // A client that reads nothing before it has sent all.
        raw.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")).await;
        raw.send(vec![b'x'; size]).await;
        let head = raw.read_head().await;
        assert_status(&head, if size > 16 * MIB { 413 } else { 403 });
        assert_eq!(head.contains("connection: close"), closes, "{head}");
        if !closes {
            raw.read_until("\n").await;
            raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            assert_status(&raw.read_head().await, 200);
        }
    }
    // Over HTTP/2 there is no reset where the body is small, and none before the response is over.
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/denied")];
    frames.request_head(1, &post).await;
    frames.send(FrameType::Data, flags::END_STREAM, 1, &[b'x'; 10_000]).await;
    loop {
        let frame = frames.next().await.expect("a frame");
        assert_ne!(frame.kind, FrameType::RstStream);
        if frame.stream == 1 && frame.flags & flags::END_STREAM != 0 {
            break;
        }
    }
    frames.request(3, &H2Frames::GET).await;
    let next = frames.next_of(&[FrameType::RstStream, FrameType::Headers]).await.expect("a frame");
    assert_eq!((next.kind, next.stream), (FrameType::Headers, 3));
}

#[tokio::test]
async fn an_upstream_may_take_larger_bodies_than_others() {
    let [app, git] = [Upstream::echo("app").await, Upstream::echo("git").await];
    let more = format!("[upstream.git]\nservers = [\"{}\"]\nrequest-body = \"2KiB\"", git.server());
    let proxy = Proxy::builder(&app)
        .section("[limits]\nrequest-body = \"1KiB\"")
        .section(&more)
        .plugin("1-router", stock("router"), "[config]\nrules = [{ paths = [\"/git\"], to = \"git\" }]")
        .start()
        .await;
    for (target, size, status) in
        [("/", 1024, 200), ("/", 1025, 413), ("/git", 2048, 200), ("/git", 2049, 413), ("/", 4000, 413)]
    {
        let sized = request("POST", target).body(body("x".repeat(size))).expect("valid");
        assert_eq!(proxy.send(sized).await.status, status, "{target} {size}");
        let chunked = request("POST", target).body(chunked(["x".repeat(size)])).expect("valid");
        assert_eq!(proxy.send(chunked).await.status, status, "{target} {size} in chunks");
    }
}

#[tokio::test]
async fn a_small_body_that_is_there_goes_with_its_length() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];
    // Both frames in one piece, so that the body is there with the head.
    frames.send_together(1, &post, b"hello").await;
    app.until_requests(1).await;
    let seen = app.only_request();
    assert_eq!((seen.header("content-length"), seen.count("transfer-encoding")), ("5", 0));
    // One that is still coming goes in chunks.
    let (feed, upload) = chunks();
    let mut client = proxy.http2().await;
    let asked = request("POST", "/").body(upload).expect("valid");
    let answer = tokio::spawn(async move { client.send(asked).await });
    assert!(feed.send("hello").await);
    drop(feed);
    assert_eq!(answer.await.expect("no panic").json()["body"], "hello");
}
