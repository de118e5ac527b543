//! `[compression]`: what clients get compressed, what is left alone, and that nothing is held back.

use std::io::Read;

use flate2::{Decompress, FlushDecompress};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{
    Answer, Builder, Proxy, Upstream, body, chunks, empty, exclusive, guest, next_chunk, request, within,
};

/// What the upstream sends for every path: 26 KiB of text.
fn page() -> String {
    (0..1000).map(|n| format!("<p>paragraph number {n}</p>\n")).collect()
}

/// An upstream that sends [`page`] with the fields that the path asks for, `name=value` joined by `&`.
async fn pages() -> Upstream {
    Upstream::serve(async |request: http::Request<Incoming>| {
        let path = request.uri().path().trim_start_matches('/').to_owned();
        let mut response = Response::new(body(page()));
        response.headers_mut().insert("content-type", HeaderValue::from_static("text/html"));
        for field in path.split('&').filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').expect("a field");
            match name {
                "status" => *response.status_mut() = value.parse().expect("a status"),
                "length" => *response.body_mut() = body("x".repeat(value.parse().expect("a length"))),
                _ => {
                    let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name");
                    response.headers_mut().insert(name, value.parse().expect("a value"));
                }
            }
        }
        if response.status() == 304 {
            *response.body_mut() = empty();
        }
        response
    })
    .await
}

fn compressing(upstream: &Upstream) -> Builder {
    Proxy::builder(upstream).section("[compression]")
}

async fn get(proxy: &Proxy, target: &str, accepted: &str) -> Answer {
    proxy.ask("GET", target, &[("accept-encoding", accepted)]).await
}

/// The body without its coding.
fn decoded(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    match answer.header("content-encoding") {
        "gzip" => {
            flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).expect("gzip");
        }
        "br" => {
            brotli::Decompressor::new(&answer.body[..], 4096).read_to_end(&mut plain).expect("br");
        }
        "zstd" => {
            plain.reserve(1 << 20);
            zstd_safe::decompress(&mut plain, &answer.body).expect("zstd");
        }
        other => panic!("{other:?}: {answer:?}"),
    }
    plain
}

#[tokio::test]
async fn each_coding_arrives_over_each_version_of_http() {
    let app = pages().await;
    let proxy = compressing(&app).start().await;
    for mut client in proxy.both().await {
        for coding in ["zstd", "br", "gzip"] {
            let request = request("GET", "/").header("accept-encoding", coding);
            let answer = client.send(request.body(empty()).expect("valid")).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("content-encoding"), coding);
            assert_eq!(answer.header("vary"), "accept-encoding");
            assert_eq!(answer.header("content-type"), "text/html");
            assert!(!answer.headers.contains_key("content-length"), "{answer:?}");
            assert!(answer.body.len() < page().len() / 4, "{} bytes", answer.body.len());
            assert_eq!(decoded(&answer), page().as_bytes());
        }
    }
    // Each of the two clients may have reached another worker.
    assert!(app.connections() <= 2, "the upstream's connections are kept");
    let line = proxy.accesses("/", 6).await.swap_remove(0);
    assert!(line["bytes_out"].as_u64().expect("a number") < page().len() as u64, "{line}");
}

#[tokio::test]
async fn the_configuration_decides_which_coding_and_which_types() {
    let app = pages().await;
    let proxy = Proxy::builder(&app)
        .section("[compression]\ncodings = [\"gzip\", \"br\"]\ntypes = [\"image/*\"]\nmin-size = \"10B\"")
        .start()
        .await;
    let browser = "gzip, deflate, br, zstd";
    let answer = get(&proxy, "/content-type=image/x&length=10", browser).await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(decoded(&answer), b"xxxxxxxxxx");
    assert_eq!(get(&proxy, "/", browser).await.header("content-encoding"), "");
    assert_eq!(get(&proxy, "/content-type=image/x&length=9", browser).await.text(), "xxxxxxxxx");
    // Without the table nothing is compressed; a reload is enough.
    proxy.reconfigure("\"image/*\"", "\"text/html\"").await;
    assert_eq!(get(&proxy, "/", "br").await.header("content-encoding"), "br");
}

#[tokio::test]
async fn nothing_changes_without_the_table() {
    let app = pages().await;
    let proxy = Proxy::builder(&app).start().await;
    let answer = get(&proxy, "/etag=\"v1\"", "gzip, br, zstd").await;
    assert_eq!(answer.text(), page());
    assert_eq!(answer.header("etag"), "\"v1\"");
    assert!(!answer.headers.contains_key("vary"), "{answer:?}");
}

