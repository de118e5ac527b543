//! Who sees what in place of an error.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_plugin_sdk::callout::CalloutError;
use tidegate_plugin_sdk::log::Level;

use super::*;

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn configured(config: Value) -> ErrorPages {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<ErrorPages>(config).err().expect("an invalid configuration")
}

fn browser(path: &str) -> testing::Request {
    testing::Request::new("GET", path)
        .with_header("accept", BROWSER)
        .with_header("sec-fetch-mode", "navigate")
}

/// As the proxy makes one.
fn failure(status: u16) -> testing::Response {
    testing::Response::new(status)
        .with_failure("connect-failed")
        .with_header("content-type", "text/plain; charset=utf-8")
}

/// What takes the place of a response; `None` = it stays.
fn shown(policy: &ErrorPages, request: &testing::Request, response: &testing::Response) -> Option<Reply> {
    assert_eq!(policy.on_request(request), Verdict::Next);
    match policy.on_response(request, response) {
        Verdict::Next => None,
        Verdict::Respond => response.reply(),
        other => panic!("{other:?}"),
    }
}

fn text(reply: &Reply) -> &str {
    str::from_utf8(&reply.body).expect("text")
}

fn header<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    let values = reply.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    values.map(|(_, value)| str::from_utf8(value).expect("text")).collect()
}

#[test]
fn a_browser_sees_a_page_with_the_facts() {
    let policy = configured(
        json!({ "pages": [{ "statuses": [503], "html": "<h1>{status} {reason} {id} {other}</h1>" }, {}] }),
    );
    let reply = shown(&policy, &browser("/"), &failure(503)).expect("a page");
    assert_eq!(
        (reply.status, text(&reply)),
        (503, "<h1>503 Service Unavailable 0000000000000001 {other}</h1>")
    );
    assert_eq!(header(&reply, "content-type"), ["text/html; charset=utf-8"]);
    let reply = shown(&policy, &browser("/"), &failure(404)).expect("a page");
    assert!(text(&reply).contains("<title>404 Not Found</title>"));
    for status in [200, 204, 301, 304] {
        assert_eq!(shown(&policy, &browser("/"), &failure(status)), None);
    }
}

#[test]
fn without_configuration_all_errors_have_a_page() {
    let policy = configured(json!({}));
    for status in [400, 418, 499, 500, 599] {
        let reply = shown(&policy, &browser("/"), &failure(status)).expect("a page");
        assert_eq!(reply.status, status);
    }
}

#[test]
fn the_first_rule_that_applies_counts() {
    let policy = configured(json!({ "pages": [
        { "paths": ["/shop/**"], "statuses": [404], "html": "shop" },
        { "hosts": ["b.example"], "statuses": ["400-499"], "html": "b" },
        { "statuses": ["500-599"], "html": "server" },
    ]}));
    for (request, status, page) in [
        (browser("/shop/x"), 404, Some("shop")),
        (browser("/shop/x"), 403, None),
        (browser("/shop/x").with_host("b.example"), 403, Some("b")),
        (browser("/"), 404, None),
        (browser("/"), 502, Some("server")),
    ] {
        let reply = shown(&policy, &request, &failure(status));
        assert_eq!(reply.as_ref().map(text), page, "{} {status}", request.path());
    }
}

