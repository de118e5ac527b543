//! The `nginx.conf` of the cookbook, translated: what nginx answered was recorded, and the translation answers the same.

use std::path::Path;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{Answer, Proxy, Upstream, body, request_with};

use crate::docs::recipes;

const PAGE: &str = "<h1>Not here</h1>\n";
const LATER: &str = "<h1>Try again later</h1>\n";

/// One of the two origins: says who was asked for what, and fails where the path says so.
async fn origin(name: &'static str) -> Upstream {
    Upstream::serve(move |request: Request<Incoming>| async move {
        let (head, incoming) = request.into_parts();
        let _ = incoming.collect().await;
        let target = head.uri;
        let status = match target.path() {
            path if path.contains("/missing") => 404,
            path if path.ends_with("/fails") => 500,
            path if path.ends_with("/busy") => 503,
            _ => 200,
        };
        let mut response = Response::new(body(format!("{name} {target}")));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        response
    })
    .await
}

async fn translated(stable: &Upstream, next: &Upstream) -> Proxy {
    let mut recipes = recipes("from-nginx.md");
    let mut recipe = recipes.pop().expect("the translation");
    assert!(recipes.is_empty(), "it is the only recipe of its page");
    let nobody = Upstream::absent().await.to_string();
    for (written, here) in [
        ("127.0.0.1:8080", "127.0.0.1:0"),
        ("127.0.0.1:9001", &stable.server()),
        ("127.0.0.1:9002", &next.server()),
        ("127.0.0.1:9099", &nobody),
    ] {
        assert!(recipe.config.contains(written), "{written}");
        recipe.config = recipe.config.replace(written, here);
    }
    recipe
        .builder()
        .file("www/assets/app.3f9a.js", "console.log(1)\n".repeat(100))
        .file("www/assets/site.css", "body { color: black }\n")
        .file("www/robots.txt", "User-agent: *\n")
        .file("www/errors/404.html", PAGE)
        .file("www/errors/50x.html", LATER)
        .start()
        .await
}

/// The first of the users whom the canary sends there.
async fn user_of(proxy: &Proxy, origin: &str) -> String {
    for number in 0..1000 {
        let user = format!("u{number}");
        let answer =
            proxy.ask("GET", "/", &[("host", "www.example.com"), ("cookie", &format!("uid={user}"))]).await;
        if answer.text().starts_with(origin) {
            return user;
        }
    }
    panic!("nobody of 1000 is sent to {origin}");
}

/// What the record says of an answer.
fn said(answer: &Answer) -> String {
    match answer.header("location") {
        "" if answer.text() == PAGE => "404.html".to_owned(),
        "" if answer.text() == LATER => "50x.html".to_owned(),
        "" if answer.status == 200 => answer.text().to_owned(),
        "" => String::new(),
        location => format!("-> {location}"),
    }
}

#[tokio::test]
async fn the_translation_answers_as_nginx_did() {
    let [stable, next] = [origin("stable").await, origin("next").await];
    let proxy = translated(&stable, &next).await;
    let users = [user_of(&proxy, "stable").await, user_of(&proxy, "next").await];
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/from-nginx.txt");
    let record = std::fs::read_to_string(record).expect("the record");
    let mut asked = 0;
    for line in record.lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split('|').map(str::trim).collect();
        let [method, host, target, fields, bytes, status, expected, ours] = columns[..] else {
            panic!("not eight columns: {line}")
        };
        let fields = fields.replace("{stable}", &users[0]).replace("{next}", &users[1]);
        let fields = fields.split("; ").filter_map(|field| field.split_once(": "));
        let fields: Vec<_> = fields.chain([("host", host)]).collect();
        let request = request_with(method, target, &fields);
        let bytes = "x".repeat(bytes.parse().expect("a number"));
        let answer = proxy.send(request.body(body(bytes)).expect("a valid request")).await;
        let wanted = if ours.is_empty() { status } else { ours };
        assert_eq!(answer.status.to_string(), wanted, "{line}: {answer:?}");
        // What files contain is not in the record; what has another status is told on the page.
        let is_file = ["accept-ranges", "content-range", "content-encoding"];
        let is_file = is_file.iter().any(|name| answer.headers.contains_key(*name));
        if ours.is_empty() && method != "HEAD" && !is_file {
            assert_eq!(said(&answer), expected, "{line}: {answer:?}");
        }
        asked += 1;
    }
    assert!(asked > 130, "only {asked} requests");
}

#[tokio::test]
async fn servers_are_told_what_nginx_told_them() {
    let [stable, next] = [origin("stable").await, origin("next").await];
    let proxy = translated(&stable, &next).await;
    let fields = [
        ("host", "www.example.com"),
        ("x-forwarded-for", "10.1.2.3"),
        ("x-real-ip", "6.6.6.6"),
        ("x-remote-user", "root"),
        ("authorization", "Basic YWxpY2U6b3BlbnNlc2FtZQ=="),
    ];
    let answer = proxy.ask("GET", "/admin/x", &fields).await;
    answer.assert_is(200, "stable /admin/x");
    let told = stable.only_request();
    for (name, value) in [
        ("host", "www.example.com"),
        ("x-real-ip", "10.1.2.3"),
        ("x-forwarded-for", "10.1.2.3, 127.0.0.1"),
        ("x-remote-user", "alice"),
        ("x-edge", "eu-1"),
        ("authorization", ""),
    ] {
        assert_eq!(told.header(name), value, "{name}");
    }
    for (target, cached) in [
        ("/assets/site.css", "max-age=31536000"),
        ("/robots.txt", "max-age=3600"),
        ("/", "no-cache"),
        ("/api/x", ""),
    ] {
        let answer = proxy.ask("GET", target, &[("host", "www.example.com")]).await;
        let fields =
            ["cache-control", "x-frame-options", "x-content-type-options"].map(|name| answer.header(name));
        assert_eq!(fields, [cached, "SAMEORIGIN", "nosniff"], "{target}");
    }
}
