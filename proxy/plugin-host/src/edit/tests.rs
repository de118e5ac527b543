//! What a policy may change, and that a failed call changed nothing.

use std::time::Duration;

use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use tidegate_message::ResponseHead;

use super::{Editor, Journal, MAX_ATTRIBUTES, MAX_COPY, MAX_FIELDS};
use crate::bodies::{BodyMode, Side};
use crate::exchange::tests::exchange;
use crate::exchange::{EditLimits, Exchange, Retry};
use crate::observe::{Change, Refused};
use crate::phase::Phase;
use crate::refusal::{EditError, RetryError, RouteError};

const PLUGIN: u64 = 7;

struct Call {
    exchange: Box<Exchange>,
    journal: Journal,
    phase: Phase,
    routes: Option<Vec<String>>,
}

impl Call {
    fn new(phase: Phase) -> Self {
        let mut exchange = exchange("GET", "example.org", "/old?q");
        exchange.request.headers.insert("x-old", HeaderValue::from_static("1"));
        exchange.request.headers.append("x-old", HeaderValue::from_static("2"));
        let mut response = ResponseHead::new(StatusCode::OK, HeaderMap::new());
        response.headers.insert("server", HeaderValue::from_static("app"));
        exchange.response = Some(response);
        exchange.attributes.push(("earlier".to_owned(), "a".to_owned()));
        Self { exchange, journal: Journal::default(), phase, routes: None }
    }

    fn editor(&mut self) -> Editor<'_> {
        Editor {
            exchange: &mut self.exchange,
            journal: &mut self.journal,
            phase: self.phase,
            plugin: PLUGIN,
            routes: self.routes.as_deref(),
        }
    }

    /// Everything a policy can change.
    fn picture(&self) -> String {
        let Exchange { request, response, route, timeout, hash_key, attributes, .. } = &*self.exchange;
        let response = response.as_ref().map(|response| (response.status, &response.headers));
        let bodies = &self.exchange.bodies;
        let token = self.exchange.token(PLUGIN);
        let (limit, retry, note) =
            (self.exchange.body_limit, &self.exchange.retry, self.exchange.note(PLUGIN, "seen"));
        let normalized = request.normalized_path();
        format!(
            "{request:?} {normalized} {response:?} {route:?} {timeout:?} {hash_key:?} {attributes:?} {bodies:?} {token} {limit:?} \
             {retry:?} {note:?}"
        )
    }
}

/// Edits as the functions of a contract ask for them.
impl Editor<'_> {
    fn apply(&mut self, change: Result<Change<'_>, Refused>) -> Result<u32, EditError> {
        match change {
            Ok(change) => change.apply(self),
            Err(Refused { side, error }) => Err(self.may_edit(side).err().unwrap_or(error)),
        }
    }

    fn set_header(&mut self, side: Side, name: &str, value: Vec<u8>) -> Result<(), EditError> {
        self.apply(Change::set_header(side, name, value)).map(|_| ())
    }

    fn append_header(&mut self, side: Side, name: &str, value: Vec<u8>) -> Result<(), EditError> {
        self.apply(Change::append_header(side, name, value)).map(|_| ())
    }

    fn remove_header(&mut self, side: Side, name: &str) -> Result<u32, EditError> {
        self.apply(Change::remove_header(side, name))
    }

    fn set_target(&mut self, target: String) -> Result<(), EditError> {
        self.apply(Change::set_target(target)).map(|_| ())
    }
}

