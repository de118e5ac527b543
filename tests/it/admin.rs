//! The admin interface.

use serde_json::json;
use tidegate_tests::{Proxy, Raw, Upstream, assert_values, guest, stock, until};

#[tokio::test]
async fn it_lives_and_is_ready() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for target in ["/livez", "/readyz"] {
        let answer = proxy.admin("GET", target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.text().trim(), "ok", "{target}");
    }
}

#[tokio::test]
async fn it_is_not_ready_while_a_policy_denies_for_lack_of_a_version() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1-broken", b"broken".to_vec(), "").start().await;
    let answer = proxy.admin("GET", "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("1-broken"), "{}", answer.text());
    assert_eq!(proxy.admin("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn plugins_are_listed_in_order() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .plugin("20-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .plugin("10-router", stock("router"), "[config]\nrules = []")
        .plugin("30-off", guest("counter"), "enabled = false")
        .plugin("40-broken", b"broken".to_vec(), "on-error = \"skip\"")
        .start()
        .await;
    let plugins = proxy.admin("GET", "/api/v1/plugins").await.json();
    let states: Vec<_> = plugins
        .as_array()
        .expect("a list")
        .iter()
        .map(|plugin| (&plugin["name"], &plugin["state"]))
        .collect();
    assert_eq!(
        json!(states),
        json!([
            ["10-router", "serving"],
            ["20-stamp", "serving"],
            ["30-off", "disabled"],
            ["40-broken", "refused"]
        ])
    );
    assert_eq!(plugins[0]["phases"], json!(["request"]));
    assert_eq!(plugins[1]["phases"], json!(["request", "response", "log"]));
    assert_values(&plugins[0], json!({ "generation": 1, "error": null }));
    assert!(plugins[3]["error"].as_str().is_some_and(|error| error.contains("not WebAssembly")), "{plugins}");
}

#[tokio::test]
async fn a_reload_answers_when_the_change_is_live() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1", guest("stamp"), "[config]\nvalue = \"one\"").start().await;
    std::fs::write(proxy.plugin_path("1.toml"), "[config]\nvalue = \"two\"").expect("a writable file");
    let answer = proxy.reload().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["generation"], 2);
    assert_eq!(proxy.get("/").await.json()["headers"]["x-stamp"], "two");
    // The files are the same, so the proxy keeps the generation.
    assert_eq!(proxy.reload().await.json()["generation"], 2);
    assert_eq!(proxy.plugin("1").await.expect("an entry")["generation"], 2);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.admin("GET", "/nothing").await.status, 404);
    let answer = proxy.admin("GET", "/api/v1/reload").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(proxy.admin("POST", "/livez").await.status, 405);
}

#[tokio::test]
async fn pages_elsewhere_cannot_ask_it() {
    let app = Upstream::echo("app").await;
    // It is the last table so far.
    let admin = Proxy::bare().section("hosts = [\"edge.example.com\"]");
    let proxy =
        admin.top("default-upstream = \"app\"").listener("web", "").upstream("app", &app).start().await;
    for (fields, status) in [
        ("Host: 127.0.0.1:9900", 200),
        ("Host: localhost", 200),
        ("Host: tidegate:9900", 200),
        ("Host: Edge.example.com:9900", 200),
        ("Host: evil.example.com", 403),
        ("Host: 127.0.0.1.evil.test", 403),
        ("Host: localhost:9900\r\nOrigin: http://localhost:9900", 200),
        ("Host: localhost:9900\r\nOrigin: http://evil.test", 403),
        ("Host: localhost:9900\r\nOrigin: http://localhost:8080", 403),
        ("Host: localhost:9900\r\nOrigin: null", 403),
        ("Host: localhost:9900\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost:9900\r\nSec-Fetch-Site: same-origin", 200),
    ] {
        let mut raw = Raw::connect(proxy.address("admin")).await;
        raw.send(format!("POST /api/v1/reload HTTP/1.1\r\n{fields}\r\nContent-Length: 0\r\n\r\n")).await;
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {head}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_pile_up() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let before = proxy.open_sockets();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Raw::connect(proxy.address("admin")).await);
    }
    until("few of them", async || proxy.open_sockets() <= before + 64).await;
}

#[tokio::test]
async fn it_is_not_ready_while_an_upstream_that_is_needed_has_no_server() {
    let mut app = Upstream::echo("app").await;
    let lines = format!(
        "servers = [\"{}\"]\nhealth = {{ path = \"/\", interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }}",
        app.server()
    );
    let proxy = Proxy::with_app(&lines).section("[ready]\nupstreams = [\"app\"]").start().await;
    until("the first check", async || proxy.admin("GET", "/readyz").await.status == 200).await;
    app.stop().await;
    until("a word about the upstream", async || {
        let answer = proxy.admin("GET", "/readyz").await;
        answer.status == 503 && answer.text().contains("upstream app: no server is up")
    })
    .await;
    app.start().await;
    until("a server again", async || proxy.admin("GET", "/readyz").await.status == 200).await;
}
