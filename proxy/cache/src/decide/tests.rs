//! Tables of what requests and responses say, and what follows; and another implementation of the same arithmetic beside.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use tidegate_message::range::{Part, Selection as Range};

use super::*;
use crate::time::Time;

/// The 29th of November 2026.
const NOW: Time = Time(1_795_910_400_000);

/// Fields as they are written, a line each.
fn fields(text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a field");
        let name = HeaderName::try_from(name.trim()).expect("a name");
        headers.append(name, HeaderValue::try_from(value.trim()).expect("a value"));
    }
    headers
}

/// A date so many seconds from [`NOW`].
fn date(seconds: i64) -> String {
    let time = Time(NOW.0.saturating_add_signed(seconds * 1000));
    time.to_field().to_str().expect("ASCII").to_owned()
}

fn stored(asked: &str, status: u16, response: &str) -> Result<Shielded, Refusal> {
    let (asked, response) = (fields(asked), fields(response));
    let status = StatusCode::from_u16(status).expect("a status");
    let no_store = Asked::of(&asked).no_store;
    storable(&Method::GET, &asked, no_store, status, &response, &Rules::default(), NOW)
}

#[test]
fn what_may_be_stored() {
    use Refusal::*;
    let expires = format!("expires: {}", date(60));
    let past = format!("expires: {}", date(-60));
    let modified = format!("last-modified: {}", date(-1000));
    let cases: &[(&str, u16, &str, Result<u64, Refusal>)] = &[
        ("", 200, "cache-control: max-age=60", Ok(60)),
        ("", 200, "cache-control: max-age=60, s-maxage=10", Ok(10)),
        ("", 200, "cache-control: MAX-AGE=\"60\"", Ok(60)),
        ("", 200, "cache-control: max-age=60, max-age=5", Ok(60)),
        ("", 200, "cache-control: max-age=99999999999999999999", Ok(1 << 31)),
        ("", 200, "cache-control: max-age=60.5", Err(NotFresh)),
        ("", 200, "cache-control: max-age=-1", Err(NotFresh)),
        ("", 200, "cache-control: extension=\"max-age=60\"", Err(NotFresh)),
        ("", 200, "cache-control: max-age=0\netag: \"a\"", Ok(0)),
        ("", 200, "cache-control: no-cache\netag: \"a\"", Ok(0)),
        ("", 200, "cache-control: no-cache", Err(NotFresh)),
        ("", 200, "cache-control: max-age=60, no-store", Err(NoStore)),
        ("", 200, "cache-control: max-age=60\ncache-control: private", Err(Private)),
        ("", 200, "cache-control: max-age=60, private=\"x\"", Err(Private)),
        ("", 200, "etag: \"a\"", Err(NotFresh)),
        ("", 200, "", Err(NotFresh)),
        ("", 200, &expires, Ok(60)),
        ("", 200, &past, Err(NotFresh)),
        ("", 200, "expires: 0", Err(NotFresh)),
        ("", 200, &modified, Ok(100)),
        ("cookie: a=b", 200, &modified, Err(NotFresh)),
        ("", 302, &modified, Err(NotFresh)),
        ("", 302, &format!("{modified}\ncache-control: public"), Ok(100)),
        ("", 302, "cache-control: max-age=60", Ok(60)),
        ("", 404, "cache-control: max-age=60", Ok(60)),
        ("", 206, "cache-control: max-age=60", Err(Status)),
        ("", 304, "cache-control: max-age=60", Err(Status)),
        ("", 599, "cache-control: max-age=60", Ok(60)),
        ("", 599, "cache-control: max-age=60, must-understand", Err(NotUnderstood)),
        ("", 200, "cache-control: max-age=60, must-understand, no-store", Ok(60)),
        ("cache-control: no-store", 200, "cache-control: max-age=60", Err(RequestNoStore)),
        ("authorization: x", 200, "cache-control: max-age=60", Err(Authorization)),
        ("authorization: x", 200, "cache-control: max-age=60, public", Ok(60)),
        ("authorization: x", 200, "cache-control: max-age=60, must-revalidate", Ok(60)),
        ("authorization: x", 200, "cache-control: s-maxage=60", Ok(60)),
        ("", 200, "cache-control: max-age=60\nset-cookie: a=b", Err(SetCookie)),
        ("", 200, "cache-control: max-age=60\nvary: *", Err(Vary)),
        ("", 200, "cache-control: max-age=60\nvary: a b", Err(Vary)),
        // RFC 9213: what is for caches like this one overrules the rest, if it can be read.
        ("", 200, "cache-control: no-store\ncdn-cache-control: max-age=60", Ok(60)),
        ("", 200, "cache-control: max-age=60\ncdn-cache-control: no-store", Err(NoStore)),
        ("", 200, "cache-control: max-age=60\ncdn-cache-control: max-age=\"5\"", Err(NotFresh)),
        ("", 200, "cache-control: max-age=60\ncdn-cache-control: max-age=5;;", Ok(60)),
        ("", 200, "cache-control: max-age=60\ncdn-cache-control:", Ok(60)),
        ("", 200, "cdn-cache-control: max-age=9\ntidegate-cache-control: max-age=5", Ok(5)),
        ("", 200, &format!("{expires}\ncdn-cache-control: stale-if-error=9"), Ok(0)),
    ];
    for (asked, status, response, expected) in cases {
        let found = stored(asked, *status, response).map(|shielded| shielded.lifetime.seconds());
        assert_eq!(found, *expected, "{asked} ▶ {status} {response}");
    }
    let (method, none, fresh) = (http::Method::POST, HeaderMap::new(), fields("cache-control: max-age=9"));
    let post = storable(&method, &none, false, StatusCode::OK, &fresh, &Rules::default(), NOW);
    assert_eq!(post, Err(Method));
}

