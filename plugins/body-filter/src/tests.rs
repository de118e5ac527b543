//! What is refused and what is replaced.

use serde_json::{Value, json};

use super::*;

fn filter(config: Value) -> BodyFilter {
    testing::configure(config).expect("a valid configuration")
}

fn refused(config: Value) -> String {
    testing::configure::<BodyFilter>(config).err().expect("an invalid configuration")
}

fn post(path: &str, content_type: &str) -> testing::Request {
    testing::Request::new("POST", path).with_header("content-type", content_type)
}

fn ok(content_type: &str) -> testing::Response {
    testing::Response::new(200).with_header("content-type", content_type)
}

/// The status a request with this body is answered with; `None` = it goes on.
fn answer(filter: &BodyFilter, request: &testing::Request, body: &str) -> Option<u16> {
    assert_eq!(filter.on_request(request), Verdict::Next);
    if request.body_mode() == BodyMode::Skip {
        return None;
    }
    assert_eq!(request.body_mode(), BodyMode::Whole);
    match filter.on_request_body(request, &testing::Body::whole(body)) {
        Verdict::Next => None,
        Verdict::Respond => request.reply().map(|reply| reply.status),
        other => panic!("{other:?}"),
    }
}

/// What becomes of a response body, however it is cut into pieces.
#[track_caller]
fn assert_becomes(replace: &Value, body: &str, expected: &str) {
    let filter = filter(json!({ "responses": [{ "replace": replace }] }));
    let request = testing::Request::new("GET", "/");
    let response = ok("text/html; charset=utf-8");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    assert_eq!(filter.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.body_mode(), BodyMode::Chunks);
    for size in 1..=body.len().max(1) {
        let passed = testing::pass_chunks(body.as_bytes().chunks(size), |chunk| {
            filter.on_response_chunk(&request, &response, chunk)
        });
        let text = String::from_utf8_lossy(&passed.bytes).into_owned();
        assert_eq!((text.as_str(), passed.verdict), (expected, Verdict::Next), "pieces of {size}");
    }
}

#[test]
fn a_body_in_which_a_pattern_is_found_is_refused() {
    let filter = filter(json!({ "requests": [
        { "paths": ["/api/**"], "patterns": ["(?i)union\\s+select", "<script"] },
        { "paths": ["/api/upload"], "methods": ["POST"], "patterns": ["EICAR"], "ignore-case": true, "status": 422 },
    ]}));
    for (path, body, status) in [
        ("/api/x", "a=1 UNION  SELECT b", Some(403)),
        ("/api/x", "a <script>", Some(403)),
        ("/api/x", "a <SCRIPT>", None),
        ("/api/x", "eicar", None),
        ("/api/upload", "the eicar file", Some(422)),
        ("/api/upload", "<script", Some(403)),
        ("/api/upload", "", None),
        ("/other", "<script", None),
    ] {
        assert_eq!(answer(&filter, &post(path, "text/plain"), body), status, "{path} {body}");
    }
}

#[test]
fn header_fields_and_user_agents_choose_too() {
    let filter = filter(json!({
        "requests": [
            { "headers": { "x-filter": "on" }, "patterns": ["x"] },
            { "user-agents": ["bot"], "patterns": ["x"], "status": 422 },
        ],
        "responses": [{ "headers": { "x-edit": "*" }, "replace": [{ "from": "x", "to": "1" }] }],
    }));
    let request = || post("/", "text/plain");
    assert_eq!(answer(&filter, &request().with_header("x-filter", "on"), "x"), Some(403));
    assert_eq!(answer(&filter, &request().with_header("user-agent", "A Bot"), "x"), Some(422));
    assert_eq!(answer(&filter, &request().with_header("x-filter", "off"), "x"), None);
    for (request, mode) in
        [(request().with_header("x-edit", ""), BodyMode::Chunks), (request(), BodyMode::Skip)]
    {
        let response = ok("text/html");
        assert_eq!(filter.on_request(&request), Verdict::Next);
        assert_eq!(filter.on_response(&request, &response), Verdict::Next);
        assert_eq!(response.body_mode(), mode);
    }
}

