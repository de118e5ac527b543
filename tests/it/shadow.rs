//! Policies that run beside the chain and decide nothing.

use serde_json::json;
use tidegate_tests::{Proxy, Upstream, guest, stock, until};

fn router(to: &str) -> String {
    format!("[config]\nrules = [{{ paths = [\"/a/**\"], to = \"{to}\" }}]")
}

#[tokio::test]
async fn a_next_version_is_compared_and_then_promoted() {
    let (app, two) = (Upstream::echo("app").await, Upstream::echo("two").await);
    let shadow = "shadow-share = 100\n[config]\nrules = [{ paths = [\"/a/x/**\"], to = \"two\" }, { paths = [\"/a/**\"], to = \"app\" }]";
    let proxy = Proxy::builder(&app)
        .upstream("two", &two)
        .plugin("10-router", stock("router"), &router("app"))
        .plugin("10-router.shadow", stock("router"), shadow)
        .start()
        .await;
    for path in ["/a/x/1", "/a/2", "/b", "/a/x/3"] {
        assert_eq!(proxy.get(path).await.echoed_by(), "app", "the shadow decides nothing");
    }
    until("all are compared", async || shadow_of(&proxy).await["compared"] == 4).await;
    let report = shadow_of(&proxy).await;
    assert_eq!(
        (&report["of"], &report["differed"], &report["failed"]),
        (&json!("10-router"), &json!(2), &json!(0))
    );
    let [first, second] = report["last"].as_array().expect("a list").as_slice() else { panic!("{report}") };
    assert_eq!(first["differences"], json!(["route: \"app\", and the shadow \"two\""]));
    assert!(second["request"].as_str().is_some_and(|request| request.ends_with("/a/x/3")), "{second}");
    let counted = proxy.admin("GET", "/metrics").await.text().to_owned();
    for (name, count) in [("requests", 4), ("differences", 2), ("failures", 0), ("left_out", 0)] {
        let series = format!("tidegate_shadow_{name}_total{{policy=\"10-router.shadow\"}} {count}\n");
        assert!(counted.contains(&series), "{series}");
    }
    proxy.log().wait(&["INFO", "shadow", "policy=10-router.shadow", "and the shadow \"two\""]).await;

    let plugin = |file| proxy.plugin_path(file);
    std::fs::rename(plugin("10-router.shadow.toml"), plugin("10-router.toml")).expect("a rename");
    std::fs::rename(plugin("10-router.shadow.wasm"), plugin("10-router.wasm")).expect("a rename");
    until("it serves", async || proxy.get("/a/x/1").await.echoed_by() == "two").await;
    assert_eq!(proxy.get("/a/2").await.echoed_by(), "app");
    until("the shadow is gone", async || proxy.plugin("10-router.shadow").await.is_none()).await;
}

async fn shadow_of(proxy: &Proxy) -> serde_json::Value {
    proxy.plugin_state("10-router.shadow", "serving").await["shadow"].clone()
}

#[tokio::test]
async fn a_shadow_has_the_settings_of_its_policy_unless_it_has_its_own() {
    let (app, two) = (Upstream::echo("app").await, Upstream::echo("two").await);
    let proxy = Proxy::builder(&app)
        .upstream("two", &two)
        .plugin("10-router", stock("router"), &router("two"))
        .plugin("10-router.shadow", stock("router"), "")
        .start()
        .await;
    assert_eq!(proxy.get("/a/1").await.echoed_by(), "two");
    until("it is compared", async || shadow_of(&proxy).await["compared"] == 1).await;
    assert_eq!(shadow_of(&proxy).await["differed"], 0);
}

#[tokio::test]
async fn a_shadow_that_crashes_or_cannot_be_loaded_harms_nobody() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .plugin("10-alone", stock("access-control"), "shadow = true\n[config]\nrules = [{ deny = true }]")
        .plugin("20-spin", guest("capabilities"), "shadow = true")
        .plugin("30-broken.shadow", b"broken".to_vec(), "")
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(proxy.get("/spin").await.echoed_by(), "app");
    }
    let report = async |name: &str| proxy.plugin_state(name, "serving").await["shadow"].clone();
    until("both have looked", async || {
        let spin = report("20-spin").await;
        // It rests after a call that took so long.
        let number = |key: &str| spin[key].as_u64().expect("a number");
        report("10-alone").await["differed"] == 3 && number("failed") + number("left_out") == 3
    })
    .await;
    let alone = report("10-alone").await;
    let expected = json!([
        "verdict: \"next\", and the shadow \"respond\"",
        "response: \"\", and the shadow \"403 Forbidden\""
    ]);
    assert_eq!(alone["last"][0]["differences"], expected);
    proxy.plugin_state("30-broken.shadow", "refused").await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_shadow_sees_its_share() {
    let app = Upstream::echo("app").await;
    let settings = "shadow = true\nshadow-share = 10\n[config]\nrules = [{ deny = true }]";
    let proxy =
        Proxy::builder(&app).plugin("10-a", stock("access-control"), settings).workers(1).start().await;
    let mut client = proxy.http1().await;
    for _ in 0..200 {
        let request = tidegate_tests::request("GET", "/").body(tidegate_tests::empty()).expect("valid");
        assert_eq!(client.send(request).await.status, 200);
    }
    // On connections of their own as well.
    for _ in 0..100 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    let seen = async || {
        let shadow = proxy.plugin_state("10-a", "serving").await["shadow"].clone();
        let number = |key: &str| shadow[key].as_u64().expect("a number");
        number("compared") + number("left_out")
    };
    until("its share is compared", async || seen().await >= 30).await;
    assert_eq!(seen().await, 30);
}