#[test]
fn programs_get_a_problem_and_others_what_there_was() {
    let policy = configured(json!({}));
    let all = configured(json!({ "clients": "all" }));
    let without = configured(json!({ "json": false }));
    let asking = |accept: &str| testing::Request::new("GET", "/").with_header("accept", accept);
    let form = |policy: &ErrorPages, request: &testing::Request| {
        shown(policy, request, &failure(502)).map(|reply| header(&reply, "content-type")[0].to_owned())
    };
    let (html, problem) =
        (Some("text/html; charset=utf-8".to_owned()), Some("application/problem+json".to_owned()));
    for (request, of_policy, of_all, of_without) in [
        (asking(BROWSER), &html, &html, &html),
        (asking("application/json"), &problem, &problem, &None),
        (asking("application/json, text/plain, */*"), &problem, &problem, &None),
        (asking("text/html, application/json;q=0.9"), &html, &html, &html),
        (asking("*/*"), &None, &html, &None),
        (asking("image/avif,image/*"), &None, &html, &None),
        (testing::Request::new("GET", "/"), &None, &html, &None),
        (asking(BROWSER).with_header("sec-fetch-mode", "cors"), &None, &html, &None),
    ] {
        let accept = request.header("accept");
        assert_eq!(form(&policy, &request), *of_policy, "{accept:?}");
        assert_eq!(form(&all, &request), *of_all, "{accept:?}");
        assert_eq!(form(&without, &request), *of_without, "{accept:?}");
    }
    let reply = shown(&policy, &asking("application/json"), &failure(404)).expect("a problem");
    let problem: Value = serde_json::from_str(text(&reply)).expect("JSON");
    let expected =
        json!({ "type": "about:blank", "title": "Not Found", "status": 404, "id": "0000000000000001" });
    assert_eq!(problem, expected);
}

#[test]
fn bodies_that_servers_made_stay_unless_it_is_said_otherwise() {
    let own = |content_type: &str| {
        testing::Response::new(500)
            .with_header("content-type", content_type)
            .with_header("content-length", "9")
    };
    let of_policy = |content_type: &str| own(content_type).with_origin(None);
    for (response, plain, html) in [
        (failure(500), true, true),
        (testing::Response::new(500).with_header("content-length", "0"), true, true),
        (
            testing::Response::new(500)
                .with_header("content-type", "application/json")
                .with_header("content-length", "0"),
            true,
            true,
        ),
        (of_policy("text/plain"), true, true),
        (of_policy("text/html"), false, true),
        (of_policy("application/problem+json"), false, false),
        (own("text/plain"), false, true),
        (own("Text/HTML; charset=utf-8"), false, true),
        (own("application/json"), false, false),
        (testing::Response::new(500), false, true),
    ] {
        for (replace, is_replaced) in [("plain", plain), ("html", html), ("all", true)] {
            let policy = configured(json!({ "replace": replace }));
            let reply = shown(&policy, &browser("/"), &response);
            assert_eq!(
                reply.is_some(),
                is_replaced,
                "{replace} {:?} {:?}",
                response.headers(),
                response.origin()
            );
        }
    }
}

#[test]
fn what_is_said_of_the_error_stays() {
    let policy = configured(json!({ "replace": "all" }));
    let response = testing::Response::new(401)
        .with_header("www-authenticate", "Basic realm=\"a\"")
        .with_header("www-authenticate", "Bearer")
        .with_header("retry-after", "7")
        .with_header("set-cookie", "a=1")
        .with_header("set-cookie", "b=2")
        .with_header("vary", "origin")
        .with_header("content-type", "application/json")
        .with_header("content-length", "12")
        .with_header("content-encoding", "gzip")
        .with_header("ETag", "\"x\"")
        .with_header("content-digest", "sha-256=:x:");
    let reply = shown(&policy, &browser("/"), &response).expect("a page");
    assert_eq!(reply.status, 401);
    for (name, values) in [
        ("www-authenticate", &["Basic realm=\"a\"", "Bearer"][..]),
        ("retry-after", &["7"]),
        ("set-cookie", &["a=1", "b=2"]),
        ("vary", &["origin", "accept, sec-fetch-mode"]),
        ("content-type", &["text/html; charset=utf-8"]),
        ("content-length", &[]),
        ("content-encoding", &[]),
        ("etag", &[]),
        ("content-digest", &[]),
    ] {
        assert_eq!(header(&reply, name), values, "{name}");
    }
}

/// Answers callouts as `answer` says, and counts them.
fn counting(answer: impl Fn(&testing::Callout) -> Result<Reply, CalloutError> + 'static) -> Rc<Cell<usize>> {
    let count = Rc::new(Cell::new(0));
    let counted = Rc::clone(&count);
    testing::answer_callouts(move |callout| {
        counted.set(counted.get() + 1);
        answer(callout)
    });
    count
}

fn fetching() -> ErrorPages {
    configured(json!({ "from": "pages", "keep": 60, "pages": [{ "page": "/errors/{status}.html" }] }))
}

