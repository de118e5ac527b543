//! What is on its way and not taken: a client, or a server, that takes nothing costs its own exchange alone.

use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{
    ErrorCode, FrameType, H2Frames, Proxy, Setting, Upstream, Zeros, assert_status, body, chunked, flags,
    request,
};

const GET: [(&str, &str); 4] = H2Frames::GET;
const MIB: usize = 1 << 20;

/// A client that lets nothing be sent on its streams, of a response larger than anybody's buffers.
async fn shut(proxy: &Proxy) -> H2Frames {
    let mut frames = H2Frames::connect_bare(proxy.address("web")).await;
    frames.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    frames.send_settings(&[(Setting::InitialWindowSize, 0)]).await;
    frames.request(1, &GET).await;
    frames.next_of(&[FrameType::Headers]).await.expect("the head of a response");
    frames
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_ends_alone() {
    let app = Upstream::serve(async |_| Response::new(Zeros { left: 64 * MIB as u64 }.boxed())).await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nbody-idle = \"300ms\"").start().await;
    let mut frames = shut(&proxy).await;
    let reset = frames.next_of(&[FrameType::RstStream, FrameType::GoAway]).await.expect("a frame");
    assert_eq!((reset.kind, reset.stream), (FrameType::RstStream, 1));
    assert_eq!(reset.error_code(), ErrorCode::Cancel);
    assert_eq!(proxy.access("/").await["failure"], "broken-off");
    // The connection goes on.
    frames.request(3, &GET).await;
    assert_eq!(frames.next_of(&[FrameType::Headers]).await.expect("a head").stream, 3);
}

#[tokio::test]
async fn a_stream_whose_client_takes_a_byte_at_a_time_ends_too() {
    let app = Upstream::serve(async |_| Response::new(Zeros { left: 64 * MIB as u64 }.boxed())).await;
    // Of the second client the rate asks nothing, but it falls silent.
    for (rate, bytes) in [("1MiB", usize::MAX), ("0B", 300)] {
        let limits = format!(
            "[limits]\nmin-rate = {{ response = \"{rate}\", response-after = \"100ms\" }}\n\
             [timeouts]\nbody-idle = \"300ms\""
        );
        let proxy = Proxy::builder(&app).section(&limits).start().await;
        let mut frames = shut(&proxy).await;
        let mut taken = 0;
        let reset = loop {
            if taken < bytes {
                frames.open_window(1, 1).await;
            }
            let frame = frames.next_of(&[FrameType::Data, FrameType::RstStream]).await.expect("a frame");
            if frame.kind == FrameType::RstStream {
                break frame;
            }
            taken += frame.payload.len();
        };
        assert_eq!(reset.error_code(), ErrorCode::Cancel);
        assert!(taken >= bytes.min(1), "{taken} bytes");
        assert_eq!(proxy.access("/").await["failure"], "broken-off");
    }
}

#[tokio::test]
async fn the_last_piece_is_waited_for_like_any_other() {
    for length in [2, 5, 8000, 20_000] {
        for known in [true, false] {
            let app = Upstream::serve(move |_| async move {
                let bytes = "x".repeat(length);
                Response::new(if known { body(bytes) } else { chunked([bytes]) })
            })
            .await;
            let proxy = Proxy::builder(&app).section("[timeouts]\nbody-idle = \"300ms\"").start().await;
            let mut frames = H2Frames::connect_bare(proxy.address("web")).await;
            frames.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            frames.send_settings(&[(Setting::InitialWindowSize, 1)]).await;
            frames.request(1, &GET).await;
            let reset = frames.next_of(&[FrameType::RstStream]).await.expect("a reset");
            assert_eq!(reset.error_code(), ErrorCode::Cancel, "{length} {known}");
            let line = proxy.access("/").await;
            assert_eq!(line["failure"], "broken-off", "{length} {known}");
            // One that opens its window has all of it.
            frames.request(3, &GET).await;
            frames.open_window(3, 1 << 20).await;
            let mut taken = 0;
            loop {
                let frame = frames.next_of(&[FrameType::Data, FrameType::RstStream]).await.expect("a frame");
                assert_eq!(frame.kind, FrameType::Data);
                taken += frame.payload.len();
                if frame.flags & flags::END_STREAM != 0 {
                    break;
                }
            }
            assert_eq!(taken, length);
        }
    }
}

#[tokio::test]
async fn uploads_a_server_does_not_take_leave_room_for_others() {
    // hyper takes what fits into its buffers, and the handler nothing.
    let app = Upstream::serve(async |asked: http::Request<Incoming>| {
        if asked.uri().path() == "/stuck" {
            let _kept = asked;
            std::future::pending().await
        } else {
            let length = asked.into_body().collect().await.map(|body| body.to_bytes().len());
            Response::new(body(format!("{:?}", length.ok())))
        }
    })
    .await;
    let proxy = Proxy::builder(&app).section("[timeouts]\nbody-idle = \"2s\"").start().await;
    let client = proxy.http2().await;
    for _ in 0..20 {
        let mut stuck = client.share();
        tokio::spawn(async move {
            let upload = request("POST", "/stuck").body(body(vec![b'x'; 8 * MIB])).expect("valid");
            let _ = stuck.try_send(upload).await;
        });
    }
    app.until_requests(20).await;
    let upload = request("POST", "/").body(body(vec![b'x'; 8 * MIB])).expect("valid");
    assert_eq!(client.share().send(upload).await.text(), format!("Some({})", 8 * MIB));
}

#[tokio::test]
async fn what_waits_in_the_windows_of_uploads_is_on_the_clients_account() {
    let (app, release) = Upstream::holding().await;
    let lines =
        format!("servers = [\"{}\"]\nmax-in-flight = 1\ntimeouts = {{ queue = \"1m\" }}", app.server());
    let proxy = Proxy::with_app(&lines).section("[limits]\nmemory = \"20MiB\"").start().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    let get = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/holds")];
    frames.request(1, &get).await;
    app.until_requests(1).await;
    // Nobody asks these for what they have: the server is busy. Eight windows are the client's tenth.
    let post = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/upload")];
    for stream in (3..=19).step_by(2) {
        frames.request_head(stream, &post).await;
    }
    assert_eq!(frames.next_of(&[FrameType::Headers]).await.expect("a refusal").stream, 19);
    assert_eq!(proxy.access("/upload").await["failure"], "memory");
    release.send(true).expect("somebody waits");
}

#[tokio::test]
async fn what_waits_in_large_heads_is_on_the_clients_account() {
    let (app, release) = Upstream::holding().await;
    let limits = "[limits]\nmemory = \"16MiB\"\nrequest-headers = \"1MiB\"";
    let proxy = Proxy::builder(&app).section(limits).start().await;
    let large = "x".repeat(300 << 10);
    let mut waiting = Vec::new();
    for _ in 0..5 {
        let mut raw = proxy.raw().await;
        raw.send(format!("GET /large HTTP/1.1\r\nHost: a\r\nX-Large: {large}\r\n\r\n")).await;
        waiting.push(raw);
        app.until_requests(waiting.len()).await;
    }
    let answer = proxy.ask("GET", "/refused", &[("x-large", &large)]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(proxy.access("/refused").await["failure"], "memory");
    release.send(true).expect("somebody waits");
    for mut raw in waiting {
        assert_status(&raw.read_head().await, 200);
    }
}
