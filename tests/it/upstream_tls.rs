//! TLS towards servers: whom the proxy trusts, which name it asks for, what it shows of itself.

use serde_json::Value;
use sha2::{Digest, Sha256};
use tidegate_tests::{Authority, Builder, Leaf, Proxy, Speech, Upstream, body, empty, guest, request};

const HTTP1: &[&str] = &["http/1.1"];

async fn secure(leaf: &Leaf) -> Upstream {
    Upstream::builder().speaking(Speech::tls(leaf, HTTP1)).echo("app").await
}

/// In front of the server under this host, trusting the authority in `ca.pem`.
fn trusting(authority: &Authority, host: &str, upstream: &Upstream, tls: &str) -> Builder {
    let port = upstream.address().port();
    let lines = format!("servers = [\"{host}:{port}\"]\ntls = {{ ca = \"ca.pem\"{tls} }}");
    Proxy::with_app(&lines).file("ca.pem", authority.pem())
}

/// The proxy does not talk to the server: the client gets 502 or 503, and both logs say why.
async fn assert_refused(proxy: &Proxy, upstream: &Upstream, what: &str) {
    let answer = proxy.get("/refused").await;
    assert!(matches!(answer.status, 502 | 503), "{what}: {answer:?}");
    let line = proxy.access("/refused").await;
    assert!(line["failure"].as_str().is_some_and(|failure| !failure.is_empty()), "{what}: {line}");
    assert!(upstream.requests().is_empty(), "{what}");
    proxy.log().wait(&["WARN", &upstream.address().port().to_string()]).await;
}

#[tokio::test]
async fn a_server_whose_authority_is_trusted_is_talked_to() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["localhost"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    let seen = app.only_request().tls.expect("TLS");
    assert_eq!(seen.server_name.as_deref(), Some("localhost"));
    assert_eq!(seen.certificate, None);
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let app = secure(&stranger.sign(&["localhost"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    assert_refused(&proxy, &app, "another authority").await;

    // The system's authorities have not signed the certificate either.
    let lines = format!("servers = [\"localhost:{}\"]\ntls = true", app.address().port());
    let proxy = Proxy::with_app(&lines).start().await;
    assert_refused(&proxy, &app, "the system's authorities").await;
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["other.test"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    assert_refused(&proxy, &app, "another name").await;
    let proxy = trusting(&authority, "127.0.0.1", &app, "").start().await;
    assert_refused(&proxy, &app, "no address").await;
}

#[tokio::test]
async fn a_server_in_clear_text_is_refused() {
    let authority = Authority::new();
    let app = Upstream::echo("app").await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    assert_refused(&proxy, &app, "clear text").await;
}

#[tokio::test]
async fn another_server_name_can_be_asked_for() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["app.internal"])).await;
    for host in ["127.0.0.1", "localhost"] {
        let proxy = trusting(&authority, host, &app, ", server-name = \"app.internal\"").start().await;
        assert_eq!(proxy.get("/").await.status, 200, "{host}");
    }
    for request in app.requests() {
        assert_eq!(request.tls.expect("TLS").server_name.as_deref(), Some("app.internal"));
        assert_eq!(request.headers["host"], "example.test", "the name is of the connection alone");
    }
}

#[tokio::test]
async fn a_certificate_can_name_an_address() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["127.0.0.1"])).await;
    let proxy = trusting(&authority, "127.0.0.1", &app, "").start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    let seen = app.only_request().tls.expect("TLS");
    assert_eq!(seen.server_name, None, "an address is not sent (RFC 6066 §3)");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (leaf, own) = (authority.sign(&["localhost"]), clients.sign(&["proxy.test"]));
    let app = Upstream::builder().speaking(Speech::tls_for(&leaf, HTTP1, &clients)).echo("app").await;
    let show = ", client-certificate = { chain = \"own.pem\", key = \"own.key\" }";
    let proxy = trusting(&authority, "localhost", &app, show).certificate("own", &own).start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    assert_eq!(app.only_request().tls.expect("TLS").certificate, Some(own.der()));

    let app = Upstream::builder().speaking(Speech::tls_for(&leaf, HTTP1, &clients)).echo("app").await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    let answer = proxy.get("/without").await;
    assert!(matches!(answer.status, 502 | 503), "{answer:?}");
    assert_ne!(proxy.access("/without").await["failure"], Value::Null);
}

