//! Live requests of which it is told what policies made of them, and what another chain would make of those.

use serde_json::{Value, json};
use tidegate_tests::{Ended, Proxy, Upstream, command, guest, stock, until};

const KEY: &str = "0123456789abcdef0123456789abcdef";

fn router(to: &str) -> String {
    format!("[config]\nrules = [{{ paths = [\"/a/**\"], to = \"{to}\" }}]")
}

async fn kept(proxy: &Proxy) -> Vec<Value> {
    let answer = proxy.admin("GET", "/api/v1/requests").await;
    let lines = String::from_utf8(answer.body.to_vec()).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The field that asks for such a request to be explained.
fn signed(proxy: &Proxy, url: &str) -> String {
    let key = proxy.folder().join("explain.key");
    let signed = Ended::of(command(&["explain", "GET", url, "--sign"]).arg(key));
    assert!(signed.status.success(), "{signed}");
    let value = signed.stdout.trim().strip_prefix("x-tidegate-explain: ").expect("a field");
    value.to_owned()
}

#[tokio::test]
async fn who_has_the_key_has_a_request_of_their_own_explained() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[explain]\nkey-file = \"explain.key\"\nhide = [\"x-secret\"]\n")
        .file("explain.key", format!("{KEY}\n"))
        .plugin(
            "10-access",
            stock("access-control"),
            "match = { paths = [\"/admin/**\"] }\n[config]\nrules = []",
        )
        .plugin("20-router", stock("router"), &router("app"))
        .workers(1)
        .start()
        .await;
    let field = signed(&proxy, "http://a.test/a/1");
    let ask = async |host: &str, value: &str| {
        let fields = [("host", host), ("x-tidegate-explain", value), ("cookie", "c=1"), ("x-secret", "s")];
        proxy.ask("GET", "/a/1", &fields).await
    };
    for _ in 0..2 {
        let answer = ask("a.test", &field).await;
        let id = answer.header("x-tidegate-explain").to_owned();
        assert!(answer.json()["headers"]["x-tidegate-explain"].is_null(), "no server sees it");
        let told = proxy.admin("GET", &format!("/api/v1/requests/{id}")).await;
        assert_eq!(told.status, 200);
    }
    let told = kept(&proxy).await;
    let [first, second] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(
        (&first["headers"]["cookie"], &first["headers"]["x-secret"]),
        (&json!(["(hidden)"]), &json!(["(hidden)"]))
    );
    assert_eq!(
        (&first["status"], &first["target"], &first["host"]),
        (&json!(200), &json!("/a/1"), &json!("a.test"))
    );
    let calls = |request: &Value| request["explained"].as_array().expect("a list").clone();
    assert_eq!(calls(first)[0]["verdict"], "not called: it is not about such requests");
    assert_eq!(calls(first)[1]["remembered"], false);
    let router = &calls(second)[1];
    assert_eq!((&router["policy"], &router["remembered"]), (&json!("20-router"), &json!(true)), "{router}");
    let seen =
        json!([{ "what": "match-path #0", "answer": "0" }, { "what": "route-to \"app\"", "answer": "done" }]);
    assert_eq!(router["seen"], seen);
    let id = second["id"].as_str().expect("an id");
    let told = proxy.admin("GET", &format!("/api/v1/requests/{id}")).await;
    let told = String::from_utf8(told.body.to_vec()).expect("UTF-8");
    for part in [
        "GET http://a.test/a/1\n",
        "x-secret: (hidden)",
        "20-router  request: next",
        "remembered)",
        "=> 200",
        "to app",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }

    // Others' requests are not, and nobody is told why.
    for (host, value) in [("b.test", field.as_str()), ("a.test", "1.2"), ("a.test", "")] {
        let answer = ask(host, value).await;
        assert_eq!((answer.status, answer.header("x-tidegate-explain")), (200, ""));
        assert!(answer.json()["headers"]["x-tidegate-explain"].is_null());
    }
    assert_eq!(kept(&proxy).await.len(), 2);
    assert_eq!(proxy.admin("GET", "/api/v1/requests/nothing").await.status, 404);

    // Another key holds from when the file is there.
    std::fs::write(proxy.folder().join("explain.key"), KEY.to_uppercase() + "x").expect("a file");
    until("the new key holds", async || {
        let field = signed(&proxy, "http://a.test/a/1");
        !ask("a.test", &field).await.header("x-tidegate-explain").is_empty()
    })
    .await;
    assert_eq!(ask("a.test", &field).await.header("x-tidegate-explain"), "");
}