#[test]
fn the_operator_may_say_what_responses_do_not() {
    let rules = Rules { default_lifetime: 30, heuristic: 0, set_cookie: true, ..Rules::default() };
    let lifetime = |asked: &str, status: u16, response: &str| {
        let status = StatusCode::from_u16(status).expect("a status");
        storable(&Method::GET, &fields(asked), false, status, &fields(response), &rules, NOW)
            .map(|it| it.lifetime)
    };
    assert_eq!(lifetime("", 200, "a: b"), Ok(Lifetime::Default(30)));
    assert_eq!(lifetime("", 200, &format!("last-modified: {}", date(-1000))), Ok(Lifetime::Default(30)));
    assert_eq!(lifetime("cookie: a", 200, "a: b"), Err(Refusal::NotFresh));
    assert_eq!(lifetime("", 500, "a: b"), Err(Refusal::NotFresh));
    assert_eq!(lifetime("", 200, "set-cookie: a"), Ok(Lifetime::Default(30)));
    assert_eq!(lifetime("", 200, "cache-control: max-age=5"), Ok(Lifetime::Explicit(5)));
}

#[test]
fn how_old_a_response_is() {
    for (response, delay, initial) in [
        ("", 0, 0),
        ("", 3, 3),
        ("age: 10", 3, 13),
        ("age: 10, 20", 0, 10),
        ("age: 10\nage: 20", 0, 20),
        ("age: 1.5", 0, 1 << 31),
        ("age: -10", 0, 1 << 31),
        ("age: 99999999999999999999", 0, 1 << 31),
        (&format!("date: {}", date(-30)), 0, 30),
        (&format!("date: {}\nage: 10", date(-30)), 0, 30),
        (&format!("date: {}\nage: 40", date(30)), 0, 40),
    ] {
        let aged = Aged::of(&fields(response), Time(NOW.0 - delay * 1000), NOW);
        assert_eq!((aged.initial, aged.now(NOW.plus(7))), (initial, initial + 7), "{response}");
    }
}

