//! SIGTERM: no new connections, what is in flight finishes within its time, exit status 0.

use rustix::process::Signal;
use tidegate_tests::{Answer, Builder, Chunks, FrameType, H2Frames, Proxy, Upstream, chunks, until, within};

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
