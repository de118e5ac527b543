//! The stock policy `security-headers`: what browsers are told, whoever made the response.

use http::Response;
use tidegate_tests::{Authority, Proxy, TlsOptions, Upstream, body, empty, request_with, stock};

const STRICT: &str = r#"
[config]
rules = [{ paths = ["/embed/**"], set = { x-frame-options = false } }]

[config.set]
content-security-policy = "script-src 'nonce-{nonce}'"
"#;

/// Says what nonce it was told, and a few things that it had better not.
async fn chatty() -> Upstream {
    Upstream::serve(|request: http::Request<_>| async move {
        let nonces: Vec<_> = request
            .headers()
            .get_all("x-csp-nonce")
            .iter()
            .map(|value| value.to_str().expect("text"))
            .collect();
        Response::builder()
            .header("server", "Chatty/1.2.3")
            .header("x-powered-by", "Talk")
            .header("x-frame-options", "ALLOWALL")
            .header("x-frame-options", "DENY")
            .body(body(nonces.join(",")))
            .expect("a valid response")
    })
    .await
}

#[tokio::test]
async fn every_response_is_protected_whoever_made_it() {
    let app = chatty().await;
    let gone = Upstream::absent().await;
    let authority = Authority::new();
    let access = "[config]\nrules = [{ paths = [\"/admin/**\"], deny = true }]";
    let router = "[config]\nrules = [{ paths = [\"/gone\"], to = \"gone\" }]";
    let proxy = Proxy::builder(&app)
        .tls_listener("secure", &authority.sign(&["example.test"]), "")
        .section(&format!("[upstream.gone]\nservers = [\"{gone}\"]\nretries = 0"))
        .plugin("00-security-headers", stock("security-headers"), "")
        .plugin("10-access", stock("access-control"), access)
        .plugin("30-router", stock("router"), router)
        .start()
        .await;
    let mut client =
        proxy.tls("secure", &TlsOptions::new(&authority, "example.test")).await.expect("a connection");
    // More than once, as the proxy remembers what pure policies decided.
    for _ in 0..3 {
        for (target, status) in [("/", 200), ("/admin/x", 403), ("/gone", 503)] {
            let secure = client
                .send(request_with("GET", target, &[("host", "example.test")]).body(empty()).expect("valid"))
                .await;
            let clear = proxy.get(target).await;
            assert_eq!((secure.status, clear.status), (status, status), "{target}");
            assert_eq!(secure.header("strict-transport-security"), "max-age=31536000", "{target}");
            assert_eq!(clear.header("strict-transport-security"), "", "{target}: clear text");
            for answer in [secure, clear] {
                assert_eq!(answer.all("x-frame-options"), "SAMEORIGIN", "{target}");
                assert_eq!(answer.header("x-content-type-options"), "nosniff", "{target}");
                assert_eq!(answer.header("server"), "", "{target}");
                assert_eq!(answer.header("x-powered-by"), "", "{target}");
            }
        }
    }
}

#[tokio::test]
async fn the_nonce_is_the_proxys_however_often_a_client_sends_one() {
    let app = chatty().await;
    let proxy =
        Proxy::builder(&app).plugin("00-security-headers", stock("security-headers"), STRICT).start().await;
    let mut seen = std::collections::BTreeSet::new();
    for fields in [&[][..], &[("x-csp-nonce", "mine"), ("X-Csp-Nonce", "mine,mine")]].repeat(5) {
        let answer = proxy.ask("GET", "/embed/x", fields).await;
        let nonce = answer.text().to_owned();
        assert_eq!(nonce.len(), 22, "{nonce}");
        assert_eq!(answer.all("content-security-policy"), format!("script-src 'nonce-{nonce}'"));
        assert_eq!(answer.all("x-frame-options"), "ALLOWALL,DENY", "the rule leaves it to the server");
        assert!(seen.insert(nonce), "a nonce came twice");
    }
}

#[tokio::test]
async fn a_value_that_browsers_would_ignore_is_refused_at_its_key() {
    let app = chatty().await;
    let proxy =
        Proxy::builder(&app).plugin("00-security-headers", stock("security-headers"), STRICT).start().await;
    let wrong = "[config]\nset = { x-frame-options = \"ALLOW-FROM https://a.example\" }";
    std::fs::write(proxy.plugin_path("00-security-headers.toml"), wrong).expect("a writable file");
    proxy.log().wait(&["ERROR", "00-security-headers.toml:2:", "set.x-frame-options"]).await;
    assert!(proxy.get("/").await.header("content-security-policy").contains("nonce-"), "it serves on");
}
