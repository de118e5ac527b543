//! The stock policy `maintenance`: thrown by a file, and open to those who know how.

use tidegate_tests::{Builder, Proxy, Upstream, stock, until};

const SECRET: &str = "a-secret-of-some-length";

const SWITCHED: &str = r#"
[secrets]
switch = { file = "switch" }
bypass = { file = "bypass" }

[config]
retry-after = 60
allow = ["192.0.2.0/24"]
exempt = ["/health"]
page = "<h1>soon</h1>"
"#;

fn switched(upstream: &Upstream, switch: &str) -> Builder {
    Proxy::builder(upstream)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .file("plugins/switch", switch)
        .file("plugins/bypass", SECRET)
        .plugin("02-maintenance", stock("maintenance"), SWITCHED)
}

#[tokio::test]
async fn a_file_throws_the_switch_in_both_directions() {
    let app = Upstream::echo("app").await;
    let proxy = switched(&app, "off\n").start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    for (switch, status) in [("on\n", 503), ("off\n", 200), ("on", 503)] {
        std::fs::write(proxy.plugin_path("switch"), switch).expect("a writable file");
        until(&format!("the switch to be {switch:?}"), async || proxy.get("/").await.status == status).await;
    }
    for mut client in proxy.both().await {
        let answer = client.get("/").await;
        answer.assert_is(503, "<h1>soon</h1>");
        assert_eq!(answer.header("retry-after"), "60");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let json = proxy.ask("GET", "/", &[("accept", "application/json")]).await;
    assert_eq!((json.status, json.json()["status"].as_u64()), (503, Some(503)));
    let head = proxy.ask("HEAD", "/", &[]).await;
    assert_eq!((head.status, head.text()), (503, ""));
}

#[tokio::test]
async fn a_switch_that_says_nothing_changes_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = switched(&app, "on").start().await;
    std::fs::write(proxy.plugin_path("switch"), "perhaps").expect("a writable file");
    proxy.log().wait(&["ERROR", "02-maintenance", "neither `on` nor `off`"]).await;
    assert_eq!(proxy.get("/").await.status, 503, "on stays on");
    std::fs::remove_file(proxy.plugin_path("switch")).expect("a file");
    proxy.reload().await;
    assert_eq!(proxy.get("/").await.status, 503, "on stays on without the file");
}

#[tokio::test]
async fn only_those_who_may_see_the_site() {
    let app = Upstream::echo("app").await;
    let proxy = switched(&app, "on").start().await;
    let cookie = format!("x=y; maintenance-bypass={SECRET}");
    for (target, fields) in [
        ("/health", &[][..]),
        ("/", &[("x-forwarded-for", "192.0.2.7")]),
        ("/", &[("x-maintenance-bypass", SECRET)]),
        ("/", &[("cookie", &*cookie)]),
    ] {
        let answer = proxy.ask("GET", target, fields).await;
        assert_eq!(answer.status, 200, "{target} {fields:?}");
        assert!(
            !answer.json()["headers"].to_string().contains("x-maintenance-bypass"),
            "the server is not told"
        );
    }
    for (target, fields) in [
        ("/health/../x", &[][..]),
        ("/", &[("x-forwarded-for", "192.0.2.7, 198.51.100.1")]),
        ("/", &[("x-maintenance-bypass", "")]),
        ("/", &[("x-maintenance-bypass", "a-secret-of-some-lengt")]),
        ("/", &[("cookie", "maintenance-bypass=a")]),
    ] {
        assert_eq!(proxy.ask("GET", target, fields).await.status, 503, "{target} {fields:?}");
    }
    let said = [proxy.log().all().join("\n"), proxy.access_log().all().join("\n")].concat();
    assert!(!said.contains(SECRET), "a secret stands in a log");
}
