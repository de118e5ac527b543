//! The stock policy `cors`: what browsers are told about pages of others.

use http::Response;
use tidegate_tests::{Proxy, Upstream, body, stock};

const RULES: &str = r#"
[config]
rules = [
  { paths = ["/open/**"], allow-origins = ["*"] },
  { paths = ["/api/**"], allow-origins = ["https://*.example.com"], allow-methods = ["GET", "PUT"], allow-headers = ["x-a"], allow-credentials = true, max-age = 60 },
]
"#;

/// Allows everything by itself.
async fn lax() -> Upstream {
    Upstream::serve(|_: http::Request<_>| async move {
        Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-origin", "https://evil.example")
            .header("access-control-allow-credentials", "true")
            .header("vary", "accept")
            .body(body("secret"))
            .expect("a valid response")
    })
    .await
}

#[tokio::test]
async fn preflights_are_answered_before_anyone_asks_for_credentials() {
    let app = lax().await;
    let deny = "[config]\nrules = [{ deny = true }]\nstatus = 401";
    let proxy = Proxy::builder(&app)
        .plugin("08-cors", stock("cors"), RULES)
        .plugin("10-access", stock("access-control"), deny)
        .start()
        .await;
    for mut client in proxy.both().await {
        for (origin, status, allowed) in
            [("https://app.example.com", 204, "https://app.example.com"), ("https://evil.example", 403, "")]
        {
            let fields = [("origin", origin), ("access-control-request-method", "PUT")];
            let request = tidegate_tests::request_with("OPTIONS", "/api/x", &fields);
            let answer = client.send(request.body(tidegate_tests::empty()).expect("valid")).await;
            assert_eq!(answer.status, status, "{origin}");
            assert_eq!(answer.all("access-control-allow-origin"), allowed, "{origin}");
            assert_eq!(answer.header("access-control-max-age"), if status == 204 { "60" } else { "" });
        }
    }
    let denied = proxy.ask("GET", "/api/x", &[("origin", "https://app.example.com")]).await;
    assert_eq!(denied.status, 401);
    assert_eq!(
        denied.header("access-control-allow-origin"),
        "https://app.example.com",
        "the page may read it"
    );
    assert_eq!(app.requests().len(), 0);
}

#[tokio::test]
async fn responses_are_shared_with_those_who_are_allowed_and_nobody_else() {
    let app = lax().await;
    let proxy = Proxy::builder(&app).plugin("08-cors", stock("cors"), RULES).start().await;
    // More than once, as the proxy remembers what pure policies decided.
    for _ in 0..3 {
        for (target, fields, allowed, vary) in [
            (
                "/api/x",
                &[("origin", "https://app.example.com")][..],
                "https://app.example.com",
                "accept,origin",
            ),
            ("/api/x", &[("origin", "https://two.example.com")], "https://two.example.com", "accept,origin"),
            ("/api/x", &[("origin", "https://evil.example")], "", "accept,origin"),
            ("/api/x", &[], "", "accept,origin"),
            (
                "/api/x",
                &[("origin", "https://app.example.com"), ("origin", "https://evil.example")],
                "",
                "accept,origin",
            ),
            ("//api/x", &[("origin", "https://evil.example/.example.com")], "", "accept,origin"),
            ("/open/x", &[("origin", "https://evil.example")], "*", "accept"),
            ("/open/x", &[], "*", "accept"),
            ("/other", &[], "*,https://evil.example", "accept"),
        ] {
            let answer = proxy.ask("GET", target, fields).await;
            assert_eq!((answer.status, answer.text()), (200, "secret"), "{target} {fields:?}");
            assert_eq!(answer.all("access-control-allow-origin"), allowed, "{target} {fields:?}");
            assert_eq!(answer.all("vary"), vary, "{target} {fields:?}");
            let with = if allowed.starts_with("https") || target == "/other" { "true" } else { "" };
            assert_eq!(answer.all("access-control-allow-credentials"), with, "{target} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_page_may_read_that_the_server_is_gone() {
    let gone = Upstream::absent().await;
    let proxy = Proxy::with_app(&format!("servers = [\"{gone}\"]\nretries = 0"))
        .plugin("08-cors", stock("cors"), RULES)
        .start()
        .await;
    let answer = proxy.ask("GET", "/api/x", &[("origin", "https://app.example.com")]).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("access-control-allow-origin"), "https://app.example.com");
}

#[tokio::test]
async fn credentials_for_everyone_are_refused_at_their_key() {
    let app = lax().await;
    let config = "[config]\nrules = [{ allow-origins = [\"*\"], allow-credentials = true }]";
    let proxy = Proxy::builder(&app).plugin("08-cors", stock("cors"), config).start().await;
    let line = proxy.log().wait(&["ERROR", "08-cors.toml", "rules[0].allow-origins"]).await;
    assert!(line.contains("every page act for its visitors"), "{line}");
}
