//! What is sent again, to whom and how often; how long a request may take and how many may be in flight.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::Response;
use tidegate_tests::{
    Answer, Builder, FullPort, PATIENCE, Proxy, Speech, Upstream, assert_status, body, chunks, empty, guest,
    read_head, request, stalled, until, within,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Barrier;

/// The proxy asks each server in turn and ejects none: every second request gets to the first of two. The
/// budget has a test of its own.
const IN_TURN: &str = "balance = \"round-robin\"\neject = false";
const BUDGET: &str = "retry-budget = \"100%\"";

fn two(one: &str, two: &str, more: &str) -> Builder {
    Proxy::with_app(&format!("servers = [\"{one}\", \"{two}\"]\n{IN_TURN}\n{more}"))
}

/// `count` requests one after another on one connection.
async fn answers(proxy: &Proxy, method: &str, upload: &str, count: usize) -> Vec<Answer> {
    let mut client = proxy.http1().await;
    let mut answers = Vec::new();
    for _ in 0..count {
        let request = request(method, "/x").body(body(upload.to_owned())).expect("valid");
        answers.push(client.send(request).await);
    }
    answers
}

fn with_status(answers: &[Answer], status: u16) -> usize {
    answers.iter().filter(|answer| answer.status == status).count()
}

#[tokio::test]
async fn nothing_that_was_not_sent_is_lost_while_another_server_is_up() {
    let (gone, well) = (Upstream::absent().await, Upstream::echo("well").await);
    let proxy = two(&gone.to_string(), &well.server(), BUDGET).start().await;
    // The large body is longer than what the proxy keeps for a retry, but no server has taken anything of it.
    let large = "x".repeat(200 << 10);
    for upload in ["", "small", &large] {
        let answers = answers(&proxy, "POST", upload, 6).await;
        assert_eq!(with_status(&answers, 200), 6, "{} bytes", upload.len());
        assert!(answers.iter().all(|answer| answer.json()["body"] == upload), "{} bytes", upload.len());
    }
}

#[tokio::test]
async fn the_access_log_tells_of_each_attempt_where_there_were_several() {
    let (gone, well) = (Upstream::absent().await, Upstream::echo("well").await);
    let proxy = two(&gone.to_string(), &well.server(), BUDGET).start().await;
    // The servers are asked in turn: one of two requests meets the one that is gone.
    assert_eq!(with_status(&answers(&proxy, "GET", "", 2).await, 200), 2);
    let lines = proxy.accesses("/x", 2).await;
    let (one, several): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.get("attempts").is_none());
    assert_eq!(one.len(), 1);
    let attempts = several[0]["attempts"].as_array().expect("a list");
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[0]["server"], gone.to_string());
    assert_eq!(attempts[0]["failure"], "connect");
    assert_eq!(attempts[1]["server"], well.server());
    assert_eq!(attempts[1]["status"], 200);
    assert_eq!(several[0]["server"], well.server());
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again_and_nothing_else() {
    let (closing, well) = (Upstream::closing().await, Upstream::echo("well").await);
    let proxy = two(&closing.server(), &well.server(), BUDGET).start().await;
    // The idempotent methods (RFC 9110 §9.2.2).
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let (before, upload) = (closing.connections(), if method == "PUT" { "kept" } else { "" });
        let answers = answers(&proxy, method, upload, 4).await;
        assert_eq!(with_status(&answers, 200), 4, "{method}");
        if method != "HEAD" {
            assert!(answers.iter().all(|answer| answer.json()["body"] == upload), "{method}");
        }
        assert_eq!(closing.connections() - before, 2, "{method}: every second one met it first");
    }
    for method in ["POST", "PATCH", "UNKNOWN"] {
        let (asked, connections) = (well.requests().len(), closing.connections());
        let answers = answers(&proxy, method, "once", 4).await;
        assert_eq!(with_status(&answers, 200), 2, "{method}");
        assert_eq!(with_status(&answers, 502), 2, "{method}");
        assert_eq!(well.requests().len() - asked, 2, "{method}: those that were served");
        assert_eq!(closing.connections() - connections, 2, "{method}: those that failed");
    }
    assert_eq!(proxy.access("/x").await["failure"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_request_without_a_retry_says_why_it_failed() {
    let (closing, well) = (Upstream::closing().await, Upstream::echo("well").await);
    let proxy = two(&closing.server(), &well.server(), "retries = 0").start().await;
    let answers = answers(&proxy, "GET", "", 4).await;
    assert_eq!(with_status(&answers, 200), 2);
    assert_eq!(with_status(&answers, 502), 2);
    let lines = proxy.accesses("/x", 4).await;
    let failures: Vec<_> = lines.iter().filter(|line| line["failure"] == "bad-response").collect();
    assert_eq!(failures.len(), 2, "{lines:?}");
    assert!(failures.iter().all(|line| line["server"] == closing.server()), "{lines:?}");
}

#[tokio::test]
async fn a_body_is_sent_again_only_if_it_is_kept_as_a_whole() {
    let (closing, well) = (Upstream::closing().await, Upstream::echo("well").await);
    let proxy =
        two(&closing.server(), &well.server(), &format!("{BUDGET}\nretry-buffer = \"1KiB\"")).start().await;
    for (length, served) in [(1024, 4), (1025, 2), (4096, 2)] {
        let upload = "x".repeat(length);
        let answers = answers(&proxy, "PUT", &upload, 4).await;
        assert_eq!(with_status(&answers, 200), served, "{length} bytes");
        let whole = answers.iter().filter(|answer| answer.status == 200);
        assert!(whole.into_iter().all(|answer| answer.json()["body"] == upload), "{length} bytes");
    }
}

#[tokio::test]
async fn a_body_that_is_still_coming_is_sent_again_from_its_beginning() {
    // This server closes as soon as it has the first byte of the body.
    let closing = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        let _ = tokio::io::AsyncReadExt::read_u8(&mut stream).await;
    })
    .await;
    let well = Upstream::echo("well").await;
    let proxy = two(&closing.server(), &well.server(), BUDGET).start().await;
    let client = proxy.http2().await;
    for round in 0..2 {
        let (feed, upload) = chunks();
        let request = request("PUT", "/").body(upload).expect("valid");
        let mut client = client.share();
        let sending = tokio::spawn(async move { client.send(request).await });
        feed.send("first ").await;
        until("the request at the second server", async || well.requests().len() > round).await;
        feed.send("second").await;
        drop(feed);
        let answer = within("the answer", sending).await.expect("no panic");
        assert_eq!(answer.json()["body"], "first second");
    }
    assert_eq!(closing.connections(), 1);
    assert_eq!(well.requests().len(), 2);
}

