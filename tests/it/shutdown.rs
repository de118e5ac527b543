//! SIGTERM: `/readyz` says no, then no new connections, what is in flight finishes within its time, exit status 0.

use rustix::process::Signal;
use tidegate_tests::{
    Answer, Builder, Chunks, FrameType, H2Frames, Proxy, Upstream, assert_status, chunks, read_head, until,
    within,
};
use tokio::io::AsyncWriteExt;

/// An upstream whose responses never end by themselves; their feeding ends arrive at the receiver.
async fn endless() -> (Upstream, tokio::sync::mpsc::Receiver<Chunks>) {
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let app = Upstream::serve(move |_| {
        let sender = sender.clone();
        async move {
            let (feed, body) = chunks();
            sender.send(feed).await.expect("a test that listens");
            http::Response::new(body)
        }
    })
    .await;
    (app, receiver)
}

fn drained_in(app: &Upstream, limit: &str) -> Builder {
    Proxy::builder(app).section(&format!("[timeouts]\ndrain = \"{limit}\""))
}

#[tokio::test]
async fn what_is_in_flight_finishes() {
    let (app, mut feeds) = endless().await;
    let mut proxy = drained_in(&app, "60s").start().await;
    let (mut old, mut new) = (proxy.http1().await, proxy.http2().await);
    let mut idle = proxy.raw().await;
    let mut frames = H2Frames::connect(proxy.address("web")).await;
    assert!(frames.next_of(&[FrameType::Settings]).await.is_some(), "settings");
    let mut answers = Vec::new();
    let mut open = Vec::new();
    for client in [&mut old, &mut new] {
        answers.push(client.start_get("/").await);
        open.push(within("the request upstream", feeds.recv()).await.expect("a feed"));
    }
    let address = proxy.address("web");

    proxy.signal(Signal::TERM);

    until("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    assert!(idle.is_closed_silently().await, "an idle connection is closed");
    assert!(frames.next_of(&[FrameType::GoAway]).await.is_some(), "HTTP/2 is told that the connection ends");
    drop(frames);
    for (feed, answer) in open.into_iter().zip(answers) {
        feed.complete(answer).await;
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.access_log().end().await;
    assert_eq!(proxy.access_log().count("\"status\":200"), 2);
}

#[tokio::test]
async fn what_takes_too_long_is_cut() {
    let (app, mut feeds) = endless().await;
    let mut proxy = drained_in(&app, "200ms").start().await;
    let mut client = proxy.http1().await;
    let answer = client.start_get("/").await;
    let feed = within("the request upstream", feeds.recv()).await.expect("a feed");

    proxy.signal(Signal::TERM);

    assert!(proxy.ended().await.code().is_some(), "it ended by itself");
    within("the cut", Answer::read(answer)).await.expect_err("a body that is cut");
    feed.abandoned().await;
}

#[tokio::test]
async fn sigint_ends_it_as_well() {
    let app = Upstream::echo("app").await;
    let mut proxy = Proxy::builder(&app).start().await;
    let mut client = proxy.http1().await;
    assert_eq!(client.get("/").await.status, 200);
    proxy.signal(Signal::INT);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Waits until `/readyz` says that the proxy drains, and looks that it serves new connections nevertheless.
async fn drains_but_serves(proxy: &Proxy) {
    until("/readyz to say no", async || {
        let answer = proxy.admin("GET", "/readyz").await;
        answer.status == 503 && answer.text() == "draining\n"
    })
    .await;
    assert_eq!(proxy.get("/").await.status, 200);
}

fn delayed(app: &Upstream) -> Builder {
    Proxy::builder(app).section("[timeouts]\ndrain-delay = \"1h\"")
}

#[tokio::test]
async fn new_connections_are_served_while_readyz_says_no_already() {
    let app = Upstream::echo("app").await;
    let mut proxy = delayed(&app).start().await;
    proxy.signal(Signal::TERM);
    drains_but_serves(&proxy).await;
    // What is read again meanwhile does not make it ready.
    assert_eq!(proxy.reload().await.status, 200);
    drains_but_serves(&proxy).await;
    proxy.signal(Signal::QUIT);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn sigquit_does_not_wait_for_balancers() {
    let (app, mut feeds) = endless().await;
    let mut proxy = delayed(&app).start().await;
    let address = proxy.address("web");
    let mut client = proxy.http1().await;
    let answer = client.start_get("/").await;
    let feed = within("the request upstream", feeds.recv()).await.expect("a feed");
    proxy.signal(Signal::QUIT);
    until("no new connections", async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    feed.complete(answer).await;
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_sigterm_ends_it_at_once() {
    for delay in ["0s", "1h"] {
        let (app, mut feeds) = endless().await;
        let timeouts = format!("[timeouts]\ndrain = \"1h\"\ndrain-delay = \"{delay}\"");
        let mut proxy = Proxy::builder(&app).section(&timeouts).start().await;
        let mut client = proxy.http1().await;
        let answer = client.start_get("/").await;
        let _feed = within("the request upstream", feeds.recv()).await.expect("a feed");
        proxy.signal(Signal::TERM);
        proxy.log().wait(&["shutdown", "draining"]).await;
        proxy.signal(Signal::TERM);
        assert!(proxy.ended().await.code().is_some(), "it ended by itself");
        within("the cut", Answer::read(answer)).await.expect_err("a body that is cut");
    }
}

#[tokio::test]
async fn a_hook_may_ask_before_the_signal_comes() {
    let app = Upstream::echo("app").await;
    let mut proxy = delayed(&app).start().await;
    assert_eq!(proxy.admin("POST", "/api/v1/drain").await.status, 202);
    drains_but_serves(&proxy).await;
    proxy.signal(Signal::TERM);
    drains_but_serves(&proxy).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Switches to a protocol in which nobody says anything.
async fn silent_tunnel(mut stream: tokio::net::TcpStream, _: usize) {
    read_head(&mut stream).await;
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: quiet\r\n\r\n";
    let _ = stream.write_all(switching.as_bytes()).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn an_open_tunnel_does_not_keep_it_from_being_restarted() {
    let app = Upstream::script(silent_tunnel).await;
    let timeouts = "[timeouts]\ndrain = \"1h\"\ndrain-tunnels = \"200ms\"";
    let mut proxy = Proxy::builder(&app).section(timeouts).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: quiet\r\n\r\n").await;
    assert_status(&raw.read_head().await, 101);
    proxy.signal(Signal::TERM);
    assert!(raw.is_closed_silently().await);
    assert_eq!(proxy.ended().await.code(), Some(0));
    proxy.access_log().end().await;
    assert_eq!(proxy.access_log().count("\"failure\":\"broken-off\""), 1);
    assert_eq!(proxy.log().count("cut after timeouts.drain"), 0, "nothing else was cut");
}
