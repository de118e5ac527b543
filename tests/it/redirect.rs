//! The stock policy `redirect`: where clients are sent, and where nobody can have them sent.

use tidegate_tests::{Authority, Builder, Proxy, TlsOptions, Upstream, empty, request_with, stock};

const SITE: &str = r#"
[config]
hosts = ["example.test", "*.example.test"]
https = { exempt = ["/health"] }
www = "remove"
aliases = { "example.net" = "example.test" }
rules = [
  { from = "/old/**", to = "/new/$1", status = 302 },
  { from = "/blog/*", to = "https://blog.example.test/$1", keep-query = false },
]
"#;

fn redirecting(upstream: &Upstream, config: &str) -> Builder {
    Proxy::builder(upstream).plugin("05-redirect", stock("redirect"), config)
}

#[tokio::test]
async fn clients_are_sent_to_https_and_to_one_name_at_once() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let certificate = authority.sign(&["example.test", "www.example.test"]);
    let proxy = redirecting(&app, SITE).tls_listener("secure", &certificate, "").start().await;
    // More than once, as the proxy remembers what pure policies decided.
    for _ in 0..3 {
        for (host, target, status, location) in [
            ("example.test", "/a?x=1", 308, "https://example.test/a?x=1"),
            ("www.example.test:8080", "/", 308, "https://example.test/"),
            ("a.example.test", "/", 308, "https://a.example.test/"),
            ("example.net", "/old/x?y", 302, "https://example.test/new/x?y"),
            ("example.test", "/blog/a?x", 308, "https://blog.example.test/a"),
            ("example.test", "/health", 200, ""),
            ("10.0.0.1", "/.well-known/acme-challenge/x", 200, ""),
        ] {
            let answer = proxy.ask("GET", target, &[("host", host)]).await;
            assert_eq!(answer.status, status, "{host}{target}");
            assert_eq!(answer.header("location"), location, "{host}{target}");
        }
    }
    let options = TlsOptions::new(&authority, "example.test");
    let mut client = proxy.tls("secure", &options).await.expect("a connection");
    for (host, target, location) in [
        ("example.test", "/a", ""),
        ("example.test", "/old/x", "/new/x"),
        ("www.example.test", "/a", "https://example.test/a"),
        ("evil.example", "/a", ""),
    ] {
        let request = request_with("GET", target, &[("host", host)]).body(empty()).expect("valid");
        assert_eq!(client.send(request).await.header("location"), location, "{host}{target}");
    }
}

#[tokio::test]
async fn a_load_balancer_that_is_trusted_says_what_the_client_used() {
    let app = Upstream::echo("app").await;
    let trusting = redirecting(&app, SITE).top("trusted-proxies = [\"127.0.0.1\"]").start().await;
    let stranger = redirecting(&app, SITE).start().await;
    let https = [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.7")];
    assert_eq!(trusting.ask("GET", "/", &https).await.status, 200);
    assert_eq!(trusting.ask("GET", "/", &[("forwarded", "for=192.0.2.7;proto=https")]).await.status, 200);
    assert_eq!(trusting.ask("GET", "/", &[("x-forwarded-proto", "http")]).await.status, 308);
    assert_eq!(stranger.ask("GET", "/", &https).await.status, 308, "what a stranger says is not believed");
}

#[tokio::test]
async fn nobody_has_others_sent_elsewhere() {
    let app = Upstream::echo("app").await;
    let proxy = redirecting(&app, SITE).start().await;
    for host in ["evil.example", "example.test.evil.example", "evilexample.test", "127.0.0.1", "[::1]"] {
        assert_eq!(proxy.ask("GET", "/", &[("host", host)]).await.status, 421, "{host}");
    }
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.0\r\n\r\n").await;
    assert!(raw.read_head().await.contains(" 421 "));
    let forwarded = [("x-forwarded-host", "evil.example")];
    assert_eq!(proxy.ask("GET", "/", &forwarded).await.header("location"), "https://example.test/");
    let slashes = redirecting(&app, "[config]\ntrailing-slash = \"remove\"").start().await;
    let answer = slashes.get("//evil.example/").await;
    assert_eq!((answer.status, answer.header("location")), (308, "/evil.example"));
}

#[tokio::test]
async fn a_redirect_that_cannot_be_meant_is_refused() {
    let app = Upstream::echo("app").await;
    let proxy = redirecting(&app, SITE).start().await;
    std::fs::write(proxy.plugin_path("05-redirect.toml"), "[config]\nhttps = true").expect("a writable file");
    proxy.log().wait(&["ERROR", "05-redirect.toml", "names no host"]).await;
    let answer = proxy.ask("GET", "/", &[("host", "example.test")]).await;
    assert_eq!(answer.status, 308, "the version before serves on");
}
