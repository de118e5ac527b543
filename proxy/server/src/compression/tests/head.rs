//! Which responses are compressed, and what their heads say.

use http::{HeaderValue, StatusCode, Version};
use tidegate_config::{Config, MediaRange};
use tidegate_message::{Coding, ResponseHead};

use super::super::types::Types;
use super::super::{Compression, head};
use super::fields;

fn config(table: &str) -> Config {
    let text = format!(
        "compression = {table}\n[listener.web]\naddress = \"127.0.0.1:0\"\n[upstream.on]\nservers = \
         [\"a:1\"]\n[upstream.off]\nservers = [\"a:1\"]\ncompression = false\n"
    );
    tidegate_config::parse(&text, "tidegate.toml".as_ref()).expect("the text is valid")
}

fn compression() -> Compression {
    Compression::new(&config("{}"), None).expect("there is a table")
}

fn response(status: u16, lines: &[&str]) -> ResponseHead {
    ResponseHead::new(StatusCode::from_u16(status).expect("a status"), fields(lines))
}

/// Whether a client that wants gzip gets a response of 4 KiB with this head compressed, and the head then.
fn apply(mut head: ResponseHead) -> (bool, ResponseHead) {
    let coder = compression().apply(Some(Coding::Gzip), &fields(&[]), &mut head, Some(4096));
    (coder.is_some(), head)
}

#[test]
fn only_whole_uncoded_text_is_compressed() {
    let html = "content-type: text/html";
    let cases: [(u16, &[&str], bool); 21] = [
        (200, &[html], true),
        (200, &["content-type: Text/HTML; charset=utf-8"], true),
        (201, &[html], true),
        (200, &["content-type: application/problem+json"], true),
        (200, &["content-type: application/json"], true),
        (200, &["content-type: image/svg+xml"], true),
        (200, &[html, "content-encoding: identity"], false),
        (200, &[html, "content-encoding: br"], false),
        (200, &[html, "cache-control: public, No-Transform"], false),
        (200, &[html, "cache-control: public", "cache-control: no-transform"], false),
        (200, &[html, "content-range: bytes 0-9/100"], false),
        (206, &[html], false),
        (204, &[html], false),
        (205, &[html], false),
        (301, &[html], false),
        (404, &[html], false),
        (200, &[], false),
        (200, &["content-type: image/png"], false),
        (200, &["content-type: text"], false),
        (200, &["content-type: text/event-stream"], false),
        (200, &["content-type: application/grpc+json"], false),
    ];
    for (status, lines, expected) in cases {
        let (coded, head) = apply(response(status, lines));
        assert_eq!(coded, expected, "{status} {lines:?}");
        if !expected {
            assert_eq!(head.headers, fields(lines), "{status} {lines:?}");
        }
    }
}

#[test]
fn streams_are_compressed_where_they_are_named() {
    let types = Types::new(&[
        MediaRange::Type("text/event-stream".to_owned()),
        MediaRange::Any { prefix: "application/".to_owned(), suffix: "+json".to_owned() },
    ]);
    assert!(types.include(&fields(&["content-type: text/event-stream;charset=utf-8"])));
    assert!(types.include(&fields(&["content-type: application/a+json"])));
    assert!(!types.include(&fields(&["content-type: application/+json-seq"])));
    assert!(!types.include(&fields(&["content-type: application/json"])));
    assert!(!types.include(&fields(&["content-type: application/grpc+json"])));
    assert!(!types.include(&fields(&["content-type: äpplication/x+json"])));
}

#[test]
fn the_head_says_what_is_true_of_the_coded_body() {
    let (coded, head) = apply(response(
        200,
        &[
            "content-type: text/css",
            "content-length: 4096",
            "accept-ranges: bytes",
            "etag: \"v1\"",
            "vary: origin",
            "content-digest: sha-256=:a:",
            "repr-digest: sha-256=:a:",
            "digest: sha-256=a",
            "content-md5: a",
        ],
    ));
    assert!(coded);
    let expected = fields(&[
        "content-type: text/css",
        "content-encoding: gzip",
        "etag: W/\"v1\"",
        "vary: origin, accept-encoding",
    ]);
    assert_eq!((head.headers, head.content_length), (expected, None));
}

