//! What requests make the proxy hold: counted as it is held, bounded, a share of it for each client.

use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{
    Proxy, Raw, Upstream, assert_status, body, chunked, gzipped, request, request_with, stock, until, within,
};
use tokio::sync::mpsc;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Tells of each chunk of a request body that arrives.
async fn telling() -> (Upstream, mpsc::UnboundedReceiver<()>) {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let app = Upstream::serve(move |asked: http::Request<Incoming>| {
        let arrived = arrived.clone();
        async move {
            let mut incoming = asked.into_body();
            let mut length = 0;
            while let Some(Ok(frame)) = incoming.frame().await {
                length += frame.data_ref().map_or(0, Bytes::len);
                let _ = arrived.send(());
            }
            Response::new(body(length.to_string()))
        }
    })
    .await;
    (app, arrivals)
}

#[tokio::test]
async fn uploads_that_trickle_in_take_no_more_than_their_bytes() {
    const UPLOADS: usize = 16;
    const CHUNKS: usize = 400;
    let (app, mut arrivals) = telling().await;
    let proxy = Proxy::builder(&app).start().await;
    let mut uploads = Vec::new();
    for _ in 0..UPLOADS {
        let mut raw = proxy.raw().await;
        raw.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").await;
        within("the first chunk", arrivals.recv()).await;
        uploads.push(raw);
    }
    let before = proxy.resident_memory();
    // Each chunk is read by itself: the next comes when all have arrived.
    for _ in 1..CHUNKS {
        for raw in &mut uploads {
            raw.send("1\r\nx\r\n").await;
        }
        for _ in 0..UPLOADS {
            within("a chunk", arrivals.recv()).await;
        }
    }
    let grown = proxy.resident_memory().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more for {UPLOADS} uploads of {CHUNKS} bytes");
    for raw in &mut uploads {
        raw.send("0\r\n\r\n").await;
        let (head, body) = raw.read_response().await;
        assert_status(&head, 200);
        assert_eq!(body, CHUNKS.to_string());
    }
}

#[tokio::test]
async fn a_client_over_its_share_is_refused_until_it_holds_less() {
    let app = Upstream::echo("app").await;
    let lines =
        format!("servers = [\"{}\"]\nbuffer-requests = {{ memory = \"4MiB\", disk = \"0B\" }}", app.server());
    let proxy = Proxy::with_app(&lines).section("[limits]\nmemory = \"16MiB\"").start().await;
    let upload =
        |target: &str, size: usize| request("POST", target).body(body("x".repeat(size))).expect("valid");
    let answer = proxy.send(upload("/large", 2 * MIB)).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(proxy.access("/large").await["failure"], "memory");
    proxy.log().wait(&["tenth of limits.memory is used up"]).await;

    // One that holds a part of it leaves less to the next, until it is over. What holds memory may itself be refused
    // while another does.
    let half = 1500 * KIB;
    let mut holder = None;
    until("a client that holds too much for another", async || {
        let mut raw = proxy.raw().await;
        raw.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {half}\r\n\r\n")).await;
        raw.send("x".repeat(half - 1)).await;
        holder = Some(raw);
        proxy.send(upload("/", 500 * KIB)).await.status == 503
    })
    .await;
    let mut holder = holder.expect("the last one");
    holder.send("x").await;
    assert_status(&holder.read_head().await, 200);
    until("room again", async || proxy.send(upload("/", MIB)).await.status == 200).await;
}

/// Zeros that are a thousandth when they are coded.
fn bomb() -> Vec<u8> {
    gzipped(&"\0".repeat(16 * MIB))
}

const FILTER: &str = "body-overflow = \"skip\"\n[config]\n\
     requests = [{ patterns = [\"<script\"] }]\n\
     responses = [{ replace = [{ from = \"a\", to = \"b\" }] }]\n";