#[tokio::test]
async fn a_share_is_kept_with_bodies_and_failures_and_replayed() {
    let (app, two) = (Upstream::echo("app").await, Upstream::echo("two").await);
    let proxy = Proxy::builder(&app)
        .upstream("two", &two)
        .section("[explain]\nshare = 100\nkeep = 3\n")
        .plugin("10-spin", guest("capabilities"), "on-error = \"skip\"")
        .plugin("20-router", stock("router"), &router("app"))
        .file("other/20-router.toml", router("two"))
        .file("other/20-router.wasm", stock("router"))
        .workers(1)
        .start()
        .await;
    for target in ["/a/0", "/a/1", "/spin", "/b"] {
        assert_eq!(proxy.ask("POST", target, &[("cookie", "c=1")]).await.status, 200);
    }
    until("all are kept", async || {
        kept(&proxy).await.last().is_some_and(|request| request["target"] == "/b")
    })
    .await;
    let told = kept(&proxy).await;
    let targets: Vec<_> = told.iter().map(|request| request["target"].as_str().expect("a text")).collect();
    assert_eq!(targets, ["/a/1", "/spin", "/b"]);
    assert_eq!(told[1]["explained"][0]["error"], "cpu", "{}", told[1]);

    let requests = proxy.admin("GET", "/api/v1/requests").await.body;
    let recorded = proxy.folder().join("requests.jsonl");
    std::fs::write(&recorded, &requests).expect("a file");
    // The one that serves spins in some requests, the other has no such policy.
    std::fs::remove_file(proxy.plugin_path("10-spin.wasm")).expect("it was there");
    std::fs::remove_file(proxy.plugin_path("10-spin.toml")).expect("it was there");
    let replay = |plugins: &str, requests: &std::path::Path| {
        let mut command = command(&["replay", "--plugins", plugins]);
        Ended::of(command.arg(requests).current_dir(proxy.folder()))
    };
    let same = replay("plugins", &recorded);
    assert_eq!(same.status.code(), Some(0), "{same}");
    assert!(same.stdout.contains("3 requests, 0 of them would be treated otherwise; 3 had fields"), "{same}");
    let other = replay("other", &recorded);
    assert_eq!(other.status.code(), Some(1), "{other}");
    assert!(other.stdout.contains("/a/1  (id "), "{other}");
    assert!(other.stdout.contains("route: \"app\", and the other \"two\""), "{other}");
    assert!(other.stdout.contains("3 requests, 1 of them"), "{other}");

    // Lines of the access log do as well.
    let access: String = ["/a/0", "/b"].iter().map(|target| {
        let line = json!({ "method": "GET", "scheme": "https", "host": "a.test", "target": target, "client": "192.0.2.1", "listener": "web", "user_agent": "x" });
        format!("{line}\n")
    }).collect();
    std::fs::write(&recorded, access + "{\"version\":\"TCP\"}\n").expect("a file");
    let other = replay("other", &recorded);
    assert!(other.stdout.contains("2 requests, 1 of them would be treated otherwise; 1 lines"), "{other}");
    std::fs::write(&recorded, "no JSON\n").expect("a file");
    assert!(replay("other", &recorded).stderr.contains("line 1: "));
}

#[tokio::test]
async fn mistakes_are_told_with_their_place() {
    let app = Upstream::echo("app").await;
    let check = |keys: &str| Proxy::builder(&app).section(keys).file("short.key", "short\n").check();
    for (keys, message) in [
        ("[explain]\n", "[explain] is about no requests"),
        ("[explain]\nshare = 101\n", "share"),
        ("[explain]\nkey-file = \"none.key\"\n", "cannot read"),
        ("[explain]\nkey-file = \"short.key\"\n", "at least 32 bytes"),
    ] {
        let checked = check(keys);
        assert_eq!(checked.status.code(), Some(1), "{checked}");
        assert!(checked.stdout.contains(message), "{message}: {checked}");
    }
    let signed = Ended::of(&mut command(&["explain", "GET", "/", "--sign", "/nothing/here"]));
    assert!(!signed.status.success() && signed.stderr.contains("/nothing/here: cannot read it"), "{signed}");
}
