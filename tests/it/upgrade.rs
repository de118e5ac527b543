//! WebSocket and other upgrades of HTTP/1.1 are tunnelled.

use tidegate_tests::{Authority, Proxy, Raw, Upstream, eventually, read_head};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches protocols, greets, then sends every byte back; when the client has ended, says so.
async fn echoing(mut stream: TcpStream, _: usize) {
    let head = read_head(&mut stream).await;
    let agreed = head.to_ascii_lowercase().contains("upgrade: websocket") && head.contains("connection: ");
    assert!(agreed, "{head}");
    let _ = stream.write_all(SWITCHING.as_bytes()).await;
    let _ = stream.write_all(b"hello ").await;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = stream.write_all(&buffer[..length]).await;
    }
    let _ = stream.write_all(b"bye").await;
}

#[tokio::test]
async fn a_websocket_carries_bytes_both_ways_and_ends_in_order() {
    let app = Upstream::script(echoing).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;

    raw.send(HANDSHAKE).await;
    let head = raw.read_head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(raw.read_exactly(6).await, b"hello ");
    for message in ["one", "two", "\u{0}\u{1}binary"] {
        raw.send(message).await;
        assert_eq!(raw.read_exactly(message.len()).await, message.as_bytes());
    }
    // A half-closed direction is passed on, the other one stays open.
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye");

    let line = proxy.access("/chat").await;
    assert_eq!(line["status"], 101);
    assert_eq!(line["bytes_in"], 3 + 3 + 8);
    assert_eq!(line["bytes_out"], 6 + 3 + 3 + 8 + 3);
}

#[tokio::test]
async fn bytes_sent_right_after_the_handshake_are_not_lost() {
    let app = Upstream::script(echoing).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(format!("{HANDSHAKE}early")).await;
    raw.read_head().await;
    assert_eq!(raw.read_exactly(11).await, b"hello early");
}

#[tokio::test]
async fn a_websocket_works_over_tls() {
    let app = Upstream::script(echoing).await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let secure = "[listener.secure]\naddress = \"127.0.0.1:0\"\n\
                  tls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }] }";
    let proxy = Proxy::builder(&app)
        .section(secure)
        .file("a.pem", leaf.chain_pem())
        .file("a.key", leaf.key_pem())
        .start()
        .await;
    let options = tidegate_tests::TlsOptions {
        alpn: &["http/1.1"],
        ..tidegate_tests::TlsOptions::new(&authority, "a.test")
    };
    let mut client = proxy.tls("secure", &options).await.expect("a handshake");
    let request = tidegate_tests::request("GET", "/chat")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(tidegate_tests::empty())
        .expect("valid");
    let response = client.start(request).await.expect("a head");
    assert_eq!(response.status(), 101);
    let mut upgraded = hyper_util::rt::TokioIo::new(hyper::upgrade::on(response).await.expect("an upgrade"));
    upgraded.write_all(b"over tls").await.expect("an open tunnel");
    let mut received = [0; 14];
    tidegate_tests::within("the echo", upgraded.read_exact(&mut received)).await.expect("an open tunnel");
    assert_eq!(&received, b"hello over tls");
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_answers_as_usual() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(HANDSHAKE).await;
    let (head, _) = raw.read_response().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    raw.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert!(raw.read_response().await.0.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_switch_nobody_asked_for_is_a_bad_response() {
    let app = Upstream::raw(SWITCHING).await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.get("/").await.status, 502);
    assert_eq!(proxy.http2().await.get("/").await.status, 502);
}

#[tokio::test]
async fn http_2_over_http_1_is_not_offered() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    )
    .await;
    let (head, _) = raw.read_response().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(app.only_request().count("upgrade"), 0);
    assert_eq!(app.only_request().count("http2-settings"), 0);
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    let app = Upstream::script(echoing).await;
    let proxy = Proxy::builder(&app).section("[timeouts]\ntunnel-idle = \"200ms\"").start().await;
    let mut raw = proxy.raw().await;
    raw.send(HANDSHAKE).await;
    raw.read_head().await;
    raw.read_to_end().await;
    assert_eq!(proxy.access("/chat").await["status"], 101);
}

#[tokio::test]
async fn a_tunnel_ends_when_either_side_goes_away() {
    let app = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        let _ = stream.write_all(SWITCHING.as_bytes()).await;
        let mut one = [0];
        // The first byte is the word to leave.
        let _ = stream.read_exact(&mut one).await;
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let open = proxy.open_files();
    let mut raw: Raw = proxy.raw().await;
    raw.send(HANDSHAKE).await;
    raw.read_head().await;
    raw.send("x").await;
    raw.read_to_end().await;
    drop(raw);
    eventually("the tunnel's sockets to be closed", async || (proxy.open_files() <= open).then_some(()))
        .await;
}