#[test]
fn only_bodies_of_these_types_are_looked_at() {
    let types = json!(["application/json", "text/*", "application/soap+xml"]);
    let filter = filter(json!({ "requests": [{ "content-types": types, "patterns": ["x"] }] }));
    for content_type in
        ["application/json", "Application/JSON;charset=utf-8", " text/csv ; a=b", "application/soap+xml"]
    {
        assert_eq!(answer(&filter, &post("/", content_type), "x"), Some(403), "{content_type}");
    }
    for content_type in ["application/jsonx", "image/png", "application/soapxxml", "x text/css", "text/"] {
        assert_eq!(answer(&filter, &post("/", content_type), "x"), None, "{content_type}");
    }
    assert_eq!(answer(&filter, &testing::Request::new("POST", "/"), "x"), None);
}

#[test]
fn what_the_chain_makes_of_the_request_does_not_matter() {
    let filter = filter(json!({ "requests": [{ "paths": ["/in"], "patterns": ["x"] }] }));
    let request = post("/in", "text/plain");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    request.set_target("/out").expect("valid");
    assert_eq!(filter.on_request_body(&request, &testing::Body::whole("x")), Verdict::Respond);
}

#[test]
fn a_request_body_is_seen_decoded_or_refused() {
    let filter = filter(json!({ "requests": [{ "patterns": ["x"] }] }));
    let request = post("/", "text/plain").with_header("content-encoding", "gzip");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    assert!(request.decodes_body());
    let request = post("/", "text/plain").with_header("content-encoding", "compress");
    assert_eq!(filter.on_request(&request), Verdict::Respond);
    let reply = request.reply().expect("there is one");
    assert_eq!(reply.status, 415);
    let accepted = (String::from("accept-encoding"), b"gzip, deflate, br, zstd".to_vec());
    assert!(reply.headers.contains(&accepted));
}

#[test]
fn texts_are_replaced_wherever_pieces_end() {
    let https = json!([{ "from": "http://", "to": "https://" }]);
    assert_becomes(
        &https,
        "<a href=http://a/>http://b/ http:/ http:",
        "<a href=https://a/>https://b/ http:/ http:",
    );
    assert_becomes(&https, "http://", "https://");
    assert_becomes(&https, "", "");
    assert_becomes(&json!([{ "from": "a", "to": "" }]), "banana", "bnn");
    assert_becomes(&json!([{ "from": "aa", "to": "b" }]), "aaaaa", "bba");
    assert_becomes(&json!([{ "from": "é", "to": "e" }]), "é!é", "e!e");
}

#[test]
fn of_several_texts_the_one_that_begins_first_is_replaced() {
    let replace =
        json!([{ "from": "bc", "to": "1" }, { "from": "abcd", "to": "2" }, { "from": "ab", "to": "3" }]);
    assert_becomes(&replace, "abcd", "2");
    assert_becomes(&replace, "abc xbcd", "3c x1d");
    let replace = json!([{ "from": "ab", "to": "1" }, { "from": "abc", "to": "2" }]);
    assert_becomes(&replace, "abc", "1c");
    let swap = json!([{ "from": "one", "to": "two" }, { "from": "two", "to": "one" }]);
    assert_becomes(&swap, "one two one", "two one two");
}

#[test]
fn every_rule_that_applies_counts() {
    let filter = filter(json!({ "responses": [
        { "paths": ["/a/**"], "replace": [{ "from": "x", "to": "1" }] },
        { "content-types": ["text/css"], "replace": [{ "from": "x", "to": "2" }, { "from": "y", "to": "2" }] },
        { "content-types": ["text/*"], "replace": [{ "from": "y", "to": "3" }] },
    ]}));
    for (path, content_type, expected) in [
        ("/a", "text/html", "13"),
        ("/a", "text/css", "22"),
        ("/b", "text/css", "22"),
        ("/b", "text/html", "x3"),
        ("/b", "image/png", "xy"),
    ] {
        let (request, response) = (testing::Request::new("GET", path), ok(content_type));
        assert_eq!(filter.on_request(&request), Verdict::Next);
        assert_eq!(filter.on_response(&request, &response), Verdict::Next);
        let passed = match response.body_mode() {
            BodyMode::Skip => "xy".to_owned(),
            _ => {
                let phase = |chunk: &Body| filter.on_response_chunk(&request, &response, chunk);
                String::from_utf8(testing::pass_chunks(["xy"], phase).bytes).expect("text")
            }
        };
        assert_eq!(passed, expected, "{path} {content_type}");
    }
}