#[test]
fn vary_is_said_once_and_to_everybody() {
    for (before, after) in [
        (&[][..], &["vary: accept-encoding"][..]),
        (&["vary: Origin"], &["vary: Origin, accept-encoding"]),
        (&["vary: a", "vary: b"], &["vary: a, accept-encoding", "vary: b"]),
        (&["vary: Accept-Encoding"], &["vary: Accept-Encoding"]),
        (&["vary: a", "vary: b,ACCEPT-ENCODING"], &["vary: a", "vary: b,ACCEPT-ENCODING"]),
        (&["vary: *"], &["vary: *"]),
    ] {
        let mut headers = fields(before);
        head::vary(&mut headers);
        assert_eq!(headers, fields(after));
    }
    let mut head = response(200, &["content-type: text/css", "etag: \"v1\""]);
    assert!(compression().apply(None, &fields(&[]), &mut head, Some(4096)).is_none());
    let expected = fields(&["content-type: text/css", "etag: \"v1\"", "vary: accept-encoding"]);
    assert_eq!(head.headers, expected);
}

#[test]
fn a_weak_tag_stays_and_what_is_no_tag_goes() {
    for (before, after) in [("W/\"a\"", Some("W/\"a\"")), ("\"\"", Some("W/\"\"")), ("abc", None)] {
        let mut headers = fields(&[&format!("etag: {before}")]);
        head::code(&mut headers, Coding::Brotli);
        let after = after.map(|after| HeaderValue::from_str(after).expect("a value"));
        assert_eq!(headers.get("etag"), after.as_ref());
    }
}

#[test]
fn a_304_names_the_tag_that_the_client_has() {
    for (asked, answered) in [
        ("W/\"v1\"", "W/\"v1\""),
        ("\"v0\", W/\"v1\"", "W/\"v1\""),
        ("\"v1\"", "\"v1\""),
        ("W/\"v1\", \"v1\"", "\"v1\""),
        ("W/\"V1\"", "\"v1\""),
        ("*", "\"v1\""),
    ] {
        let mut head = response(304, &["etag: \"v1\""]);
        let request = fields(&[&format!("if-none-match: {asked}")]);
        assert!(compression().apply(Some(Coding::Brotli), &request, &mut head, None).is_none());
        assert_eq!(head.headers["etag"], answered, "{asked}");
        assert_eq!(head.headers.contains_key("vary"), answered.starts_with("W/"), "{asked}");
    }
}

#[test]
fn small_bodies_and_destinations_without_it_are_left_alone() {
    let compression = compression();
    let try_with = |length, origin: Option<&str>| {
        let mut head = response(200, &["content-type: text/css"]);
        head.origin = origin.map(Into::into);
        compression.apply(Some(Coding::Brotli), &fields(&[]), &mut head, length).is_some()
    };
    assert!(try_with(None, None) && try_with(Some(1024), None) && try_with(Some(1024), Some("on")));
    assert!(!try_with(Some(1023), None) && !try_with(Some(1024), Some("off")));
}

#[test]
fn beyond_what_a_worker_may_compress_at_a_time_responses_stay_as_they_are() {
    let config = config("{ max-in-flight = 2 }");
    let before = Compression::new(&config, None).expect("there is a table");
    let take = |compression: &Compression| {
        let mut head = response(200, &["content-type: text/css"]);
        let coder = compression.apply(Some(Coding::Brotli), &fields(&[]), &mut head, None);
        assert_eq!(head.headers.contains_key("content-encoding"), coder.is_some());
        coder
    };
    let first = take(&before);
    // A reload counts on.
    let after = Compression::new(&config, Some(&before)).expect("there is a table");
    let second = take(&after);
    assert!(first.is_some() && second.is_some() && take(&after).is_none());
    drop(first);
    assert!(take(&after).is_some());
}

#[test]
fn clients_that_cannot_or_must_not_be_served_so_wish_for_nothing() {
    let compression = compression();
    let asks = fields(&["accept-encoding: br"]);
    assert_eq!(compression.wish(&asks, Version::HTTP_2), Some(Coding::Brotli));
    assert_eq!(compression.wish(&asks, Version::HTTP_11), Some(Coding::Brotli));
    assert_eq!(compression.wish(&asks, Version::HTTP_10), None);
    let asks = fields(&["accept-encoding: br", "cache-control: no-transform"]);
    assert_eq!(compression.wish(&asks, Version::HTTP_11), None);
}
