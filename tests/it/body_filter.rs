//! The stock policy `body-filter`: text replaced across the borders of chunks, requests refused by their
//! body.

use std::io::Read;

use flate2::read::GzDecoder;
use http::Response;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use hyper::body::Incoming;
use tidegate_tests::{Builder, Proxy, Upstream, body, chunked, empty, gzipped, request, stock};

const PAGE: &str = "<a href=\"http://old.example/a\">one</a> http://old.exampl http://old.example/";
const EDITED: &str = "<a href=\"https://new.example/a\">one</a> http://old.exampl https://new.example/";

const RULES: &str = r#"
[config]
requests = [{ paths = ["/api/**"], patterns = ['(?i)union\s+select'], status = 422 }]
responses = [{ replace = [{ from = "http://old.example/", to = "https://new.example/" }] }]
"#;

fn filtering(upstream: &Upstream) -> Builder {
    Proxy::builder(upstream).plugin("10-body-filter", stock("body-filter"), RULES)
}

fn gunzipped(bytes: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    text
}

/// The page: `/plain` with its length, `/chunks` in chunks of three bytes, `/gzip` compressed, `/text` as
/// another type, `/part` as a 206.
async fn pages() -> Upstream {
    Upstream::serve(|asked: http::Request<Incoming>| async move {
        let html = Response::builder().header(CONTENT_TYPE, "text/html; charset=utf-8");
        let answer = match asked.uri().path() {
            "/plain" => html.body(body(PAGE)),
            "/gzip" => html.header(CONTENT_ENCODING, "gzip").body(body(gzipped(PAGE))),
            "/odd" => html.header(CONTENT_ENCODING, "odd").body(body(PAGE)),
            "/text" => Response::builder().header(CONTENT_TYPE, "text/plain").body(body(PAGE)),
            "/part" => html.status(206).header("content-range", "bytes 0-71/100").body(body(PAGE)),
            "/chunks" => html.body(chunked(PAGE.as_bytes().chunks(3))),
            other => panic!("no page {other}"),
        };
        answer.expect("a valid response")
    })
    .await
}

#[tokio::test]
async fn text_is_replaced_in_plain_chunked_and_compressed_responses() {
    let app = pages().await;
    let proxy = filtering(&app).start().await;
    for mut client in proxy.both().await {
        for target in ["/plain", "/chunks", "/gzip"] {
            let answer = client.get(target).await;
            assert_eq!(answer.text(), EDITED, "{target} {:?}", answer.version);
            assert_eq!(answer.header("content-encoding"), "", "{target}");
            assert_eq!(answer.header("content-length"), "", "{target}");
        }
        for target in ["/text", "/part", "/odd"] {
            assert_eq!(client.get(target).await.text(), PAGE, "{target}");
        }
    }
}

#[tokio::test]
async fn what_was_edited_is_compressed_for_clients_that_want_it() {
    let app = pages().await;
    let proxy = filtering(&app).section("[compression]\nmin-size = \"1B\"").start().await;
    for mut client in proxy.both().await {
        for target in ["/plain", "/chunks", "/gzip"] {
            let asked = request("GET", target).header(ACCEPT_ENCODING, "gzip").body(empty()).expect("valid");
            let answer = client.send(asked).await;
            assert_eq!(answer.header("content-encoding"), "gzip", "{target}");
            assert_eq!(gunzipped(&answer.body), EDITED, "{target}");
        }
    }
}

#[tokio::test]
async fn no_part_of_a_page_is_asked_for() {
    let app = pages().await;
    let proxy = filtering(&app).start().await;
    let asked = request("GET", "/plain").header("range", "bytes=0-9").body(empty()).expect("valid");
    assert_eq!(proxy.send(asked).await.text(), EDITED);
    assert_eq!(app.only_request().header("range"), "");
}

#[tokio::test]
async fn requests_are_refused_by_what_is_in_their_body() {
    let app = Upstream::echo("app").await;
    let proxy = filtering(&app).start().await;
    let attack = "id=1 UNION\nSELECT password";
    for mut client in proxy.both().await {
        let post = |target: &str, coding: &str, bytes: Vec<u8>| {
            let asked = request("POST", target).header(CONTENT_TYPE, "text/plain");
            let asked = if coding.is_empty() { asked } else { asked.header(CONTENT_ENCODING, coding) };
            asked.body(body(bytes)).expect("valid")
        };
        assert_eq!(client.send(post("/api/x", "", attack.into())).await.status, 422);
        assert_eq!(client.send(post("/api/x", "gzip", gzipped(attack))).await.status, 422, "decoded");
        assert_eq!(client.send(post("/api/x", "odd", attack.into())).await.status, 415, "cannot be read");
        assert_eq!(client.send(post("/other", "", attack.into())).await.status, 200, "another path");
        // The proxy sends a body that passes on decoded, with its true length.
        let echoed = client.send(post("/api/x", "gzip", gzipped("id=1"))).await.json();
        assert_eq!(echoed["body"], "id=1");
        assert_eq!(echoed["headers"]["content-length"], "4");
        assert_eq!(echoed["headers"]["content-encoding"], serde_json::Value::Null);
        // A body that is not compressed as its fields say is the client's mistake.
        assert_eq!(
            client.try_send(post("/api/x", "gzip", b"no gzip".to_vec())).await.expect("an answer").status,
            400
        );
    }
    assert!(
        app.requests()
            .iter()
            .all(|request| request.target == "/other" || request.header("content-length") == "4")
    );
}
