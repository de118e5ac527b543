//! `include`: several files that are read as one, and that are taken up as they come, change and go.

use std::fs;

use tidegate_tests::{Proxy, Upstream, until};

const API: &str = "[upstream.api]\nservers = [\"ADDRESS\"]\nhealth = { tcp = true }\n";

#[tokio::test]
async fn files_that_come_and_go_are_taken_up() {
    let (app, api) = (Upstream::echo("app").await, Upstream::echo("api").await);
    let proxy = Proxy::bare()
        .section("[listener.web]\naddress = \"127.0.0.1:0\"")
        .top("include = [\"conf.d/*.toml\"]\ndefault-upstream = \"app\"")
        .file(
            "conf.d/app.toml",
            format!("[upstream.app]\nservers = [\"{}\"]\nhealth = {{ tcp = true }}", app.server()),
        )
        .start()
        .await;
    assert_eq!(proxy.get("/").await.json()["upstream"], "app");

    let file = proxy.folder().join("conf.d/api.toml");
    let servers = async || {
        let told = proxy.admin("GET", "/api/v1/upstreams").await.json();
        told.as_array().expect("a list").iter().any(|upstream| upstream["name"] == "api")
    };
    assert!(!servers().await);
    fs::write(&file, "[upstream.api]\nserverz = 1\n").expect("a file of ours");
    proxy.log().wait(&["conf.d/api.toml:2:1: unknown key \"serverz\""]).await;
    fs::write(&file, API.replace("ADDRESS", &api.server())).expect("a file of ours");
    until("the upstream is there", servers).await;
    fs::remove_file(&file).expect("it is ours");
    until("the upstream is gone", async || !servers().await).await;
    assert_eq!(proxy.get("/").await.json()["upstream"], "app");
}
