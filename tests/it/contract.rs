//! Versions of the contract with policies, side by side.

use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Incoming;
use tidegate_tests::{Proxy, Upstream, body, older, stock};

const ACCESS: &str = "[config]\nrules = [{ paths = [\"/admin/**\"], allow = [\"10.0.0.0/8\"] }]";
const REWRITE: &str = "[config]\nrules = [{ path = \"^/old/(.*)$\", to = \"/new/$1\" }]\n\
    response-headers = { set = { x-rewritten = \"yes\" } }";
const ROUTER: &str = "[config]\nrules = [{ paths = [\"/new/**\"], to = \"other\" }]";
const FILTER: &str = "[config]\nresponses = [{ replace = [{ from = \"new\", to = \"newest\" }] }]";

/// What each of the four stock policies does, whichever of them are of 0.1.
#[tokio::test]
async fn policies_of_both_versions_work_in_one_chain() {
    let app = Upstream::echo("app").await;
    let other = Upstream::serve(|request: Request<Incoming>| async move {
        let page = body(request.uri().to_string());
        Response::builder().header(CONTENT_TYPE, "text/html").body(page).expect("a response")
    })
    .await;
    for old in [[true, false, true, false], [false, true, false, true], [true; 4]] {
        let of = |place: usize, name: &str| if old[place] { older("0.1", name) } else { stock(name) };
        let proxy = Proxy::builder(&app)
            .upstream("other", &other)
            .plugin("10-access", of(0, "access-control"), ACCESS)
            .plugin("20-rewrite", of(1, "rewrite"), REWRITE)
            .plugin("30-router", of(2, "router"), ROUTER)
            .plugin("40-filter", of(3, "body-filter"), FILTER)
            .start()
            .await;

        assert_eq!(proxy.get("/admin/x").await.status, 403, "{old:?}");
        let answer = proxy.get("/old/1?q").await;
        answer.assert_is(200, "/newest/1?q");
        assert_eq!(answer.header("x-rewritten"), "yes", "{old:?}");
        assert_eq!(proxy.get("/x").await.echoed_by(), "app", "{old:?}");
    }
}
