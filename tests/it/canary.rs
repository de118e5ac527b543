//! The stock policy `canary`: who goes where, and what happens when the canary dies.

use std::collections::BTreeMap;

use tidegate_tests::{Builder, Proxy, Upstream, body, request, stock};

fn split(stable: &Upstream, canary: &str, settings: &str) -> Builder {
    Proxy::builder(stable)
        .section(&format!("[upstream.canary]\nservers = [\"{canary}\"]\nretries = 0"))
        .plugin("30-canary", stock("canary"), settings)
}

const HALF: &str = r#"
[config]
destinations = [{ to = "app", weight = 1 }, { to = "canary", weight = 1 }]
sticky = { by = "cookie" }
"#;

const ALL: &str = r#"
grants = { store = true }
[config]
destinations = [{ to = "app", weight = 0 }, { to = "canary", weight = 1 }]
fallback = { failures = 4, period = 600, pause = 600 }
force = { header = "x-canary" }
"#;

#[tokio::test]
async fn clients_are_divided_and_stay_where_they_are() {
    let [stable, canary] = [Upstream::echo("app").await, Upstream::echo("canary").await];
    let proxy = split(&stable, &canary.server(), HALF).start().await;
    let mut counts = BTreeMap::new();
    let mut client = proxy.http1().await;
    for _ in 0..200 {
        let answer = client.get("/first").await;
        *counts.entry(answer.echoed_by()).or_insert(0) += 1;
        let cookie = answer.header("set-cookie").split(';').next().expect("a cookie").to_owned();
        assert_eq!(cookie, format!("canary={}", answer.echoed_by()));
        for _ in 0..2 {
            let asked = request("GET", "/again").header("cookie", &cookie);
            let again = client.send(asked.body(tidegate_tests::empty()).expect("valid")).await;
            assert_eq!(again.echoed_by(), answer.echoed_by());
            assert_eq!(again.header("set-cookie"), "");
        }
    }
    // 100 expected of each; seven standard deviations each way.
    assert!(counts.values().all(|count| (50..=150).contains(count)), "{counts:?}");
    let logged = proxy.accesses("/first", 200).await;
    assert!(logged.iter().all(|line| line.to_string().contains("\"canary\":")), "{}", logged[0]);
}

#[tokio::test]
async fn a_dead_canary_costs_no_safe_request_and_is_left_alone() {
    let stable = Upstream::echo("app").await;
    let gone = Upstream::absent().await;
    let proxy = split(&stable, &gone.to_string(), ALL).workers(2).start().await;
    let post = |target: &str| request("POST", target).body(body("once")).expect("valid");
    assert_eq!(proxy.send(post("/post")).await.status, 503, "what may not be done twice is not");
    // Each on a connection of its own: with chance on either worker.
    for number in 1..=10 {
        assert_eq!(proxy.get(&format!("/{number}")).await.echoed_by(), "app");
    }
    let first = proxy.access("/1").await.to_string();
    assert!(
        first.contains("\"canary-failed\":\"canary\"") && first.contains("\"canary\":\"app\""),
        "{first}"
    );
    let last = proxy.access("/10").await.to_string();
    assert!(
        !last.contains("canary-failed") && last.contains("\"canary\":\"app\""),
        "the circuit is open: {last}"
    );
    assert_eq!(proxy.send(post("/post")).await.echoed_by(), "app", "for all workers and requests");
    assert_eq!(proxy.ask("GET", "/", &[("x-canary", "canary")]).await.status, 503, "testers see it as it is");
}

#[tokio::test]
async fn without_a_store_a_dead_canary_costs_no_safe_request_either() {
    let stable = Upstream::echo("app").await;
    let gone = Upstream::absent().await;
    let proxy = split(&stable, &gone.to_string(), &ALL.replace("store = true", "")).start().await;
    for _ in 0..20 {
        assert_eq!(proxy.get("/").await.echoed_by(), "app");
    }
}

#[tokio::test]
async fn nobody_forges_a_choice() {
    let [stable, canary] = [Upstream::echo("app").await, Upstream::echo("canary").await];
    let settings = r#"
[secrets]
force = { file = "force" }
cookie = { file = "cookie" }

[config]
destinations = [{ to = "app", weight = 1000000 }, { to = "canary", weight = 0 }]
sticky = { by = "cookie" }
force = { header = "x-canary" }
"#;
    let proxy = split(&stable, &canary.server(), settings)
        .file("plugins/force", "a-secret-of-some-length\n")
        .file("plugins/cookie", "another-secret-of-some-length\n")
        .start()
        .await;
    let right = proxy.ask("GET", "/", &[("x-canary", "canary:a-secret-of-some-length")]).await;
    assert_eq!(right.echoed_by(), "canary");
    assert!(!right.text().contains("a-secret"), "the secret goes no further");
    for fields in [
        &[("x-canary", "canary")][..],
        &[("x-canary", "canary:a-secret")],
        &[("x-canary", "canary:a-secret-of-some-length"), ("x-canary", "canary")],
        &[("cookie", "canary=canary")],
        &[("cookie", "canary=canary.0000")],
        &[("x-canary", "default:../../x"), ("cookie", "canary=\"; canary=canary")],
    ] {
        assert_eq!(proxy.ask("GET", "/", fields).await.echoed_by(), "app", "{fields:?}");
    }
    let said = [proxy.log().all().join("\n"), proxy.access_log().all().join("\n")].concat();
    assert!(!said.contains("a-secret-of"), "a secret stands in a log");
}
