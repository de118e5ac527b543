//! Calls about bodies, of policies written by hand in the text form of WebAssembly.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tidegate_message::ResponseHead;
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::{Instances, Slot};
use crate::activation::Match;
use crate::bodies::{BodyMode, Side};
use crate::chunk::Chunk;
use crate::engine::Host;
use crate::error::CallError;
use crate::exchange::Exchange;
use crate::exchange::tests::exchange;
use crate::limits::Limits;
use crate::phase::{Phase, Verdict};
use crate::plugin::finish_now;
use crate::services::Services;
use crate::settings::{Isolation, Settings};

/// What the policy does in its phases, as WebAssembly that leaves a verdict; 0 is `next`, 1 `finish`, 2
/// `respond`, 3 `fail`. `$calls` counts the calls of `on-request` in the instance.
#[derive(Default)]
struct Policy {
    configure: &'static str,
    on_request: &'static str,
    on_request_body: &'static str,
    on_request_chunk: &'static str,
    on_response_chunk: &'static str,
    isolation: Isolation,
    limits: Limits,
}

impl Policy {
    fn instances(&self) -> Instances {
        let module = wat::parse_str(self.text()).expect("valid text");
        let code =
            Host::new(Services::default()).expect("a host").compile(&with_world(module)).expect("it fits");
        let settings = Settings {
            name: "hand-written".to_owned(),
            config: "{}".to_owned(),
            limits: self.limits,
            isolation: self.isolation,
            routes: None,
            matching: Match::default(),
            secrets: crate::settings::Secrets::default(),
            grants: crate::services::Grants::default(),
        };
        let instances = Instances::new(code.0.host.load(&code, settings).expect("it loads"));
        instances.warm();
        instances
    }

    fn text(&self) -> String {
        let or_next = |code: &'static str| if code.is_empty() { "i32.const 0" } else { code };
        format!(
            r#"(module
              (import "tidegate:policy/activation@0.1.0" "pure" (func $pure))
              (import "tidegate:policy/http@0.1.0" "[method]request.set-body-mode" (func $mode (param i32 i32)))
              (import "tidegate:policy/http@0.1.0" "[method]request.set-token" (func $token (param i32 i64)))
              (import "tidegate:policy/http@0.1.0" "[method]body.find"
                (func $find (param i32 i32 i32 i64 i32)))
              (import "tidegate:policy/http@0.1.0" "[method]body.replace-range"
                (func $replace (param i32 i64 i64 i32 i32 i32)))
              (import "tidegate:policy/http@0.1.0" "[method]body.hold-back" (func $hold (param i32 i64)))
              (import "tidegate:policy/matching@0.1.0" "ip-set-has-client"
                (func $has-client (param i32 i32) (result i32)))
              (import "tidegate:policy/matching@0.1.0" "match-path" (func $match-path (param i32 i32 i32)))
              (import "tidegate:policy/matching@0.1.0" "match-text" (func $match-text (param i32 i32 i32 i32)))
              (import "tidegate:policy/http@0.1.0" "[resource-drop]request" (func $drop-request (param i32)))
              (import "tidegate:policy/http@0.1.0" "[resource-drop]response" (func $drop-response (param i32)))
              (import "tidegate:policy/http@0.1.0" "[resource-drop]body" (func $drop-body (param i32)))
              (memory (export "memory") 1)
              (data (i32.const 16) "needle")
              (data (i32.const 32) "thread")
              (global $calls (mut i32) (i32.const 0))
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
              (func (export "tidegate:policy/lifecycle@0.1.0#describe") (result i32) i32.const 64)
              (func (export "tidegate:policy/lifecycle@0.1.0#configure") (param i32 i32) (result i32)
                {} i32.const 64)
              (func (export "tidegate:policy/request-phase@0.1.0#on-request") (param $request i32) (result i32)
                (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                {} (call $drop-request (local.get $request)))
              (func (export "tidegate:policy/request-body-phase@0.1.0#on-request-body")
                (param $request i32) (param $body i32) (result i32)
                {} (call $drop-request (local.get $request)) (call $drop-body (local.get $body)))
              (func (export "tidegate:policy/request-chunk-phase@0.1.0#on-request-chunk")
                (param $request i32) (param $body i32) (result i32)
                {} (call $drop-request (local.get $request)) (call $drop-body (local.get $body)))
              (func (export "tidegate:policy/response-phase@0.1.0#on-response")
                (param $request i32) (param $response i32) (result i32)
                i32.const 0
                (call $drop-request (local.get $request)) (call $drop-response (local.get $response)))
              (func (export "tidegate:policy/response-chunk-phase@0.1.0#on-response-chunk")
                (param $request i32) (param $response i32) (param $body i32) (result i32)
                {} (call $drop-request (local.get $request)) (call $drop-response (local.get $response))
                (call $drop-body (local.get $body))))"#,
            self.configure,
            or_next(self.on_request),
            or_next(self.on_request_body),
            or_next(self.on_request_chunk),
            or_next(self.on_response_chunk),
        )
    }
}

