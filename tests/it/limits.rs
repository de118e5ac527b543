//! Every limit is enforced, with the status its documentation names.

use http_body_util::BodyExt;
use tidegate_tests::{Proxy, Raw, Upstream, Zeros, assert_status, body, chunks, empty, request, until};

#[tokio::test]
async fn requests_over_a_size_are_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let fields: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    for (what, sent, status) in [
        ("a long target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(8 << 10)), 414),
        (
            "a large field",
            format!("GET / HTTP/1.1\r\nHost: a\r\nx-large: {}\r\n\r\n", "x".repeat(33 << 10)),
            431,
        ),
        ("many fields", format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"), 431),
        ("a large body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16777217\r\n\r\n".to_owned(), 413),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(sent).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    assert!(app.requests().is_empty());
    // Requests just within the limits pass.
    let fields: String = (0..98).map(|n| format!("x-{n}: 1\r\n")).collect();
    for sent in [
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat((8 << 10) - 1)),
        format!("GET / HTTP/1.1\r\nHost: a\r\nx-large: {}\r\n\r\n", "x".repeat(30 << 10)),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"),
    ] {
        let mut raw = proxy.raw().await;
        raw.send(sent).await;
        let head = raw.read_head().await;
        assert_status(&head, 200);
    }
}

#[tokio::test]
async fn http_2_requests_over_a_size_are_refused() {
    let app = Upstream::echo("app").await;
    let limits = "[limits]\nrequest-headers = \"8KiB\"\nrequest-target = \"100B\"\nrequest-header-count = 20";
    let proxy = Proxy::builder(&app).section(limits).start().await;
    let plain = || request("GET", "/");
    let many = (0..30).fold(plain(), |request, n| request.header(format!("x-{n}"), "1"));
    for (what, request, status) in [
        ("a long target", request("GET", &format!("/{}", "x".repeat(100))), 414),
        ("a large field", plain().header("x-large", "x".repeat(9 << 10)), 431),
        ("many fields", many, 431),
    ] {
        let request = request.body(empty()).expect("valid");
        assert_eq!(proxy.http2().await.send(request).await.status, status, "{what}");
    }
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn a_body_without_declared_length_is_cut_at_the_limit() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[limits]\nrequest-body = \"10KiB\"").start().await;
    for mut client in proxy.both().await {
        let (feed, upload) = chunks();
        let sending =
            tokio::spawn(async move { client.send(request("POST", "/").body(upload).expect("valid")).await });
        for _ in 0..11 {
            if !feed.send(vec![b'x'; 1024]).await {
                break;
            }
        }
        drop(feed);
        assert_eq!(sending.await.expect("no panic").status, 413);
    }
    for mut client in proxy.both().await {
        let exact = request("POST", "/").body(body(vec![b'x'; 10 << 10])).expect("valid");
        assert_eq!(client.send(exact).await.status, 200);
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let app = Upstream::echo("app").await;
    for limit in ["connections = 3", "connections-per-client = 3"] {
        let proxy = Proxy::builder(&app).section(&format!("[limits]\n{limit}")).start().await;
        let mut kept = Vec::new();
        for _ in 0..3 {
            let mut client = proxy.http1().await;
            assert_eq!(client.get("/").await.status, 200, "{limit}");
            kept.push(client);
        }
        let mut one_more = proxy.raw().await;
        one_more.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(one_more.is_closed_silently().await, "{limit}");
        // Open connections go on, and the proxy takes a new one when one of them has ended.
        assert_eq!(kept[0].get("/").await.status, 200, "{limit}");
        kept.clear();
        until("a free place", async || {
            let mut raw = proxy.raw().await;
            raw.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
            raw.read_to_end().await.starts_with("HTTP/1.1 200 ")
        })
        .await;
    }
}

#[tokio::test]
async fn a_trusted_proxy_may_open_more_connections_than_a_client() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .section("[limits]\nconnections-per-client = 1")
        .start()
        .await;
    let mut clients = [proxy.http1().await, proxy.http1().await, proxy.http1().await];
    for client in &mut clients {
        assert_eq!(client.get("/").await.status, 200);
    }
}

