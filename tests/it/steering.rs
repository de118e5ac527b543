//! What can be changed through the admin interface while the proxy serves.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use serde_json::{Value, json};
use tidegate_tests::{Proxy, Upstream, assert_values, command, eventually, guest, until};

/// Which of them answer, of so many requests.
async fn answering(proxy: &Proxy, requests: usize) -> BTreeSet<String> {
    let mut client = proxy.http1().await;
    let mut seen = BTreeSet::new();
    for _ in 0..requests {
        seen.insert(client.get("/").await.echoed_by());
    }
    seen
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn servers_are_replaced_without_a_generation_and_put_back() {
    let (one, two, three) =
        (Upstream::echo("one").await, Upstream::echo("two").await, Upstream::echo("three").await);
    let proxy = Proxy::builder(&one).start().await;
    let path = "/api/v1/upstreams/app/servers";
    let servers = json!([two.server(), { "address": three.server(), "weight": 2 }]);
    let answer = proxy.change("PUT", path, &servers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_values(&answer.json(), json!({ "name": "app", "replaced": true }));
    assert_values(
        &answer.json()["servers"][1],
        json!({ "address": three.server(), "weight": 2, "state": "up" }),
    );
    assert_eq!(answering(&proxy, 12).await, names(&["two", "three"]));
    // A reload of the same files leaves them.
    assert_values(&proxy.reload().await.json(), json!({ "generation": 1, "changed": false }));
    assert_eq!(answering(&proxy, 12).await, names(&["two", "three"]));
    assert_values(&proxy.change("DELETE", path, &Value::Null).await.json(), json!({ "replaced": false }));
    assert_eq!(answering(&proxy, 4).await, names(&["one"]));
    proxy.log().wait(&["audit", "method=PUT", "/api/v1/upstreams/app/servers", "status=200"]).await;
}

#[tokio::test]
async fn servers_that_cannot_be_meant_change_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for (servers, says) in [
        (json!({}), "servers are a list"),
        (json!(["app.internal:80"]), "\"app.internal\" is a name"),
        (json!(["127.0.0.1"]), "[0]: "),
        (json!([7]), "[0]: a server is an address"),
        (json!([{ "address": "127.0.0.1:1", "weight": 0 }]), "from 1 to 1000"),
        (json!([{ "address": "127.0.0.1:1", "wait": 1 }]), "[0]: a server is an address"),
        (json!(["127.0.0.1:1", "127.0.0.1:1"]), "[1]: 127.0.0.1:1 stands there twice"),
        (json!(["unix:app.sock"]), "begins with /"),
    ] {
        let answer = proxy.change("PUT", "/api/v1/upstreams/app/servers", &servers).await;
        assert_eq!(answer.status, 422, "{servers}: {}", answer.text());
        assert!(
            answer.json()["problems"][0].as_str().is_some_and(|text| text.contains(says)),
            "{}",
            answer.text()
        );
    }
    assert_eq!(proxy.change("PUT", "/api/v1/upstreams/nobody/servers", &json!([])).await.status, 404);
    assert_eq!(proxy.servers("app").await[0]["address"], app.server());
}

#[tokio::test]
async fn two_hundred_replacements_under_load_lose_nothing() {
    let (one, two) = (Upstream::echo("one").await, Upstream::echo("two").await);
    let proxy = Proxy::builder(&one).workers(2).start().await;
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = async {
        let mut client = proxy.http1().await;
        while !done.load(Relaxed) {
            assert_eq!(client.get("/").await.status, 200);
            answered.fetch_add(1, Relaxed);
        }
    };
    let steering = async {
        for round in 0..200 {
            let servers = [json!([one.server()]), json!([two.server()]), json!([one.server(), two.server()])];
            let answer = proxy.change("PUT", "/api/v1/upstreams/app/servers", &servers[round % 3]).await;
            assert_eq!(answer.status, 200);
        }
        done.store(true, Relaxed);
    };
    tokio::join!(load, steering);
    assert!(answered.load(Relaxed) > 0);
    assert_eq!(proxy.admin("GET", "/api/v1/status").await.json()["generation"], 1);
}

#[tokio::test]
async fn a_server_is_drained_disabled_and_enabled() {
    let (one, two) = (Upstream::echo("one").await, Upstream::echo("two").await);
    let lines = format!("servers = [\"{}\", \"{}\"]\nslow-start = \"0s\"", one.server(), two.server());
    let proxy = Proxy::with_app(&lines).start().await;
    assert_eq!(answering(&proxy, 12).await, names(&["one", "two"]));
    for (order, state) in [("drain", "draining"), ("disable", "disabled")] {
        let path = format!("/api/v1/upstreams/app/servers/{}/{order}", one.server());
        assert_eq!(proxy.admin("POST", &path).await.status, 200);
        assert_eq!(proxy.server_state("app", &one.server()).await.as_deref(), Some(state));
        assert_eq!(answering(&proxy, 12).await, names(&["two"]));
        // It outlives a generation.
        proxy.reconfigure("slow-start = \"0s\"", "slow-start = \"0s\"\nmax-queued = 7").await;
        assert_eq!(answering(&proxy, 12).await, names(&["two"]), "{order}");
        proxy.reconfigure("\nmax-queued = 7", "").await;
        let path = format!("/api/v1/upstreams/app/servers/{}/enable", one.server());
        assert_eq!(proxy.admin("POST", &path).await.status, 200);
        assert_eq!(proxy.server_state("app", &one.server()).await.as_deref(), Some("up"));
        until("both again", async || answering(&proxy, 12).await == names(&["one", "two"])).await;
    }
    assert_eq!(proxy.admin("POST", "/api/v1/upstreams/app/servers/127.0.0.1:1/drain").await.status, 404);
}

#[tokio::test]
async fn a_weight_is_changed() {
    let (one, two) = (Upstream::echo("one").await, Upstream::echo("two").await);
    let lines = format!(
        "servers = [\"{}\", \"{}\"]\nbalance = \"round-robin\"\nslow-start = \"0s\"",
        one.server(),
        two.server()
    );
    let proxy = Proxy::with_app(&lines).start().await;
    let path = format!("/api/v1/upstreams/app/servers/{}/weight", one.server());
    assert_eq!(proxy.change("PUT", &path, &json!({ "weight": 3 })).await.status, 200);
    let mut client = proxy.http1().await;
    let mut of_one = 0;
    for _ in 0..40 {
        of_one += usize::from(client.get("/").await.echoed_by() == "one");
    }
    assert_eq!(of_one, 30);
    for weight in
        [json!({ "weight": 0 }), json!({ "weight": 1001 }), json!({}), json!({ "weight": 1, "x": 2 })]
    {
        assert_eq!(proxy.change("PUT", &path, &weight).await.status, 422, "{weight}");
    }
}

#[tokio::test]
async fn the_log_tells_more_when_it_is_asked_to() {
    let app = Upstream::echo("app").await;
    let authority = tidegate_tests::Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = Proxy::builder(&app).tls_listener("secure", &leaf, "").start().await;
    let fail = async || {
        let mut raw = tidegate_tests::Raw::connect(proxy.address("secure")).await;
        raw.send("GET / HTTP/1.1\r\n\r\n").await;
        raw.read_to_end().await;
    };
    fail().await;
    assert_eq!(proxy.admin("GET", "/api/v1/log").await.json(), json!({ "level": "info" }));
    let answer = proxy.change("PUT", "/api/v1/log", &json!({ "level": "debug" })).await;
    assert_eq!(answer.json(), json!({ "level": "debug" }));
    fail().await;
    proxy.log().wait(&["DEBUG tls", "handshake failed"]).await;
    let count = proxy.log().all().iter().filter(|line| line.contains("handshake failed")).count();
    assert_eq!(count, 1, "the first was not told");
    assert_eq!(proxy.change("PUT", "/api/v1/log", &json!({ "level": "loud" })).await.status, 422);
}

#[tokio::test]
async fn the_process_drains_when_it_is_told_to() {
    let app = Upstream::echo("app").await;
    let mut proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.admin("POST", "/api/v1/drain").await.status, 202);
    assert!(proxy.ended().await.success());
}

