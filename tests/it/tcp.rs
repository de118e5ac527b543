//! Connections forwarded at layer 4: as they are, after TLS, and by the name in their handshake.

use std::fs;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    Authority, Builder, Leaf, Proxy, Raw, TlsOptions, Upstream, assert_values, eventually, tcp_connect,
    tls_accept, tls_connect, until, within,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// A listener `tcp` in front of these servers.
fn forwarding(servers: &[String]) -> Builder {
    let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
    Proxy::bare()
        .listener("tcp", "tcp = \"app\"")
        .section(&format!("[upstream.app]\nservers = [{}]", servers.join(", ")))
}

async fn in_front_of(app: &Upstream) -> Proxy {
    forwarding(&[app.address().to_string()]).start().await
}

/// Greets, sends every byte back, and says when the client has ended.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin, name: &str) {
    let _ = stream.write_all(format!("{name}: ").as_bytes()).await;
    let _ = stream.flush().await;
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = stream.write_all(&buffer[..length]).await;
        let _ = stream.flush().await;
    }
    let _ = stream.write_all(b"bye").await;
    let _ = stream.shutdown().await;
}

/// An [`echo`] in clear text.
async fn echoing(name: &'static str) -> Upstream {
    Upstream::script(move |stream, _| echo(stream, name)).await
}

/// An [`echo`] over TLS.
async fn secure(name: &'static str, leaf: Leaf) -> Upstream {
    let leaf = Arc::new(leaf);
    Upstream::script(move |stream, _| {
        let leaf = Arc::clone(&leaf);
        async move {
            // In some tests the client ends the handshake.
            if let Ok(stream) = tls_accept(stream, &leaf).await {
                echo(stream, name).await;
            }
        }
    })
    .await
}