#[tokio::test]
async fn what_a_coded_request_body_hides_is_bounded() {
    let app = Upstream::serve(async |asked: http::Request<Incoming>| {
        let length = asked.into_body().collect().await.map(|body| body.to_bytes().len());
        Response::new(body(format!("{length:?}")))
    })
    .await;
    let proxy = Proxy::builder(&app)
        .section("[limits]\ndecoded-body = \"2MiB\"")
        .plugin("10-body-filter", stock("body-filter"), FILTER)
        .start()
        .await;
    let post = |target: &str, coded: Vec<u8>| {
        let fields = [("content-encoding", "gzip")];
        request_with("POST", target, &fields).body(body(coded)).expect("valid")
    };
    // Not a hundredth: noise, which hardly gets smaller.
    let noise = |size: usize| {
        let mut state = 1_u32;
        let letters = (0..size).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'A' + (state >> 28) as u8)
        });
        gzipped(&letters.collect::<String>())
    };
    assert_eq!(proxy.send(post("/", noise(3 * MIB / 2))).await.status, 200);
    for (target, coded) in [("/ratio", bomb()), ("/limit", noise(5 * MIB / 2))] {
        let answer = proxy.send(post(target, coded)).await;
        assert_eq!(answer.status, 413, "{target}");
        assert_eq!(proxy.access(target).await["failure"], "body-too-large", "{target}");
    }
}

#[tokio::test]
async fn what_a_coded_response_body_hides_is_bounded() {
    let app = Upstream::serve(async |_| {
        let answer =
            Response::builder().header("content-type", "text/html").header("content-encoding", "gzip");
        answer.body(body(bomb())).expect("valid")
    })
    .await;
    let proxy = Proxy::builder(&app).plugin("10-body-filter", stock("body-filter"), FILTER).start().await;
    let mut raw: Raw = proxy.raw().await;
    raw.send("GET /bomb HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let passed = raw.read_to_end().await.len();
    assert!(passed < 4 * MIB, "{passed} bytes passed");
    assert_eq!(proxy.access("/bomb").await["failure"], "broken-off");
}

#[tokio::test]
async fn a_whole_body_that_trickles_in_takes_no_more_than_its_bytes() {
    let app = Upstream::echo("app").await;
    let rules = "[config]\nrequests = [{ patterns = [\"<script\"] }]\n";
    let proxy = Proxy::builder(&app).plugin("10-body-filter", stock("body-filter"), rules).start().await;
    let small = || request("POST", "/").body(chunked((0..20_000).map(|_| "x"))).expect("valid");
    assert_eq!(proxy.send(small()).await.status, 200);
    let before = proxy.resident_memory();
    for _ in 0..4 {
        assert_eq!(proxy.send(small()).await.status, 200);
    }
    let grown = proxy.resident_memory().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[tokio::test]
async fn connections_that_rest_hold_next_to_nothing() {
    const CONNECTIONS: usize = 500;
    const EACH: usize = 12 * KIB;
    let app = Upstream::echo("app").await;
    let bounds = "[limits]\nconnections-per-client = 1000\n[timeouts]\nrequest-headers = \"500ms\"";
    let proxy = Proxy::builder(&app).section(bounds).workers(1).start().await;
    let ask = async |raw: &mut Raw| {
        raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (head, _) = raw.read_response().await;
        assert_status(&head, 200);
    };
    // What the first ones take once.
    for _ in 0..20 {
        ask(&mut proxy.raw().await).await;
    }
    let before = proxy.resident_memory();
    let mut resting = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut raw = proxy.raw().await;
        ask(&mut raw).await;
        resting.push(raw);
    }
    until("they rest", async || proxy.resident_memory().saturating_sub(before) < (CONNECTIONS * EACH) as u64)
        .await;
    for raw in &mut resting {
        ask(raw).await;
    }
    // What came of a head together with the request before it is not lost, and not waited for without end.
    let raw = &mut resting[0];
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHo").await;
    let (head, _) = raw.read_response().await;
    assert_status(&head, 200);
    let (head, _) = raw.read_response().await;
    assert_status(&head, 408);
}