#[tokio::test]
async fn events_come_each_second_and_followers_are_bounded() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let follow = "GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut followers = Vec::new();
    for _ in 0..16 {
        let mut raw = tidegate_tests::Raw::connect(proxy.address("admin")).await;
        raw.send(follow).await;
        assert!(raw.read_head().await.contains("text/event-stream"));
        followers.push(raw);
    }
    let mut one_more = tidegate_tests::Raw::connect(proxy.address("admin")).await;
    one_more.send(follow).await;
    assert!(one_more.read_head().await.starts_with("HTTP/1.1 503 "));
    proxy.get("/").await;
    followers[0].read_until("data: {").await;
    let event = followers[0].read_until("}\n\n").await;
    assert!(event.contains("\"name\":\"app\"") && event.contains("\"in-flight\""), "{event}");
    // Who goes makes room.
    followers.truncate(8);
    eventually("room", async || {
        let mut raw = tidegate_tests::Raw::connect(proxy.address("admin")).await;
        raw.send(follow).await;
        raw.read_head().await.starts_with("HTTP/1.1 200 ").then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_level_of_the_log_follows_the_file() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).section("[log]\nlevel = \"info\"").start().await;
    proxy.reconfigure("level = \"info\"", "level = \"debug\"").await;
    assert_eq!(proxy.admin("GET", "/api/v1/log").await.json(), json!({ "level": "debug" }));
}

