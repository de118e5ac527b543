//! The admin interface.

use serde_json::json;
use tidegate_tests::{Proxy, Upstream, assert_values, guest, stock};

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