#[test]
fn who_gets_what_is_stored() {
    use Staleness::{Fresh, Invalid, Stale};
    use Use::{Hit, Validate, WhileRevalidating};
    let (by_time, by_wish) = (Validate(Why::Stale), Validate(Why::Asked));
    let cases: &[(&str, &str, Staleness, u64, Use)] = &[
        ("max-age=60", "", Fresh(10), 50, Hit),
        ("max-age=60", "", Stale(0), 60, by_time),
        ("max-age=60", "no-cache", Fresh(10), 50, by_wish),
        ("max-age=60", "max-age=50", Fresh(10), 50, Hit),
        ("max-age=60", "max-age=49", Fresh(10), 50, by_wish),
        ("max-age=60", "max-age=0", Fresh(60), 0, by_wish),
        ("max-age=60, immutable", "max-age=0", Fresh(10), 50, Hit),
        ("max-age=60, immutable", "no-cache", Fresh(10), 50, by_wish),
        ("max-age=60, immutable", "max-age=0", Stale(1), 61, by_wish),
        ("max-age=60", "min-fresh=10", Fresh(10), 50, Hit),
        ("max-age=60", "min-fresh=11", Fresh(10), 50, by_wish),
        ("max-age=60", "max-stale", Stale(1000), 1060, Hit),
        ("max-age=60", "max-stale=5", Stale(5), 65, Hit),
        ("max-age=60", "max-stale=5", Stale(6), 66, by_time),
        ("max-age=60, must-revalidate", "max-stale", Stale(1), 61, by_time),
        ("max-age=60, proxy-revalidate", "max-stale", Stale(1), 61, by_time),
        ("s-maxage=60", "max-stale", Stale(1), 61, by_time),
        ("no-cache", "", Fresh(10), 50, by_time),
        ("max-age=60, stale-while-revalidate=9", "", Stale(8), 68, WhileRevalidating),
        ("max-age=60, stale-while-revalidate=9", "", Stale(9), 69, by_time),
        ("s-maxage=60, stale-while-revalidate=9", "", Stale(8), 68, WhileRevalidating),
        ("max-age=60, stale-while-revalidate=9, must-revalidate", "", Stale(8), 68, by_time),
        ("max-age=60, stale-while-revalidate=9", "max-age=5", Stale(8), 68, by_wish),
        ("max-age=60, stale-while-revalidate=9", "", Invalid, 1, by_time),
    ];
    for (directives, asked, staleness, age, expected) in cases {
        let directives = Directives::of(&fields(&format!("cache-control: {directives}")));
        let asked = Asked::of(&fields(&format!("cache-control: {asked}")));
        let found = reuse(&directives, &asked, *staleness, *age, &Rules::default());
        assert_eq!(found, *expected, "{directives:?} {asked:?} {staleness:?}");
    }
    assert!(Asked::of(&fields("pragma: x, no-cache")).no_cache);
    assert!(!Asked::of(&fields("pragma: no-cache\ncache-control: max-age=5")).no_cache);
}

#[test]
fn who_gets_what_is_stale_when_the_origin_fails() {
    let rules = Rules { stale_if_error: 100, ..Rules::default() };
    for (directives, asked, seconds, status, expected) in [
        ("max-age=1", "", 99, Some(503), true),
        ("max-age=1", "", 100, Some(503), false),
        ("max-age=1", "", 99, None, true),
        ("max-age=1", "", 99, Some(404), false),
        ("max-age=1, stale-if-error=5", "", 5, Some(500), false),
        ("max-age=1, stale-if-error=5", "", 4, Some(500), true),
        ("max-age=1, stale-if-error=200", "", 150, None, true),
        ("max-age=1, must-revalidate", "", 1, None, false),
        ("max-age=1, no-cache", "", 1, None, false),
        ("s-maxage=1", "", 1, None, false),
        ("s-maxage=1, stale-if-error=5", "", 1, None, true),
        ("max-age=1", "stale-if-error=200", 150, None, true),
    ] {
        let directives = Directives::of(&fields(&format!("cache-control: {directives}")));
        let asked = Asked::of(&fields(&format!("cache-control: {asked}")));
        let status = status.map(|status| StatusCode::from_u16(status).expect("a status"));
        let found = serves_stale_on_error(&directives, &asked, Staleness::Stale(seconds), status, &rules);
        assert_eq!(found, expected, "{directives:?} {asked:?} {seconds} {status:?}");
    }
}

#[test]
fn which_requests_a_response_is_for() {
    let vary = "vary: Accept-Encoding, X-Tenant\nvary: accept-encoding";
    let first = fields("accept-encoding: gzip;q=0.5, br\nx-tenant: a\nx-tenant: b");
    let selection = Selection::of(&first, &fields(vary)).expect("it can be compared");
    for (asked, expected) in [
        ("accept-encoding: br, gzip\nx-tenant: a, b", true),
        ("accept-encoding: gzip , br;q=0.1, unheard-of\nx-tenant: a, b\nx-other: 1", true),
        ("accept-encoding: gzip\nx-tenant: a, b", false),
        ("accept-encoding: br, gzip\nx-tenant: a", false),
        ("accept-encoding: br, gzip\nx-tenant: b, a", false),
        ("accept-encoding: br, gzip", false),
        ("x-tenant: a, b", false),
    ] {
        assert_eq!(selection.matches(&fields(asked)), expected, "{asked}");
    }
    assert!(Selection::of(&first, &fields("vary: a\nvary: b, *")).is_none());
    let all = Selection::of(&first, &fields("a: b")).expect("no Vary");
    assert!(all.matches(&fields("")));
    // An empty value is not the same as none.
    let without = Selection::of(&fields(""), &fields("vary: x")).expect("it can be compared");
    assert!(without.matches(&fields("")) && !without.matches(&fields("x:")));
    // The origin is asked in the form that is compared.
    let mut asked = fields("accept-encoding: evil, gzip;q=0.1, br");
    normalize(&mut asked);
    assert_eq!(asked["accept-encoding"], "br, gzip");
    let mut asked = fields("accept-encoding: evil");
    normalize(&mut asked);
    assert!(asked.is_empty());
}