#[tokio::test]
async fn commands_ask_the_proxy_that_runs() {
    let (one, two) = (Upstream::echo("one").await, Upstream::echo("two").await);
    let lines = format!("servers = [\"{}\", \"{}\"]", one.server(), two.server());
    let proxy = Proxy::with_app(&lines)
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .plugin("20-broken", b"broken".to_vec(), "on-error = \"skip\"")
        .start()
        .await;
    let admin = proxy.address("admin").to_string();
    let run = async |words: &[&str]| {
        let mut words = command(words);
        words.args(["--admin", &admin]);
        let output =
            tokio::task::spawn_blocking(move || words.output()).await.expect("no panic").expect("the binary");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, told, _) = run(&["status"]).await;
    assert_eq!(code, Some(1), "a policy has no version: {told}");
    assert!(told.contains("not ready\n  no version of policy 20-broken"), "{told}");
    assert!(told.lines().any(|line| line.starts_with("web ")), "{told}");
    let (code, told, _) = run(&["plugin", "list"]).await;
    assert_eq!(code, Some(0));
    assert!(told.lines().nth(1).is_some_and(|line| line.starts_with("10-stamp   serving  1")), "{told}");
    let (code, told, _) = run(&["upstream", "drain", "app", &one.server()]).await;
    assert_eq!(code, Some(0));
    assert!(told.contains("draining"), "{told}");
    assert_eq!(answering(&proxy, 8).await, names(&["two"]));
    let (_, told, _) = run(&["upstream", "weight", "app", &two.server(), "7", "--json"]).await;
    let told: Value = serde_json::from_str(&told).expect("JSON");
    assert_values(&told["servers"][0], json!({ "address": two.server(), "weight": 7 }));
    let (code, _, said) = run(&["upstream", "enable", "app", "127.0.0.1:1"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("404 Not Found: the upstream has no server"), "{said}");
}

/// The files may have got worse since.
#[tokio::test]
async fn commands_reach_a_proxy_whose_files_have_a_mistake() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let file = proxy.folder().join("tidegate.toml");
    let text = std::fs::read_to_string(&file).expect("a file of ours");
    let port = proxy.address("admin").port();
    let text = text
        .replace("[admin]\naddress = \"127.0.0.1:0\"", &format!("[admin]\naddress = \"127.0.0.1:{port}\""));
    std::fs::write(&file, format!("default-upstrem = 1\n{text}")).expect("a file of ours");
    until("it tells of the mistake", async || {
        let status = command(&["status", "--config"]).arg(&file).output().expect("the binary");
        assert!(status.status.success(), "{status:?}");
        let told = String::from_utf8_lossy(&status.stdout);
        told.contains(": ready\n") && told.contains("unknown key \"default-upstrem\"")
    })
    .await;
}
