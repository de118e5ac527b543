//! The stock policies together, as the demo and the benchmark run them.

use tidegate_tests::{Proxy, Upstream, stock};

const ROUTER: &str = r#"
[config]
rules = [
  { paths = ["/images/**"], to = "images" },
  { hosts = ["api.test"], methods = ["POST"], to = "api" },
  { headers = { x-canary = "yes" }, to = "api" },
  { user-agents = ["Mobile"], to = "images" },
]
"#;

const ACCESS: &str = r#"
[config]
rules = [
  { paths = ["/admin/**"], allow = ["10.0.0.0/8"] },
  { user-agents = ["EvilBot"], deny = true },
]
"#;

const REWRITE: &str = r#"
[config]
rules = [
  { path = "^/old/(.*)$", to = "/new/$1" },
  { path = "^/go/(.*)$", redirect = "https://example.com/$1", status = 301 },
]
request-headers = { set = { x-edge = "tidegate" }, remove = ["x-secret"] }
response-headers = { set = { x-frame-options = "DENY" }, remove = ["x-powered-by"] }
"#;

#[tokio::test]
async fn the_three_decide_together() {
    let [app, images, api] =
        [Upstream::echo("app").await, Upstream::echo("images").await, Upstream::echo("api").await];
    let proxy = Proxy::builder(&app)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .upstream("images", &images)
        .upstream("api", &api)
        .plugin("10-access", stock("access-control"), ACCESS)
        .plugin("20-rewrite", stock("rewrite"), REWRITE)
        .plugin("30-router", stock("router"), ROUTER)
        .start()
        .await;

    // More than once, and on both workers, as the proxy remembers what policies decided.
    let cases = [
        ("no rule", "GET", "/", &[][..], "app"),
        ("a path", "GET", "/images/a.png", &[], "images"),
        ("a path in disguise", "GET", "/x/..//%69mages/a.png", &[], "images"),
        ("a host and a method", "POST", "/", &[("host", "api.test")], "api"),
        ("a host and another method", "GET", "/", &[("host", "api.test")], "app"),
        ("a header", "GET", "/", &[("x-canary", "yes")], "api"),
        ("a browser", "GET", "/", &[("user-agent", "Some Mobile/1.0")], "images"),
        ("an allowed client", "GET", "/admin/x", &[("x-forwarded-for", "10.1.2.3")], "app"),
    ];
    for (what, method, target, fields, upstream) in cases.into_iter().cycle().take(6 * cases.len()) {
        let answer = proxy.ask(method, target, fields).await;
        assert_eq!(answer.status, 200, "{what}");
        assert_eq!(answer.json()["upstream"], upstream, "{what}");
        assert_eq!(answer.json()["headers"]["x-edge"], "tidegate", "{what}");
        assert_eq!(answer.header("x-frame-options"), "DENY", "{what}");
    }
    for (what, target, fields) in [
        ("another client", "/admin/x", &[("x-forwarded-for", "11.1.2.3")][..]),
        ("the directory itself", "/admin", &[]),
        ("a path in disguise", "/%61dmin/x", &[]),
        ("dots", "/images/../admin/x", &[]),
        ("two slashes", "//admin//x", &[]),
        ("a bot", "/", &[("user-agent", "Mozilla EvilBot/2.0")]),
    ] {
        assert_eq!(proxy.ask("GET", target, fields).await.status, 403, "{what}");
    }
    let rewritten = proxy.ask("GET", "/old/a/b?q=1", &[("x-secret", "1")]).await.json();
    assert_eq!(rewritten["target"], "/new/a/b?q=1");
    assert_eq!(rewritten["headers"]["x-secret"], serde_json::Value::Null);
    let redirect = proxy.ask("GET", "/go/there", &[]).await;
    assert_eq!(redirect.status, 301);
    assert_eq!(redirect.header("location"), "https://example.com/there");
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_at_its_key() {
    let app = Upstream::echo("app").await;
    for (policy, config, place) in [
        ("router", "[config]\nrules = [{ path = [\"/x\"], to = \"app\" }]", "rules[0]"),
        ("router", "[config]\nrules = [{ paths = [\"/x\"] }]", "rules[0]"),
        ("access-control", "[config]\nrules = [{ allow = [\"10.0.0.0/40\"] }]", "rules[0].allow"),
        ("access-control", "[config]\nrules = [{ deny = true }]\nstatus = \"no\"", "status"),
        ("rewrite", "[config]\nrules = [{ path = \"(\", to = \"/x\" }]", "rules[0].path"),
    ] {
        let proxy = Proxy::builder(&app).plugin("1-policy", stock(policy), config).start().await;
        let line = proxy.log().wait(&["ERROR", "1-policy.toml", place]).await;
        assert!(line.contains("1-policy.toml:"), "with line and column: {line}");
        let plugin = proxy.plugin_state("1-policy", "refused").await;
        assert!(plugin["error"].as_str().is_some_and(|error| error.contains(place)), "{plugin}");
        assert_eq!(proxy.get("/").await.status, 503, "{policy}: no version of it decides");
    }
}

#[tokio::test]
async fn each_describes_its_configuration() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .plugin("access-control", stock("access-control"), ACCESS)
        .plugin("rewrite", stock("rewrite"), REWRITE)
        .plugin("router", stock("router"), "[config]\nrules = []")
        .start()
        .await;
    for name in ["access-control", "rewrite", "router"] {
        let plugin = proxy.plugin(name).await.expect("an entry");
        let schema = plugin["description"]["config-schema"].as_str().expect("a schema");
        let schema: serde_json::Value = serde_json::from_str(schema).expect("JSON");
        assert!(schema["properties"]["rules"].is_object(), "{name}: {schema}");
        assert_eq!(plugin["description"]["name"], name);
    }
}

#[tokio::test]
async fn no_spelling_brings_a_dot_segment_through_a_rewrite() {
    let app = Upstream::echo("app").await;
    let deny = "[config]\nrules = [{ paths = [\"/app/admin/**\", \"/admin/**\"], deny = true }]";
    let rewrite = "[config]\nrules = [\n\
        { path = '^/public/(.*)$', to = '/app/public/$1' },\n\
        { path = '^/u/([^/]*)/([^/]*)/(.*)$', to = '/$1$2/$3' },\n]";
    let proxy = Proxy::builder(&app)
        .section("[limits]\nambiguous-paths = \"pass\"")
        .plugin("10-access", stock("access-control"), deny)
        .plugin("20-rewrite", stock("rewrite"), rewrite)
        .start()
        .await;
    for (asked, got) in [
        ("/public/%%32%65%%32%65/admin/x", "/app/public/%252e%252e/admin/x"),
        ("/public/%%36%31dmin", "/app/public/%2561dmin"),
        ("/u/%/2e/admin/x", "/%252e/admin/x"),
    ] {
        let answer = proxy.get(asked).await;
        assert_eq!(answer.json()["target"], got, "{asked}");
    }
}