/// The access-log line of a connection, once there are `count`.
async fn lines(proxy: &Proxy, count: usize) -> Vec<Value> {
    let all = eventually(&format!("{count} access-log lines"), async || {
        let lines = proxy.access_log().all();
        (lines.len() >= count).then_some(lines)
    })
    .await;
    all.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

async fn line(proxy: &Proxy) -> Value {
    lines(proxy, 1).await.swap_remove(0)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_side_that_ends_is_passed_on() {
    let app = echoing("app").await;
    let proxy = in_front_of(&app).await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    // The server may speak first.
    assert_eq!(raw.read_until(": ").await, "app: ");
    for message in ["one", "two", "\u{0}\u{1}binary"] {
        raw.send(message).await;
        assert_eq!(raw.read_exactly(message.len()).await, message.as_bytes());
    }
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye");

    let line = line(&proxy).await;
    let expected = json!({
        "listener": "tcp",
        "client": "127.0.0.1",
        "version": "TCP",
        "server_name": null,
        "route": "app",
        "server": app.server(),
        "failure": null,
        "bytes_in": 3 + 3 + 8,
        "bytes_out": 5 + 3 + 3 + 8 + 3,
    });
    assert_values(&line, expected);
    let text = |key: &str| line[key].as_str().unwrap_or_default();
    assert!(text("peer").starts_with("127.0.0.1:"), "{line}");
    assert_eq!(text("id").len(), 16, "{line}");
    assert_eq!(text("time").len(), "2030-01-01T00:00:00.000Z".len(), "{line}");
    assert!(line["duration_us"].as_u64() > Some(0), "{line}");
    for key in ["method", "target", "status", "scheme", "policies"] {
        assert_eq!(line.get(key), None, "what only a request has: {line}");
    }
}

#[tokio::test]
async fn a_server_that_ends_first_is_passed_on() {
    let (sender, mut received) = tokio::sync::mpsc::channel(1);
    let app = Upstream::script(move |mut stream: TcpStream, _| {
        let sender = sender.clone();
        async move {
            let _ = stream.write_all(b"done").await;
            let _ = stream.shutdown().await;
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest).await;
            let _ = sender.send(rest).await;
        }
    })
    .await;
    let proxy = in_front_of(&app).await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    assert_eq!(raw.read_to_end().await, "done");
    raw.send("still here").await;
    raw.shutdown().await;
    assert_eq!(within("what the client sent", received.recv()).await.as_deref(), Some("still here"));
    assert_eq!(line(&proxy).await["failure"], Value::Null);
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over() {
    let app = echoing("app").await;
    let proxy = forwarding(&[Upstream::absent().await.to_string(), app.address().to_string()]).start().await;
    for _ in 0..8 {
        let mut raw = Raw::connect(proxy.address("tcp")).await;
        assert_eq!(raw.read_until(": ").await, "app: ");
        raw.shutdown().await;
        assert_eq!(raw.read_to_end().await, "bye");
    }
    for line in lines(&proxy, 8).await {
        assert_values(&line, json!({ "server": app.server(), "failure": null }));
    }
}

#[tokio::test]
async fn without_a_server_the_connection_is_closed() {
    let absent = Upstream::absent().await.to_string();
    let proxy = forwarding(std::slice::from_ref(&absent)).start().await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    assert!(raw.is_closed_silently().await);
    let line = line(&proxy).await;
    assert_values(&line, json!({ "failure": "connect", "route": "app", "server": absent, "bytes_in": 0 }));
    proxy.log().wait(&["WARN tcp", "cannot connect to", "failure=\"connect\""]).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let app = echoing("app").await;
    let proxy =
        forwarding(&[app.address().to_string()]).section("[timeouts]\ntunnel-idle = \"200ms\"").start().await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    assert_eq!(raw.read_to_end().await, "app: ");
    assert_eq!(line(&proxy).await["failure"], "idle-timeout");
    app.until_closed(1).await;
}

#[tokio::test]
async fn a_server_that_does_not_read_stops_the_client() {
    let go = Arc::new(Semaphore::new(0));
    let may_go = Arc::clone(&go);
    let app = Upstream::script(move |mut stream: TcpStream, _| {
        let go = Arc::clone(&may_go);
        async move {
            let _go = go.acquire().await;
            let count = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.unwrap_or_default();
            let _ = stream.write_all(count.to_string().as_bytes()).await;
        }
    })
    .await;
    let proxy = in_front_of(&app).await;
    let before = proxy.resident_memory();
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    let bytes = vec![0; 64 << 20];
    let sent = raw.send_until_blocked(&bytes).await;
    assert!(sent < bytes.len(), "the sockets' buffers hold less");
    assert!(proxy.resident_memory() < before + (8 << 20), "what waits is not in the proxy's memory");
    go.add_permits(1);
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, sent.to_string());
}

#[tokio::test]
async fn tls_ends_at_the_listener_that_has_it() {
    let app = echoing("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = Proxy::bare().tls_listener("tcp", &leaf, "tcp = \"app\"").upstream("app", &app).start().await;
    // The proxy accepts any name for the client's protocol.
    let options = TlsOptions { alpn: &["postgresql"], ..TlsOptions::new(&authority, "a.test") };
    assert_eq!(converse(&proxy, &options).await, "app: hello bye");
    let line = line(&proxy).await;
    assert_values(&line, json!({ "server_name": "a.test", "failure": null }));
    // The bytes of the clear text.
    assert_values(&line, json!({ "bytes_in": 6, "bytes_out": 14 }));
}

/// What a client of the listener `tcp` gets that says "hello " and ends its direction.
async fn converse(proxy: &Proxy, options: &TlsOptions<'_>) -> String {
    let stream = tcp_connect(proxy.address("tcp")).await;
    let mut stream = tls_connect(stream, options).await.expect("a handshake");
    stream.write_all(b"hello ").await.expect("an open connection");
    stream.shutdown().await.expect("an open connection");
    let mut received = String::new();
    within("the rest", stream.read_to_string(&mut received)).await.expect("an end in order");
    received
}

/// A listener `tcp` that passes TLS through by these names, to upstreams of these names.
fn passing_through(names: &str, upstreams: &[(&str, &Upstream)]) -> Builder {
    let proxy = Proxy::bare()
        .listener("tcp", &format!("tls-passthrough = {{ {names} }}"))
        .section("[log]\nlevel = \"debug\"");
    upstreams.iter().fold(proxy, |proxy, (name, upstream)| proxy.upstream(name, upstream))
}

const NAMES: &str =
    "\"a.example.com\" = \"exact\", \"*.example.com\" = \"wild\", \"*.deep.example.com\" = \"deep\"";

#[tokio::test]
async fn tls_is_passed_through_by_its_server_name() {
    let authority = Authority::new();
    let exact = secure("exact", authority.sign(&["a.example.com"])).await;
    let wild = secure("wild", authority.sign(&["b.example.com", "b.a.example.com"])).await;
    let deep = secure("deep", authority.sign(&["x.deep.example.com", "z.y.deep.example.com"])).await;
    let proxy = passing_through(NAMES, &[("exact", &exact), ("wild", &wild), ("deep", &deep)]).start().await;
    let cases = [
        ("a.example.com", "exact"),
        ("A.Example.COM", "exact"),
        ("b.example.com", "wild"),
        ("b.a.example.com", "wild"),
        ("x.deep.example.com", "deep"),
        ("z.y.deep.example.com", "deep"),
    ];
    for (name, upstream) in cases {
        // The certificate is the server's own: the client would not accept another's.
        let received = converse(&proxy, &TlsOptions::new(&authority, name)).await;
        assert_eq!(received, format!("{upstream}: hello bye"), "{name}");
    }
    let lines = lines(&proxy, cases.len()).await;
    for (name, upstream) in cases {
        let name = json!(name.to_ascii_lowercase());
        let line = lines.iter().find(|line| line["server_name"] == name).expect("a line of that name");
        assert_values(line, json!({ "version": "TCP", "route": upstream, "failure": null }));
        assert!(line["bytes_in"].as_u64() > Some(200), "the handshake counts: {line}");
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_told_so() {
    let authority = Authority::new();
    let app = secure("app", authority.sign(&["example.com", "127.0.0.1"])).await;
    let proxy = passing_through("\"*.example.com\" = \"app\"", &[("app", &app)]).start().await;
    // `*.example.com` does not stand for `example.com`, and clients send no name for an address.
    for name in ["example.com", "other.test", "127.0.0.1"] {
        let stream = tcp_connect(proxy.address("tcp")).await;
        let error = tls_connect(stream, &TlsOptions::new(&authority, name)).await.expect_err(name);
        assert!(error.to_string().contains("UnrecognisedName"), "{name}: {error}");
    }
    assert_eq!(app.connections(), 0);
    let lines = lines(&proxy, 3).await;
    for name in [json!("example.com"), json!("other.test"), Value::Null] {
        let line = lines.iter().find(|line| line["server_name"] == name).expect("a line of that name");
        assert_values(line, json!({ "failure": "no-route", "route": null }));
    }
}

#[tokio::test]
async fn a_star_takes_everything_else() {
    let authority = Authority::new();
    let exact = secure("exact", authority.sign(&["a.test"])).await;
    let rest = secure("rest", authority.sign(&["b.test", "127.0.0.1"])).await;
    let names = "\"*\" = \"rest\", \"a.test\" = \"exact\"";
    let proxy = passing_through(names, &[("exact", &exact), ("rest", &rest)]).start().await;
    for (name, expected) in [("a.test", "exact"), ("b.test", "rest"), ("127.0.0.1", "rest")] {
        let received = converse(&proxy, &TlsOptions::new(&authority, name)).await;
        assert_eq!(received, format!("{expected}: hello bye"), "{name}");
    }
}

#[tokio::test]
async fn what_is_not_tls_is_not_passed_through() {
    let app = echoing("app").await;
    let proxy = passing_through("\"*\" = \"app\"", &[("app", &app)])
        .section("[timeouts]\ntls-handshake = \"200ms\"")
        .start()
        .await;
    for (bytes, cause) in [
        (&b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..], "not TLS"),
        (b"\x16\x03\x01\0\x05\x01\0\0\x01\0", "not a valid ClientHello"),
        (b"\x16\x03\x01", "no complete ClientHello within"),
    ] {
        let mut raw = Raw::connect(proxy.address("tcp")).await;
        raw.send(bytes).await;
        assert!(raw.is_closed_silently().await, "{cause}");
        proxy.log().wait(&["DEBUG tls", "nothing to pass through", cause]).await;
    }
    assert_eq!(app.connections(), 0);
    assert!(proxy.access_log().is_empty());
}

#[tokio::test]
async fn a_reload_leaves_open_connections_alone() {
    let app = echoing("app").await;
    let proxy = in_front_of(&app).await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    assert_eq!(raw.read_until(": ").await, "app: ");
    // The new configuration has neither the listener nor the upstream of the connection.
    let other =
        "workers = 2\n[admin]\naddress = \"127.0.0.1:0\"\n[listener.web]\naddress = \"127.0.0.1:0\"\n";
    fs::write(proxy.folder().join("tidegate.toml"), other).expect("a writable file");
    let answer = proxy.reload().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["generation"], 2, "{}", answer.text());
    raw.send("hello").await;
    assert_eq!(raw.read_exactly(5).await, b"hello");
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye");
    assert_eq!(line(&proxy).await["route"], "app");
}

#[tokio::test]
async fn open_connections_go_on_while_the_proxy_drains() {
    let app = echoing("app").await;
    let mut proxy = in_front_of(&app).await;
    let address = proxy.address("tcp");
    let mut raw = Raw::connect(address).await;
    assert_eq!(raw.read_until(": ").await, "app: ");
    proxy.signal(Signal::TERM);
    until("no new connections", async || TcpStream::connect(address).await.is_err()).await;
    raw.send("hello").await;
    assert_eq!(raw.read_exactly(5).await, b"hello");
    raw.shutdown().await;
    assert_eq!(raw.read_to_end().await, "bye");
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.access_log().end().await;
    // The attempts to connect may have lines as well.
    let lines = lines(&proxy, 1).await;
    let line = lines.iter().find(|line| line["bytes_in"] == 5).expect("a line of the connection");
    assert_eq!(line["failure"], Value::Null, "{line}");
}

#[tokio::test]
async fn open_connections_are_cut_at_the_end_of_the_drain() {
    let app = echoing("app").await;
    let mut proxy =
        forwarding(&[app.address().to_string()]).section("[timeouts]\ndrain = \"200ms\"").start().await;
    let mut raw = Raw::connect(proxy.address("tcp")).await;
    assert_eq!(raw.read_until(": ").await, "app: ");
    proxy.signal(Signal::TERM);
    assert!(raw.is_closed_silently().await);
    proxy.ended().await;
    proxy.access_log().end().await;
    assert_eq!(line(&proxy).await["failure"], "broken-off");
}
