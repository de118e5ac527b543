//! HTTP/2 towards servers: many requests on a connection, bodies and trailers both ways, resets, GOAWAY.

use std::collections::BTreeMap;

use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{
    Authority, Builder, ErrorCode, FrameType, H2Frames, Proxy, Speech, Upstream, Zeros, body, chunks, empty,
    request, stalled, until, within,
};
use tokio::sync::mpsc;

/// An upstream of this one server that is spoken to in HTTP/2 in clear text.
fn h2c(upstream: &Upstream, more: &str) -> Builder {
    Proxy::with_app(&format!("servers = [\"{}\"]\nprotocol = \"h2\"\n{more}", upstream.address()))
}

async fn echo() -> Upstream {
    Upstream::builder().speaking(Speech::http2()).echo("app").await
}

async fn meeting(speech: Speech, count: usize) -> Upstream {
    Upstream::builder().speaking(speech).meeting(count).await
}

/// How many requests came on each connection, those to `/warm` left out.
fn by_connection(upstream: &Upstream) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    for request in upstream.requests().iter().filter(|request| request.target != "/warm") {
        *counts.entry(request.connection).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn a_request_arrives_as_one_of_http_2() {
    let app = echo().await;
    let proxy = h2c(&app, "").start().await;
    for mut client in proxy.both().await {
        let request = request("POST", "/path?q=1")
            .header("host", "a.test:81")
            .header("x-field", "value")
            .body(body("hello"))
            .expect("valid");
        let answer = client.send(request).await;
        assert_eq!(answer.json()["body"], "hello");
    }
    for seen in app.requests() {
        assert_eq!(seen.version, Version::HTTP_2);
        assert_eq!(seen.method, "POST");
        assert_eq!(seen.target, "/path?q=1");
        assert_eq!(seen.authority.as_deref(), Some("a.test:81"));
        assert_eq!(seen.header("x-field"), "value");
        for field in ["connection", "keep-alive", "transfer-encoding", "upgrade"] {
            assert_eq!(seen.count(field), 0, "{field} is not of HTTP/2 (RFC 9113 §8.2.2)");
        }
        assert!(seen.count("host") == 0 || seen.header("host") == "a.test:81", "{seen:?}");
    }
    assert_eq!(app.requests().len(), 2);
}

#[tokio::test]
async fn requests_share_one_connection() {
    let app = meeting(Speech::http2(), 20).await;
    let proxy = h2c(&app, "").start().await;
    let mut client = proxy.http2().await;
    client.get("/warm").await;
    assert_eq!(client.side_by_side(20).await, [200; 20]);
    assert_eq!(app.connections(), 1);
}

/// Ten requests side by side, at most four to a connection.
async fn ten_go_over_connections_of_four(proxy: &Proxy, app: &Upstream) {
    let mut client = proxy.http2().await;
    client.get("/warm").await;
    assert_eq!(client.side_by_side(10).await, [200; 10]);
    let counts = by_connection(app);
    assert!(counts.len() >= 3 && counts.values().all(|count| *count <= 4), "{counts:?}");
}

#[tokio::test]
async fn over_the_streams_of_a_connection_another_is_opened() {
    let app = meeting(Speech::http2(), 10).await;
    let proxy = h2c(&app, "pool = { streams = 4 }").start().await;
    ten_go_over_connections_of_four(&proxy, &app).await;
}

#[tokio::test]
async fn the_servers_own_limit_holds_as_well() {
    let app = meeting(Speech::http2().max_streams(4), 10).await;
    let proxy = h2c(&app, "").start().await;
    ten_go_over_connections_of_four(&proxy, &app).await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(async |request: Request<Incoming>| {
            let received = request.into_body().collect().await.expect("a whole body");
            let sum = received.trailers().and_then(|trailers| trailers.get("x-sum")).cloned();
            let text = received.to_bytes();
            let (feed, download) = chunks();
            tokio::spawn(async move {
                feed.send(text).await;
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum-seen", sum.unwrap_or_else(|| "none".parse().expect("a value")));
                feed.trailers(trailers).await;
            });
            Response::new(download)
        })
        .await;
    let proxy = h2c(&app, "").start().await;
    let (feed, upload) = chunks();
    let request = request("POST", "/").header("te", "trailers").body(upload).expect("valid");
    let mut client = proxy.http2().await;
    let answer = tokio::spawn(async move { client.send(request).await });
    assert!(feed.send("hello").await);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "42".parse().expect("a value"));
    feed.trailers(trailers).await;
    let answer = within("the answer", answer).await.expect("no panic");
    assert_eq!(answer.text(), "hello");
    assert_eq!(answer.trailers.expect("trailers")["x-sum-seen"], "42");
}