/// The module with the types that make it a policy.
fn with_world(mut module: Vec<u8>) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/0.1");
    resolve.push_path(contract).expect("the contract parses");
    let imports = ["activation", "http", "matching"]
        .map(|name| format!("import tidegate:policy/{name}@0.1.0;"))
        .concat();
    let exports = ["lifecycle", "request-phase", "request-body-phase", "request-chunk-phase"];
    let exports = exports.into_iter().chain(["response-phase", "response-chunk-phase"]);
    let exports: String = exports.map(|name| format!("export tidegate:policy/{name}@0.1.0;")).collect();
    let world = format!("package test:test;\nworld test {{ {imports} {exports} }}");
    let package = resolve.push_str("test.wit", &world).expect("the world parses");
    let world = resolve.select_world(&[package], Some("test")).expect("there is one");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("it fits");
    module
}

fn request() -> Box<Exchange> {
    let mut exchange = exchange("POST", "example.org", "/");
    exchange.limits.body = 64;
    exchange
}

fn chunk(text: &'static str) -> Chunk {
    Chunk::new(Bytes::from_static(text.as_bytes()), false)
}

struct Outcome {
    token: u64,
    passed: String,
    held: String,
    result: Result<Verdict, CallError>,
}

/// With and without a future, which must not differ.
fn call(policy: &Policy, phase: Phase, exchange: Box<Exchange>, text: &'static str) -> Outcome {
    let instances = policy.instances();
    let (mut slot, mut chunk) = (Slot::new(exchange), chunk(text));
    let result = finish_now(instances.call(phase, &mut slot, Some(&mut chunk), None));
    let (passed, held) = chunk.into_parts();
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("text");
    let token = slot.token(instances.plugin().shared().id);
    Outcome { token, passed: text(passed), held: text(held), result }
}

/// Puts `thread` in place of the first `needle`, and holds back four bytes.
const EDIT: &str = "(call $find (local.get $body) (i32.const 16) (i32.const 6) (i64.const 0) (i32.const 128))
    (call $replace (local.get $body) (i64.load (i32.const 136)) (i64.const 6) (i32.const 32) (i32.const 6)
      (i32.const 160))
    (call $hold (local.get $body) (i64.const 4))
    (call $token (local.get $request) (i64.const 7))";

#[test]
fn a_chunk_is_edited_where_it_lies() {
    for isolation in [Isolation::Worker, Isolation::Request] {
        let on_request_chunk = [EDIT, "i32.const 0"].join("\n").leak();
        let policy = Policy { on_request_chunk, isolation, ..Policy::default() };
        let outcome = call(&policy, Phase::RequestChunk, request(), "a needle in hay");
        assert_eq!(outcome.result, Ok(Verdict::Next));
        assert_eq!((outcome.passed.as_str(), outcome.held.as_str()), ("a thread in", " hay"));
        assert_eq!(outcome.token, 7);
    }
}

