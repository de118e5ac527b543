//! The stock policy `external-auth`: a service that decides, refuses, is slow and is dead.

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_tests::{
    BoxBody, Builder, Client, Proxy, Upstream, assert_status, body, empty, read_head, request_with, stock,
    until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Knows Alice by her cookie; `x-do` has it refuse, fail, or never answer.
async fn service() -> Upstream {
    Upstream::serve(|request: Request<Incoming>| async move {
        let field =
            |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let with = |status: u16, text: &str| Response::builder().status(status).body(body(text.to_owned()));
        let answer: Result<Response<BoxBody>, http::Error> = match field("x-do") {
            "never" => std::future::pending().await,
            "fail" => with(500, "broken"),
            "forbid" => with(403, "not you"),
            "large" => with(403, &"x".repeat(2 << 20)),
            _ if field("cookie").contains("user=alice") => Response::builder()
                .header("remote-user", "alice")
                .header("set-cookie", "seen=1")
                .body(empty()),
            _ => Response::builder()
                .status(302)
                .header("location", format!("https://login.test/?rd={}", field("x-forwarded-uri")))
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .body(body("go there")),
        };
        answer.expect("a valid response")
    })
    .await
}

fn asking(app: &Upstream, service: &Upstream, head: &str, keys: &str) -> Builder {
    let settings = format!(
        "grants = {{ callout = [\"auth\"], store = true }}\n{head}\n[config]\nupstream = \"auth\"\npath = \"/verify\"\n\
         server-headers = [\"remote-user\"]\nclient-headers = [\"set-cookie\"]\n\
         rules = [{{ paths = [\"/open/**\"], ask = false }}]\n{keys}"
    );
    Proxy::builder(app)
        // A service that comes back is to be seen at once.
        .section(&format!(
            "[upstream.auth]\nservers = [\"{}\"]\neject = false\nretries = 0",
            service.server()
        ))
        .plugin("10-auth", stock("external-auth"), &settings)
}

const ALICE: (&str, &str) = ("cookie", "user=alice");

#[tokio::test]
async fn the_service_decides_and_says_who_it_is() {
    let app = Upstream::echo("app").await;
    let auth = service().await;
    let proxy = asking(&app, &auth, "", "").start().await;

    let fields =
        [ALICE, ("remote-user", "root"), ("x-forwarded-uri", "/open/x"), ("x-forwarded-for", "6.6.6.6")];
    let mut client = proxy.http1().await;
    let post = request_with("POST", "/a/../b?x=1", &fields).body(body("secret")).expect("valid");
    let answer = client.send(post).await;
    let seen = answer.json();
    assert_eq!((&seen["headers"]["remote-user"], &seen["body"]), (&json!("alice"), &json!("secret")));
    assert_eq!(answer.all("set-cookie"), "seen=1");
    let asked = auth.only_request();
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("GET", "/verify"));
    for (name, value) in [
        ("x-forwarded-method", "POST"),
        ("x-forwarded-uri", "/a/../b?x=1"),
        ("x-forwarded-host", "example.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("cookie", "user=alice"),
        ("content-length", ""),
    ] {
        assert_eq!((asked.header(name), asked.count(name) <= 1), (value, true), "{name}");
    }

    let refused = proxy.get("/b").await;
    refused.assert_is(302, "go there");
    assert_eq!(
        (refused.header("location"), refused.all("set-cookie").as_str()),
        ("https://login.test/?rd=/b", "a=1,b=2")
    );
    proxy.ask("GET", "/", &[("x-do", "forbid")]).await.assert_is(403, "not you");
    let open =
        proxy.ask("GET", "/open/x", &[("remote-user", "root"), ("x-auth-unavailable", "true")]).await.json();
    assert_eq!(
        (&open["headers"]["remote-user"], &open["headers"]["x-auth-unavailable"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(app.requests().len(), 2);
}

#[tokio::test]
async fn a_slow_service_holds_only_those_who_need_it() {
    let app = Upstream::echo("app").await;
    let auth = service().await;
    let head = "limits = { instances = 4, callout-timeout = \"10s\", time = \"20s\" }";
    let proxy = asking(&app, &auth, head, "timeout = \"2s\"").workers(1).start().await;
    let mut slow = JoinSet::new();
    for _ in 0..6 {
        let address = proxy.address("web");
        slow.spawn(async move {
            let asked = request_with("GET", "/", &[("x-do", "never")]).body(empty()).expect("valid");
            Client::http1(address).await.send(asked).await.status
        });
    }
    until("some wait", async || !auth.requests().is_empty()).await;
    for number in 0..20 {
        assert_eq!(proxy.get(&format!("/open/{number}")).await.status, 200);
    }
    let statuses = slow.join_all().await;
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    assert_eq!(proxy.ask("GET", "/", &[ALICE]).await.status, 200);
    assert_eq!(
        proxy.plugin_state("10-auth", "serving").await["state"],
        "serving",
        "it is not the policy's fault"
    );
}

#[tokio::test]
async fn a_dead_service_lets_nobody_in_until_it_is_back() {
    let app = Upstream::echo("app").await;
    let mut auth = service().await;
    let proxy = asking(&app, &auth, "", "").start().await;
    assert_eq!(proxy.ask("GET", "/", &[ALICE]).await.status, 200);
    for how in ["fail", "never", "large"] {
        let answer = proxy.ask("GET", "/", &[ALICE, ("x-do", how)]).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{how}");
    }
    auth.stop().await;
    for _ in 0..30 {
        assert_eq!(proxy.ask("GET", "/", &[ALICE]).await.status, 503);
        assert_eq!(proxy.get("/open/x").await.status, 200);
    }
    auth.start().await;
    until("it is back", async || proxy.ask("GET", "/", &[ALICE]).await.status == 200).await;
    assert_eq!(proxy.plugin_state("10-auth", "serving").await["state"], "serving");
}

#[tokio::test]
async fn what_is_let_in_without_an_answer_is_marked_and_limits_let_nobody_in() {
    let app = Upstream::echo("app").await;
    let auth = service().await;
    let proxy = asking(&app, &auth, "", "on-unavailable = \"allow\"").start().await;
    let forged = [("x-do", "fail"), ("remote-user", "root"), ("x-auth-unavailable", "no")];
    let seen = proxy.ask("GET", "/", &forged).await.json();
    assert_eq!(
        (&seen["headers"]["x-auth-unavailable"], &seen["headers"]["remote-user"]),
        (&json!("true"), &Value::Null)
    );
    assert_eq!(proxy.ask("GET", "/", &[("x-do", "forbid")]).await.status, 403);
    assert_eq!(proxy.ask("GET", "/", &[("x-do", "large")]).await.status, 503);
    // More fields than a question may have.
    let names: Vec<String> = (0..95).map(|number| format!("x-{number}")).collect();
    let many: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    let status = proxy.ask("GET", "/", &many).await.status;
    assert!([503, 431].contains(&status), "{status}");
    assert_eq!(app.requests().len(), 1);
}

#[tokio::test]
async fn an_answer_is_remembered_for_its_user() {
    let app = Upstream::echo("app").await;
    let auth = Upstream::serve(|request: Request<Incoming>| async move {
        let user = request.headers().get("authorization").cloned();
        let answer = match user {
            Some(user) => Response::builder().header("remote-user", user),
            None => Response::builder().status(401),
        };
        answer.body(empty()).expect("a valid response")
    })
    .await;
    let cache = "cache = { ttl = \"1m\", headers = [\"authorization\"] }";
    let proxy = asking(&app, &auth, "", cache).workers(2).start().await;
    for user in ["alice", "bob"] {
        for _ in 0..10 {
            let seen =
                proxy.ask("GET", "/", &[("authorization", user), ("remote-user", "root")]).await.json();
            assert_eq!(seen["headers"]["remote-user"], user);
        }
    }
    auth.until_requests(2).await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/").await.status, 401);
    }
    auth.until_requests(5).await;
}

/// Switches protocols and sends back what it gets.
async fn echoing(mut stream: TcpStream, _: usize) {
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.contains("upgrade: websocket") && head.contains("remote-user: alice"), "{head}");
    let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let _ = stream.write_all(switching.as_bytes()).await;
    let mut buffer = [0; 64];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = stream.write_all(&buffer[..length]).await;
    }
}

#[tokio::test]
async fn a_websocket_is_asked_about_before_it_opens() {
    let app = Upstream::script(echoing).await;
    let auth = service().await;
    let proxy = asking(&app, &auth, "", "").start().await;
    let handshake = |field: &str| {
        format!(
            "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{field}\r\n"
        )
    };
    let mut raw = proxy.raw().await;
    raw.send(handshake("Cookie: user=alice\r\n")).await;
    assert_status(&raw.read_head().await, 101);
    raw.send("both ways").await;
    assert_eq!(raw.read_exactly(9).await, b"both ways");
    let mut stranger = proxy.raw().await;
    stranger.send(handshake("")).await;
    assert_status(&stranger.read_head().await, 302);
    assert_eq!(app.connections(), 1);
}