#[tokio::test]
async fn large_bodies_pass_both_ways() {
    const LENGTH: u64 = 8 << 20;
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(async |request: Request<Incoming>| {
            let received = request.into_body().collect().await.expect("a whole body").to_bytes();
            assert_eq!(received.len() as u64, LENGTH);
            Response::new(Zeros { left: LENGTH }.boxed())
        })
        .await;
    let proxy = h2c(&app, "").start().await;
    for mut client in proxy.both().await {
        let upload = request("POST", "/").body(Zeros { left: LENGTH }.boxed()).expect("valid");
        assert_eq!(client.send(upload).await.body.len() as u64, LENGTH);
    }
}

/// Sends a message when it is dropped.
struct Dropped(mpsc::UnboundedSender<()>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn a_client_that_goes_away_resets_the_stream_and_nothing_else() {
    let (tell, mut told) = mpsc::unbounded_channel();
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(move |request: Request<Incoming>| {
            let waiting = (request.uri().path() == "/wait").then(|| Dropped(tell.clone()));
            async move {
                if waiting.is_some() {
                    std::future::pending::<()>().await;
                }
                Response::new(body("ok"))
            }
        })
        .await;
    let proxy = h2c(&app, "").start().await;
    let client = proxy.http2().await;
    client.share().get("/warm").await;
    let mut waiting = client.share();
    let request_to_wait = request("GET", "/wait").body(empty()).expect("valid");
    let given_up = tokio::spawn(async move { waiting.start(request_to_wait).await.is_ok() });
    app.until_requests(2).await;

    given_up.abort();

    within("the server to be told", told.recv()).await.expect("a server that waits");
    assert_eq!(client.share().get("/after").await.status, 200);
    assert_eq!(app.connections(), 1, "the connection goes on");
    assert_eq!(app.closed(), 0, "the connection is still open");
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_hold_others_up() {
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(async |request: Request<Incoming>| match request.uri().path() {
            "/large" => Response::new(Zeros { left: 64 << 20 }.boxed()),
            _ => Response::new(body("ok")),
        })
        .await;
    // One worker, so that all clients share a connection. The timeouts are too long to end one of them.
    let builder = h2c(&app, "timeouts = { idle = \"1h\" }").workers(1);
    let proxy = builder.section("[timeouts]\nbody-idle = \"1h\"").start().await;
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut raw = proxy.raw().await;
        raw.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        raw.read_head().await;
        slow.push(raw);
    }
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.text(), "ok");
    }
}

#[tokio::test]
async fn a_connection_that_the_server_ends_costs_no_request() {
    let speech = Speech::http2().requests_per_connection(5);
    let app = Upstream::builder().speaking(speech).echo("app").await;
    let proxy = h2c(&app, "retries = 0").start().await;
    let client = proxy.http2().await;
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = client.share();
        load.spawn(async move {
            for _ in 0..25 {
                assert_eq!(client.get("/").await.status, 200);
            }
        });
    }
    within("the load", load.join_all()).await;
    assert_eq!(app.requests().len(), 100);
    assert!(app.connections() > 5, "{} connections", app.connections());
}

#[tokio::test]
async fn what_is_in_flight_on_a_connection_that_breaks_goes_to_another_server() {
    let silent = async || {
        Upstream::builder().speaking(Speech::http2()).serve(async |_| std::future::pending().await).await
    };
    let (mut one, other) = (silent().await, echo().await);
    let lines = format!(
        "servers = [\"{}\", {{ address = \"{}\", backup = true }}]\nprotocol = \"h2\"",
        one.address(),
        other.address()
    );
    let proxy = Proxy::with_app(&lines).start().await;
    let client = proxy.http2().await;
    let mut requests = tokio::task::JoinSet::new();
    // As many retries as the budget always allows.
    for _ in 0..3 {
        let mut client = client.share();
        requests.spawn(async move { client.get("/").await.echoed_by() });
    }
    one.until_requests(3).await;
    one.stop().await;
    assert_eq!(within("the answers", requests.join_all()).await, ["app", "app", "app"]);
}

#[tokio::test]
async fn a_server_that_does_not_speak_it_is_no_answer() {
    let old = Upstream::echo("old").await;
    let proxy = h2c(&old, "").start().await;
    let answer = proxy.get("/x").await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert!(proxy.access("/x").await["failure"].is_string());
    assert!(old.requests().iter().all(|request| request.method != "GET"), "{:?}", old.requests());
}

