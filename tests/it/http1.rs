//! HTTP/1.1 with clients: connections, framing, interim responses.

use std::sync::Arc;

use tidegate_tests::{Proxy, Raw, Upstream, assert_status, body, empty, read_head, request, within};
use tokio::sync::{Notify, mpsc};

#[tokio::test]
async fn a_connection_serves_one_request_after_another() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http1().await;
    for target in ["/one", "/two", "/three?x=%20y"] {
        let answer = client.get(target).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["target"], target);
    }
    assert_eq!(app.connections(), 1, "the upstream's connection is kept as well");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    let requests: String = (0..20).map(|n| format!("GET /{n} HTTP/1.1\r\nHost: a.test\r\n\r\n")).collect();

    raw.send(requests).await;

    for n in 0..20 {
        let (head, body) = raw.read_response().await;
        assert_status(&head, 200);
        assert!(body.contains(&format!("\"target\":\"/{n}\"")), "{body}");
    }
}

/// A server that tells the test of each request, and answers it with its path when the test says so.
async fn waiting() -> (Upstream, mpsc::Receiver<()>, Arc<Notify>) {
    let (tell, asked) = mpsc::channel(1);
    let answer = Arc::new(Notify::new());
    let told = answer.clone();
    let app = Upstream::serve(move |request: http::Request<hyper::body::Incoming>| {
        let (tell, told) = (tell.clone(), told.clone());
        async move {
            tell.send(()).await.expect("a test that listens");
            told.notified().await;
            http::Response::new(body(request.uri().path().to_owned()))
        }
    });
    (app.await, asked, answer)
}

#[tokio::test]
async fn a_request_that_comes_while_another_is_answered_is_the_next() {
    let (app, mut asked, answer) = waiting().await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET /one HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    within("the first request", asked.recv()).await.expect("an upstream that runs");

    raw.send("GET /two HTTP/1.1\r\nHo").await;
    answer.notify_one();
    assert_eq!(raw.read_response().await.1, "/one");

    raw.send("st: a.test\r\n\r\n").await;
    within("the second request", asked.recv()).await.expect("an upstream that runs");
    answer.notify_one();
    assert_eq!(raw.read_response().await.1, "/two");
}

