//! The PROXY protocol: read from trusted peers on a listener, and sent to servers.

use tidegate_tests::{
    Authority, Builder, Client, Proxy, Raw, TlsOptions, Upstream, assert_status, empty, read_head, request,
    stock, tcp_connect, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n";

/// Version 2 of [`V1`], with a TLV after the addresses.
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\x01\xbb\x04\0\x01\0";

/// `LOCAL`: a load balancer speaks for itself, to check the health of a server.
const V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// A listener `web` that reads headers from these peers.
fn behind(trusted: &str, app: &Upstream) -> Builder {
    Proxy::bare()
        .top("default-upstream = \"app\"")
        .top(&format!("trusted-proxies = [\"{trusted}\"]"))
        .listener("web", "proxy-protocol = true")
        .section("[log]\nlevel = \"debug\"")
        .upstream("app", app)
}

/// The answer to a request on a connection that begins with `header`.
async fn answered(proxy: &Proxy, header: impl AsRef<[u8]>, request: &str) -> (String, String) {
    let mut raw = proxy.raw().await;
    raw.send([header.as_ref(), request.as_bytes()].concat()).await;
    raw.read_response().await
}

#[tokio::test]
async fn the_client_is_the_one_in_the_header() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).start().await;
    for (header, target) in [(V1.as_bytes(), "/one"), (V2, "/two")] {
        let (head, body) = answered(&proxy, header, &GET.replace("/ ", &format!("{target} "))).await;
        assert_status(&head, 200);
        let seen: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(seen["headers"]["x-forwarded-for"], "192.0.2.7");
        assert_eq!(seen["headers"]["forwarded"], "for=192.0.2.7;host=\"a.test\";proto=http");
        let line = proxy.access(target).await;
        assert_eq!(line["client"], "192.0.2.7", "{line}");
        assert!(line["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{line}");
    }
}

#[tokio::test]
async fn a_header_holds_for_every_request_of_its_connection() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).start().await;
    let mut raw = proxy.raw().await;
    // One byte at a time, as the header may come in any number of parts.
    for byte in V1.bytes() {
        raw.send([byte]).await;
    }
    for _ in 0..2 {
        raw.send(GET).await;
        raw.read_response().await;
    }
    let seen: Vec<_> = app.requests().iter().map(|one| one.header("x-forwarded-for").to_owned()).collect();
    assert_eq!(seen, ["192.0.2.7", "192.0.2.7"]);
}

#[tokio::test]
async fn policies_decide_on_the_client_in_the_header() {
    let app = Upstream::echo("app").await;
    let rules = "[config]\nrules = [{ allow = [\"192.0.2.0/24\"] }]";
    let proxy = behind("127.0.0.1", &app).plugin("10-access", stock("access-control"), rules).start().await;
    let other = V1.replace("192.0.2.7", "203.0.113.7");
    assert_status(&answered(&proxy, V1, GET).await.0, 200);
    assert_status(&answered(&proxy, other, GET).await.0, 403);
}

#[tokio::test]
async fn forwarding_fields_are_believed_of_a_trusted_source() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1\", \"10.0.0.0/8", &app).start().await;
    let with_field = GET.replace("\r\n\r\n", "\r\nX-Forwarded-For: 203.0.113.9\r\n\r\n");
    let seen = async |header: String| {
        let (_, body) = answered(&proxy, header, &with_field).await;
        let seen: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        seen["headers"]["x-forwarded-for"].as_str().expect("a field").to_owned()
    };
    assert_eq!(seen(V1.to_owned()).await, "192.0.2.7", "the proxy in front is not the one that said it");
    assert_eq!(seen(V1.replace("192.0.2.7", "10.1.2.3")).await, "203.0.113.9, 10.1.2.3");
}

#[tokio::test]
async fn a_peer_that_speaks_for_itself_is_the_client() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).start().await;
    for header in [V2_LOCAL, b"PROXY UNKNOWN\r\n"] {
        let (_, body) = answered(&proxy, header, GET).await;
        assert!(body.contains("\"x-forwarded-for\":\"127.0.0.1\""), "{body}");
    }
}

