//! Buffers: within their bounds, slow clients do not hold an upstream up, in either direction.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use rustix::process::Signal;
use tidegate_tests::{
    Answer, BoxBody, Builder, Chunks, FrameType, H2Frames, Proxy, Raw, Setting, Speech, Upstream,
    assert_status, body, chunked, chunks, empty, eventually, next_chunk, request, until, within,
};
use tokio::task::JoinHandle;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// More than the kernel keeps for a client that takes nothing.
const LONG: usize = 8 * MIB;

/// Little memory, and temporary files where the test finds them.
const SMALL: &str = "buffer = { memory = \"64KiB\", disk = \"1GiB\" }";

/// Either HTTP towards servers: `protocol`, and what such a server speaks.
fn protocols() -> [(&'static str, Speech); 2] {
    [("http1", Speech::http1()), ("h2", Speech::http2())]
}

fn proxy(upstream: &Upstream, lines: &str) -> Builder {
    Proxy::with_app(&format!("servers = [\"{}\"]\n{lines}", upstream.server()))
        .top("temporary-directory = \".\"")
}

/// Bytes that tell where they are in a body.
fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at % 251) as u8).collect()
}

/// Answers with a body of this length.
async fn answering_with(length: usize, speech: Speech) -> Upstream {
    let whole = pattern(length);
    Upstream::builder()
        .speaking(speech)
        .serve(move |_| {
            let whole = whole.clone();
            async move { Response::new(body(whole)) }
        })
        .await
}

/// Answers with these fields and never stops sending; counts what it could send.
async fn endless(fields: &'static [(&'static str, &'static str)]) -> (Upstream, Arc<AtomicU64>) {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let upstream = Upstream::serve(move |_| {
        let count = Arc::clone(&count);
        async move {
            let (feed, endless) = chunks();
            tokio::spawn(async move {
                let chunk = Bytes::from(vec![0; 16 * KIB]);
                while feed.send(chunk.clone()).await {
                    count.fetch_add(16 << 10, Relaxed);
                }
            });
            let mut response = Response::new(endless);
            for (name, value) in fields {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            response
        }
    })
    .await;
    (upstream, sent)
}

/// Waits until a count has not changed for a whole second, and returns it.
async fn settled(count: &AtomicU64) -> u64 {
    let mut last = u64::MAX;
    let mut since = std::time::Instant::now();
    eventually("nothing to move any more", async || {
        let now = count.load(Relaxed);
        if now != last {
            (last, since) = (now, std::time::Instant::now());
        }
        (since.elapsed() > Duration::from_secs(1)).then_some(now)
    })
    .await
}