#[tokio::test]
async fn a_server_that_answers_that_it_cannot_is_passed_over() {
    for status in [502, 503, 504] {
        let (unable, well) = (Upstream::answering(status).await, Upstream::echo("well").await);
        let proxy = two(&unable.server(), &well.server(), BUDGET).start().await;
        let idempotent = answers(&proxy, "GET", "", 4).await;
        assert_eq!(with_status(&idempotent, 200), 4, "{status}");
        assert_eq!(unable.requests().len(), 2, "{status}");
        let others = answers(&proxy, "POST", "once", 4).await;
        assert_eq!(with_status(&others, 200), 2, "{status}");
        assert_eq!(with_status(&others, status), 2, "{status}");
        assert_eq!(unable.requests().len(), 4, "{status}");

        // When all servers answer like this, the client gets the last answer.
        let alone = Proxy::with_app(&format!("servers = [\"{}\"]", unable.server())).start().await;
        assert_eq!(alone.get("/").await.status, status);
    }
    let (unable, well) = (Upstream::answering(500).await, Upstream::echo("well").await);
    let proxy = two(&unable.server(), &well.server(), BUDGET).start().await;
    assert_eq!(with_status(&answers(&proxy, "GET", "", 4).await, 500), 2, "which may be the request's fault");
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_is_passed_over() {
    let (silent, well) = (Upstream::silent().await, Upstream::echo("well").await);
    let lines = format!("{BUDGET}\ntimeouts = {{ response = \"400ms\" }}");
    let proxy = two(&silent.server(), &well.server(), &lines).start().await;
    assert_eq!(with_status(&answers(&proxy, "GET", "", 4).await, 200), 4);
    let others = answers(&proxy, "POST", "once", 2).await;
    assert_eq!(with_status(&others, 200), 1);
    assert_eq!(with_status(&others, 504), 1);
    assert_eq!(silent.requests().len(), 3);
}

#[tokio::test]
async fn a_response_that_began_is_not_begun_again() {
    let half = Upstream::raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
    let well = Upstream::echo("well").await;
    let proxy = two(&half.server(), &well.server(), "").start().await;
    let mut failed = 0;
    for _ in 0..2 {
        let request = request("GET", "/").body(empty()).expect("valid");
        failed += usize::from(proxy.http1().await.try_send(request).await.is_err());
    }
    // Each worker takes turns for itself, so both requests may begin with the same server.
    assert_eq!(failed + well.requests().len(), 2);
}

#[tokio::test]
async fn each_retry_goes_to_a_server_that_was_not_tried() {
    let closing = [Upstream::closing().await, Upstream::closing().await, Upstream::closing().await];
    let servers: Vec<_> = closing.iter().map(|server| format!("\"{}\"", server.address())).collect();
    for (retries, attempts) in [(0, 1), (1, 2), (2, 3), (3, 4)] {
        let lines = format!("servers = [{}]\n{IN_TURN}\nretries = {retries}", servers.join(", "));
        let proxy = Proxy::with_app(&lines).start().await;
        let before: Vec<_> = closing.iter().map(Upstream::connections).collect();
        assert_eq!(proxy.get("/").await.status, 502);
        let tried: Vec<_> =
            closing.iter().zip(before).map(|(server, before)| server.connections() - before).collect();
        assert_eq!(tried.iter().sum::<usize>(), attempts, "{retries} retries: {tried:?}");
        // The fourth attempt goes to a server that was tried already.
        let most = attempts.div_ceil(3);
        assert!(tried.iter().all(|tried| *tried <= most), "{retries} retries: {tried:?}");
    }
}

#[tokio::test]
async fn retries_are_a_small_part_of_all_requests() {
    // 30 retries are always allowed: three a second, counted over ten seconds.
    for (budget, requests, retries) in [("20%", 400, 80), ("0%", 60, 30), ("100%", 60, 60)] {
        let (one, other) = (Upstream::closing().await, Upstream::closing().await);
        let proxy =
            two(&one.server(), &other.server(), &format!("retry-budget = \"{budget}\"")).start().await;
        let mut load = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let mut client = proxy.http1().await;
            load.spawn(async move {
                for _ in 0..requests / 10 {
                    assert_eq!(client.get("/").await.status, 502);
                }
            });
        }
        within("the load", load.join_all()).await;
        let attempts = one.connections() + other.connections();
        assert_eq!(attempts - requests, retries, "{budget} of {requests} requests");
    }
}

