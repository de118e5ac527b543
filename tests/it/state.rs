//! `[state]`: what policies share, with a real Redis behind two proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::{HeaderValue, Response};
use serde_json::{Value, json};
use tidegate_tests::{Ended, Proxy, Redis, Upstream, body, command, guest, until};

async fn proxy(redis: &Redis, app: &Upstream, settings: &str) -> Proxy {
    let settings = format!("grants = {{ store = true, rate-limit = true }}\n[config]\n{settings}");
    Proxy::builder(app)
        .section(&format!("[state]\nbackend = \"{}\"\ntimeout = \"2s\"\nstore-timeout = \"2s\"", redis.url()))
        .plugin("10-capable", guest("capabilities"), &settings)
        .start()
        .await
}

async fn told(proxy: &Proxy, target: &str) -> Value {
    proxy.get(target).await.json()
}

#[tokio::test]
async fn two_proxies_have_one_limit_and_one_store() {
    let Some(mut redis) = Redis::start().await else { return };
    let settings = "limit = 1\nburst = 9\nscope = \"shared\"";
    let app = Upstream::echo("app").await;
    let (one, two) = (proxy(&redis, &app, settings).await, proxy(&redis, &app, settings).await);
    for proxy in [&one, &two] {
        until("it is there", async || {
            proxy.admin("GET", "/api/v1/state").await.json()["reach"] == "reachable"
        })
        .await;
    }
    let mut allowed = 0;
    for _ in 0..15 {
        for proxy in [&one, &two] {
            let decision = told(proxy, "/limit?key=k").await;
            assert_eq!(decision["locally"], false, "{decision}");
            allowed += i32::from(decision["allowed"] == true);
        }
    }
    // Ten at once, and one more for each second that this took.
    assert!((10..=20).contains(&allowed), "{allowed}");
    assert_eq!(told(&one, "/store?do=set&key=k&value=shared").await, json!(true));
    assert_eq!(told(&two, "/store?key=k").await, json!("shared"));
    assert_eq!(told(&two, "/store?do=swap&key=k&expected=shared&value=new").await, json!(true));
    assert_eq!(told(&one, "/store?key=k").await, json!("new"));

    redis.kill();
    until("it decides by itself", async || told(&one, "/limit?key=other").await["locally"] == true).await;
    assert_eq!(told(&one, "/store?key=k").await, json!("the shared store cannot be reached"));
    let state = one.admin("GET", "/api/v1/state").await.json();
    assert_eq!(state["reach"], "unreachable", "{state}");
    assert!(state["last-error"]["error"].is_string(), "{state}");
    assert_eq!(one.get("/plain").await.status, 200);

    redis.resume().await;
    until("it is shared again", async || told(&one, "/limit?key=third").await["locally"] == false).await;
    assert_eq!(told(&one, "/store?do=set&key=k&value=again").await, json!(true));
}

#[tokio::test]
async fn what_counts_while_the_store_is_down_is_the_policys_choice() {
    let Some(mut redis) = Redis::start().await else { return };
    let app = Upstream::echo("app").await;
    for (when_down, allowed) in [("allow", json!(true)), ("deny", json!(false))] {
        let settings = format!("limit = 1\nscope = \"shared\"\nwhen_down = \"{when_down}\"");
        let proxy = proxy(&redis, &app, &settings).await;
        redis.kill();
        until("it decides by itself", async || told(&proxy, "/limit?key=k").await["locally"] == true).await;
        for _ in 0..3 {
            assert_eq!(told(&proxy, "/limit?key=k").await["allowed"], allowed);
        }
        redis.resume().await;
    }
}

#[tokio::test]
async fn a_purge_reaches_all_proxies_and_those_that_come_back() {
    let Some(mut redis) = Redis::start().await else { return };
    let count = Arc::new(AtomicUsize::new(0));
    let app = Upstream::serve(move |_| {
        let number = count.fetch_add(1, Relaxed) + 1;
        let mut response = Response::new(body(format!("response {number}")));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=600"));
        async { response }
    })
    .await;
    let url = redis.url();
    let kept = tempfile::tempdir().expect("a folder");
    let proxy = |name: &str| {
        let path = kept.path().join(name);
        Proxy::with_app(&format!("servers = [\"{}\"]\ncache = \"pages\"", app.server()))
            .section(&format!("[cache.pages]\ndisk = \"64MiB\"\npath = \"{}\"", path.display()))
            .section(&format!("[state]\nbackend = \"{}\"\nstore-timeout = \"2s\"", url))
    };
    let (one, mut two) = (proxy("one").start().await, proxy("two").start().await);
    // Until then it is not known what was purged before.
    for proxy in [&one, &two] {
        proxy.log().wait(&["what other proxies purged before is not known"]).await;
    }
    for (proxy, text) in [(&one, "response 1"), (&two, "response 2")] {
        proxy.get("/").await.assert_is(200, text);
        proxy.get("/").await.assert_is(200, text);
    }
    let purge = || {
        let admin = one.address("admin").to_string();
        Ended::of(&mut command(&["cache", "purge", "--all", "--admin", &admin]))
    };
    let purged = purge();
    assert_eq!(purged.stdout, "1 purged; other proxies do the same within a second\n", "{purged}");
    until("it is purged there, too", async || two.get("/").await.text() != "response 2").await;

    // One that is away learns of it when it is back.
    let text = two.get("/").await.text().to_owned();
    two.signal(rustix::process::Signal::TERM);
    two.ended().await;
    assert!(purge().status.success());
    let two = proxy("two").start().await;
    until("it learns of it", async || two.get("/").await.text() != text).await;

    // What the state has lost, nobody knows.
    let text = two.get("/").await.text().to_owned();
    until("it is kept again", async || two.get("/").await.text() == text).await;
    redis.kill();
    redis.resume().await;
    until("everything is stale", async || two.get("/").await.text() != text).await;
}