#[tokio::test]
async fn a_trusted_peer_without_a_header_is_not_served() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).start().await;
    for bytes in [GET, "PROXY TCP4 192.0.2.7\r\n"] {
        let mut raw = proxy.raw().await;
        raw.send(bytes).await;
        assert!(raw.is_closed_silently().await, "{bytes}");
    }
    proxy.log().wait(&["WARN listener", "no PROXY header", "GET "]).await;
    proxy.log().wait(&["WARN listener", "malformed PROXY header"]).await;
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn a_header_that_does_not_come_is_not_waited_for() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).section("[timeouts]\ntls-handshake = \"200ms\"").start().await;
    let mut raw = proxy.raw().await;
    raw.send(&V1[..20]).await;
    assert!(raw.is_closed_silently().await);
    proxy.log().wait(&["WARN listener", "no complete PROXY header within"]).await;
}

#[tokio::test]
async fn others_are_served_without_a_header_and_not_with_one() {
    let app = Upstream::echo("app").await;
    let proxy = behind("10.0.0.0/8", &app).start().await;
    assert_eq!(proxy.get("/").await.json()["headers"]["x-forwarded-for"], "127.0.0.1");
    let mut raw = proxy.raw().await;
    raw.send(format!("{V1}{GET}")).await;
    assert_status(&raw.read_head().await, 400);
    assert_eq!(app.requests().len(), 1);
}

#[tokio::test]
async fn the_limit_per_client_counts_the_client_in_the_header() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).section("[limits]\nconnections-per-client = 1").start().await;
    let mut first = proxy.raw().await;
    first.send(format!("{V1}{GET}")).await;
    first.read_response().await;
    let mut second = proxy.raw().await;
    second.send(format!("{V1}{GET}")).await;
    assert!(second.is_closed_silently().await);
    let other = V1.replace("192.0.2.7", "192.0.2.8");
    assert_status(&answered(&proxy, other, GET).await.0, 200);
    // The load balancer speaks for itself, so it is not counted as that client.
    assert_status(&answered(&proxy, V2_LOCAL, GET).await.0, 200);
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy =
        behind("127.0.0.1", &app).tls_listener("secure", &leaf, "proxy-protocol = true").start().await;
    let mut stream = tcp_connect(proxy.address("secure")).await;
    stream.write_all(V2).await.expect("an open connection");
    let options = TlsOptions::new(&authority, "a.test");
    let mut client = Client::tls_over(stream, &options).await.expect("a handshake");
    let answer = client.send(request("GET", "/").body(empty()).expect("valid")).await;
    assert_eq!(client.alpn(), Some("h2"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["headers"]["x-forwarded-for"], "192.0.2.7");
    assert_eq!(answer.json()["headers"]["x-forwarded-proto"], "https");
}

#[tokio::test]
async fn listeners_without_the_key_read_no_header() {
    let app = Upstream::echo("app").await;
    let proxy = behind("127.0.0.1", &app).listener("plain", "").start().await;
    let mut raw = Raw::connect(proxy.address("plain")).await;
    raw.send(format!("{V1}{GET}")).await;
    assert_status(&raw.read_head().await, 400);
}

/// A server that tells the header of each connection and answers the request that follows.
async fn listening() -> (Upstream, mpsc::Receiver<Vec<u8>>) {
    let (sender, received) = mpsc::channel(8);
    let app = Upstream::script(move |mut stream: TcpStream, _| {
        let sender = sender.clone();
        async move {
            let Ok(header) = read_header(&mut stream).await else { return };
            sender.send(header).await.expect("a test that listens");
            read_head(&mut stream).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            // The server keeps the connection open, so only the proxy can decide to send one request on each.
            read_head(&mut stream).await;
        }
    })
    .await;
    (app, received)
}

async fn read_header(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut header = vec![stream.read_u8().await?];
    if header == b"P" {
        while !header.ends_with(b"\r\n") {
            header.push(stream.read_u8().await?);
        }
        return Ok(header);
    }
    header.resize(16, 0);
    stream.read_exact(&mut header[1..]).await?;
    let length = u16::from_be_bytes([header[14], header[15]]);
    header.resize(16 + usize::from(length), 0);
    stream.read_exact(&mut header[16..]).await?;
    Ok(header)
}