#[tokio::test]
async fn a_connection_ends_in_order_after_its_last_request() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[limits]\nrequests-per-connection = 2").start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/").await.header("connection"), "");
    assert_eq!(client.get("/").await.header("connection"), "close");
    client.until_closed().await;

    let mut client = proxy.http2().await;
    assert_eq!(client.get("/").await.status, 200);
    assert_eq!(client.get("/").await.status, 200);
    client.until_closed().await;
}

#[tokio::test]
async fn slow_and_silent_connections_are_closed() {
    let app = Upstream::echo("app").await;
    let timeouts = "[timeouts]\nrequest-headers = \"300ms\"\nkeep-alive = \"300ms\"\nconnection-age = \"1h\"";
    let proxy = Proxy::builder(&app).section(timeouts).start().await;

    let mut half_a_head = proxy.raw().await;
    half_a_head.send("GET / HTTP/1.1\r\nHost: a\r\n").await;
    let answer = half_a_head.read_to_end().await;
    assert_status(&answer, 408);

    let mut silent = proxy.raw().await;
    let answer = silent.read_to_end().await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let mut idle = proxy.raw().await;
    idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    idle.read_response().await;
    assert!(idle.is_closed_silently().await, "an idle connection has nothing to be told");

    let mut second_head = proxy.raw().await;
    second_head.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    second_head.read_response().await;
    second_head.send("GET / HT").await;
    let answer = second_head.read_to_end().await;
    assert_status(&answer, 408);

    let mut client = proxy.http2().await;
    assert_eq!(client.get("/").await.status, 200);
    client.until_closed().await;
}

#[tokio::test]
async fn a_slow_trickle_does_not_stretch_the_time_for_a_head() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nrequest-headers = \"500ms\"").start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\n").await;
    let mut trickle = tokio::time::interval(std::time::Duration::from_millis(50));
    // The client sends a field now and then; only the proxy ends the connection.
    let answer = loop {
        tokio::select! {
            answer = raw.read_to_end() => break answer,
            _ = trickle.tick() => {}
        }
        raw.send("x: y\r\n").await;
    };
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn a_connection_that_grows_old_is_closed_in_order() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nconnection-age = \"300ms\"").start().await;
    for version in [1, 2] {
        let mut client = if version == 1 { proxy.http1().await } else { proxy.http2().await };
        assert_eq!(client.get("/").await.status, 200);
        client.until_closed().await;
    }
}

#[tokio::test]
async fn a_body_slower_than_the_minimum_rate_is_given_up() {
    let app = Upstream::serve(async |asked: http::Request<hyper::body::Incoming>| {
        let _ = asked.into_body().collect().await;
        http::Response::new(empty())
    })
    .await;
    let rate = "[limits]\nmin-rate = { request = \"1MiB\", request-after = \"100ms\" }";
    let proxy = Proxy::builder(&app).section(rate).start().await;
    let mut raw = proxy.raw().await;
    // Idle for far less than `timeouts.body-idle`.
    raw.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx").await;
    let answer = raw.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(proxy.access("/slow").await["failure"], "body-timeout");
    // One that comes at once is never waited for.
    let large = request("POST", "/").body(body("x".repeat(1 << 20))).expect("valid");
    assert_eq!(proxy.send(large).await.status, 200);
}

#[tokio::test]
async fn a_reader_slower_than_the_minimum_rate_is_cut() {
    let app = Upstream::serve(async |_| http::Response::new(Zeros { left: 64 << 20 }.boxed())).await;
    let rate = "[limits]\nmin-rate = { response = \"1GiB\", response-after = \"100ms\" }";
    let proxy = Proxy::builder(&app).section(rate).start().await;
    let mut raw = Raw::narrow(proxy.address("web")).await;
    raw.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    raw.read_head().await;
    assert_eq!(proxy.access("/slow").await["failure"], "broken-off");
}