#[tokio::test]
async fn connections_over_tls_are_kept() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["localhost"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    let mut client = proxy.http1().await;
    for _ in 0..10 {
        assert_eq!(client.get("/").await.status, 200);
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn a_server_that_is_refused_is_not_what_another_is() {
    // The proxy sends nothing to the server whose certificate is wrong, so it may ask the other one.
    let (authority, stranger) = (Authority::new(), Authority::new());
    let wrong = secure(&stranger.sign(&["localhost"])).await;
    let right = secure(&authority.sign(&["localhost"])).await;
    let lines = format!(
        "servers = [\"localhost:{}\", \"localhost:{}\"]\ntls = {{ ca = \"ca.pem\" }}",
        wrong.address().port(),
        right.address().port()
    );
    let proxy = Proxy::with_app(&lines).file("ca.pem", authority.pem()).start().await;
    for _ in 0..6 {
        let post = request("POST", "/").body(body("kept")).expect("valid");
        assert_eq!(proxy.send(post).await.status, 200);
    }
    assert!(wrong.requests().is_empty());
}

#[tokio::test]
async fn what_the_failure_is_called_reaches_policies() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let app = secure(&stranger.sign(&["localhost"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").plugin("1", guest("observer"), "").start().await;
    let answer = proxy.send(request("GET", "/x").body(empty()).expect("valid")).await;
    let line = proxy.access("/x").await;
    assert_eq!(answer.header("x-saw-failure"), line["failure"].as_str().expect("a name"));
}

#[tokio::test]
async fn a_server_may_be_known_by_its_certificate_alone() {
    let stranger = Authority::new();
    let leaf = stranger.sign(&["other.test"]);
    let app = secure(&leaf).await;
    let digest: [u8; 32] = Sha256::digest(leaf.der()).into();
    let fingerprint = digest.map(|byte| format!("{byte:02X}")).join(":");
    let with = |tls: &str| {
        let lines = format!("servers = [\"127.0.0.1:{}\"]\ntls = {{ {tls} }}", app.address().port());
        Proxy::with_app(&lines)
    };
    let proxy = with(&format!("fingerprints = [\"{fingerprint}\"]")).start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    let proxy = with("verify = false").start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    proxy.log().wait(&["WARN", "tls.verify = false"]).await;
    let other = format!("fingerprints = [\"{}\"]", "00".repeat(32));
    let proxy = with(&other).start().await;
    assert!(matches!(proxy.get("/").await.status, 502 | 503));
    proxy.log().wait(&["is none of tls.fingerprints", &fingerprint.to_ascii_lowercase()]).await;
    assert_eq!(app.requests().len(), 2);
}

#[tokio::test]
async fn the_log_says_what_to_do_about_a_certificate() {
    let authority = Authority::new();
    let app = secure(&authority.sign(&["other.test"])).await;
    let proxy = trusting(&authority, "localhost", &app, "").start().await;
    proxy.get("/").await;
    proxy.log().wait(&["write one of them as tls.server-name"]).await;
    let lines = format!("servers = [\"localhost:{}\"]\ntls = true", app.address().port());
    let proxy = Proxy::with_app(&lines).start().await;
    proxy.get("/").await;
    proxy.log().wait(&["name the authority with tls.ca"]).await;
    let clear = Upstream::echo("app").await;
    let proxy = trusting(&authority, "localhost", &clear, "").start().await;
    proxy.get("/").await;
    proxy.log().wait(&["does not seem to speak TLS"]).await;
}