#[tokio::test]
async fn over_tls_the_server_chooses_the_version() {
    let authority = Authority::new();
    let leaf = authority.sign(&["localhost"]);
    for (offered, protocol, version, alpn) in [
        (&["h2", "http/1.1"][..], "auto", Version::HTTP_2, Some("h2")),
        (&["http/1.1", "h2"], "auto", Version::HTTP_11, Some("http/1.1")),
        (&["http/1.1"], "auto", Version::HTTP_11, Some("http/1.1")),
        (&["h2"], "auto", Version::HTTP_2, Some("h2")),
        (&[], "auto", Version::HTTP_11, None),
        (&["h2", "http/1.1"], "h2", Version::HTTP_2, Some("h2")),
        (&["http/1.1"], "http1", Version::HTTP_11, Some("http/1.1")),
    ] {
        let app = Upstream::builder().speaking(Speech::tls(&leaf, offered)).echo("app").await;
        let lines = format!(
            "servers = [\"localhost:{}\"]\nprotocol = \"{protocol}\"\ntls = {{ ca = \"ca.pem\" }}",
            app.address().port()
        );
        let proxy = Proxy::with_app(&lines).file("ca.pem", authority.pem()).start().await;
        let mut client = proxy.http1().await;
        for _ in 0..3 {
            assert_eq!(client.get("/").await.status, 200, "{offered:?}, {protocol}");
        }
        assert_eq!(app.connections(), 1, "{offered:?}, {protocol}");
        let seen = &app.requests()[0];
        let settled = seen.tls.as_ref().expect("TLS").alpn.as_deref();
        assert_eq!(seen.version, version, "{offered:?}, {protocol}");
        assert_eq!(settled, alpn, "{offered:?}, {protocol}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_the_version_is_no_answer() {
    let authority = Authority::new();
    let leaf = authority.sign(&["localhost"]);
    let app = Upstream::builder().speaking(Speech::tls(&leaf, &["http/1.1"])).echo("app").await;
    let lines = format!(
        "servers = [\"localhost:{}\"]\nprotocol = \"h2\"\ntls = {{ ca = \"ca.pem\" }}",
        app.address().port()
    );
    let proxy = Proxy::with_app(&lines).file("ca.pem", authority.pem()).start().await;
    let answer = proxy.get("/x").await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn timeouts_hold_on_a_stream() {
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(async |request: Request<Incoming>| {
            if request.uri().path() == "/silent" {
                std::future::pending::<()>().await;
            }
            Response::new(stalled("only this"))
        })
        .await;
    let proxy = h2c(&app, "timeouts = { response = \"400ms\", idle = \"200ms\" }").start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/silent").await.status, 504);
    assert_eq!(proxy.access("/silent").await["failure"], "response-timeout");
    let request = request("GET", "/stalled").body(empty()).expect("valid");
    client.try_send(request).await.expect_err("a body that is cut");
    assert_eq!(proxy.access("/stalled").await["failure"], "broken-off");
    assert_eq!(app.closed(), 0, "a stream fails, not the connection");
}

/// Answers the first HEADERS on each connection by resetting the stream as one that was not processed, the
/// others with 204.
async fn refusing() -> Upstream {
    Upstream::script(async |stream, _| {
        let mut frames = H2Frames::accept(stream).await;
        let mut refused = false;
        while let Some(frame) = frames.next_of(&[FrameType::Headers]).await {
            if refused {
                frames.respond(frame.stream, 204).await;
            } else {
                frames.reset(frame.stream, ErrorCode::RefusedStream).await;
                refused = true;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_that_the_server_refused_is_sent_again_whatever_it_asks() {
    // The server vouches for it that it has not processed the request (RFC 9113 §8.7).
    let (one, other) = (refusing().await, refusing().await);
    for method in ["GET", "POST"] {
        let lines = format!("servers = [\"{}\", \"{}\"]\nprotocol = \"h2\"", one.address(), other.address());
        let proxy = Proxy::with_app(&format!("{lines}\nretries = 2")).start().await;
        let request = request(method, "/").body(body("hello")).expect("valid");
        assert_eq!(proxy.http2().await.send(request).await.status, 204, "{method}");
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_any_more_is_replaced() {
    // As when the network to the server is gone: the connection stays open, and nothing comes any more.
    let (freeze, frozen) = tokio::sync::watch::channel(false);
    let app = Upstream::script(move |stream, connection| {
        let mut frozen = frozen.clone();
        async move {
            let mut frames = H2Frames::accept(stream).await;
            loop {
                tokio::select! {
                    frame = frames.next_of(&[FrameType::Headers]) => match frame {
                        Some(frame) => frames.respond(frame.stream, 204).await,
                        None => return,
                    },
                    () = async { drop(frozen.wait_for(|frozen| *frozen).await) }, if connection == 1 => break,
                }
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let lines = "timeouts = { response = \"300ms\" }\neject = false";
    let proxy = h2c(&app, lines).start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/").await.status, 204);
    freeze.send_replace(true);
    assert_eq!(client.get("/").await.status, 504);
    until("an answer on another connection", async || client.get("/").await.status == 204).await;
}
