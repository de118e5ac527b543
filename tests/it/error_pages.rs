//! The stock policy `error-pages`: who sees what when something goes wrong.

use http::Response;
use hyper::body::Incoming;
use tidegate_tests::{Builder, Proxy, Upstream, body, stock};

const BROWSER: [(&str, &str); 2] = [("accept", "text/html,*/*;q=0.8"), ("sec-fetch-mode", "navigate")];

/// Fails in several ways.
async fn failing() -> Upstream {
    Upstream::serve(|request: http::Request<Incoming>| async move {
        let failed = |status: u16| Response::builder().status(status).header("x-kept", "1");
        let answer = match request.uri().path() {
            "/bare" => failed(500).header("retry-after", "7").header("etag", "\"x\"").body(body("")),
            "/api" => failed(422).header("content-type", "application/json").body(body("{\"mine\":1}")),
            "/login" => {
                failed(401).header("www-authenticate", "Basic").header("set-cookie", "a=1").body(body(""))
            }
            _ => Response::builder().body(body("fine")),
        };
        answer.expect("a valid response")
    })
    .await
}

const INLINE: &str = r#"
[config]
pages = [{ statuses = [403], html = "<h1>keep out</h1>" }, { html = "<h1>{status} {reason} {id}</h1>" }]
"#;

fn with_pages(upstream: &Upstream, gone: &str, settings: &str) -> Builder {
    let access = "[config]\nrules = [{ paths = [\"/admin/**\"], deny = true }]";
    let router = "[config]\nrules = [{ paths = [\"/gone/**\"], to = \"gone\" }]";
    Proxy::builder(upstream)
        .section(&format!("[upstream.gone]\nservers = [\"{gone}\"]\nretries = 0"))
        .plugin("04-error-pages", stock("error-pages"), settings)
        .plugin("10-access", stock("access-control"), access)
        .plugin("30-router", stock("router"), router)
}

#[tokio::test]
async fn browsers_see_pages_programs_problems_and_apis_their_own() {
    let app = failing().await;
    let gone = Upstream::absent().await;
    let proxy = with_pages(&app, &gone.to_string(), INLINE).start().await;
    // More than once, as the proxy remembers what pure policies decided.
    for _ in 0..3 {
        assert_eq!(proxy.ask("GET", "/", &BROWSER).await.text(), "fine");
        let denied = proxy.ask("GET", "/admin/x", &BROWSER).await;
        denied.assert_is(403, "<h1>keep out</h1>");
        let unreachable = proxy.ask("GET", "/gone/1", &BROWSER).await;
        assert_eq!(unreachable.status, 503);
        let id = unreachable.text().strip_prefix("<h1>503 Service Unavailable ").expect("a page");
        assert_eq!(id.trim_end_matches("</h1>").len(), 16, "{id}");
        let bare = proxy.ask("GET", "/bare", &BROWSER).await;
        assert!(bare.status == 500 && bare.text().contains("Internal Server Error"), "{bare:?}");
        let fields = ["retry-after", "x-kept", "etag", "content-type"].map(|name| bare.all(name));
        assert_eq!(fields, ["7", "1", "", "text/html; charset=utf-8"]);
        let login = proxy.ask("GET", "/login", &BROWSER).await;
        assert_eq!([login.all("www-authenticate"), login.all("set-cookie")], ["Basic", "a=1"]);
        proxy.ask("GET", "/api", &BROWSER).await.assert_is(422, "{\"mine\":1}");
        let program = proxy.ask("GET", "/gone/1", &[("accept", "application/json")]).await;
        assert_eq!(program.header("content-type"), "application/problem+json");
        assert_eq!(program.json()["status"], 503);
        let image =
            proxy.ask("GET", "/gone/1", &[("accept", "image/*"), ("sec-fetch-mode", "no-cors")]).await;
        assert!(!image.text().contains("<h1>"), "{image:?}");
    }
    let head = proxy.ask("HEAD", "/admin/x", &BROWSER).await;
    assert_eq!((head.status, head.text()), (403, ""));
}

#[tokio::test]
async fn pages_come_from_an_upstream_and_outlast_it() {
    let app = failing().await;
    let gone = Upstream::absent().await;
    let pages = Upstream::serve(|request: http::Request<Incoming>| async move {
        let known = request.uri().path() == "/errors/503.html";
        let page = format!("<h1>fetched {}</h1>", request.uri().path());
        Response::builder()
            .status(if known { 200 } else { 404 })
            .header("content-type", "text/html")
            .body(body(page))
            .expect("valid")
    })
    .await;
    let settings = "grants = { callout = [\"pages\"] }\n[config]\nfrom = \"pages\"\npages = [{ page = \"/errors/{status}.html\" }]";
    let proxy =
        with_pages(&app, &gone.to_string(), settings).upstream("pages", &pages).workers(1).start().await;
    for number in 0..3 {
        let answer = proxy.ask("GET", &format!("/gone/{number}"), &BROWSER).await;
        answer.assert_is(503, "<h1>fetched /errors/503.html</h1>");
    }
    assert_eq!(pages.requests().len(), 1, "it is kept");
    let denied = proxy.ask("GET", "/admin/x", &BROWSER).await;
    assert!(
        denied.status == 403 && denied.text().contains("<h1>Forbidden</h1>"),
        "the short page: {denied:?}"
    );
    proxy.log().wait(&["WARN", "/errors/403.html", "404"]).await;
    drop(pages);
    proxy.ask("GET", "/gone/x", &BROWSER).await.assert_is(503, "<h1>fetched /errors/503.html</h1>");
}

#[tokio::test]
async fn pages_come_from_a_folder() {
    let app = failing().await;
    let gone = Upstream::absent().await;
    let settings = "grants = { callout = [\"pages\"] }\n[config]\nfrom = \"pages\"\npages = [{ page = \"/{status}.html\" }]";
    let proxy = with_pages(&app, &gone.to_string(), settings)
        .section("[files.pages]\nroot = \"pages\"")
        .file("pages/503.html", "<h1>from a folder, {id}</h1>")
        .start()
        .await;
    let answer = proxy.ask("GET", "/gone/1", &BROWSER).await;
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().starts_with("<h1>from a folder, ") && !answer.text().contains("{id}"),
        "{answer:?}"
    );
    assert!(answer.header("content-type").starts_with("text/html"), "{answer:?}");
}

#[tokio::test]
async fn nobody_writes_into_a_page() {
    let app = failing().await;
    let gone = Upstream::absent().await;
    let proxy = with_pages(&app, &gone.to_string(), INLINE).start().await;
    let fields =
        [BROWSER[0], ("host", "{status}"), ("x-request-id", "<script>"), ("sec-fetch-mode", "navigate")];
    let answer = proxy.ask("GET", "/gone/%3Cscript%3E{reason}", &fields).await;
    assert!(!answer.text().contains("script"), "{answer:?}");
    let ranges = vec!["text/html;q=0.001"; 500].join(",");
    let many = proxy.ask("GET", "/gone/x", &[("accept", &ranges)]).await;
    assert!(many.text().starts_with("<h1>503"), "{many:?}");
}