#[test]
fn clients_that_have_it_already() {
    let modified = date(-500);
    let response = format!("etag: W/\"a,b\"\nlast-modified: {modified}\ndate: {}", date(-100));
    let strong = format!("etag: \"s\"\nlast-modified: {modified}\ndate: {}", date(-100));
    let part = Answer::Parts(Range::One(Part { first: 0, length: 5 }));
    let none = Answer::Parts(Range::Nothing);
    let cases: &[(&str, &str, Answer)] = &[
        ("", &response, Answer::Whole),
        ("if-none-match: \"x\", \"a,b\"", &response, Answer::NotModified),
        ("if-none-match: W/\"a,b\"", &response, Answer::NotModified),
        ("if-none-match: *", &response, Answer::NotModified),
        ("if-none-match: \"x\"", &response, Answer::Whole),
        (&format!("if-none-match: \"x\"\nif-modified-since: {}", date(0)), &response, Answer::Whole),
        (&format!("if-modified-since: {modified}"), &response, Answer::NotModified),
        (&format!("if-modified-since: {}", date(-501)), &response, Answer::Whole),
        (&format!("if-modified-since: {}", date(-100)), "a: b", Answer::Whole),
        (&format!("if-modified-since: {}", date(0)), "a: b", Answer::NotModified),
        ("range: bytes=0-4", &strong, part.clone()),
        ("range: bytes=0-4\nif-range: \"s\"", &strong, part.clone()),
        ("range: bytes=0-4\nif-range: \"t\"", &strong, Answer::Whole),
        ("range: bytes=0-4\nif-range: W/\"a,b\"", &response, Answer::Whole),
        (&format!("range: bytes=0-4\nif-range: {modified}"), &strong, part),
        (&format!("range: bytes=0-4\nif-range: {}", date(-400)), &strong, Answer::Whole),
        ("range: bytes=100-", &strong, none),
        ("range: lines=0-4", &strong, Answer::Whole),
        ("range: bytes=0-4\nif-none-match: \"s\"", &strong, Answer::NotModified),
    ];
    for (asked, response, expected) in cases {
        let found = answer(&fields(asked), StatusCode::OK, &fields(response), Some(100), NOW);
        assert_eq!(found, *expected, "{asked} ▶ {response}");
    }
    let missing = answer(&fields("range: bytes=0-4"), StatusCode::NOT_FOUND, &fields(""), Some(9), NOW);
    assert_eq!(missing, Answer::Whole);
}

#[test]
fn origins_are_asked_by_what_is_stored() {
    let mut asked = fields("if-none-match: \"client\"\nrange: bytes=0-\nif-range: \"x\"\na: b");
    assert!(validate(&mut asked, &fields("etag: \"own\"")));
    assert_eq!(asked, fields("a: b\nif-none-match: \"own\""));
    assert!(!validate(&mut asked, &fields("a: b")));
    assert_eq!(asked, fields("a: b"));
    for (news, stored, expected) in [
        ("", "etag: \"a\"", true),
        ("etag: \"a\"", "etag: \"a\"", true),
        ("etag: W/\"a\"", "etag: \"a\"", true),
        ("etag: \"b\"", "etag: \"a\"", false),
        ("etag: \"b\"", "last-modified: x", false),
        ("last-modified: x", "last-modified: x", true),
        ("last-modified: y", "last-modified: x", false),
    ] {
        assert_eq!(validates(&fields(news), &fields(stored)), expected, "{news} ▶ {stored}");
    }
    let stored =
        fields("a: 1\na: 2\nb: 1\netag: \"e\"\ncontent-length: 5\ndate: x\ncontent-type: text/plain");
    let news = fields("a: 3\netag: W/\"e\"\ncontent-length: 0\ndate: y\nage: 5\nproxy-authenticate: z");
    let expected = fields("b: 1\netag: \"e\"\ncontent-length: 5\ncontent-type: text/plain\na: 3\ndate: y");
    assert_eq!(updated(&stored, &news, NOW), expected);
    let of_304 = of_not_modified(&fields("etag: \"e\"\ncontent-length: 5\ncontent-location: /a\nvary: b"));
    assert_eq!(of_304, fields("etag: \"e\"\ncontent-location: /a\nvary: b"));
}