#[tokio::test]
async fn a_client_that_pipelines_and_says_no_more_is_answered_while_requests_wait() {
    let (app, mut asked, answer) = waiting().await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    let requests =
        ["/one", "/two", "/three"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
    raw.send(requests.concat()).await;
    raw.shutdown().await;

    // No request follows the last one, so the proxy may take its client for gone.
    for path in ["/one", "/two"] {
        within("a request", asked.recv()).await.expect("an upstream that runs");
        answer.notify_one();
        assert_eq!(raw.read_response().await.1, path);
    }
}

#[tokio::test]
async fn a_http_1_0_client_gets_an_answer_it_can_read() {
    let app = Upstream::script(async |mut stream: tokio::net::TcpStream, _| {
        use tokio::io::AsyncWriteExt;
        read_head(&mut stream).await;
        let chunked =
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
        let _ = stream.write_all(chunked.as_bytes()).await;
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;

    raw.send("GET / HTTP/1.0\r\nHost: a.test\r\n\r\n").await;

    // HTTP/1.0 has no chunked coding (RFC 9112 §6.1): the end of the connection is the end of the body.
    let answer = raw.read_to_end().await;
    assert!(answer.to_ascii_lowercase().starts_with("http/1."), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nabcdef"), "{answer}");
}

#[tokio::test]
async fn connection_close_is_honoured_in_both_directions() {
    let app = Upstream::raw("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await;
    let proxy = Proxy::builder(&app).start().await;

    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.ends_with("ok"), "{answer}");

    // The upstream's `close` is about its connection to the proxy; the client's connection stays open.
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/").await.text(), "ok");
    assert_eq!(client.get("/").await.text(), "ok");
}

#[tokio::test]
async fn head_has_the_length_and_not_the_body() {
    let app = Upstream::serve(async |_| http::Response::new(body(vec![b'x'; 1234]))).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;

    raw.send("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\nGET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await;

    let head = raw.read_head().await;
    assert!(head.contains("content-length: 1234\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    // What follows is the next response, not a body.
    let (head, body) = raw.read_response().await;
    assert_status(&head, 200);
    assert_eq!(body.len(), 1234, "{head}");
}

#[tokio::test]
async fn responses_without_body_have_none() {
    for (response, has_length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\ncontent-length: 99\r\n\r\n", true),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", false),
    ] {
        let app = Upstream::raw(response).await;
        let proxy = Proxy::builder(&app).start().await;
        let mut raw = proxy.raw().await;
        raw.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\nGET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await;

        let head = raw.read_head().await;
        assert_eq!(head[..12], response[..12], "{response}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        // RFC 9110 §8.6: a 204 never has a length; in a 304 it is the one of the body of a 200.
        assert!(has_length || !head.contains("content-length"), "{head}");
        assert!(raw.read_head().await.starts_with("HTTP/1.1 "), "the next response follows at once");
    }
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it_once() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;

    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(raw.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send("hello").await;

    let (head, body) = raw.read_response().await;
    assert_status(&head, 200);
    assert!(body.contains("\"body\":\"hello\""), "{body}");
}

#[tokio::test]
async fn a_refused_upload_is_answered_without_100_continue() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[limits]\nrequest-body = \"4B\"").start().await;
    let mut raw = proxy.raw().await;

    raw.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;

    let head = raw.read_head().await;
    assert_status(&head, 413);
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn an_unknown_expectation_is_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let request =
        request("POST", "/").header("expect", "200-maybe").body(body("x")).expect("a valid request");
    assert_eq!(proxy.send(request).await.status, 417);
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn early_hints_from_the_upstream_do_not_break_the_exchange() {
    let app = Upstream::raw(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n\
         HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    )
    .await;
    let proxy = Proxy::builder(&app).start().await;

    let answer = proxy.get("/").await;

    answer.assert_is(200, "ok");
}

#[tokio::test]
async fn chunked_bodies_and_trailers_pass_both_ways() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;

    raw.send(
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
         5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nx-sum: 42\r\n\r\n",
    )
    .await;

    let (_, body) = raw.read_response().await;
    assert!(body.contains("\"body\":\"hello world\""), "{body}");
    assert!(body.contains("\"trailers\":{\"x-sum\":\"42\"}"), "{body}");

    let trailing = Upstream::raw(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
    )
    .await;
    let proxy = Proxy::builder(&trailing).start().await;
    let request = request("GET", "/").header("te", "trailers").body(empty()).expect("a valid request");
    let answer = proxy.send(request).await;
    assert_eq!(answer.text(), "ok");
    assert_eq!(answer.trailers.expect("trailers")["x-sum"], "7");
}

#[tokio::test]
async fn options_on_the_whole_server_keeps_its_form() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    let (head, _) = raw.read_response().await;
    assert_status(&head, 200);
    assert_eq!(app.only_request().target, "*");
}

#[tokio::test]
async fn an_absolute_target_decides_the_host() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET http://real.test/path?q HTTP/1.1\r\nHost: other.test\r\n\r\n").await;
    let (head, _) = raw.read_response().await;
    assert_status(&head, 200);
    let seen = app.only_request();
    assert_eq!(seen.target, "/path?q");
    assert_eq!(seen.header("host"), "real.test");
    assert_eq!(seen.count("host"), 1);
}

#[tokio::test]
async fn a_client_that_pipelines_and_does_not_read_costs_little() {
    let app = Upstream::serve(async |_| http::Response::new(body(vec![b'x'; 100_000]))).await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.get("/warm").await.status, 200);
    let before = proxy.resident_memory();
    let mut raw = proxy.raw().await;

    let requests = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(2000);
    raw.send_until_blocked(requests.as_bytes()).await;

    // 2000 answers would be 200 MB.
    let grown = proxy.resident_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for one client that does not read");
    assert!(app.requests().len() < 1000, "{} requests were carried out for nobody", app.requests().len());
}

#[tokio::test]
async fn half_a_request_reaches_nobody() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw: Raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a.te").await;
    raw.shutdown().await;
    assert!(!raw.read_to_end().await.contains(" 200 "));
    assert!(app.requests().is_empty());
}
