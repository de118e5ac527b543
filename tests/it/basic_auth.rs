//! The stock policy `basic-auth`: who is right passes, who is wrong costs little, and files that protect nothing are refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tidegate_tests::{Answer, Builder, Proxy, Upstream, stock, until};

/// `secret`, as cheap as bcrypt gets, and at a cost that takes some 50 ms.
const CHEAP: &str = "$2b$04$FQ4PR9BXhB1AQ3bDx4VhdeT4SMKrLh2l/.53bqihMXRXeTvakz3Wa";
const DEAR: &str = "$2b$10$FQ4PR9BXhB1AQ3bDx4VhdeozuJGBRSZ0lA5fycCASIrcNkXDN6oT.";

const SETTINGS: &str = r#"
grants = { rate-limit = true }
[secrets]
users = { file = "users.htpasswd" }
[config]
rules = [{ paths = ["/health"], open = true }, { users = "users", realm = "lab" }]
"#;

fn guarded(upstream: &Upstream, settings: &str, users: &str) -> Builder {
    Proxy::builder(upstream)
        .plugin("10-auth", stock("basic-auth"), settings)
        .file("plugins/users.htpasswd", users)
        .top("trusted-proxies = [\"127.0.0.1\"]")
}

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

async fn ask(proxy: &Proxy, target: &str, pair: &str) -> Answer {
    proxy.ask("GET", target, &[("authorization", &basic(pair))]).await
}

#[tokio::test]
async fn servers_get_the_user_and_never_the_password() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, SETTINGS, &format!("alice:{CHEAP}\n")).start().await;
    let answer = proxy.get("/").await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"lab\", charset=\"UTF-8\"");
    for (target, forged) in [("/", "x-remote-user"), ("/", "x_remote_user"), ("/again", "X-Remote_User")] {
        let fields = [("authorization", &*basic("alice:secret")), (forged, "root")];
        let answer = proxy.ask("GET", target, &fields).await;
        let headers = &answer.json()["headers"];
        assert_eq!((answer.status, &headers["x-remote-user"]), (200, &json!("alice")), "{forged}");
        assert!(!answer.text().contains("root") && headers["authorization"].is_null(), "{headers}");
    }
    assert_eq!(proxy.access("/again").await["attributes"], json!({ "user": "alice" }));
    let answer = proxy.ask("GET", "/health", &[("x-remote-user", "alice")]).await;
    assert_eq!((answer.status, &answer.json()["headers"]["x-remote-user"]), (200, &json!(null)));
}

#[tokio::test]
async fn a_flood_of_wrong_passwords_is_not_hashed() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, SETTINGS, &format!("alice:{DEAR}\n")).start().await;
    let mut statuses = Vec::new();
    for number in 0..60 {
        statuses.push(ask(&proxy, "/flood", &format!("user{number}:guess")).await.status);
    }
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    // Ten at once, and one more for each six seconds that this took.
    assert!((10..=12).contains(&looked_at), "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 60 - looked_at);
    let answer = ask(&proxy, "/", "alice:secret").await;
    assert_eq!(answer.status, 429);
    assert!(
        answer.header("retry-after").parse::<u64>().is_ok_and(|wait| (1..=6).contains(&wait)),
        "{answer:?}"
    );
    let other = [("authorization", &*basic("alice:secret")), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(proxy.ask("GET", "/", &other).await.status, 200, "another client");
    assert_eq!(proxy.get("/health").await.status, 200);
    let lines = proxy.accesses("/flood", 60).await;
    let limited = lines.iter().filter(|line| line["attributes"] == json!({ "basic-auth": "limited" }));
    assert_eq!(limited.count(), 60 - looked_at);
    for line in lines {
        assert!(!line.to_string().contains("user1"), "a name may be a password in the wrong place: {line}");
    }
}

#[tokio::test]
async fn who_comes_while_too_many_are_checked_is_told_to_come_again() {
    let app = Upstream::echo("app").await;
    let settings = format!("limits = {{ waiting = 2 }}\n{SETTINGS}");
    let proxy = guarded(&app, &settings, &format!("alice:{DEAR}\n")).workers(1).start().await;
    let mut clients = Vec::new();
    for number in 0..12 {
        let mut client = proxy.raw().await;
        let (wrong, from) = (basic(&format!("alice:{number}")), format!("192.0.2.{number}"));
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-forwarded-for: {from}\r\n");
        client.send(format!("{head}authorization: {wrong}\r\n\r\n")).await;
        clients.push(client);
    }
    let mut busy = 0;
    for mut client in clients {
        let answer = client.read_to_end().await;
        if answer.starts_with("HTTP/1.1 503 ") {
            assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
            busy += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
    }
    assert!((1..12).contains(&busy), "{busy}");
    assert_eq!(proxy.plugin_state("10-auth", "serving").await["state"], "serving");
}

#[tokio::test]
async fn a_file_that_protects_nothing_changes_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, SETTINGS, &format!("alice:{CHEAP}\n")).start().await;
    let file = proxy.plugin_path("users.htpasswd");
    std::fs::write(&file, format!("alice:{CHEAP}\nbob:$apr1$salt$LhYKCM0KYMGmMuWUzRVQ0/\n"))
        .expect("writable");
    let line = proxy.log().wait(&["ERROR", "10-auth.toml:", "line 2 of the secret", "htpasswd -B"]).await;
    assert!(line.contains("rules[1].users") && !line.contains("LhYK"), "{line}");
    assert_eq!(ask(&proxy, "/", "alice:secret").await.status, 200, "the users there were");
    std::fs::write(&file, format!("bob:{CHEAP}\n")).expect("writable");
    until("bob is in", async || ask(&proxy, "/", "bob:secret").await.status == 200).await;
    assert_eq!(ask(&proxy, "/", "alice:secret").await.status, 401, "though it was right a moment ago");
}

#[tokio::test]
async fn without_the_grant_nobody_passes_and_it_is_said_why() {
    let app = Upstream::echo("app").await;
    let settings = SETTINGS.replace("grants = { rate-limit = true }", "");
    let proxy = guarded(&app, &settings, &format!("alice:{CHEAP}\n")).start().await;
    proxy.log().wait(&["ERROR", "10-auth.toml", "failures", "grants = { rate-limit = true }"]).await;
    assert_eq!(ask(&proxy, "/", "alice:secret").await.status, 503);
}

#[tokio::test]
async fn no_form_of_credentials_gets_past() {
    let app = Upstream::echo("app").await;
    let proxy = guarded(&app, SETTINGS, &format!("alice:{CHEAP}\n")).start().await;
    let right = basic("alice:secret");
    for fields in [
        format!("authorization: {right}\r\nauthorization: {right}\r\n"),
        format!("authorization: Bearer x\r\nAuthorization: {right}\r\n"),
        format!("authorization: {right}, {right}\r\n"),
        format!("proxy-authorization: {right}\r\n"),
        format!("authorization: {}\r\n", right.replace("Basic", "Digest")),
        "authorization: Basic \r\n".to_owned(),
        "authorization: Basic ====\r\n".to_owned(),
        format!("authorization: Basic {}\r\n", "A".repeat(15_000)),
    ] {
        let mut client = proxy.raw().await;
        client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")).await;
        assert!(client.read_to_end().await.starts_with("HTTP/1.1 401 "), "{fields}");
    }
    for mut client in proxy.both().await {
        for target in ["/x/../health/../", "//health/x", "/health%2fx", "/HEALTH"] {
            assert_eq!(client.get(target).await.status, 401, "{target}");
        }
    }
    assert!(app.requests().is_empty());
}