#[test]
fn a_part_of_a_response_is_neither_asked_for_nor_edited() {
    let filter =
        filter(json!({ "responses": [{ "paths": ["/a"], "replace": [{ "from": "x", "to": "1" }] }] }));
    let ranged = |path| {
        let request = testing::Request::new("GET", path);
        request.with_header("range", "bytes=0-1").with_header("if-range", "\"a\"")
    };
    let request = ranged("/a");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    assert_eq!((request.header_count("range"), request.header_count("if-range")), (0, 0));
    let response = testing::Response::new(206).with_header("content-type", "text/html");
    assert_eq!(filter.on_response(&request, &response), Verdict::Next);
    assert_eq!(response.body_mode(), BodyMode::Skip);
    let request = ranged("/b");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    assert_eq!(request.header_count("range"), 1);
}

#[test]
fn a_coded_response_is_edited_if_the_coding_is_known() {
    let filter = filter(json!({ "responses": [{ "replace": [{ "from": "x", "to": "1" }] }] }));
    let request = testing::Request::new("GET", "/");
    assert_eq!(filter.on_request(&request), Verdict::Next);
    for (coding, mode) in [("br", BodyMode::Chunks), ("compress", BodyMode::Skip)] {
        let response = ok("text/html").with_header("content-encoding", coding);
        assert_eq!(filter.on_response(&request, &response), Verdict::Next);
        assert_eq!(
            (response.body_mode(), response.decodes_body()),
            (mode, mode != BodyMode::Skip),
            "{coding}"
        );
    }
}

#[test]
fn mistakes_are_refused_with_their_key() {
    let request = |rule: Value| json!({ "requests": [{ "patterns": ["x"] }, rule] });
    let response = |rule: Value| json!({ "responses": [rule] });
    let many = vec![json!({ "patterns": ["x"] }); 33];
    for (config, message) in [
        (json!({}), "neither `requests` nor `responses`"),
        (json!({ "requests": many }), "requests: 33 rules; at most 32"),
        (request(json!({})), "requests[1]: missing field `patterns`"),
        (request(json!({ "patterns": [] })), "requests[1].patterns: an empty list"),
        (request(json!({ "patterns": ["a", "("] })), "requests[1].patterns[1]: "),
        (request(json!({ "patterns": ["a"], "status": 200 })), "requests[1].status: 200 is not"),
        (request(json!({ "patterns": ["a"], "paths": ["a"] })), "requests[1].paths[0]: `a` matches nothing"),
        (
            request(json!({ "patterns": ["a"], "content-types": ["*/*"] })),
            "requests[1].content-types[0]: `*/*`",
        ),
        (request(json!({ "patterns": ["a"], "pattern": "b" })), "requests[1].pattern: unknown field"),
        (response(json!({ "replace": [] })), "responses[0].replace: an empty list"),
        (
            response(json!({ "replace": [{ "from": "", "to": "" }] })),
            "responses[0].replace[0].from: has 0 bytes",
        ),
        (
            response(json!({ "replace": [{ "from": "a".repeat(1025), "to": "" }] })),
            "responses[0].replace[0].from: has 1025 bytes",
        ),
        (response(json!({ "replace": [{ "from": "a" }] })), "responses[0].replace[0]: missing field `to`"),
        (
            response(json!({ "hosts": ["a:1"], "replace": [{ "from": "a", "to": "b" }] })),
            "responses[0].hosts[0]: `a:1`: a host stands without port",
        ),
        (
            response(json!({ "content-types": [], "replace": [{ "from": "a", "to": "b" }] })),
            "responses[0].content-types: an empty list",
        ),
    ] {
        let error = refused(config);
        assert!(error.starts_with(message), "{error}");
    }
}
