//! Servers behind the proxy: connections kept, shared and given up, failures told apart.

use std::collections::BTreeMap;

use serde_json::json;
use tidegate_tests::{
    Builder, Proxy, Upstream, assert_values, body, empty, read_head, request, until, within,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// One worker, so that all requests go over its connections; an upstream `app` made of these lines.
fn with_app(lines: &str) -> Builder {
    Proxy::with_app(lines).workers(1)
}

#[tokio::test]
async fn connections_are_kept_and_used_again() {
    let app = Upstream::echo("app").await;
    let proxy = with_app(&format!("servers = [\"{}\"]", app.address())).start().await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_pool_of_size_zero_keeps_none() {
    let app = Upstream::echo("app").await;
    let proxy = with_app(&format!("servers = [\"{}\"]\npool = {{ idle = 0 }}", app.address())).start().await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    assert_eq!(app.connections(), 3);
}

/// With this pool, the proxy closes a connection by and by and opens another for the next request.
async fn assert_replaced(pool: &str) {
    let app = Upstream::echo("app").await;
    let proxy = with_app(&format!("servers = [\"{}\"]\n{pool}", app.address())).start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    app.until_closed(1).await;
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(app.connections(), 2);
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_time() {
    assert_replaced("pool = { idle-time = \"200ms\" }").await;
}

#[tokio::test]
async fn a_connection_that_grew_old_is_not_used_again() {
    assert_replaced("pool = { age = \"200ms\" }").await;
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_may_be() {
    let app = Upstream::builder().meeting(4).await;
    let proxy = with_app(&format!("servers = [\"{}\"]\npool = {{ idle = 2 }}", app.address())).start().await;
    for closed in [2, 4] {
        let mut requests = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let mut client = proxy.http1().await;
            requests.spawn(async move { client.get("/").await.status });
        }
        assert_eq!(within("the answers", requests.join_all()).await, [200; 4]);
        app.until_closed(closed).await;
    }
    assert_eq!(app.connections(), 6, "two were used again");
}

#[tokio::test]
async fn as_many_are_kept_as_the_load_needed() {
    let app = Upstream::builder().meeting(180).await;
    let proxy = with_app(&format!("servers = [\"{}\"]", app.address())).start().await;
    let clients = [proxy.http2().await, proxy.http2().await];
    for _ in 0..3 {
        let [one, other] = &clients;
        let (one, other) = tokio::join!(one.side_by_side(90), other.side_by_side(90));
        assert!(one.iter().chain(&other).all(|status| *status == 200));
    }
    assert_eq!((app.connections(), app.closed()), (180, 0));
}

#[tokio::test]
async fn a_connection_the_server_closed_meanwhile_costs_no_request() {
    // Answers one request on each connection and closes it without a word.
    let app = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    })
    .await;
    let proxy = with_app(&format!("servers = [\"{}\"]\nretries = 0", app.address())).start().await;
    for _ in 0..50 {
        let request = request("POST", "/").body(body("not idempotent")).expect("valid");
        let answer = proxy.send(request).await;
        assert!(answer.status == 200 || answer.status == 502, "{}", answer.status);
    }
    for _ in 0..50 {
        assert_eq!(proxy.get("/").await.status, 200, "an idempotent request without body is never lost");
    }
}

#[tokio::test]
async fn requests_are_shared_by_weight() {
    let (one, two) = (Upstream::echo("one").await, Upstream::echo("two").await);
    let servers =
        format!("servers = [\"{}\", {{ address = \"{}\", weight = 3 }}]", one.address(), two.address());
    let proxy = with_app(&servers).start().await;
    let mut counts = BTreeMap::new();
    let mut client = proxy.http1().await;
    for _ in 0..40 {
        let answer = client.get("/").await.json();
        *counts.entry(answer["upstream"].as_str().expect("a name").to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts, BTreeMap::from([("one".to_owned(), 10), ("two".to_owned(), 30)]));
}

#[tokio::test]
async fn a_server_that_is_down_is_skipped_for_another() {
    let (gone, alive) = (Upstream::absent().await, Upstream::echo("alive").await);
    let proxy = with_app(&format!("servers = [\"{gone}\", \"{}\"]", alive.address())).start().await;
    for _ in 0..10 {
        let request = request("POST", "/").body(body("kept")).expect("valid");
        let answer = proxy.send(request).await;
        assert_eq!(answer.json()["body"], "kept", "nothing was sent, so even a POST goes to the other one");
    }
}

#[tokio::test]
async fn no_server_at_all_is_503_and_says_so_in_the_log() {
    let gone = Upstream::absent().await;
    let proxy = with_app(&format!("servers = [\"{gone}\"]")).start().await;
    let answer = proxy.get("/x").await;
    assert_eq!(answer.status, 503);
    assert!(!answer.text().contains(&gone.to_string()), "nothing about the inside goes out");
    let line = proxy.access("/x").await;
    assert_values(&line, json!({ "failure": "connect", "route": "app", "server": gone.to_string() }));
    proxy.log().wait(&["WARN", &gone.to_string()]).await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_504() {
    let app = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let timeouts = "timeouts = { response = \"200ms\" }";
    let proxy = with_app(&format!("servers = [\"{}\"]\n{timeouts}", app.address())).start().await;
    assert_eq!(proxy.get("/x").await.status, 504);
    assert_eq!(proxy.access("/x").await["failure"], "response-timeout");
    assert_eq!(app.connections(), 1, "what may be being carried out is not sent twice");
}

#[tokio::test]
async fn a_server_that_falls_silent_in_its_body_is_given_up() {
    let everywhere = "[timeouts]\nstream-idle = \"200ms\"";
    let nowhere = "[timeouts]\nstream-idle = \"1h\"";
    for (media_type, own, timeouts) in [
        ("text/plain", "idle = \"200ms\"", nowhere),
        ("text/event-stream", "idle = \"1h\"", everywhere),
        ("text/event-stream", "idle = \"1h\", stream-idle = \"200ms\"", nowhere),
    ] {
        let app = Upstream::script(move |mut stream: TcpStream, _| async move {
            read_head(&mut stream).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: 100\r\n\r\n");
            let _ = stream.write_all(format!("{head}only this").as_bytes()).await;
            std::future::pending::<()>().await;
        })
        .await;
        let lines = format!("servers = [\"{}\"]\ntimeouts = {{ {own} }}", app.address());
        let proxy = with_app(&lines).section(timeouts).start().await;
        let request = request("GET", "/x").body(empty()).expect("valid");
        proxy.http1().await.try_send(request).await.expect_err("a body that is cut");
        assert_eq!(proxy.access("/x").await["failure"], "broken-off", "{media_type} {own}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_502_and_not_passed_on() {
    for (what, response) in [
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()),
        ("nothing", String::new()),
        ("half a head", "HTTP/1.1 200 OK\r\ncontent-le".to_owned()),
        ("two lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc".to_owned()),
        ("a list of lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok".to_owned()),
        (
            "length and chunks",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
                .to_owned(),
        ),
        (
            "another coding",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        ),
        (
            "chunks and more",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
        ),
        ("a NUL in a value", "HTTP/1.1 200 OK\r\nx-nul: a\0b\r\ncontent-length: 2\r\n\r\nok".to_owned()),
        ("a folded line", "HTTP/1.1 200 OK\r\nx-fold: a\r\n b\r\ncontent-length: 2\r\n\r\nok".to_owned()),
        ("a head that is too large", format!("HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n", "x".repeat(70_000))),
    ] {
        let app = Upstream::raw(response).await;
        let proxy = with_app(&format!("servers = [\"{}\"]", app.address())).start().await;
        let answer = proxy.get("/x").await;
        assert_eq!(answer.status, 502, "{what}: {answer:?}");
        assert_eq!(proxy.access("/x").await["failure"], "bad-response", "{what}");
    }
}

#[tokio::test]
async fn a_request_without_destination_is_404() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::bare().listener("web", "").upstream("app", &app).start().await;
    assert_eq!(proxy.get("/x").await.status, 404);
    assert_eq!(proxy.access("/x").await["failure"], "no-route");
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn a_host_name_stands_for_its_addresses() {
    let app = Upstream::echo("app").await;
    let proxy = with_app(&format!("servers = [\"localhost:{}\"]", app.address().port())).start().await;
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn a_unix_socket_is_a_server_like_any_other() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.sock");
    let app = Upstream::builder().unix(&path).echo("app").await;
    let health = "health = { path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\" }";
    let proxy = with_app(&format!("servers = [\"{}\"]\n{health}", app.server())).start().await;
    for _ in 0..10 {
        let request = request("POST", "/x").body(body("hello")).expect("valid");
        assert_eq!(proxy.send(request).await.json()["body"], "hello");
    }
    assert_eq!(proxy.access("/x").await["server"], app.server());
    until("checks", async || {
        app.requests().iter().filter(|request| request.target == "/healthz").count() >= 3
    })
    .await;
    assert_eq!(proxy.server_state("app", &app.server()).await.as_deref(), Some("up"));
}

#[tokio::test]
async fn a_unix_socket_is_looked_for_beside_the_configuration_and_may_come_later() {
    let proxy = with_app("servers = [\"unix:run/app.sock\"]").start().await;
    assert_eq!(proxy.get("/").await.status, 503);
    let folder = proxy.folder().join("run");
    std::fs::create_dir(&folder).expect("a new folder");
    let app = Upstream::builder().unix(folder.join("app.sock")).echo("app").await;
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(app.connections(), 1);
}