#[tokio::test]
async fn what_need_or_must_not_be_compressed_is_left_alone() {
    let app = pages().await;
    let proxy = compressing(&app).start().await;
    for target in [
        "/length=1023",
        "/content-type=image/png",
        "/content-type=text/event-stream",
        "/content-encoding=x-own",
        "/cache-control=public,no-transform",
        "/status=404",
        "/status=206&content-range=bytes%200-9",
    ] {
        let target = target.replace("%20", "_");
        let answer = get(&proxy, &format!("{target}&etag=\"v1\"&accept-ranges=bytes"), "gzip").await;
        assert!(matches!(answer.header("content-encoding"), "" | "x-own"), "{target}: {answer:?}");
        assert_eq!(answer.header("content-length"), answer.body.len().to_string(), "{target}");
        assert_eq!(answer.header("etag"), "\"v1\"", "{target}");
        assert_eq!(answer.header("accept-ranges"), "bytes", "{target}");
        assert!(!answer.headers.contains_key("vary"), "{target}: {answer:?}");
    }
    // The proxy would compress these, but not for these clients, and tells caches so.
    for fields in [
        &[][..],
        &[("accept-encoding", "identity")],
        &[("accept-encoding", "gzip;q=0, *;q=0")],
        &[("accept-encoding", "gzip"), ("cache-control", "no-transform")],
    ] {
        let answer = proxy.ask("GET", "/", fields).await;
        assert_eq!(answer.text(), page(), "{fields:?}");
        assert_eq!(answer.header("vary"), "accept-encoding", "{fields:?}");
        assert_eq!(answer.header("content-length"), page().len().to_string());
    }
}

#[tokio::test]
async fn an_http_1_0_client_gets_the_body_as_it_is() {
    let app = pages().await;
    let proxy = compressing(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.0\r\nHost: a.test\r\nAccept-Encoding: gzip\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert!(answer.ends_with(&page()) && answer.contains("content-length"), "{answer}");
}

#[tokio::test]
async fn validators_stay_true() {
    let app = pages().await;
    let proxy = compressing(&app).start().await;
    let fields = "etag=\"v1\"&vary=origin&accept-ranges=bytes&content-digest=sha-256=:a:";
    let answer = get(&proxy, &format!("/{fields}"), "br").await;
    assert_eq!(answer.header("etag"), "W/\"v1\"");
    assert_eq!(answer.header("vary"), "origin, accept-encoding");
    assert!(!answer.headers.contains_key("accept-ranges"), "{answer:?}");
    assert!(!answer.headers.contains_key("content-digest"), "{answer:?}");
    // A client asks by the tag it knows whether what it has is fresh.
    for (known, told) in [("W/\"v1\"", "W/\"v1\""), ("\"v1\"", "\"v1\"")] {
        let asks = [("accept-encoding", "br"), ("if-none-match", known)];
        let answer = proxy.ask("GET", "/status=304&etag=\"v1\"", &asks).await;
        assert_eq!(answer.status, 304);
        assert_eq!(answer.header("etag"), told);
    }
}

#[tokio::test]
async fn head_is_answered_as_get_would_be() {
    let app = pages().await;
    let proxy = compressing(&app).start().await;
    for mut client in proxy.both().await {
        for target in ["/etag=\"v1\"", "/length=10", "/content-type=image/png"] {
            let ask = |method| {
                let request = request(method, target).header("accept-encoding", "zstd");
                request.body(empty()).expect("valid")
            };
            let mut head = client.send(ask("HEAD")).await;
            let mut get = client.send(ask("GET")).await;
            assert_eq!(head.body, "");
            for headers in [&mut head.headers, &mut get.headers] {
                headers.remove("date");
                headers.remove("transfer-encoding");
            }
            assert_eq!(head.status, get.status, "{target}");
            assert_eq!(head.headers, get.headers, "{target}");
        }
    }
}

#[tokio::test]
async fn an_upstream_can_be_left_out() {
    let app = pages().await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\ncompression = false", app.server()))
        .section("[compression]")
        .start()
        .await;
    let answer = get(&proxy, "/", "gzip").await;
    assert_eq!(answer.text(), page());
    assert!(!answer.headers.contains_key("vary"), "{answer:?}");
    proxy.reconfigure("compression = false", "").await;
    assert_eq!(get(&proxy, "/", "gzip").await.header("content-encoding"), "gzip");
}

#[tokio::test]
async fn the_reply_of_a_policy_is_compressed_as_well() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[compression]\nmin-size = \"2B\"")
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"m\"")
        .start()
        .await;
    for method in ["GET", "HEAD"] {
        let fields = [("accept-encoding", "gzip"), ("x-answer", "m")];
        let answer = proxy.ask(method, "/", &fields).await;
        assert_eq!(answer.status, 299);
        assert_eq!(answer.header("x-answered-by"), "m");
        assert_eq!(answer.header("content-encoding"), "gzip");
        assert!(!answer.headers.contains_key("content-length"), "{answer:?}");
        if method == "GET" {
            assert_eq!(decoded(&answer), b"answered\n");
        }
    }
}