#[test]
fn what_was_done_is_said_in_the_words_of_the_standard() {
    let text = |status: Status| status.to_field().to_str().expect("ASCII").to_owned();
    assert_eq!(text(Status::hit(30)), "tidegate; hit; ttl=30");
    assert_eq!(text(Status::hit(-4)), "tidegate; hit; ttl=-4");
    let fetched =
        Status { stored: true, collapsed: true, ttl: Some(5), ..Status::forwarded(Forward::VaryMiss) };
    assert_eq!(text(fetched), "tidegate; fwd=vary-miss; ttl=5; stored; collapsed");
    let refreshed =
        Status { forward_status: Some(StatusCode::NOT_MODIFIED), ..Status::forwarded(Forward::Stale) };
    assert_eq!(text(refreshed), "tidegate; fwd=stale; fwd-status=304");
    let refused = Status::refused(Forward::UriMiss, Refusal::SetCookie);
    assert_eq!(text(refused), "tidegate; fwd=uri-miss; detail=set-cookie");
    for refusal in Refusal::ALL {
        let field = text(Status::refused(Forward::Bypass, refusal));
        assert!(sfv::Parser::new(&field).parse::<sfv::List>().is_ok(), "{field}");
    }
}

/// Where `http-cache-semantics` speaks, it says the same of what may be stored and for how long that is fresh.
#[test]
fn another_implementation_agrees() {
    use std::time::{Duration, UNIX_EPOCH};

    use http_cache_semantics::{CacheOptions, CachePolicy};

    let of_response: [&[String]; 6] = [
        &[
            "".into(),
            "max-age=60".into(),
            "max-age=60, s-maxage=5".into(),
            "s-maxage=0".into(),
            "no-cache".into(),
        ],
        &["".into(), "public".into(), "private".into(), "no-store".into(), "must-revalidate".into()],
        &["".into(), date(100), date(-100), "0".into()],
        &["".into(), date(-1000), date(-2)],
        &["".into(), date(0), date(-20)],
        &["".into(), "7".into()],
    ];
    let names = ["cache-control", "cache-control", "expires", "last-modified", "date", "age"];
    let (mut compared, mut chosen) = (0, [0; 6]);
    loop {
        let mut headers = HeaderMap::new();
        for ((name, values), at) in names.into_iter().zip(of_response).zip(chosen) {
            if !values[at].is_empty() {
                headers.append(name, values[at].parse().expect("a value"));
            }
        }
        for (status, authorization) in [(200, false), (200, true), (302, false), (404, false)] {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut request = http::Request::get("/").body(()).expect("a request");
            if authorization {
                request.headers_mut().insert("authorization", HeaderValue::from_static("x"));
            }
            let mut response = http::Response::new(());
            *response.status_mut() = status;
            *response.headers_mut() = headers.clone();
            let options = CacheOptions { cache_heuristic: 0.1, ..CacheOptions::default() };
            let now = UNIX_EPOCH + Duration::from_millis(NOW.0);
            let oracle = CachePolicy::new_options(&request, &response, now, options);
            let directives = Directives::of(&headers);
            let lifetime = Lifetime::of(status, &headers, &directives, &Rules::default(), NOW, false);
            let own =
                storable(&Method::GET, request.headers(), false, status, &headers, &Rules::default(), NOW);
            // What is of no use is not stored here although it might be.
            assert!(oracle.is_storable() || own.is_err(), "{status} {headers:?}: {own:?}");
            let refused = own.as_ref().err().filter(|refusal| **refusal != Refusal::NotFresh);
            assert!(!oracle.is_storable() || refused.is_none(), "{status} {headers:?}: {own:?}");
            if own.is_ok() && !directives.no_cache {
                // It does not look at `Date` to know how old something is.
                let (left, age) = (oracle.time_to_live(now).as_secs(), oracle.age(now).as_secs());
                assert_eq!(lifetime.seconds().saturating_sub(age), left, "{status} {headers:?}");
                compared += 1;
            }
        }
        let mut next = 0;
        while next < 6 {
            chosen[next] += 1;
            if chosen[next] < of_response[next].len() {
                break;
            }
            chosen[next] = 0;
            next += 1;
        }
        if next == 6 {
            break;
        }
    }
    assert!(compared > 1000, "{compared}");
}
