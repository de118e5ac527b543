//! WebSocket, over HTTP/1.1 and HTTP/2, and other upgrades are tunnelled.

use base64::Engine as _;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha1::{Digest, Sha1};
use tidegate_tests::{
    Answer, Authority, BoxBody, Client, Proxy, Raw, TlsOptions, Upstream, assert_status, assert_values,
    empty, head_field, read_head, request, stock, until, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade, keep-alive\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Switches protocols, then does as [`converse`].
async fn echoing(mut stream: TcpStream, _: usize) {
    let head = read_head(&mut stream).await;
    let agreed = head.to_ascii_lowercase().contains("upgrade: websocket") && head.contains("connection: ");
    assert!(agreed, "{head}");
    let _ = stream.write_all(SWITCHING.as_bytes()).await;
    converse(stream).await;
}

/// Greets, then sends every byte back; when the client has ended, says so.
async fn converse(mut stream: TcpStream) {
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
    assert_status(&head, 101);
    let lower = head.to_ascii_lowercase();
    assert!(lower.contains("upgrade: websocket") && lower.contains("connection: upgrade"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    assert_eq!(raw.read_exactly(6).await, b"hello ");
    for message in ["one", "two", "\u{0}\u{1}binary"] {
        raw.send(message).await;
        assert_eq!(raw.read_exactly(message.len()).await, message.as_bytes());
    }
    // The proxy passes the end of one direction on and keeps the other one open.
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye");

    let line = proxy.access("/chat").await;
    let (bytes_in, bytes_out) = (3 + 3 + 8, 6 + 3 + 3 + 8 + 3);
    assert_values(&line, json!({ "status": 101, "bytes_in": bytes_in, "bytes_out": bytes_out }));
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
    let proxy = Proxy::builder(&app).tls_listener("secure", &leaf, "").start().await;
    let options = TlsOptions { alpn: &["http/1.1"], ..TlsOptions::new(&authority, "a.test") };
    let mut client = proxy.tls("secure", &options).await.expect("a handshake");
    let request = request("GET", "/chat")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .body(empty())
        .expect("valid");
    let response = client.start(request).await.expect("a head");
    assert_eq!(response.status(), 101);
    let mut upgraded = TokioIo::new(hyper::upgrade::on(response).await.expect("an upgrade"));
    upgraded.write_all(b"over tls").await.expect("an open tunnel");
    let mut received = [0; 14];
    within("the echo", upgraded.read_exact(&mut received)).await.expect("an open tunnel");
    assert_eq!(&received, b"hello over tls");
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_answers_as_usual() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send(HANDSHAKE).await;
    let (head, _) = raw.read_response().await;
    assert_status(&head, 200);
    raw.send("GET /next HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_status(&raw.read_response().await.0, 200);
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
    assert_status(&head, 200);
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
    let line = proxy.access("/chat").await;
    assert_values(&line, json!({ "status": 101, "failure": "idle-timeout" }));
}

#[tokio::test]
async fn a_tunnel_ends_when_either_side_goes_away() {
    let app = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        let _ = stream.write_all(SWITCHING.as_bytes()).await;
        let mut one = [0];
        // The server closes the connection when it has a byte.
        let _ = stream.read_exact(&mut one).await;
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let open = proxy.open_sockets();
    let mut raw: Raw = proxy.raw().await;
    raw.send(HANDSHAKE).await;
    raw.read_head().await;
    raw.send("x").await;
    raw.read_to_end().await;
    drop(raw);
    until("the tunnel's sockets to be closed", async || proxy.open_sockets() <= open).await;
}

/// An extended CONNECT (RFC 8441 §5.1).
fn opening(protocol: &'static str) -> Request<BoxBody> {
    request("CONNECT", "/chat")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .extension(Protocol::from_static(protocol))
        .body(empty())
        .expect("valid")
}

/// A client that has the proxy's settings, which allow an extended CONNECT.
async fn settled(mut client: Client) -> Client {
    let refused = request("TRACE", "/").body(empty()).expect("valid");
    assert_eq!(client.send(refused).await.status, 405);
    client
}

async fn http2(proxy: &Proxy) -> Client {
    settled(proxy.http2().await).await
}

/// The stream of an opened WebSocket.
async fn opened(response: Response<Incoming>) -> TokioIo<Upgraded> {
    assert_eq!(response.status(), 200);
    TokioIo::new(within("a tunnel", hyper::upgrade::on(response)).await.expect("a tunnel"))
}

async fn read(stream: &mut TokioIo<Upgraded>, length: usize) -> String {
    let mut received = vec![0; length];
    within("bytes", stream.read_exact(&mut received)).await.expect("an open tunnel");
    String::from_utf8(received).expect("text")
}

/// Opens a WebSocket, with the request in a field of the response.
async fn open_websocket(stream: &mut TcpStream) {
    let head = read_head(stream).await;
    let key = head_field(&head, "sec-websocket-key").unwrap_or_default();
    let digest = Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let seen = head.trim_end().replace("\r\n", "|");
    let switching = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chat\r\nX-Seen: {seen}\r\n\r\n"
    );
    let _ = stream.write_all(switching.as_bytes()).await;
}

/// Opens a WebSocket, then does as [`converse`].
async fn websocket(mut stream: TcpStream, _: usize) {
    open_websocket(&mut stream).await;
    converse(stream).await;
}

#[tokio::test]
async fn a_websocket_over_http_2_is_one_over_http_1_to_the_server() {
    let app = Upstream::script(websocket).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = http2(&proxy).await;
    let response = client.start(opening("websocket")).await.expect("a head");

    let text =
        |name: &str| response.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(text("sec-websocket-protocol").as_deref(), Some("chat"));
    for name in ["sec-websocket-accept", "upgrade", "connection"] {
        assert_eq!(text(name), None, "{name} is of HTTP/1.1");
    }
    let seen = text("x-seen").expect("the request").replace('|', "\r\n");
    assert!(seen.starts_with("GET /chat HTTP/1.1\r\n"), "{seen}");
    for (name, value) in [
        ("host", "example.test"),
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("via", "2 tidegate"),
    ] {
        assert_eq!(head_field(&seen, name), Some(value), "{seen}");
    }
    assert_eq!(head_field(&seen, "sec-websocket-key").map(str::len), Some(24), "{seen}");

    let mut stream = opened(response).await;
    assert_eq!(read(&mut stream, 6).await, "hello ");
    for message in ["one", "two", "\u{0}\u{1}binary"] {
        stream.write_all(message.as_bytes()).await.expect("an open tunnel");
        assert_eq!(read(&mut stream, message.len()).await, message);
    }
    // The proxy passes the end of one direction on and keeps the other one open.
    stream.shutdown().await.expect("an open tunnel");
    let mut rest = String::new();
    within("the end", stream.read_to_string(&mut rest)).await.expect("an end in order");
    assert_eq!(rest, "bye");

    let line = proxy.access("/chat").await;
    let expected =
        json!({ "method": "CONNECT", "status": 200, "bytes_in": 14, "bytes_out": 23, "failure": null });
    assert_values(&line, expected);
}

#[tokio::test]
async fn websockets_share_a_connection_over_tls_with_requests() {
    let app = Upstream::script(websocket).await;
    let pages = Upstream::echo("pages").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let rules = "[config]\nrules = [{ paths = [\"/page\"], to = \"pages\" }]";
    let proxy = Proxy::builder(&app)
        .upstream("pages", &pages)
        .plugin("10-router", stock("router"), rules)
        .tls_listener("secure", &leaf, "")
        .start()
        .await;
    let client = proxy.tls("secure", &TlsOptions::new(&authority, "a.test")).await.expect("a handshake");
    let mut client = settled(client).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(opened(client.start(opening("websocket")).await.expect("a head")).await);
    }
    for stream in &mut streams {
        stream.write_all(b"there").await.expect("an open tunnel");
        assert_eq!(read(stream, 11).await, "hello there");
        assert_eq!(client.get("/page").await.json()["upstream"], "pages");
    }
}

#[tokio::test]
async fn policies_see_the_request_of_http_1() {
    let app = Upstream::script(websocket).await;
    let rules = "[config]\nrules = [{ paths = [\"/chat\"], methods = [\"GET\"], deny = true }]";
    let proxy = Proxy::builder(&app).plugin("10-access", stock("access-control"), rules).start().await;
    let response = http2(&proxy).await.start(opening("websocket")).await.expect("a head");
    assert_eq!(Answer::read(response).await.expect("a whole body").status, 403);
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn a_server_that_opens_no_websocket_is_not_taken_for_one() {
    let refusing = "HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\nnot me";
    let page = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\na page";
    let other = SWITCHING.replace("Upgrade: websocket", "Upgrade: other");
    // `SWITCHING` accepts another key than the one that the proxy sends.
    for (answer, status, body) in [
        (refusing, 403, "not me"),
        (page, 502, "502 Bad Gateway\n"),
        (SWITCHING, 502, "502 Bad Gateway\n"),
        (&other, 502, "502 Bad Gateway\n"),
    ] {
        let app = Upstream::raw(answer.to_owned()).await;
        let proxy = Proxy::builder(&app).start().await;
        let response = http2(&proxy).await.start(opening("websocket")).await.expect("a head");
        let received = Answer::read(response).await.expect("a whole body");
        assert_eq!(received.status, status, "{answer}");
        assert_eq!(received.text(), body, "{answer}");
        let failure = proxy.access("/chat").await["failure"].clone();
        assert_eq!(failure.as_str(), (status == 502).then_some("bad-response"), "{answer}");
    }
}

#[tokio::test]
async fn other_connects_are_refused() {
    let app = Upstream::script(websocket).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = http2(&proxy).await;
    let response = client.start(opening("connect-udp")).await.expect("a head");
    assert_eq!(Answer::read(response).await.expect("a whole body").status, 405);
    let plain = request("CONNECT", "/").body(empty()).expect("valid");
    assert_eq!(client.send(plain).await.status, 405);
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn an_open_websocket_keeps_its_connection() {
    let app = Upstream::script(websocket).await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nkeep-alive = \"100ms\"").start().await;
    let mut client = http2(&proxy).await;
    let mut stream = opened(client.start(opening("websocket")).await.expect("a head")).await;
    // The proxy announces the end of an idle connection after `keep-alive`, and closes it after as long
    // again.
    for _ in 0..4 {
        let mut idle = proxy.raw().await;
        idle.send("TRACE / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        idle.read_response().await;
        assert!(idle.is_closed_silently().await);
    }
    stream.write_all(b"there").await.expect("an open tunnel");
    assert_eq!(read(&mut stream, 11).await, "hello there");
    drop(stream);
    client.until_closed().await;
}

#[tokio::test]
async fn a_websocket_over_http_2_ends_when_either_side_goes_away() {
    let app = Upstream::script(async |mut stream: TcpStream, number| {
        open_websocket(&mut stream).await;
        let mut one = [0];
        // The server ends the first connection after a byte, the second when the client has gone.
        while stream.read_exact(&mut one).await.is_ok() && number > 1 {}
    })
    .await;
    let proxy = Proxy::builder(&app).start().await;
    let mut client = http2(&proxy).await;
    let mut stream = opened(client.start(opening("websocket")).await.expect("a head")).await;
    stream.write_all(b"x").await.expect("an open tunnel");
    let mut rest = String::new();
    within("the end", stream.read_to_string(&mut rest)).await.expect("an end in order");
    drop(stream);
    let stream = opened(client.start(opening("websocket")).await.expect("a head")).await;
    drop(stream);
    app.until_closed(2).await;
    assert_eq!(proxy.accesses("/chat", 2).await.len(), 2);
}

#[tokio::test]
async fn tunnels_leave_room_for_requests_and_have_a_limit_of_their_own() {
    let app = Upstream::script(|mut stream, connection| async move {
        if connection <= 2 {
            return echoing(stream, connection).await;
        }
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    })
    .await;
    let lines =
        format!("servers = [\"{}\"]\nmax-in-flight = 1\nmax-queued = 0\nmax-tunnels = 2", app.server());
    let proxy = Proxy::with_app(&lines).section("[limits]\nconnections-per-client = 4").start().await;
    let mut tunnels = Vec::new();
    for _ in 0..2 {
        let mut raw = proxy.raw().await;
        raw.send(HANDSHAKE).await;
        assert_status(&raw.read_head().await, 101);
        tunnels.push(raw);
    }
    assert_eq!(proxy.get("/plain").await.status, 200);
    let mut raw = proxy.raw().await;
    raw.send(HANDSHAKE.replace("/chat", "/third")).await;
    assert_status(&raw.read_head().await, 503);
    assert_eq!(proxy.access("/third").await["failure"], "tunnels-full");
    // They are connections still: with this one there are as many as one client may have.
    let _fourth = proxy.http1().await.get("/fourth").await;
    let mut clients = Vec::new();
    until("a connection too many", async || {
        let mut raw = proxy.raw().await;
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let refused = raw.read_until_or_end("\r\n\r\n").await.is_empty();
        clients.push(raw);
        refused
    })
    .await;
    assert!(clients.len() <= 3, "{}", clients.len());
    proxy.log().wait(&["closed a connection over limits.connections-per-client"]).await;
}