#[test]
fn the_end_of_what_a_policy_wants_to_see_is_not_held_back() {
    let policy = Policy { on_request_chunk: [EDIT, "i32.const 1"].join("\n").leak(), ..Policy::default() };
    let outcome = call(&policy, Phase::RequestChunk, request(), "a needle in hay");
    assert_eq!((outcome.result, outcome.passed.as_str()), (Ok(Verdict::Finish), "a thread in hay"));
    let policy = Policy { on_request_body: [EDIT, "i32.const 0"].join("\n").leak(), ..Policy::default() };
    let outcome = call(&policy, Phase::RequestBody, request(), "a needle in hay");
    assert_eq!((outcome.result, outcome.passed.as_str()), (Ok(Verdict::Next), "a thread in hay"));
}

#[test]
fn a_failed_call_leaves_the_chunk_as_it_came() {
    let too_much = "(call $hold (local.get $body) (i64.const 65))";
    for (end, error) in [
        ("i32.const 3", None),
        ("unreachable", Some("trap")),
        ("(loop $for_ever (br $for_ever)) i32.const 0", Some("cpu")),
        ("i32.const 2", Some("no-reply")),
        ([too_much, "i32.const 0"].join("\n").leak() as &str, Some("too-large")),
    ] {
        let deeds = [EDIT, end].join("\n").leak();
        let policy = Policy { on_request_chunk: deeds, on_response_chunk: deeds, ..Policy::default() };
        for phase in [Phase::RequestChunk, Phase::ResponseChunk] {
            let mut exchange = request();
            exchange.response = Some(ResponseHead::new(StatusCode::OK, HeaderMap::new()));
            let hay = "one needle in a stack of hay that is larger than the sixty-four bytes of the limit";
            let outcome = call(&policy, phase, exchange, hay);
            match error {
                None => assert_eq!(outcome.result, Ok(Verdict::Fail)),
                Some(name) => assert_eq!(outcome.result.expect_err("it fails").as_str(), name, "{phase:?}"),
            }
            assert_eq!((outcome.passed.as_str(), outcome.held.as_str()), (hay, ""), "{end} {phase:?}");
            assert_eq!(outcome.token, 0, "{end} {phase:?}");
        }
    }
}

#[test]
fn without_a_response_there_is_no_call_about_its_body() {
    let policy = Policy { on_response_chunk: "unreachable", ..Policy::default() };
    let outcome = call(&policy, Phase::ResponseChunk, request(), "a needle");
    assert_eq!((outcome.result, outcome.passed.as_str()), (Ok(Verdict::Next), "a needle"));
}

#[test]
fn a_number_that_was_never_handed_out_traps() {
    for question in [
        "(drop (call $has-client (i32.const 7) (local.get $request)))",
        "(call $match-path (i32.const 4000000000) (local.get $request) (i32.const 128))",
        "(call $match-text (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 128))",
    ] {
        let on_request = [question, "i32.const 0"].join("\n").leak();
        let instances = Policy { on_request, ..Policy::default() }.instances();
        let mut slot = Slot::new(request());
        match finish_now(instances.call(Phase::Request, &mut slot, None, None)) {
            Err(CallError::Trap(trap)) => assert!(trap.contains("of this plugin"), "{trap}"),
            other => panic!("{question}: {other:?}"),
        }
    }
}

const ASK_FOR_CHUNKS: &str = "(call $mode (local.get $request) (i32.const 1)) i32.const 0";

#[test]
fn a_policy_asks_for_the_body_it_has_a_phase_for() {
    let asks = |mode: i32| {
        let on_request = format!("(call $mode (local.get $request) (i32.const {mode})) i32.const 0").leak();
        let instances = Policy { on_request, ..Policy::default() }.instances();
        let mut exchange = Slot::new(request());
        assert_eq!(finish_now(instances.call(Phase::Request, &mut exchange, None, None)), Ok(Verdict::Next));
        assert!(!exchange.sees_body(Side::Response));
        (exchange.sees_body(Side::Request), instances.plugin().body_mode(&exchange, Side::Request))
    };
    assert_eq!(asks(0), (false, BodyMode::Skip));
    assert_eq!(asks(1), (true, BodyMode::Chunks));
    assert_eq!(asks(2), (true, BodyMode::Whole));
    // There is no phase for whole responses.
    let instances = Policy::default().instances();
    let mut exchange = request();
    exchange.bodies.set_mode(Side::Response, instances.plugin().shared().id, BodyMode::Whole);
    assert_eq!(instances.plugin().body_mode(&exchange, Side::Response), BodyMode::Skip);
}

