//! The stock policy `api-key`: a key passes under its name, goes no further, and can be changed while the proxy serves.

use serde_json::json;
use sha2::{Digest, Sha256};
use tidegate_tests::{Builder, Proxy, Upstream, stock, until};

const ALICE: &str = "alice-0123456789abcdef";
const OPS: &str = "ops-0123456789abcdef";

const SETTINGS: &str = r#"
[secrets]
keys = { file = "keys.txt" }
[config]
from = ["header:x-api-key", "query:api_key", "cookie:key"]
rules = [
  { paths = ["/health"], open = true },
  { paths = ["/admin/**"], keys = "keys", allow = ["ops"] },
  { keys = "keys" },
]
"#;

/// Of `ops` the proxy has the digest alone.
fn list() -> String {
    let digest = Sha256::digest(OPS).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    format!("# ours\nalice:{ALICE}\nops:sha256:{digest}\n")
}

fn guarded(upstream: &Upstream, keys: &str) -> Builder {
    Proxy::builder(upstream).plugin("10-key", stock("api-key"), SETTINGS).file("plugins/keys.txt", keys)
}

#[tokio::test]
async fn servers_get_the_name_and_never_the_key() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, &list()).start().await;
    for (target, field, value, seen) in [
        ("/a?x=1", "x-api-key", ALICE.to_owned(), "/a?x=1"),
        (&*format!("/b?x=%20&api_key={ALICE}&y"), "x-a", "1".to_owned(), "/b?x=%20&y"),
        (&format!("/c?api%5Fkey={ALICE}"), "x-a", "1".to_owned(), "/c"),
        ("/d", "cookie", format!("a=1; key={ALICE}; b=2"), "/d"),
    ] {
        // More than once, as the proxy remembers what policies decided.
        for _ in 0..3 {
            let fields = [(field, &*value), ("x-api-key-name", "ops"), ("x_api_key_name", "ops")];
            let answer = proxy.ask("GET", target, &fields).await;
            assert_eq!(answer.status, 200, "{target}");
            assert_eq!(answer.json()["target"], seen);
            assert_eq!(answer.json()["headers"]["x-api-key-name"], "alice");
            assert!(!answer.text().contains(ALICE) && !answer.text().contains("ops"), "{}", answer.text());
        }
    }
    let answer = proxy.ask("GET", "/admin", &[("x-api-key", OPS)]).await;
    assert_eq!(answer.json()["headers"]["x-api-key-name"], "ops");
    assert_eq!(proxy.access("/admin").await["attributes"], json!({ "api-key": "ops" }));
    let answer = proxy.ask("GET", "/health", &[("x-api-key-name", "ops")]).await;
    assert_eq!(answer.json()["headers"]["x-api-key-name"], json!(null));
}

#[tokio::test]
async fn no_trick_passes_for_a_key() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, &list()).start().await;
    let answer = proxy.get("/").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "ApiKey realm=\"api\""));
    for (target, fields) in [
        ("/", format!("x-api-key: {ALICE}\r\nx-api-key: {ALICE}\r\n")),
        ("/", format!("x-api-key: x\r\nX-Api-Key: {ALICE}\r\n")),
        ("/", format!("x-api-key: {ALICE}\r\ncookie: key={ALICE}\r\n")),
        ("/", format!("cookie: key=x\r\ncookie: key={ALICE}\r\n")),
        ("/", format!("authorization: Bearer {ALICE}\r\n")),
        ("/", format!("x-api-key: {}\r\n", "x".repeat(20_000))),
        ("/", format!("x-api-key: {}\r\n", list().lines().last().expect("a line"))),
        ("/", "x-api-key-name: alice\r\n".to_owned()),
        (&format!("/?api_key={ALICE}&api_key={ALICE}"), String::new()),
        (&format!("/?api_key=x&%61pi_key={ALICE}"), String::new()),
    ] {
        let mut client = proxy.raw().await;
        let head = format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n");
        client.send(format!("{head}{fields}\r\n")).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 401 "), "{target} {fields}");
    }
    for target in ["/admin", "//admin/x", "/x/../%61dmin/", "/health/../admin"] {
        assert_eq!(proxy.ask("GET", target, &[("x-api-key", ALICE)]).await.status, 403, "{target}");
    }
    assert!(app.requests().is_empty());
}

#[tokio::test]
async fn keys_change_while_it_serves_and_a_broken_list_changes_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, &list()).start().await;
    let status = async |key: &str| proxy.ask("GET", "/", &[("x-api-key", key)]).await.status;
    assert_eq!(status(ALICE).await, 200);
    let new = ALICE.replace("0123", "4567");
    std::fs::write(proxy.plugin_path("keys.txt"), list().replace(ALICE, &new)).expect("writable");
    until("the new key passes", async || status(&new).await == 200).await;
    assert_eq!(status(ALICE).await, 401);
    std::fs::write(proxy.plugin_path("keys.txt"), "alice:short\n").expect("writable");
    let line = proxy.log().wait(&["ERROR", "10-key.toml:", "rules[1].keys", "line 1 of the secret"]).await;
    assert!(!line.contains("alice"), "{line}");
    assert_eq!(status(&new).await, 200);
    let plugins = proxy.admin("GET", "/api/v1/plugins").await.text().to_owned();
    assert!(!plugins.contains(&new), "{plugins}");
    assert_eq!(proxy.log().count(&new), 0);
}