#[test]
fn a_page_is_fetched_and_kept_for_a_while() {
    let count = counting(|callout| {
        assert_eq!((&*callout.destination, &*callout.method), ("pages", "GET"));
        Ok(Reply::new(200).header("content-type", "text/html").body(format!("{} {{id}}", callout.target)))
    });
    let policy = fetching();
    for (status, asked) in [(502, 1), (502, 1), (404, 2), (502, 2)] {
        let reply = shown(&policy, &browser("/"), &failure(status)).expect("a page");
        assert_eq!(text(&reply), format!("/errors/{status}.html 0000000000000001"));
        assert_eq!(header(&reply, "content-type"), ["text/html"]);
        assert_eq!(count.get(), asked);
    }
    testing::advance(Duration::from_secs(61));
    shown(&policy, &browser("/"), &failure(502));
    assert_eq!(count.get(), 3);
    assert_eq!(shown(&policy, &browser("/"), &testing::Response::new(200)), None);
    assert_eq!(count.get(), 3, "nothing is fetched without an error");
}

#[test]
fn a_source_that_fails_leaves_the_short_page_or_an_old_one() {
    for answer in [
        Err(CalloutError::Failed),
        Err(CalloutError::NotGranted),
        Ok(Reply::new(404).text("no")),
        Ok(Reply::new(200).header("content-encoding", "gzip").body("zip")),
    ] {
        let count = counting(move |_| answer.clone());
        let policy = fetching();
        for _ in 0..3 {
            let reply = shown(&policy, &browser("/"), &failure(502)).expect("a page");
            assert!(text(&reply).contains("Bad Gateway"));
        }
        assert_eq!(count.get(), 1, "not asked again at once");
        assert!(
            testing::take_log()
                .iter()
                .all(|(level, line)| *level == Level::Warn && line.contains("/errors/502.html"))
        );
        testing::advance(Duration::from_secs(2));
        shown(&policy, &browser("/"), &failure(502));
        assert_eq!(count.get(), 2);
    }
    counting(|_| Ok(Reply::new(200).body("old")));
    let policy = fetching();
    shown(&policy, &browser("/"), &failure(502));
    counting(|_| Err(CalloutError::Timeout));
    testing::advance(Duration::from_secs(61));
    for _ in 0..2 {
        let reply = shown(&policy, &browser("/"), &failure(502)).expect("a page");
        assert_eq!(text(&reply), "old");
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let count = counting(|callout| {
        Ok(Reply::new(200).body(
            callout.target.clone().into_bytes().repeat(if callout.target.contains("599") {
                100_000
            } else {
                1
            }),
        ))
    });
    let policy = fetching();
    for status in 400..600 {
        shown(&policy, &browser("/"), &failure(status));
    }
    shown(&policy, &browser("/"), &failure(599));
    assert_eq!(count.get(), 201, "all were answered, and the large one twice");
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let page = |page: Value| json!({ "pages": [page] });
    for (config, message) in [
        (page(json!({ "page": "/x.html" })), "pages[0].page: is to be fetched"),
        (json!({ "from": "pages" }), "from: no rule has a `page`"),
        (json!({ "from": "", "pages": [{ "page": "/x" }] }), "from: names no"),
        (json!({ "from": "p", "pages": [{ "page": "x.html" }] }), "pages[0].page: `x.html` is not a path"),
        (json!({ "from": "p", "pages": [{ "page": "/x y" }] }), "pages[0].page: `/x y` is not a path"),
        (json!({ "from": "p", "pages": [{ "page": "/x", "html": "x" }] }), "pages[0]: has both"),
        (page(json!({ "statuses": [] })), "pages[0].statuses: an empty list"),
        (page(json!({ "statuses": [404, 302] })), "pages[0].statuses[1]: errors are 400 to 599"),
        (page(json!({ "statuses": ["5xx"] })), "pages[0].statuses[0]: `5xx` is not a range"),
        (page(json!({ "status": 404 })), "pages[0].status: unknown field"),
        (json!({ "replace": "none" }), "replace: unknown variant"),
        (json!({ "clients": "browsers" }), "clients: unknown variant"),
        (json!({ "page": [] }), "page: unknown field"),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