/// Asks for `/slow` and takes the head of the response.
async fn head(raw: &mut Raw) -> String {
    raw.send("GET /slow HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    raw.read_head().await
}

async fn no_files(proxy: &Proxy) {
    until("the files to be gone", async || proxy.nameless_files().is_empty()).await;
}

#[tokio::test]
async fn clients_that_do_not_read_hold_no_connection_of_the_upstream() {
    for (protocol, speech) in protocols() {
        let app = answering_with(LONG, speech).await;
        let lines = format!(
            "{SMALL}\nmax-in-flight = 2\nmax-queued = 100\ntimeouts.queue = \"30s\"\nprotocol = {protocol:?}"
        );
        let proxy = proxy(&app, &lines).start().await;
        let (mut clients, mut before) = (Vec::new(), 0);
        for n in 0..12 {
            // By then the proxy has started the threads that write to the disk.
            if n == 4 {
                before = proxy.resident_memory();
            }
            // Only two may be in flight: the clients before this one have given their places back.
            let mut raw = proxy.narrow().await;
            head(&mut raw).await;
            clients.push(raw);
        }
        assert_eq!(app.requests().len(), 12);
        assert!(app.connections() <= 4, "{} connections", app.connections());
        let held: u64 = proxy.nameless_files().iter().sum();
        assert!(held > 12 * MIB as u64, "{held} bytes on the disk");
        let grown = proxy.resident_memory().saturating_sub(before);
        // The eight responses have 64 MiB.
        assert!(grown < 16 * MIB as u64, "{grown} bytes for 8 clients");
        let whole = pattern(LONG);
        for mut client in clients {
            assert!(client.read_exactly(LONG).await == whole);
        }
        no_files(&proxy).await;
        assert!(proxy.accesses("/slow", 12).await.iter().all(|line| line["failure"].is_null()));
    }
}

#[tokio::test]
async fn without_a_buffer_they_do() {
    let app = answering_with(LONG, Speech::http1()).await;
    let proxy = proxy(&app, "buffer = false\nmax-in-flight = 2\nmax-queued = 0").start().await;
    let mut clients = [proxy.narrow().await, proxy.narrow().await];
    for client in &mut clients {
        assert_status(&head(client).await, 200);
    }
    assert_eq!(proxy.get("/").await.status, 503);
    assert_eq!(app.requests().len(), 2);
    assert!(proxy.nameless_files().is_empty(), "without a buffer there are no files");
    for client in &mut clients {
        client.read_exactly(LONG).await;
    }
    until("a place", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn an_http2_client_that_does_not_read_holds_no_connection_either() {
    let app = answering_with(LONG, Speech::http1()).await;
    let lines = format!("{SMALL}\nmax-in-flight = 1\nmax-queued = 100\ntimeouts.queue = \"30s\"");
    let proxy = proxy(&app, &lines).start().await;
    let mut answers = Vec::new();
    for _ in 0..6 {
        let (mut client, get) = (proxy.http2().await, request("GET", "/").body(empty()).expect("valid"));
        answers.push((client.start(get).await.expect("a head"), client));
    }
    let expected = pattern(LONG);
    for (answer, _client) in answers {
        let whole = within("the rest", answer.into_body().collect()).await.expect("a whole body");
        assert!(whole.to_bytes() == expected);
    }
}

#[tokio::test]
async fn an_http2_client_that_opens_no_window_holds_none_even_for_a_short_response() {
    let app = Upstream::serve(async |_| {
        // Two chunks, so that the proxy does not get them together with the head.
        Response::new(chunked(["short ", "response"]))
    })
    .await;
    let lines = "max-in-flight = 1\nmax-queued = 100\ntimeouts.queue = \"30s\"";
    let proxy = proxy(&app, lines).start().await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = H2Frames::connect(proxy.address("web")).await;
        client.send_settings(&[(Setting::InitialWindowSize, 0)]).await;
        client.request(1, &H2Frames::GET).await;
        let head = client.next_of(&[FrameType::Headers]).await.expect("a head");
        assert_eq!(head.status(), Some(200), "{head:?}");
        clients.push(client);
    }
    assert_eq!(app.requests().len(), 6);
    for client in &mut clients {
        client.open_window(1, 100).await;
        let mut received = Vec::new();
        while received.len() < "short response".len() {
            received.extend(client.next_of(&[FrameType::Data]).await.expect("a chunk").payload);
        }
        assert_eq!(received, b"short response");
    }
}

#[tokio::test]
async fn nothing_is_left_of_what_a_client_left_or_a_killed_process_held() {
    let (app, sent) = endless(&[]).await;
    let mut proxy = proxy(&app, SMALL).start().await;
    let names = |proxy: &Proxy| std::fs::read_dir(proxy.folder()).expect("a folder").count();
    let before = names(&proxy);
    let mut raw = proxy.narrow().await;
    head(&mut raw).await;
    until("a file", async || proxy.nameless_files().iter().any(|length| *length > 1 << 20)).await;
    assert_eq!(names(&proxy), before);
    drop(raw);
    no_files(&proxy).await;
    app.until_closed(1).await;
    assert_eq!(proxy.access("/slow").await["failure"], "broken-off");

    sent.store(0, Relaxed);
    let mut raw = proxy.narrow().await;
    head(&mut raw).await;
    until("a file", async || !proxy.nameless_files().is_empty()).await;
    proxy.signal(Signal::KILL);
    proxy.ended().await;
    assert_eq!(names(&proxy), before);
}

#[tokio::test]
async fn beyond_its_bounds_a_response_waits_for_the_client() {
    for (buffer, limits, bound) in [
        ("{ memory = \"64KiB\", disk = \"1MiB\" }", "", MIB),
        ("{ memory = \"1MiB\", disk = \"0B\" }", "", MIB),
        // The limit for all files together.
        ("{ memory = \"64KiB\", disk = \"1GiB\" }", "[limits]\ntemporary-space = \"1MiB\"", MIB),
    ] {
        let (app, sent) = endless(&[]).await;
        let proxy = proxy(&app, &format!("buffer = {buffer}")).section(limits).start().await;
        let mut raw = proxy.narrow().await;
        head(&mut raw).await;
        let first = settled(&sent).await;
        // The kernel buffers some more on the way to the proxy and on the way from it.
        assert!(first > bound as u64 && first < (bound + 16 * MIB) as u64, "{buffer}: {first} bytes");
        let on_disk: u64 = proxy.nameless_files().iter().sum();
        assert!(on_disk <= bound as u64, "{buffer}: {on_disk} bytes on the disk");
        // When the client reads, the proxy takes more: here twice as much as it had taken.
        raw.read_exactly(2 * usize::try_from(first).expect("some megabytes")).await;
        assert!(sent.load(Relaxed) > first, "{buffer}");
        let on_disk: u64 = proxy.nameless_files().iter().sum();
        assert!(on_disk <= bound as u64, "{buffer}: {on_disk} bytes on the disk");
    }
}

#[tokio::test]
async fn what_is_for_the_moment_is_not_kept() {
    for fields in [
        &[("content-type", "text/event-stream")][..],
        &[("content-type", "application/grpc")],
        &[("x-accel-buffering", "no")],
    ] {
        let (app, sent) = endless(fields).await;
        let proxy = proxy(&app, SMALL).start().await;
        let mut raw = proxy.narrow().await;
        let head = head(&mut raw).await;
        assert!(!head.to_ascii_lowercase().contains("x-accel"), "{head}");
        let sent = settled(&sent).await;
        assert!(sent < 16 << 20, "{fields:?}: {sent} bytes");
        assert!(proxy.nameless_files().is_empty());
    }
}

#[tokio::test]
async fn what_an_upstream_sent_before_it_broke_off_is_the_clients() {
    let mut response = b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    response.extend_from_slice(&pattern(LONG));
    let app = Upstream::raw(response).await;
    let proxy = proxy(&app, SMALL).start().await;
    let mut raw = proxy.narrow().await;
    head(&mut raw).await;
    app.until_closed(1).await;
    // Without the last bytes, which hyper drops with the connection.
    let passed_on = LONG - 256 * KIB;
    assert!(raw.read_exactly(passed_on).await == pattern(LONG)[..passed_on]);
    raw.read_to_end().await;
    assert_eq!(proxy.access("/slow").await["failure"], "broken-off");
    no_files(&proxy).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_is_a_problem() {
    let app = Upstream::echo("app").await;
    let good = Proxy::builder(&app).top("temporary-directory = \".\"").check();
    assert!(good.status.success(), "{good}");
    let nowhere = || Proxy::builder(&app).top("temporary-directory = \"nowhere\"");
    let bad = nowhere().check();
    assert!(!bad.status.success(), "{bad}");
    assert!(bad.stdout.contains("tidegate.toml:3:23: cannot make temporary files in"), "{bad}");
    let refused = nowhere().try_start().await.expect_err("it cannot start");
    assert!(refused.stderr.contains("cannot make temporary files"), "{refused}");
}

/// An upload in chunks on a connection of its own, and its answer.
struct Upload {
    feed: Option<Chunks>,
    answer: JoinHandle<Answer>,
}

impl Upload {
    async fn start(proxy: &Proxy, http2: bool, request: http::request::Builder) -> Self {
        let mut client = if http2 { proxy.http2().await } else { proxy.http1().await };
        let (feed, upload) = chunks();
        let request = request.body(upload).expect("valid");
        Self { feed: Some(feed), answer: tokio::spawn(async move { client.send(request).await }) }
    }

    async fn send(&self, chunk: impl Into<Bytes>) {
        assert!(self.feed.as_ref().expect("not ended").send(chunk).await);
    }

    async fn end(mut self) -> Answer {
        drop(self.feed.take());
        within("the answer", self.answer).await.expect("no panic")
    }
}

#[tokio::test]
async fn an_upstream_sees_only_whole_requests() {
    for (protocol, speech) in protocols() {
        let app = Upstream::builder().speaking(speech).echo("app").await;
        let lines = format!(
            "protocol = {protocol:?}\nbuffer-requests = {{ memory = \"64KiB\" }}\nmax-in-flight = 1\nmax-queued = 0"
        );
        let proxy = proxy(&app, &lines).start().await;
        let mut uploads = Vec::new();
        for n in 0..12 {
            let upload = Upload::start(&proxy, n % 2 == 1, request("POST", &format!("/{n}"))).await;
            // Half of the uploads fit in memory, the others do not.
            upload.send("x".repeat(if n < 6 { 1000 } else { 300 * KIB })).await;
            uploads.push(upload);
        }
        until("the large ones on the disk", async || proxy.nameless_files().len() == 6).await;
        assert_eq!(app.connections(), 0, "no request is whole");
        for (n, upload) in uploads.into_iter().enumerate() {
            upload.send("yz").await;
            let answer = upload.end().await;
            let expected = if n < 6 { 1000 } else { 300 * KIB } + 2;
            let length = answer.json()["body"].as_str().expect("a body").len();
            assert_eq!(answer.status, 200, "upload {n}");
            assert_eq!(length, expected, "upload {n}");
            assert_eq!(app.requests().len(), n + 1);
            // The client had not told the length; the proxy knows it now.
            assert_eq!(app.requests()[n].header("content-length"), expected.to_string());
            assert_eq!(proxy.access(&format!("/{n}")).await["bytes_in"], expected);
        }
        no_files(&proxy).await;
    }
}

#[tokio::test]
async fn a_stored_body_of_any_size_is_sent_again() {
    for size in [1000, 100 * KIB, MIB] {
        let (closing, well) = (Upstream::closing().await, Upstream::echo("well").await);
        let lines = format!(
            "servers = [\"{}\", \"{}\"]\nbalance = \"round-robin\"\neject = false\nretry-budget = \"100%\"\n\
             buffer-requests = {{ memory = \"64KiB\" }}",
            closing.server(),
            well.server()
        );
        let proxy = Proxy::with_app(&lines).start().await;
        let upload =
            String::from_utf8(pattern(size).iter().map(|byte| b'a' + byte % 26).collect()).expect("ASCII");
        for _ in 0..4 {
            let answer = proxy.send(request("PUT", "/").body(body(upload.clone())).expect("valid")).await;
            assert!(answer.status == 200 && answer.json()["body"] == upload.as_str(), "{size}");
        }
        assert!(closing.connections() > 0, "{size}");
    }
}

#[tokio::test]
async fn what_is_too_large_to_be_kept_is_refused_before_the_upstream_sees_it() {
    let app = Upstream::echo("app").await;
    let lines = "buffer-requests = { memory = \"64KiB\", disk = \"100KiB\" }";
    let proxy = proxy(&app, lines).section("[limits]\nrequest-body = \"1MiB\"").start().await;
    for http2 in [false, true] {
        // Of unknown length.
        let upload = Upload::start(&proxy, http2, request("POST", "/unknown")).await;
        upload.send(pattern(160 * KIB)).await;
        upload.send(pattern(8 * KIB)).await;
        assert_eq!(upload.end().await.status, 413);
    }
    // Over the buffer, and over the limit for all.
    for length in [164 * KIB + 1, 2 * MIB] {
        let mut raw = proxy.raw().await;
        raw.send(format!("POST /declared HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")).await;
        assert_status(&raw.read_head().await, 413);
    }
    assert_eq!(app.connections(), 0);
    assert_eq!(proxy.access("/unknown").await["failure"], "body-too-large");
    let whole = "x".repeat(164 * KIB);
    assert_eq!(proxy.send(request("POST", "/").body(body(whole)).expect("valid")).await.status, 200);
}

#[tokio::test]
async fn without_space_a_request_that_needs_it_is_refused_for_now() {
    let app = Upstream::echo("app").await;
    let lines = "buffer-requests = { memory = \"64KiB\" }";
    let proxy = proxy(&app, lines).section("[limits]\ntemporary-space = \"400KiB\"").start().await;
    let holder = Upload::start(&proxy, false, request("POST", "/holder")).await;
    holder.send("x".repeat(150 * KIB)).await;
    until("it on the disk", async || proxy.nameless_files().len() == 1).await;

    let large = || request("POST", "/refused").body(body("x".repeat(100 * KIB))).expect("valid");
    let answer = proxy.send(large()).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(proxy.access("/refused").await["failure"], "temporary-space");
    // A body that fits in memory needs no space on the disk.
    let small = request("POST", "/").body(body("x".repeat(50 * KIB))).expect("valid");
    assert_eq!(proxy.send(small).await.status, 200);

    assert_eq!(holder.end().await.status, 200);
    no_files(&proxy).await;
    assert_eq!(proxy.send(large()).await.status, 200);
    assert_eq!(app.requests().len(), 3);
}

#[tokio::test]
async fn slow_downloads_leave_room_for_uploads() {
    let (app, sent) = endless(&[]).await;
    let lines = "buffer = { memory = \"64KiB\" }\nbuffer-requests = { memory = \"64KiB\" }";
    let limits = "[limits]\ntemporary-space = \"8MiB\"";
    let proxy = proxy(&app, lines).top("trusted-proxies = [\"127.0.0.1\"]").section(limits).start().await;
    let mut downloads = Vec::new();
    for client in 1..=3 {
        let mut raw = proxy.narrow().await;
        raw.send(format!("GET /slow HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.{client}\r\n\r\n")).await;
        raw.read_head().await;
        downloads.push(raw);
    }
    settled(&sent).await;
    // Each client may have half, and responses three quarters of all.
    let on_disk: u64 = proxy.nameless_files().iter().sum();
    assert!(on_disk <= 6 << 20, "{on_disk} bytes on the disk");
    let upload = |client: &str| {
        let request = request("POST", "/upload").header("x-forwarded-for", client);
        request.body(body("x".repeat(1 << 20))).expect("valid")
    };
    for client in ["10.0.0.9", "10.0.0.10"] {
        let mut http1 = proxy.http1().await;
        let answer = http1.start(upload(client)).await.expect("a response");
        assert_eq!(answer.status(), 200, "{client}");
    }
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told_to_send() {
    let app = Upstream::echo("app").await;
    let proxy = proxy(&app, "buffer-requests = true").start().await;
    let mut raw = proxy.raw().await;
    raw.send("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").await;
    assert_status(&raw.read_head().await, 100);
    assert_eq!(app.connections(), 0);
    raw.send("data").await;
    let (head, body) = raw.read_response().await;
    assert_status(&head, 200);
    assert!(body.contains("\"body\":\"data\""), "{body}");
    assert_eq!(app.only_request().header("content-length"), "4");
}

#[tokio::test]
async fn an_upload_that_stops_or_breaks_off_reaches_nobody() {
    let app = Upstream::echo("app").await;
    let builder = proxy(&app, "buffer-requests = true").section("[timeouts]\nbody-idle = \"200ms\"");
    let proxy = builder.start().await;
    let mut raw = proxy.raw().await;
    raw.send("POST /idle HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await;
    assert_status(&raw.read_to_end().await, 408);
    assert_eq!(proxy.access("/idle").await["failure"], "body-timeout");

    let mut raw = proxy.raw().await;
    raw.send("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nonly this").await;
    drop(raw);
    assert_eq!(proxy.access("/gone").await["failure"], "body-broken");
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn trailers_of_a_stored_request_are_kept() {
    for (protocol, speech) in protocols() {
        let app = Upstream::builder().speaking(speech).echo("app").await;
        let proxy = proxy(&app, &format!("buffer-requests = true\nprotocol = {protocol:?}")).start().await;
        // A length beside trailers, which HTTP/1.1 cannot send.
        for length in [None, Some("4")] {
            let mut post = request("POST", "/").header("trailer", "x-sum");
            if let Some(length) = length {
                post = post.header("content-length", length);
            }
            let mut upload = Upload::start(&proxy, true, post).await;
            upload.send("data").await;
            let fields =
                HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("42"))]);
            upload.feed.take().expect("not ended").trailers(fields).await;
            let answer = upload.end().await.json();
            assert_eq!(answer["body"], "data");
            assert_eq!(answer["trailers"]["x-sum"], "42");
        }
    }
}

#[tokio::test]
async fn a_conversation_is_not_kept_until_it_is_whole() {
    // Sends each chunk back when it comes.
    let app = Upstream::builder()
        .speaking(Speech::http2())
        .serve(async |request: Request<Incoming>| {
            let incoming: BoxBody = request.into_body().map_err(std::io::Error::other).boxed();
            Response::builder().header("content-type", "application/grpc").body(incoming).expect("valid")
        })
        .await;
    let proxy = proxy(&app, "buffer-requests = true\nprotocol = \"h2\"").start().await;
    let (feed, upload) = chunks();
    let talk =
        request("POST", "/").header("content-type", "application/grpc+proto").body(upload).expect("valid");
    let mut client = proxy.http2().await;
    let answer = client.start(talk).await.expect("a head before the body is whole");
    let mut answer = answer.into_body();
    for chunk in ["one", "two"] {
        assert!(feed.send(chunk).await);
        assert_eq!(next_chunk(&mut answer).await, chunk);
    }
}