async fn heard(received: &mut mpsc::Receiver<Vec<u8>>) -> String {
    let header = within("a header", received.recv()).await.expect("a server that runs");
    header.escape_ascii().to_string()
}

/// Version 1 of a header for a connection between these ports of 127.0.0.1.
fn local_v1(source: u16, destination: u16) -> String {
    format!("PROXY TCP4 127.0.0.1 127.0.0.1 {source} {destination}\\r\\n")
}

/// Version 2 of the same.
fn local_v2(source: u16, destination: u16) -> String {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    header.extend(source.to_be_bytes());
    header.extend(destination.to_be_bytes());
    header.escape_ascii().to_string()
}

/// The upstream `app` that is told whom its connections are for.
fn told(app: &Upstream, version: &str) -> String {
    format!("[upstream.app]\nservers = [\"{}\"]\nproxy-protocol = \"{version}\"", app.address())
}

#[tokio::test]
async fn servers_are_told_who_a_request_is_from() {
    for (version, expected) in [("v1", local_v1 as fn(u16, u16) -> String), ("v2", local_v2)] {
        let (app, mut received) = listening().await;
        let proxy = Proxy::bare()
            .top("default-upstream = \"app\"")
            .listener("web", "")
            .section(&told(&app, version))
            .start()
            .await;
        let port = proxy.address("web").port();
        let mut client = proxy.raw().await;
        for connection in 1..=2 {
            client.send(GET).await;
            assert_status(&client.read_response().await.0, 200);
            assert_eq!(heard(&mut received).await, expected(client.port(), port));
            assert_eq!(app.connections(), connection, "a connection for each request");
        }
    }
}

#[tokio::test]
async fn servers_are_told_who_a_forwarded_connection_is_from() {
    for (version, expected) in [("v1", local_v1 as fn(u16, u16) -> String), ("v2", local_v2)] {
        let (app, mut received) = listening().await;
        let proxy =
            Proxy::bare().listener("tcp", "tcp = \"app\"").section(&told(&app, version)).start().await;
        let mut client = Raw::connect(proxy.address("tcp")).await;
        client.send(GET).await;
        assert_status(&client.read_response().await.0, 200);
        assert_eq!(heard(&mut received).await, expected(client.port(), proxy.address("tcp").port()));
    }
}

#[tokio::test]
async fn what_the_proxy_was_told_is_passed_on() {
    let (app, mut received) = listening().await;
    let proxy = Proxy::bare()
        .top("default-upstream = \"app\"\ntrusted-proxies = [\"127.0.0.1\"]")
        .listener("web", "proxy-protocol = true")
        .listener("tcp", "proxy-protocol = true\ntcp = \"app\"")
        .section(&told(&app, "v1"))
        .start()
        .await;
    for listener in ["web", "tcp"] {
        let mut client = Raw::connect(proxy.address(listener)).await;
        client.send([V2, GET.as_bytes()].concat()).await;
        assert_status(&client.read_response().await.0, 200);
        assert_eq!(heard(&mut received).await, V1.as_bytes().escape_ascii().to_string(), "{listener}");
    }
}

#[tokio::test]
async fn to_announce_clients_is_not_to_be_believed_in_anything_else() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::bare()
        .top("default-upstream = \"app\"")
        .listener("web", "proxy-protocol = { trusted = [\"127.0.0.0/8\"] }")
        .upstream("app", &app)
        .start()
        .await;
    let forged = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    let (head, _) = answered(&proxy, V1, forged).await;
    assert_status(&head, 200);
    assert_eq!(app.only_request().header("x-forwarded-for"), "192.0.2.7");
    let (head, _) = answered(&proxy, V2_LOCAL, forged).await;
    assert_status(&head, 200);
    assert_eq!(app.requests()[1].header("x-forwarded-for"), "127.0.0.1");
}
