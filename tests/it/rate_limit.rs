//! The stock policy `rate-limit`: counted over workers, reloads and proxies, told to clients, and no way around it.

use serde_json::json;
use tidegate_tests::{Builder, Proxy, Redis, Upstream, stock, until};

fn limiting(upstream: &Upstream, config: &str) -> Builder {
    let settings = format!("grants = {{ rate-limit = true, metrics = true }}\n[config]\n{config}");
    Proxy::builder(upstream).plugin("10-limit", stock("rate-limit"), &settings)
}

/// How many of so many requests pass.
async fn passed(proxy: &Proxy, count: usize, target: &str, fields: &[(&str, &str)]) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(proxy.ask("GET", target, fields).await.status == 200);
    }
    passed
}

#[tokio::test]
async fn a_client_gets_so_many_over_all_workers_and_reloads() {
    let app = Upstream::echo("app").await;
    let config = "limits = [{ name = \"client\", limit = 5, period = \"1h\" }]";
    let proxy = limiting(&app, config).workers(2).top("trusted-proxies = [\"127.0.0.1\"]").start().await;
    // Each on a connection of its own: with chance on either worker.
    assert_eq!(passed(&proxy, 20, "/", &[]).await, 5);
    let other = [("x-forwarded-for", "192.0.2.7")];
    assert_eq!(proxy.ask("GET", "/", &other).await.status, 200);

    std::fs::write(
        proxy.plugin_path("10-limit.toml"),
        format!("grants = {{ rate-limit = true }}\n[config]\nfields = \"all\"\n{config}"),
    )
    .expect("a writable file");
    proxy.reload().await;
    let answer = proxy.get("/over").await;
    assert_eq!((answer.status, answer.text()), (429, "too many requests\n"));
    let wait: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((600..=720).contains(&wait), "{wait}");
    assert_eq!(answer.header("ratelimit-policy"), "\"client\";q=5;w=3600");
    assert_eq!(answer.header("ratelimit"), format!("\"client\";r=0;t={wait}"));
    assert_eq!(proxy.access("/over").await["attributes"], json!({ "rate-limit": "client" }));
    let answer = proxy.ask("GET", "/", &other).await;
    assert!(answer.header("ratelimit").starts_with("\"client\";r=3;t="), "{answer:?}");
    assert_eq!(app.requests().len(), 7);
}

#[tokio::test]
async fn no_trick_of_a_client_gets_round_a_limit() {
    let app = Upstream::echo("app").await;
    let config = "limits = [{ name = \"login\", paths = [\"/login\"], key = \"header:x-key\", limit = 1, period = \"1h\" }]";
    let proxy = limiting(&app, config).start().await;
    assert_eq!(proxy.get("/login").await.status, 200);
    let long = "k".repeat(20_000);
    let field = |value: &str| format!("GET /login HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{value}\r\n");
    // Two values are none, as are an empty one and none at all: the address counts.
    for fields in ["", "x-key:\r\n", "x-key: a\r\nx-key: b\r\n", "x-key: b\r\nX-KEY: c\r\n"] {
        let mut client = proxy.raw().await;
        client.send(field(fields)).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 429 "), "{fields:?}");
    }
    for target in ["//login", "/x/../login", "/%6cogin?a"] {
        assert_eq!(proxy.get(target).await.status, 429, "{target}");
    }
    // Long and odd values count as any other.
    let mut statuses = Vec::new();
    for value in [long.as_bytes(), b"\xff\xfe", long.as_bytes(), b"\xff\xfe"] {
        let mut client = proxy.raw().await;
        let mut sent = field("").trim_end().as_bytes().to_vec();
        sent.extend([b"\r\nx-key: ", value, b"\r\n\r\n"].concat());
        client.send(sent).await;
        statuses.push(client.read_to_end().await[9..12].to_owned());
    }
    assert_eq!(statuses, ["200", "200", "429", "429"]);
    assert_eq!(proxy.get("/").await.status, 200, "no limit is about it");
}

#[tokio::test]
async fn a_dry_run_is_seen_and_lets_pass() {
    let app = Upstream::echo("app").await;
    let config = "limits = [{ name = \"trial\", limit = 1, period = \"1h\", dry-run = true }]";
    let proxy = limiting(&app, config).start().await;
    assert_eq!(passed(&proxy, 3, "/x", &[]).await, 3);
    let lines = proxy.accesses("/x", 3).await;
    let noted = lines.iter().filter(|line| line["attributes"] == json!({ "rate-limit-dry-run": "trial" }));
    assert_eq!(noted.count(), 2, "{lines:?}");
    proxy.log().wait(&["INFO", "limit `trial` would refuse 127.0.0.1"]).await;
    let metric =
        "tidegate_policy_rate_limit_refused_total{policy=\"10-limit\",limit=\"trial\",mode=\"dry-run\"} 2";
    assert!(proxy.admin("GET", "/metrics").await.text().contains(metric));
}

#[tokio::test]
async fn proxies_share_a_limit_and_each_goes_on_alone_when_the_store_is_gone() {
    let Some(mut redis) = Redis::start().await else { return };
    let app = Upstream::echo("app").await;
    let config = "limits = [{ name = \"all\", key = [\"header:x-key\", \"host\"], limit = 10, period = \"1h\", scope = \"shared\" }]";
    let start = async || {
        let state = format!("[state]\nbackend = \"{}\"", redis.url());
        let proxy = limiting(&app, config).section(&state).start().await;
        until("the store is there", async || {
            proxy.admin("GET", "/api/v1/state").await.json()["reach"] == "reachable"
        })
        .await;
        proxy
    };
    let proxies = [start().await, start().await];
    let mut both = 0;
    for proxy in proxies.iter().cycle().take(20) {
        both += passed(proxy, 1, "/", &[("x-key", "secret")]).await;
    }
    assert_eq!(both, 10);
    redis.kill();
    for proxy in &proxies {
        until("it counts by itself", async || passed(proxy, 1, "/", &[("x-key", "secret")]).await == 1).await;
        assert_eq!(passed(proxy, 20, "/", &[("x-key", "secret")]).await, 9);
    }
}

#[tokio::test]
async fn what_is_missing_is_said() {
    let app = Upstream::echo("app").await;
    for (settings, what) in [
        (
            "[config]\nlimits = [{ name = \"a\", limit = 1, period = \"1m\" }]",
            "grants = { rate-limit = true }",
        ),
        (
            "grants = { rate-limit = true }\n[config]\nlimits = [{ name = \"a\", limit = 0, period = \"1m\" }]",
            "limits[0].limit",
        ),
    ] {
        let proxy = Proxy::builder(&app).plugin("10-limit", stock("rate-limit"), settings).start().await;
        proxy.log().wait(&["ERROR", "10-limit.toml:", what]).await;
        assert_eq!(proxy.get("/").await.status, 503);
    }
    // Metrics are not needed.
    let settings =
        "grants = { rate-limit = true }\n[config]\nlimits = [{ name = \"a\", limit = 1, period = \"1m\" }]";
    let proxy = Proxy::builder(&app).plugin("10-limit", stock("rate-limit"), settings).start().await;
    assert_eq!(passed(&proxy, 2, "/", &[]).await, 1);
}