fn value(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

#[test]
fn a_reverted_call_leaves_nothing_behind() {
    let mut call = Call::new(Phase::Request);
    let before = call.picture();
    let mut edit = call.editor();
    edit.set_method("PUT").expect("valid");
    edit.set_method("POST").expect("valid");
    edit.set_authority("other.example:81".to_owned()).expect("valid");
    edit.set_target("/new/../x?y".to_owned()).expect("valid");
    edit.set_header(Side::Request, "X-New", value("1")).expect("valid");
    edit.append_header(Side::Request, "x-new", value("2")).expect("valid");
    edit.set_header(Side::Request, "x-old", value("3")).expect("valid");
    assert_eq!(edit.remove_header(Side::Request, "x-old"), Ok(1));
    edit.route_to("app").expect("known");
    edit.route_to("images").expect("known");
    edit.set_timeout(Some(Duration::from_millis(5)));
    edit.limit_body(100);
    edit.limit_body(50);
    edit.set_note("seen".to_owned(), value("1")).expect("small");
    edit.set_note("seen".to_owned(), value("2")).expect("small");
    edit.set_hash_key("k");
    edit.set_body_mode(Side::Request, BodyMode::Whole);
    edit.set_body_mode(Side::Request, BodyMode::Chunks);
    edit.set_header(Side::Request, "content-encoding", value("gzip")).expect("valid");
    assert!(edit.decode_body(Side::Request));
    edit.set_token(1);
    edit.set_token(2);
    edit.set_attribute("earlier".to_owned(), "b".to_owned()).expect("valid");
    edit.set_attribute("new".to_owned(), "c".to_owned()).expect("valid");
    assert_ne!(call.picture(), before);
    call.journal.revert(PLUGIN, &mut call.exchange);
    assert_eq!(call.picture(), before);
}

#[test]
fn a_reverted_response_phase_leaves_nothing_behind() {
    let mut call = Call::new(Phase::Response);
    let before = call.picture();
    let mut edit = call.editor();
    edit.set_status(503).expect("valid");
    assert_eq!(edit.remove_header(Side::Response, "server"), Ok(1));
    edit.append_header(Side::Response, "vary", value("accept")).expect("valid");
    assert_ne!(call.picture(), before);
    call.journal.revert(PLUGIN, &mut call.exchange);
    assert_eq!(call.picture(), before);
}

#[test]
fn a_committed_call_is_not_undone_by_the_next() {
    let mut call = Call::new(Phase::Request);
    call.editor().set_header(Side::Request, "x-old", value("kept")).expect("valid");
    call.editor().set_token(3);
    call.journal.commit();
    let before = call.picture();
    call.editor().set_header(Side::Request, "x-old", value("gone")).expect("valid");
    call.journal.revert(PLUGIN, &mut call.exchange);
    assert_eq!(call.picture(), before);
    assert_eq!(call.exchange.request.headers["x-old"], "kept");
    assert_eq!(call.exchange.token(PLUGIN), 3);
}

#[test]
fn framing_and_hop_by_hop_fields_belong_to_the_proxy() {
    let mut call = Call::new(Phase::Request);
    let before = call.picture();
    for name in [
        "Connection",
        "Content-Length",
        "Expect",
        "Host",
        "HTTP2-Settings",
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
    ] {
        let mut edit = call.editor();
        assert_eq!(edit.set_header(Side::Request, name, value("1")), Err(EditError::Forbidden), "{name}");
        assert_eq!(edit.append_header(Side::Request, name, value("1")), Err(EditError::Forbidden), "{name}");
        assert_eq!(edit.remove_header(Side::Request, name), Err(EditError::Forbidden), "{name}");
        let fields = vec![(name.to_owned(), value("1"))];
        assert_eq!(edit.respond(Side::Request, 200, fields, Vec::new()), Err(EditError::Forbidden), "{name}");
    }
    assert_eq!(call.editor().set_method("CONNECT"), Err(EditError::Forbidden));
    assert_eq!(call.picture(), before);
}

#[test]
fn what_is_not_http_is_refused() {
    let mut call = Call::new(Phase::Request);
    let before = call.picture();
    let mut edit = call.editor();
    for text in ["a\r\nb: c", "a\nb", "a\0b", "a\x7f"] {
        assert_eq!(edit.set_header(Side::Request, "x", value(text)), Err(EditError::Invalid), "{text:?}");
    }
    for name in ["", "a b", "a:b", "a\r\n", "é"] {
        assert_eq!(edit.set_header(Side::Request, name, value("1")), Err(EditError::Invalid), "{name:?}");
    }
    for target in ["", "x", "*", "http://a/", "/a b", "/a\r\nX: y", "/a#b"] {
        assert_eq!(edit.set_target(target.to_owned()), Err(EditError::Invalid), "{target:?}");
    }
    for authority in ["", ":80", "a b", "user@host", "a/b", "a\r\nb"] {
        assert_eq!(edit.set_authority(authority.to_owned()), Err(EditError::Invalid), "{authority:?}");
    }
    for method in ["", "GE T", "G\r\n"] {
        assert_eq!(edit.set_method(method), Err(EditError::Invalid), "{method:?}");
    }
    for status in [0, 101, 199, 600, 999] {
        assert_eq!(
            edit.respond(Side::Request, status, Vec::new(), Vec::new()),
            Err(EditError::Invalid),
            "{status}"
        );
    }
    for key in ["", "a b", "a\n"] {
        assert_eq!(edit.set_attribute(key.to_owned(), String::new()), Err(EditError::Invalid), "{key:?}");
    }
    assert_eq!(call.picture(), before);
    assert!(call.exchange.reply.is_none());
}

#[test]
fn bytes_that_are_not_utf8_may_be_values() {
    let mut call = Call::new(Phase::Request);
    call.editor().set_header(Side::Request, "x", vec![0xff, b'\t', b'a']).expect("obs-text is allowed");
    assert_eq!(call.exchange.request.headers["x"].as_bytes(), [0xff, b'\t', b'a']);
}

#[test]
fn messages_do_not_outgrow_their_limits() {
    let mut call = Call::new(Phase::Request);
    // `x-old: 1` and `x-old: 2` with their line ends.
    call.exchange.limits = EditLimits {
        request_headers: 20 + 8,
        request_header_count: 3,
        request_target: 4,
        response_headers: 30,
        ..EditLimits::default()
    };
    let mut edit = call.editor();
    assert_eq!(edit.append_header(Side::Request, "x", value("1234")), Err(EditError::TooLarge));
    assert_eq!(edit.append_header(Side::Request, "x", value("123")), Ok(()));
    assert_eq!(edit.append_header(Side::Request, "y", value("")), Err(EditError::TooLarge));
    // Replacing two values by one makes room.
    assert_eq!(edit.set_header(Side::Request, "x-old", value("123456789")), Ok(()));
    assert_eq!(edit.set_target("/abcd".to_owned()), Err(EditError::TooLarge));
    let fields = vec![("a".to_owned(), vec![b'a'; 26])];
    assert_eq!(edit.respond(Side::Request, 200, fields, Vec::new()), Err(EditError::TooLarge));
    assert_eq!(edit.set_authority("a".repeat(261)), Err(EditError::TooLarge));

    for number in 1..MAX_ATTRIBUTES {
        assert_eq!(edit.set_attribute(format!("k{number}"), String::new()), Ok(()));
    }
    assert_eq!(edit.set_attribute("one-more".to_owned(), String::new()), Err(EditError::TooLarge));
    assert_eq!(edit.set_attribute("k1".to_owned(), "again".to_owned()), Ok(()));
}

/// The map of fields panics at 24,577 of them, however many bytes the operator allows.
#[test]
fn no_number_of_fields_is_more_than_their_map_can_hold() {
    let mut call = Call::new(Phase::Response);
    call.exchange.limits.response_headers = 16 << 20;
    call.exchange.limits.request_headers = 16 << 20;
    call.exchange.limits.request_header_count = usize::MAX;
    let fields = |count: usize| (0..count).map(|n| (format!("x-{n}"), Vec::new())).collect::<Vec<_>>();
    let mut edit = call.editor();
    for (count, edited) in
        [(MAX_FIELDS, Ok(())), (24_577, Err(EditError::TooLarge)), (1 << 18, Err(EditError::TooLarge))]
    {
        assert_eq!(edit.respond(Side::Response, 200, fields(count), Vec::new()), edited, "{count}");
    }
    assert_eq!(
        edit.respond(Side::Response, 200, Vec::new(), vec![b'a'; MAX_COPY + 1]),
        Err(EditError::TooLarge)
    );
    for (phase, side) in [(Phase::Request, Side::Request), (Phase::Response, Side::Response)] {
        call.phase = phase;
        let (mut added, mut refused) = (0, 0);
        for number in 0..MAX_FIELDS + 10 {
            let mut edit = call.editor();
            let edited = match number % 2 {
                0 => edit.set_header(side, &format!("x-{number}"), Vec::new()),
                _ => edit.append_header(side, &format!("x-{number}"), Vec::new()),
            };
            match edited {
                Ok(()) => added += 1,
                Err(error) => {
                    assert_eq!(error, EditError::TooLarge);
                    refused += 1;
                }
            }
            // So many in one call is more than its journal holds.
            call.journal.commit();
        }
        assert!(added < MAX_FIELDS && refused >= 10, "{side:?}: {added} {refused}");
    }
}

#[test]
fn each_message_is_edited_in_its_own_phase() {
    for (phase, request, response) in [
        (Phase::Request, true, false),
        (Phase::RequestBody, true, false),
        (Phase::RequestChunk, false, false),
        (Phase::Response, false, true),
        (Phase::ResponseBody, false, true),
        (Phase::ResponseChunk, false, false),
        (Phase::Log, false, false),
    ] {
        let mut call = Call::new(phase);
        let before = call.picture();
        let mut edit = call.editor();
        assert_eq!(edit.set_header(Side::Request, "x", value("1")).is_ok(), request, "{phase:?}");
        assert_eq!(edit.remove_header(Side::Request, "absent").is_ok(), request, "{phase:?}");
        assert_eq!(edit.set_method("PUT").is_ok(), request, "{phase:?}");
        assert_eq!(edit.route_to("app").is_ok(), request, "{phase:?}");
        let answers = request || phase == Phase::RequestChunk;
        assert_eq!(edit.respond(Side::Request, 200, Vec::new(), Vec::new()).is_ok(), answers, "{phase:?}");
        assert_eq!(edit.set_header(Side::Response, "x", value("1")).is_ok(), response, "{phase:?}");
        assert_eq!(edit.set_status(204).is_ok(), response, "{phase:?}");
        assert_eq!(edit.respond(Side::Response, 200, Vec::new(), Vec::new()).is_ok(), response, "{phase:?}");
        if !request && !response {
            edit.set_timeout(Some(Duration::from_secs(1)));
            edit.set_hash_key("k");
            assert_eq!(call.picture(), before);
        }
    }
}

#[test]
fn a_body_is_asked_for_in_the_head_phase_of_its_message() {
    for phase in [Phase::Request, Phase::RequestBody, Phase::Response, Phase::ResponseChunk, Phase::Log] {
        let mut call = Call::new(phase);
        let gzip = HeaderValue::from_static("gzip");
        call.exchange.request.headers.insert("content-encoding", gzip.clone());
        call.exchange.response.as_mut().expect("there is one").headers.insert("content-encoding", gzip);
        for side in [Side::Request, Side::Response] {
            let asks = phase == Phase::of_head(side);
            call.editor().set_body_mode(side, BodyMode::Whole);
            assert_eq!(call.editor().decode_body(side), asks, "{phase:?} {side:?}");
            assert_eq!(call.exchange.sees_body(side), asks, "{phase:?} {side:?}");
            assert_eq!(call.exchange.decodes_body(side), asks, "{phase:?} {side:?}");
            call.editor().set_body_mode(side, BodyMode::Skip);
            assert_eq!(call.exchange.bodies.mode(side, PLUGIN), BodyMode::Skip);
        }
    }
}

#[test]
fn only_what_is_coded_and_known_is_decoded() {
    let mut call = Call::new(Phase::Response);
    for (fields, answer, decodes) in [
        (&[][..], true, false),
        (&[("content-encoding", "gzip, compress")][..], false, false),
        (&[("content-encoding", "gzip"), ("content-range", "bytes 0-1/9")], false, false),
        (&[("content-range", "bytes 0-1/9")], true, false),
        (&[("content-encoding", "gzip")], true, true),
    ] {
        let headers = &mut call.exchange.response.as_mut().expect("there is one").headers;
        headers.clear();
        headers.extend(
            fields
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value))),
        );
        assert_eq!(call.editor().decode_body(Side::Response), answer, "{fields:?}");
        assert_eq!(call.exchange.decodes_body(Side::Response), decodes, "{fields:?}");
    }
}