#[test]
fn a_pure_policy_is_not_called_again_to_ask_for_a_body() {
    let once = "(if (i32.gt_s (global.get $calls) (i32.const 1)) (then unreachable))
        (call $token (local.get $request) (i64.const 7))";
    let on_request = [once, ASK_FOR_CHUNKS].join("\n").leak();
    let on_request_chunk = [EDIT, "i32.const 0"].join("\n").leak();
    let policy = Policy { configure: "(call $pure)", on_request, on_request_chunk, ..Policy::default() };
    let instances = policy.instances();
    for _ in 0..3 {
        let mut exchange = Slot::new(request());
        let result = instances.call_now(Phase::Request, &mut exchange, None).expect("it does not wait");
        assert_eq!(result, Ok(Verdict::Next));
        assert_eq!(instances.plugin().body_mode(&exchange, Side::Request), BodyMode::Chunks);
        let mut chunk = chunk("needle");
        let result = instances.call_now(Phase::RequestChunk, &mut exchange, Some(&mut chunk));
        assert_eq!(result.expect("nor this"), Ok(Verdict::Next));
        assert!(chunk.is_edited(), "what it does to bodies it does");
        assert_eq!(exchange.token(instances.plugin().shared().id), 7);
    }
}

#[test]
fn an_exchange_of_many_chunks_wears_no_instance_out() {
    let limits = Limits { reuse: 1, cpu: Duration::from_secs(1), ..Limits::default() };
    // Only the instance that saw the request may see the chunks.
    let on_request_chunk = "(if (i32.ne (global.get $calls) (i32.const 1)) (then unreachable)) i32.const 0";
    for isolation in [Isolation::Worker, Isolation::Request] {
        let policy =
            Policy { on_request: ASK_FOR_CHUNKS, on_request_chunk, isolation, limits, ..Policy::default() };
        let instances = policy.instances();
        let mut exchange = Slot::new(request());
        assert_eq!(finish_now(instances.call(Phase::Request, &mut exchange, None, None)), Ok(Verdict::Next));
        for _ in 0..100 {
            let mut chunk = chunk("needle");
            let result =
                finish_now(instances.call(Phase::RequestChunk, &mut exchange, Some(&mut chunk), None));
            assert_eq!(result, Ok(Verdict::Next), "{isolation:?}");
        }
    }
}

/// With one instance in all, another exchange shows whether it is free.
fn is_free(instances: &Instances) -> bool {
    let mut other = Slot::new(request());
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(instances.call(Phase::Request, &mut other, None, None))
        .is_ok()
}

