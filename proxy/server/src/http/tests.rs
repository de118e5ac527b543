//! What is refused, what is removed and what is said of the client, case by case.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Request, Version};
use tidegate_config::Limits;

use super::forwarded::Introduction;
use super::{forwarded, request};
use crate::error::Error;
use tidegate_message::fields::Marks;

fn limits() -> Limits {
    let text = "[listener.web]\naddress = \"127.0.0.1:0\"\n";
    tidegate_config::parse(text, "tidegate.toml".as_ref()).expect("a valid configuration").limits
}

fn accept_with(request: &Request<()>, content_lengths: usize) -> Result<request::Accepted, Error> {
    request::accept(request, content_lengths, Marks::of(request.headers()), &limits(), limits().request_body)
}

fn accept(request: &Request<()>) -> Result<request::Accepted, Error> {
    accept_with(request, 1)
}

fn get(target: &str) -> http::request::Builder {
    Request::get(target).header("host", "example.com")
}

#[test]
fn a_plain_request_is_accepted_with_its_authority_and_target() {
    let accepted = accept(&get("/a/b?c=d").body(()).expect("valid")).expect("accepted");
    assert_eq!(accepted.authority, "example.com");
    assert_eq!(accepted.target, "/a/b?c=d");
    assert_eq!(accepted.content_length, None);
}

#[test]
fn a_whole_uri_as_target_overrules_host_in_http1_only() {
    let build = |version| {
        Request::get("http://a.example/x")
            .header("host", "b.example")
            .version(version)
            .body(())
            .expect("valid")
    };
    assert_eq!(accept(&build(Version::HTTP_11)).expect("accepted").authority, "a.example");
    assert!(matches!(accept(&build(Version::HTTP_2)), Err(Error::BadRequest(_))));
}

#[test]
fn ambiguous_requests_are_refused() {
    let cases = [
        ("no host", Request::get("/").body(())),
        ("two hosts", get("/").header("host", "example.com").body(())),
        ("user information", Request::get("/").header("host", "user@example.com").body(())),
        ("a path in host", Request::get("/").header("host", "example.com/x").body(())),
        ("a bad port", Request::get("/").header("host", "example.com:99999").body(())),
        ("two lengths", get("/").header("content-length", "1").header("content-length", "1").body(())),
        ("a list of lengths", get("/").header("content-length", "2, 2").body(())),
        ("a signed length", get("/").header("content-length", "+5").body(())),
        ("a length no number holds", get("/").header("content-length", "99999999999999999999").body(())),
        (
            "length and chunks",
            get("/").header("content-length", "1").header("transfer-encoding", "chunked").body(()),
        ),
        ("an empty coding", get("/").header("transfer-encoding", ", chunked").body(())),
        ("a second coding", get("/").header("transfer-encoding", "gzip, chunked").body(())),
        ("an asterisk", get("*").body(())),
        ("another scheme", Request::get("ftp://example.com/").body(())),
    ];
    for (what, request) in cases {
        let request = request.expect(what);
        assert!(matches!(accept(&request), Err(Error::BadRequest(_))), "{what}");
    }
}

#[test]
fn a_length_the_parser_hid_beside_chunks_is_refused() {
    let request = get("/").header("transfer-encoding", "chunked").body(()).expect("valid");
    assert!(accept_with(&request, 0).is_ok());
    assert!(matches!(accept_with(&request, 1), Err(Error::BadRequest(_))));
}

#[test]
fn limits_have_their_own_status() {
    let long = format!("/{}", "a".repeat(9000));
    assert!(matches!(accept(&get(&long).body(()).expect("valid")), Err(Error::TargetTooLong)));
    let many = (0..101).fold(get("/"), |request, index| request.header(format!("x-{index}"), "1"));
    assert!(matches!(accept(&many.body(()).expect("valid")), Err(Error::HeadersTooLarge(_))));
    let large = get("/").header("content-length", "999999999").body(()).expect("valid");
    assert!(matches!(accept(&large), Err(Error::BodyTooLarge)));
}