#[test]
fn routes_are_known_and_granted() {
    let mut call = Call::new(Phase::Request);
    call.routes = Some(vec!["images".to_owned(), "elsewhere".to_owned()]);
    assert_eq!(call.editor().route_to("elsewhere"), Err(RouteError::Unknown));
    assert_eq!(call.editor().route_to("app"), Err(RouteError::NotGranted));
    assert_eq!(call.exchange.route, None);
    assert_eq!(call.editor().route_to("images"), Ok(()));
    assert_eq!(call.exchange.route.as_deref(), Some("images"));
}

#[test]
fn a_request_is_sent_again_once_and_only_about_a_response() {
    let mut call = Call::new(Phase::Response);
    call.routes = Some(vec!["app".to_owned()]);
    assert_eq!(call.editor().retry_at("app"), Err(RetryError::NotPossible), "it is not there any more");
    call.exchange.retry = Retry::Possible;
    assert_eq!(call.editor().retry_at("none"), Err(RetryError::Unknown));
    assert_eq!(call.editor().retry_at("images"), Err(RetryError::NotGranted));
    assert_eq!(call.editor().retry_at("app"), Ok(()));
    assert_eq!(call.exchange.retry, Retry::At("app".into()));
    call.journal.revert(PLUGIN, &mut call.exchange);
    assert_eq!(call.exchange.retry, Retry::Possible);
    call.phase = Phase::ResponseBody;
    assert_eq!(call.editor().retry_at("app"), Err(RetryError::NotPossible));
}

#[test]
fn notes_are_of_one_policy_and_few() {
    let mut call = Call::new(Phase::Log);
    for number in 0..16 {
        call.editor().set_note(number.to_string(), vec![0; 4000]).expect("there is room");
    }
    assert_eq!(call.editor().set_note("more".to_owned(), Vec::new()), Err(EditError::TooLarge));
    assert_eq!(call.editor().set_note("1".to_owned(), vec![0; 6000]), Err(EditError::TooLarge));
    assert_eq!(call.editor().set_note("1".to_owned(), value("new")), Ok(()));
    assert_eq!(call.editor().set_note("n".repeat(65), Vec::new()), Err(EditError::TooLarge));
    assert_eq!(call.exchange.note(PLUGIN, "1"), Some(&b"new"[..]));
    assert_eq!(call.exchange.note(PLUGIN + 1, "1"), None);
}