#[tokio::test]
async fn chunks_are_passed_on_as_they_come() {
    let (app, feed) = Upstream::fed("").await;
    let proxy = compressing(&app).start().await;
    let mut client = proxy.http1().await;
    let asks = request("GET", "/").header("accept-encoding", "gzip").body(empty()).expect("valid");
    let answer = client.start(asks).await.expect("a head");
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut answer = answer.into_body();
    let mut gunzip = Decompress::new_gzip(15);
    // The next chunk is sent only when the one before can be read.
    for chunk in ["one", "two", "three"] {
        assert!(feed.send(chunk).await);
        let mut plain = Vec::with_capacity(100);
        while plain.len() < chunk.len() {
            let data = next_chunk(&mut answer).await;
            gunzip.decompress_vec(&data, &mut plain, FlushDecompress::Sync).expect("gzip");
        }
        assert_eq!(plain, chunk.as_bytes());
    }
    drop(feed);
    while let Some(frame) = within("the end", answer.frame()).await {
        frame.expect("a whole body");
    }
}

#[tokio::test]
async fn trailers_follow_a_compressed_body() {
    let app = Upstream::serve(async |_| {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", HeaderValue::from_static("1"));
        let (feed, download) = chunks();
        tokio::spawn(async move {
            feed.send(page()).await;
            feed.trailers(trailers).await;
        });
        let response =
            Response::builder().header("content-type", "text/plain").header("trailer", "x-checksum");
        response.body(exclusive(download)).expect("valid")
    })
    .await;
    let proxy = compressing(&app).start().await;
    for mut client in proxy.both().await {
        let asks = request("GET", "/").header("accept-encoding", "zstd").header("te", "trailers");
        let answer = client.send(asks.body(empty()).expect("valid")).await;
        assert_eq!(decoded(&answer), page().as_bytes());
        assert_eq!(answer.trailers.as_ref().expect("trailers")["x-checksum"], "1");
    }
}

#[tokio::test]
async fn a_body_the_upstream_breaks_off_is_not_completed() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 9000\r\n\r\n";
    let app = Upstream::raw(format!("{head}{}", "half of it ".repeat(300))).await;
    let proxy = compressing(&app).start().await;
    for coding in ["zstd", "br", "gzip"] {
        for mut client in proxy.both().await {
            let asks = request("GET", "/").header("accept-encoding", coding).body(empty()).expect("valid");
            // The client may not even get the head, if the upstream breaks off soon enough.
            assert!(client.try_send(asks).await.is_err(), "{coding}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_gives_the_upstream_and_the_place_free() {
    let (app, feed) = Upstream::fed(page()).await;
    let proxy = Proxy::builder(&app).section("[compression]\nmax-in-flight = 1").start().await;
    // Each worker counts for itself, and a new connection may reach either: all on one connection.
    let mut client = proxy.http2().await;
    let asks = || request("GET", "/").header("accept-encoding", "zstd").body(empty()).expect("valid");
    let first = client.start(asks()).await.expect("a head");
    assert_eq!(first.headers()["content-encoding"], "zstd");
    let second = client.send(asks()).await;
    assert_eq!(second.text(), page());
    assert_eq!(second.header("content-encoding"), "");
    drop(first);
    feed.abandoned().await;
    let third = client.send(asks()).await;
    assert_eq!(decoded(&third), page().as_bytes());
}

#[tokio::test]
async fn the_files_of_a_root_are_compressed_unless_it_is_left_out() {
    let proxy = Proxy::bare()
        .top("default-upstream = \"assets\"")
        .listener("web", "")
        .section("[compression]")
        .section("[files.assets]\nroot = \"www\"")
        .file("www/page.html", page())
        .start()
        .await;

    let answer = get(&proxy, "/page.html", "gzip").await;
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(decoded(&answer), page().as_bytes());
    assert!(answer.header("etag").starts_with("W/"), "{answer:?}");
    let part = [("accept-encoding", "gzip"), ("range", "bytes=0-1999")];
    let answer = proxy.ask("GET", "/page.html", &part).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.body, page().as_bytes()[..2000]);

    proxy.reconfigure("root = \"www\"", "root = \"www\"\ncompression = false").await;
    let answer = get(&proxy, "/page.html", "gzip").await;
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(answer.body.len(), page().len());
    assert!(answer.header("etag").starts_with('"'), "{answer:?}");
}