/// A server that answers and closes the connection without announcing it, at another moment each time.
async fn closing_after_answers() -> Upstream {
    Upstream::script(async |mut stream: TcpStream, connection| {
        // One to three requests, then more or less at once.
        for _ in 0..=connection % 3 {
            if read_head(&mut stream).await.is_empty() {
                return;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
        for _ in 0..connection % 20 {
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn no_request_is_lost_to_a_server_that_closes_idle_connections() {
    let app = closing_after_answers().await;
    // Without retries: sending a request on another connection than the one that was closed is none.
    let lines = format!("servers = [\"{}\"]\nretries = 0\neject = false", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = proxy.http1().await;
        load.spawn(async move {
            for _ in 0..150 {
                assert_eq!(client.get("/").await.status, 200);
            }
        });
    }
    within("the load", load.join_all()).await;
}

#[tokio::test]
async fn a_server_that_takes_no_connection_in_time_is_passed_over() {
    let (full, well) = (FullPort::open().await, Upstream::echo("well").await);
    let timeouts = "timeouts = { connect = \"150ms\" }";
    let proxy = two(&full.address().to_string(), &well.server(), timeouts).start().await;
    let answers = answers(&proxy, "POST", "kept", 4).await;
    assert_eq!(with_status(&answers, 200), 4, "nothing was sent, so even a POST goes to the other one");

    let alone = format!("servers = [\"{}\"]\n{timeouts}", full.address());
    let proxy = Proxy::with_app(&alone).start().await;
    let answer = proxy.get("/x").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(proxy.access("/x").await["failure"], "connect-timeout");
}

fn stamped(builder: Builder) -> Builder {
    builder.plugin("1", guest("stamp"), "[config]\nvalue = \"x\"")
}

#[tokio::test]
async fn a_policy_can_say_how_long_a_request_may_take() {
    let silent = Upstream::silent().await;
    let proxy = stamped(Proxy::with_app(&format!("servers = [\"{}\"]", silent.address()))).start().await;
    let request = request("GET", "/x").header("x-timeout", "150").body(empty()).expect("valid");
    assert_eq!(proxy.send(request).await.status, 504);
    assert_eq!(proxy.access("/x").await["failure"], "response-timeout");
    assert_eq!(silent.connections(), 1, "what may be being carried out is not sent twice");
}

#[tokio::test]
async fn the_time_a_policy_gives_stands_in_place_of_the_response_timeout() {
    let (app, release) = Upstream::holding().await;
    let timeouts = "timeouts = { response = \"100ms\" }";
    let lines = format!("servers = [\"{}\"]\n{timeouts}\neject = false", app.address());
    let proxy = stamped(Proxy::with_app(&lines)).start().await;
    let mut client = proxy.http1().await;
    let patient = tokio::spawn(async move {
        let request = request("GET", "/").header("x-timeout", "20000").body(empty()).expect("valid");
        client.send(request).await
    });
    app.until_requests(1).await;
    // This request was sent later, and is over first.
    assert_eq!(proxy.get("/").await.status, 504);
    release.send_replace(true);
    assert_eq!(within("the answer", patient).await.expect("no panic").text(), "released");
}

#[tokio::test]
async fn the_time_a_policy_gives_includes_the_response_body() {
    let app = Upstream::script(async |mut stream: TcpStream, _| {
        read_head(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this").await;
        std::future::pending::<()>().await;
    })
    .await;
    let proxy = stamped(Proxy::with_app(&format!("servers = [\"{}\"]", app.address()))).start().await;
    let request = request("GET", "/x").header("x-timeout", "400").body(empty()).expect("valid");
    proxy.http1().await.try_send(request).await.expect_err("a body that is cut");
    assert_eq!(proxy.access("/x").await["failure"], "broken-off");
}

/// Sends a request and returns its answer later.
async fn sent(proxy: &Proxy) -> tokio::task::JoinHandle<Answer> {
    let mut client = proxy.http1().await;
    tokio::spawn(async move { client.get("/queued").await })
}

#[tokio::test]
async fn requests_over_the_limit_queue_and_beyond_the_queue_are_refused() {
    let (app, release) = Upstream::holding().await;
    let lines = format!("servers = [\"{}\"]\nmax-in-flight = 1\nmax-queued = 1", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let first = sent(&proxy).await;
    app.until_requests(1).await;

    // Of two more requests, one finds room in the queue, whichever workers they are on.
    let mut both = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let sent = sent(&proxy).await;
        both.spawn(async move { sent.await.expect("no panic") });
    }
    let refused = within("the refusal", both.join_next()).await.expect("two").expect("no panic");
    assert_eq!(refused.status, 503);
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{refused:?}");
    assert_eq!(app.requests().len(), 1);

    release.send_replace(true);
    assert_eq!(within("the first", first).await.expect("no panic").status, 200);
    let queued = within("the one that queued", both.join_next()).await.expect("one").expect("no panic");
    assert_eq!(queued.status, 200);
    assert_eq!(app.requests().len(), 2);
    let lines = proxy.accesses("/queued", 3).await;
    let failures: Vec<_> = lines.iter().filter(|line| !line["failure"].is_null()).collect();
    assert_eq!(failures.len(), 1, "{lines:?}");
    assert_eq!(failures[0]["status"], 503);
}

#[tokio::test]
async fn a_request_does_not_queue_for_longer_than_it_may() {
    let (app, release) = Upstream::holding().await;
    let lines =
        format!("servers = [\"{}\"]\nmax-in-flight = 1\ntimeouts = {{ queue = \"150ms\" }}", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let first = sent(&proxy).await;
    app.until_requests(1).await;
    let refused = proxy.get("/").await;
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    release.send_replace(true);
    assert_eq!(within("the first", first).await.expect("no panic").status, 200);
    assert_eq!(app.requests().len(), 1);
}

#[tokio::test]
async fn without_a_queue_requests_over_the_limit_are_refused_at_once() {
    let (app, release) = Upstream::holding().await;
    let lines = format!("servers = [\"{}\"]\nmax-in-flight = 2\nmax-queued = 0", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let held = [sent(&proxy).await, sent(&proxy).await];
    app.until_requests(2).await;
    for _ in 0..4 {
        let refused = proxy.get("/").await;
        assert_eq!(refused.status, 503);
        assert!(!refused.header("retry-after").is_empty());
    }
    release.send_replace(true);
    for held in held {
        assert_eq!(within("a held one", held).await.expect("no panic").status, 200);
    }
    until("room again", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn a_response_counts_until_its_last_byte() {
    let (app, feed) = Upstream::fed("").await;
    let lines = format!("servers = [\"{}\"]\nmax-in-flight = 1\nmax-queued = 0", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let mut client = proxy.http1().await;
    let slow = client.start_get("/").await;
    assert_eq!(proxy.get("/").await.status, 503);
    feed.complete(slow).await;
    until("room again", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_place_back() {
    let (app, release) = Upstream::holding().await;
    let lines = format!("servers = [\"{}\"]\nmax-in-flight = 1\nmax-queued = 1", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let first = sent(&proxy).await;
    app.until_requests(1).await;
    // The proxy refuses one of two further requests, so the other queues; then both clients leave.
    let (mut one, mut other) = (proxy.raw().await, proxy.raw().await);
    for raw in [&mut one, &mut other] {
        raw.send("GET /leaving HTTP/1.1\r\nHost: a\r\n\r\n").await;
    }
    let refused = tokio::select! {
        head = one.read_head() => head,
        head = other.read_head() => head,
    };
    assert_status(&refused, 503);
    drop((one, other));
    let lines = proxy.accesses("/leaving", 2).await;
    assert!(lines.iter().any(|line| line["status"] == 499), "{lines:?}");

    // Of two more requests, one gets the place in the queue that is free again.
    let mut both = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut client = proxy.http1().await;
        both.spawn(async move { client.get("/").await.status });
    }
    assert_eq!(within("the refusal", both.join_next()).await.expect("two").expect("no panic"), 503);
    release.send_replace(true);
    assert_eq!(within("the one that queued", both.join_next()).await.expect("one").expect("no panic"), 200);
    assert_eq!(within("the first", first).await.expect("no panic").status, 200);
    assert_eq!(app.requests().len(), 2, "nobody works for a client that left");
}

#[tokio::test]
async fn many_requests_over_the_limit_are_all_served_in_time() {
    let most = Arc::new(AtomicUsize::new(0));
    let (now, seen) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&most));
    let app = Upstream::serve(move |_| {
        let (now, seen) = (Arc::clone(&now), Arc::clone(&seen));
        async move {
            seen.fetch_max(now.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Relaxed);
            Response::new(body("ok"))
        }
    })
    .await;
    let lines = format!("servers = [\"{}\"]\nmax-in-flight = 3", app.address());
    let proxy = Proxy::with_app(&lines).start().await;
    let begin = Arc::new(Barrier::new(20));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (mut client, begin) = (proxy.http1().await, Arc::clone(&begin));
        load.spawn(async move {
            begin.wait().await;
            for _ in 0..10 {
                assert_eq!(client.get("/").await.status, 200);
            }
        });
    }
    within("the load", load.join_all()).await;
    assert!(most.load(Relaxed) <= 3, "{} at a time", most.load(Relaxed));
}

#[tokio::test]
async fn a_server_has_its_time_from_the_end_of_the_request() {
    let (plain, multiplexed) =
        (Upstream::echo("app").await, Upstream::builder().speaking(Speech::http2()).echo("app").await);
    for (app, protocol) in [(&plain, "http1"), (&multiplexed, "h2")] {
        let lines = format!(
            "servers = [\"{}\"]\nprotocol = \"{protocol}\"\ntimeouts = {{ response = \"400ms\" }}",
            app.address()
        );
        let proxy = Proxy::with_app(&lines).start().await;
        let (feed, upload) = chunks();
        let mut client = proxy.http1().await;
        let sending =
            tokio::spawn(async move { client.send(request("POST", "/").body(upload).expect("valid")).await });
        // The client takes longer for its request than the server may take for its response.
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..8 {
            pause.tick().await;
            assert!(feed.send("x").await, "{protocol}");
        }
        drop(feed);
        let answer = within("the answer", sending).await.expect("no panic");
        assert_eq!(answer.json()["body"], "xxxxxxxx", "{protocol}");
    }
}

#[tokio::test]
async fn whatever_becomes_of_requests_their_places_are_given_back() {
    let app =
        Upstream::serve(async |request: http::Request<hyper::body::Incoming>| match request.uri().path() {
            "/silent" => std::future::pending().await,
            "/stalled" => Response::new(stalled("only this")),
            "/unable" => Response::builder().status(503).body(empty()).expect("valid"),
            _ => Response::new(body("ok")),
        })
        .await;
    let (closing, gone) = (Upstream::closing().await, Upstream::absent().await);
    let lines = format!(
        "servers = [\"{}\", \"{}\", \"{gone}\"]\n{IN_TURN}\n{BUDGET}\nmax-in-flight = 8\n\
         timeouts = {{ response = \"200ms\", idle = \"200ms\" }}",
        app.address(),
        closing.address()
    );
    let proxy = Proxy::with_app(&lines).start().await;
    let mut load = tokio::task::JoinSet::new();
    for n in 0..40 {
        let target = ["/", "/silent", "/stalled", "/unable"][n % 4];
        let method = if n % 3 == 0 { "POST" } else { "GET" };
        let request = request(method, target).body(body("hello")).expect("valid");
        let mut client = if n % 2 == 0 { proxy.http1().await } else { proxy.http2().await };
        // Every fifth client leaves in the middle.
        let time = if n % 5 == 0 { Duration::from_millis(50) } else { PATIENCE };
        load.spawn(async move {
            let _ = tokio::time::timeout(time, client.try_send(request)).await;
        });
    }
    within("the load", load.join_all()).await;
    until("nothing in flight", async || {
        let servers = proxy.servers("app").await;
        servers.iter().all(|server| server["in-flight"] == 0)
    })
    .await;

    // All eight places are free.
    let held = Upstream::silent().await;
    proxy.reconfigure(&format!(", \"{}\", \"{gone}\"]", closing.address()), "]").await;
    proxy.reconfigure(&app.server(), &held.server()).await;
    proxy.reconfigure("response = \"200ms\"", "response = \"1h\"").await;
    let mut places = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = proxy.http1().await;
        places.spawn(async move { client.get("/held").await.status });
    }
    held.until_requests(8).await;
}