#[test]
fn an_instance_of_one_exchange_is_kept_while_a_phase_is_to_come_and_no_longer() {
    let limits = Limits {
        instances: 1,
        time: Duration::from_millis(1),
        cpu: Duration::from_secs(1),
        ..Limits::default()
    };
    let isolation = Isolation::Request;
    // Not asked for anything: until the response phase is over.
    let instances = Policy { isolation, limits, ..Policy::default() }.instances();
    let mut slot = Slot::new(request());
    assert_eq!(finish_now(instances.call(Phase::Request, &mut slot, None, None)), Ok(Verdict::Next));
    assert!(!is_free(&instances), "the response phase is to come");
    slot.response = Some(ResponseHead::new(StatusCode::OK, HeaderMap::new()));
    assert_eq!(finish_now(instances.call(Phase::Response, &mut slot, None, None)), Ok(Verdict::Next));
    assert!(is_free(&instances), "the download may take as long as it likes");

    // Asked for chunks: until the last of them.
    let policy = Policy { on_request: ASK_FOR_CHUNKS, isolation, limits, ..Policy::default() };
    let instances = policy.instances();
    let mut slot = Slot::new(request());
    slot.has_body = true;
    assert_eq!(finish_now(instances.call(Phase::Request, &mut slot, None, None)), Ok(Verdict::Next));
    slot.response = Some(ResponseHead::new(StatusCode::OK, HeaderMap::new()));
    assert_eq!(finish_now(instances.call(Phase::Response, &mut slot, None, None)), Ok(Verdict::Next));
    assert!(!is_free(&instances), "the response came before the end of the request");
    let mut last = Chunk::new(Bytes::from_static(b"end"), true);
    assert_eq!(
        finish_now(instances.call(Phase::RequestChunk, &mut slot, Some(&mut last), None)),
        Ok(Verdict::Next)
    );
    assert!(is_free(&instances));

    // Of what is not there, until the response phase is over.
    let mut slot = Slot::new(request());
    assert_eq!(finish_now(instances.call(Phase::Request, &mut slot, None, None)), Ok(Verdict::Next));
    slot.response = Some(ResponseHead::new(StatusCode::OK, HeaderMap::new()));
    assert_eq!(finish_now(instances.call(Phase::Response, &mut slot, None, None)), Ok(Verdict::Next));
    assert!(is_free(&instances));

    // And whatever it asked for, until the exchange knows better.
    let mut slot = Slot::new(request());
    slot.has_body = true;
    assert_eq!(finish_now(instances.call(Phase::Request, &mut slot, None, None)), Ok(Verdict::Next));
    assert!(!is_free(&instances));
    slot.release_instances();
    assert!(is_free(&instances));
}

/// Two milliseconds or more of work.
const SLOW_START: &str = "(local $n i32)
    (loop $again (local.set $n (i32.add (local.get $n) (i32.const 1)))
      (br_if $again (i32.lt_u (local.get $n) (i32.const 10000000))))";

/// A future that has been polled once.
fn begins<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

#[test]
fn what_is_slow_to_start_is_made_beside_the_traffic() {
    let limits = Limits { reuse: 1, ..Limits::default() };
    for isolation in [Isolation::Worker, Isolation::Request] {
        let instances = Policy { configure: SLOW_START, isolation, limits, ..Policy::default() }.instances();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        // An instance serves two calls here: of the request and of the response.
        for _ in 0..5 {
            let mut slots = [(); 3].map(|()| Slot::new(request()));
            let [first, second, third] = &mut slots;
            let calls = async {
                let calls =
                    [first, second, third].map(|slot| instances.call(Phase::Request, slot, None, None));
                let [one, other, third] = calls;
                tokio::join!(one, other, third)
            };
            assert_eq!(runtime.block_on(calls), (Ok(Verdict::Next), Ok(Verdict::Next), Ok(Verdict::Next)));
        }
        // Whoever needs one that is not there waits without holding the thread.
        let mut slots: Vec<_> = (0..40).map(|_| Slot::new(request())).collect();
        let _runtime = runtime.enter();
        let mut waits = 0;
        let mut calls: Vec<_> =
            slots.iter_mut().map(|slot| Box::pin(instances.call(Phase::Request, slot, None, None))).collect();
        for call in &mut calls {
            waits += usize::from(begins(call.as_mut()).is_none());
        }
        assert!(waits > 0, "{isolation:?}");
        drop(calls);
        super::settle(Duration::from_secs(30));
    }
}

#[test]
fn no_client_has_more_than_half_of_the_instances() {
    let limits = Limits {
        instances: 4,
        time: Duration::from_millis(1),
        cpu: Duration::from_secs(1),
        ..Limits::default()
    };
    let instances = Policy { isolation: Isolation::Request, limits, ..Policy::default() }.instances();
    let held = |_| {
        let mut slot = Slot::new(request());
        assert_eq!(finish_now(instances.call(Phase::Request, &mut slot, None, None)), Ok(Verdict::Next));
        slot
    };
    let mut greedy: Vec<_> = (0..2).map(held).collect();
    assert!(!is_free(&instances), "of the client's share");
    let mut other = request();
    other.client = [203, 0, 113, 9].into();
    assert_eq!(
        finish_now(instances.call(Phase::Request, &mut Slot::new(other), None, None)),
        Ok(Verdict::Next)
    );
    greedy.pop();
    assert!(is_free(&instances));
}