#[test]
fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    let cases = [
        ("192.0.2.1", &[("x-forwarded-for", "198.51.100.7")][..], "192.0.2.1"),
        ("10.0.0.1", &[("x-forwarded-for", "198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.0.0.2")], "198.51.100.7"),
        ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, junk, 10.0.0.2")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "6.6.6.6, 0.0.0.0")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "\", 198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[("forwarded", "for=6.6.6.6, proto=https")], "::"),
        ("10.0.0.1", &[("forwarded", "for=6.6.6.6;for=1.1.1.1")], "::"),
        ("10.0.0.1", &[("forwarded", "for=\"x, for=198.51.100.7;by=y")], "198.51.100.7"),
        ("10.0.0.1", &[("forwarded", "for=unknown")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", " , ,")], "::"),
        ("10.0.0.1", &[("forwarded", "")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "10.0.0.5:9 8.8.8.8")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "[10.0.0.5]x")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "198.51.100.7:80")], "198.51.100.7"),
        ("10.0.0.1", &[("x-forwarded-for", "198.51.100.7:")], "::"),
        ("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]")], "2001:db8::1"),
        ("10.0.0.1", &[("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1"),
        ("10.0.0.1", &[("forwarded", "for=6.6.6.6, for=\"[2001:db8::1]:80\";proto=https")], "2001:db8::1"),
        ("::ffff:10.0.0.1", &[("x-forwarded-for", "198.51.100.7")], "198.51.100.7"),
        ("10.0.0.1", &[], "10.0.0.1"),
    ];
    for (peer, fields, expected) in cases {
        let client = forwarded::client(address(peer), "http", &headers(fields), &trusted, None);
        assert_eq!(client.address, address(expected), "{peer} {fields:?}");
    }
    let field = http::HeaderName::from_static("cf-connecting-ip");
    for (fields, expected) in [
        (&[("cf-connecting-ip", "198.51.100.7"), ("x-forwarded-for", "6.6.6.6")][..], "198.51.100.7"),
        (&[("cf-connecting-ip", "10.0.0.9")], "10.0.0.9"),
        (&[("cf-connecting-ip", "198.51.100.7"), ("cf-connecting-ip", "6.6.6.6")], "::"),
        (&[("cf-connecting-ip", "198.51.100.7, 6.6.6.6")], "::"),
        (&[("cf-connecting-ip", "10.0.0.5:1, 6.6.6.6")], "::"),
        (&[("cf-connecting-ip", "[10.0.0.5], 6.6.6.6")], "::"),
        (&[("x-forwarded-for", "6.6.6.6")], "10.0.0.1"),
    ] {
        let headers = headers(fields);
        let client = forwarded::client(address("10.0.0.1"), "http", &headers, &trusted, Some(&field));
        assert_eq!(client.address, address(expected), "{fields:?}");
        let client = forwarded::client(address("192.0.2.1"), "http", &headers, &trusted, Some(&field));
        assert_eq!(client.address, address("192.0.2.1"), "a stranger says {fields:?}");
    }
}

#[test]
fn the_scheme_is_said_by_the_hop_that_is_believed() {
    let trusted = ["10.0.0.0/8".parse().expect("a network")];
    for (fields, expected) in [
        (&[("x-forwarded-proto", "https")][..], "https"),
        (
            &[("x-forwarded-for", "198.51.100.7, 10.0.0.2"), ("x-forwarded-proto", "http, https, http")],
            "https",
        ),
        (&[("x-forwarded-for", "198.51.100.7"), ("x-forwarded-proto", "https, http")], "http"),
        (&[("x-forwarded-for", "198.51.100.7, 10.0.0.2"), ("x-forwarded-proto", "https")], "https"),
        (&[("forwarded", "for=6.6.6.6;proto=https, for=198.51.100.7;proto=http")], "http"),
        (&[("forwarded", "for=198.51.100.7;proto=https, for=10.0.0.2;proto=http")], "https"),
        (&[("x-forwarded-proto", "junk")], "http"),
    ] {
        let client = forwarded::client(address("10.0.0.1"), "http", &headers(fields), &trusted, None);
        assert_eq!(client.scheme, expected, "{fields:?}");
    }
}

#[test]
fn what_a_stranger_says_of_itself_is_replaced_and_what_a_proxy_says_is_kept() {
    let said = &[
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=6.6.6.6"),
    ];
    let set = |trusted: &[ipnet::IpNet]| {
        let mut headers = headers(said);
        let peer = address("10.0.0.1");
        let client = forwarded::client(peer, "http", &headers, trusted, None);
        Introduction::new(peer).set(&mut headers, &client, "example.com", Version::HTTP_11);
        headers
    };
    let strangers = set(&[]);
    assert_eq!(strangers["x-forwarded-for"], "10.0.0.1");
    assert_eq!(strangers["x-forwarded-host"], "example.com");
    assert_eq!(strangers["x-forwarded-proto"], "http");
    assert_eq!(strangers["forwarded"], "for=10.0.0.1;host=\"example.com\";proto=http");
    assert_eq!(strangers["via"], "1.1 tidegate");

    let proxys = set(&["10.0.0.0/8".parse().expect("a network")]);
    assert_eq!(proxys["x-forwarded-for"], "6.6.6.6, 10.0.0.1");
    assert_eq!(proxys["x-forwarded-host"], "evil.example");
    assert_eq!(proxys["x-forwarded-proto"], "https");
    assert_eq!(proxys["forwarded"], "for=6.6.6.6, for=10.0.0.1;host=\"example.com\";proto=https");
}

#[test]
fn a_request_id_is_kept_if_it_can_be_logged() {
    let id = |value: &'static str| {
        let mut headers = headers(&[("x-request-id", value)]);
        forwarded::request_id(&mut headers, true, 1, 2)
    };
    assert_eq!(id("abc-123"), "abc-123");
    assert_eq!(id("two words"), "00000000000000010000000000000002");
    let made = |process, exchange| forwarded::request_id(&mut HeaderMap::new(), false, process, exchange);
    for (process, exchange) in
        [(0, u64::MAX), (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210), (9 << 60, 10 << 32)]
    {
        assert_eq!(made(process, exchange), format!("{process:016x}{exchange:016x}").as_str());
    }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
