//! Policies that see bodies: whole bodies, chunks as they pass, and fields that stay true when a policy
//! edits.

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::Value;
use tidegate_tests::{
    Answer, BoxBody, Builder, Proxy, Upstream, body, chunked, chunks, empty, guest, gzipped, next_chunk,
    request_with, stock, within,
};

/// The guest `bodies`, which does what the fields of a request say.
fn seeing(app: &Upstream, settings: &str) -> Builder {
    Proxy::builder(app).section("[limits]\npolicy-body = \"16KiB\"").plugin(
        "1-bodies",
        guest("bodies"),
        settings,
    )
}

fn post(fields: &[(&str, &str)], upload: BoxBody) -> http::Request<BoxBody> {
    request_with("POST", "/x", fields).body(upload).expect("valid")
}

fn get(fields: &[(&str, &str)]) -> http::Request<BoxBody> {
    request_with("GET", "/x", fields).body(empty()).expect("valid")
}

/// Answers with this text in chunks of three bytes, and with fields that are not true of an edited text.
async fn telling(text: &'static str) -> Upstream {
    Upstream::serve(move |asked: http::Request<Incoming>| async move {
        let answer = Response::builder()
            .header("content-type", "text/plain")
            .header("content-digest", "sha-256=:AAAA:")
            .header("etag", "\"strong\"")
            .header("accept-ranges", "bytes");
        if asked.method() == Method::HEAD {
            return answer.header("content-length", text.len()).body(empty()).expect("valid");
        }
        answer.body(chunked(text.as_bytes().chunks(3))).expect("valid")
    })
    .await
}

fn step<'a>(line: &'a Value, phase: &str) -> &'a Value {
    let steps = line["policies"].as_array().expect("a list");
    steps.iter().find(|step| step["phase"] == phase).unwrap_or_else(|| panic!("no {phase}: {line}"))
}

fn assert_nothing_untrue(answer: &Answer) {
    for field in ["content-digest", "accept-ranges"] {
        assert_eq!(answer.header(field), "", "{field}");
    }
    assert_eq!(answer.header("etag"), "W/\"strong\"");
}

#[tokio::test]
async fn a_whole_request_body_is_edited_before_anything_is_sent() {
    let app = Upstream::echo("app").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        let fields =
            [("x-request-mode", "whole"), ("x-request-do", "upper"), ("content-digest", "sha-256=:AAAA:")];
        for upload in [body("one two"), chunked(["one", " two"])] {
            let echoed = client.send(post(&fields, upload)).await.json();
            assert_eq!(echoed["body"], "ONE TWO");
            assert_eq!(echoed["headers"]["content-length"], "7");
            assert_eq!(echoed["headers"]["content-digest"], Value::Null);
        }
        let noting = [("x-request-mode", "whole"), ("x-request-do", "note")];
        let echoed = client.send(post(&noting, body("one two"))).await.json();
        assert_eq!(echoed["headers"]["x-seen"], "7 true");
        assert_eq!(echoed["body"], "one two");
    }
}

#[tokio::test]
async fn a_policy_that_saw_a_whole_request_answers_or_routes_it() {
    let (app, other) = (Upstream::echo("app").await, Upstream::echo("other").await);
    let proxy = seeing(&app, "").upstream("other", &other).start().await;
    let answer =
        proxy.send(post(&[("x-request-mode", "whole"), ("x-request-do", "answer")], body("12345"))).await;
    answer.assert_is(299, "saw 5\n");
    assert!(app.requests().is_empty(), "nothing was sent");
    let routed = post(&[("x-request-mode", "whole"), ("x-request-do", "route")], body("12345"));
    assert_eq!(proxy.send(routed).await.echoed_by(), "other");
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_or_passes_unseen() {
    let app = Upstream::echo("app").await;
    let large = "a".repeat(20 << 10);
    for (overflow, status) in [("deny", 413), ("skip", 200)] {
        let proxy = seeing(&app, &format!("body-overflow = \"{overflow}\"")).start().await;
        for upload in [body(large.clone()), chunked(large.as_bytes().chunks(5_000).map(<[u8]>::to_vec))] {
            let fields = [("x-request-mode", "whole"), ("x-request-do", "upper")];
            let answer = proxy.send(post(&fields, upload)).await;
            assert_eq!(answer.status, status, "{overflow}");
            if status == 200 {
                assert_eq!(answer.json()["body"], large);
            }
        }
        if status == 413 {
            assert_eq!(proxy.access("/x").await["failure"], "body-overflow");
        }
        let fields = [("x-response-mode", "whole"), ("x-response-do", "upper")];
        let answer = proxy.send(post(&fields, body(large.clone()))).await;
        assert_eq!(answer.status, if overflow == "deny" { 502 } else { 200 });
    }
}

#[tokio::test]
async fn chunks_of_a_request_are_edited_as_they_pass() {
    let app = Upstream::echo("app").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        for (deed, received) in
            [("upper", "ONETWOTHREE"), ("gather", "ONETWOTHREE"), ("finish", "ONEtwothree")]
        {
            let fields = [("x-request-mode", "chunks"), ("x-request-do", deed)];
            let echoed = client.send(post(&fields, chunked(["one", "two", "three"]))).await.json();
            assert_eq!(echoed["body"], received, "{deed}");
        }
        // The proxy cannot know the length of what the policy makes of the body, unless it is all there.
        let fields = [("x-request-mode", "chunks"), ("x-request-do", "upper")];
        let echoed = client.send(post(&fields, body("one"))).await.json();
        assert_eq!(echoed["body"], "ONE");
        let length = &echoed["headers"]["content-length"];
        assert!(*length == Value::Null || length == "3", "{length}");
    }
    let line = proxy.access("/x").await;
    assert_eq!(step(&line, "request-chunk")["verdict"], "next");
}

#[tokio::test]
async fn the_first_chunk_passes_before_the_last_has_come() {
    let (arrived, mut first) = tokio::sync::mpsc::channel(1);
    let app = Upstream::serve(move |asked: http::Request<Incoming>| {
        let arrived = arrived.clone();
        async move {
            let mut upload = asked.into_body();
            arrived.send(next_chunk(&mut upload).await).await.expect("a test that listens");
            http_body_util::BodyExt::collect(upload).await.expect("the rest");
            Response::new(body("done"))
        }
    })
    .await;
    let proxy = seeing(&app, "").start().await;
    let (feed, upload) = chunks();
    let mut client = proxy.http1().await;
    let fields = [("x-request-mode", "chunks"), ("x-request-do", "upper")];
    let answer = tokio::spawn(async move { client.send(post(&fields, upload)).await.text().to_owned() });
    assert!(feed.send("first").await);
    assert_eq!(within("the first chunk", first.recv()).await.expect("a chunk"), "FIRST");
    drop(feed);
    assert_eq!(within("the answer", answer).await.expect("no panic"), "done");
}

#[tokio::test]
async fn a_policy_that_saw_a_chunk_of_a_request_answers_it() {
    let app = Upstream::echo("app").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        let fields = [("x-request-mode", "chunks"), ("x-request-do", "answer")];
        let answer = client.send(post(&fields, body("12345"))).await;
        answer.assert_is(299, "saw 5\n");
    }
}

#[tokio::test]
async fn what_goes_wrong_with_a_request_body_is_the_operators_decision() {
    let app = Upstream::echo("app").await;
    let budget = "limits = { cpu = \"50ms\", time = \"4s\" }";
    for (on_error, status) in [("deny", 503), ("skip", 200)] {
        let proxy = seeing(&app, &format!("on-error = \"{on_error}\"\n{budget}")).start().await;
        for (mode, phase) in [("whole", "request-body"), ("chunks", "request-chunk")] {
            for (deed, error) in [("fail", "fail"), ("panic", "trap"), ("loop", "cpu")] {
                let fields = [("x-request-mode", mode), ("x-request-do", deed)];
                let asked = request_with("POST", &format!("/{mode}-{deed}"), &fields);
                let answer = proxy.send(asked.body(body("one two")).expect("valid")).await;
                assert_eq!(answer.status, status, "{on_error} {mode} {deed}");
                if status == 200 {
                    assert_eq!(answer.json()["body"], "one two", "the edit was undone");
                }
                let line = proxy.access(&format!("/{mode}-{deed}")).await;
                assert_eq!(step(&line, phase)["error"], error, "{on_error} {mode} {deed}");
            }
        }
    }
}

#[tokio::test]
async fn a_whole_response_body_is_edited_before_anything_is_sent() {
    let app = telling("one two three").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        let answer = client.send(get(&[("x-response-mode", "whole"), ("x-response-do", "upper")])).await;
        assert_eq!(answer.text(), "ONE TWO THREE");
        assert_eq!(answer.header("content-length"), "13");
        assert_nothing_untrue(&answer);
        let answer = client.send(get(&[("x-response-mode", "whole"), ("x-response-do", "note")])).await;
        assert_eq!(answer.text(), "one two three");
        assert_eq!(answer.header("x-seen"), "13 true");
        assert_eq!(answer.header("etag"), "\"strong\"", "nothing was edited");
        let answer = client.send(get(&[("x-response-mode", "whole"), ("x-response-do", "answer")])).await;
        answer.assert_is(299, "saw 13\n");
    }
}

#[tokio::test]
async fn chunks_of_a_response_are_edited_as_they_pass() {
    let app = telling("one two three").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        for deed in ["upper", "gather"] {
            let answer = client.send(get(&[("x-response-mode", "chunks"), ("x-response-do", deed)])).await;
            assert_eq!(answer.text(), "ONE TWO THREE", "{deed}");
            assert_eq!(answer.header("content-length"), "");
            assert_nothing_untrue(&answer);
        }
        let answer = client.send(get(&[("x-response-mode", "chunks"), ("x-response-do", "finish")])).await;
        // The size of the first chunk that the policy sees is chance.
        let text = answer.text();
        assert!(text.starts_with("ONE") && text.eq_ignore_ascii_case("one two three"), "{text}");
    }
    let line = proxy.access("/x").await;
    assert_eq!(step(&line, "response-chunk")["verdict"], "next");
}

#[tokio::test]
async fn what_goes_wrong_with_a_response_body_is_the_operators_decision() {
    let app = telling("one two three").await;
    let budget = "limits = { cpu = \"50ms\", time = \"4s\" }";
    for on_error in ["deny", "skip"] {
        let proxy = seeing(&app, &format!("on-error = \"{on_error}\"\n{budget}")).start().await;
        for mode in ["whole", "chunks"] {
            for deed in ["fail", "panic"] {
                let fields = [("x-response-mode", mode), ("x-response-do", deed)];
                let mut client = proxy.http1().await;
                let answer = client.try_send(get(&fields)).await;
                match (on_error, mode) {
                    ("skip", _) => assert_eq!(answer.expect("an answer").text(), "one two three"),
                    (_, "whole") => assert_eq!(answer.expect("an answer").status, 503),
                    // The client has the head already, so the proxy can only break the body off.
                    _ => assert!(answer.is_err(), "{deed}"),
                }
            }
        }
        if on_error == "deny" {
            assert_eq!(proxy.access("/x").await["failure"], "policy");
        }
    }
}

#[tokio::test]
async fn trailers_pass_after_an_edited_body_and_digests_among_them_do_not() {
    let app = Upstream::serve(|_| async {
        let (feed, download) = chunks();
        tokio::spawn(async move {
            feed.send("one").await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-after", HeaderValue::from_static("yes"));
            trailers.insert("content-digest", HeaderValue::from_static("sha-256=:AAAA:"));
            feed.trailers(trailers).await;
        });
        let answer = Response::builder().header("trailer", "x-after, content-digest");
        answer.body(download).expect("valid")
    })
    .await;
    let proxy = seeing(&app, "").start().await;
    let mut client = proxy.http2().await;
    for (mode, deed, digest) in
        [("chunks", "upper", false), ("whole", "upper", false), ("whole", "note", true)]
    {
        let fields = [("te", "trailers"), ("x-response-mode", mode), ("x-response-do", deed)];
        let answer = client.send(get(&fields)).await;
        let trailers = answer.trailers.expect("trailers");
        assert_eq!(trailers["x-after"], "yes", "{mode} {deed}");
        assert_eq!(trailers.contains_key("content-digest"), digest, "{mode} {deed}");
    }
}

#[tokio::test]
async fn a_message_without_a_body_has_no_body_phase() {
    let app = telling("one two three").await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        let fields = [("x-response-mode", "chunks"), ("x-response-do", "upper")];
        let asked = request_with("HEAD", "/x", &fields);
        let answer = client.send(asked.body(empty()).expect("valid")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), "", "the length is not known");
        let fields = [("x-request-mode", "whole"), ("x-request-do", "answer")];
        assert_eq!(client.send(get(&fields)).await.status, 200, "a request without a body");
    }
    let nothing = Upstream::serve(|_| async {
        Response::builder().status(StatusCode::NO_CONTENT).body(empty()).expect("valid")
    })
    .await;
    let proxy = seeing(&nothing, "").start().await;
    let fields = [("x-response-mode", "whole"), ("x-response-do", "answer")];
    assert_eq!(proxy.send(get(&fields)).await.status, 204);
}

#[tokio::test]
async fn two_policies_see_a_body_one_after_the_other() {
    let app = telling("one two three").await;
    let filter = "[config]\nresponses = [{ paths = [\"/**\"], content-types = [\"text/plain\"], \
                  replace = [{ from = \"two\", to = \"2\" }] }]";
    // The response comes to the last policy first.
    let proxy = seeing(&app, "").plugin("2-filter", stock("body-filter"), filter).start().await;
    for mode in ["chunks", "whole"] {
        let answer = proxy.send(get(&[("x-response-mode", mode), ("x-response-do", "upper")])).await;
        assert_eq!(answer.text(), "ONE 2 THREE", "{mode}");
    }
}

#[tokio::test]
async fn a_body_that_was_decoded_and_not_edited_has_its_true_length() {
    let app = Upstream::serve(|asked: http::Request<Incoming>| async move {
        let answer = Response::builder().header("content-encoding", "gzip").header("etag", "\"coded\"");
        let coded = gzipped("one two three");
        match *asked.method() {
            Method::HEAD => answer.header("content-length", coded.len()).body(empty()),
            _ => answer.body(body(coded)),
        }
        .expect("valid")
    })
    .await;
    let proxy = seeing(&app, "").start().await;
    for mut client in proxy.both().await {
        let fields = [("x-decode", "yes"), ("x-response-mode", "whole"), ("x-response-do", "note")];
        let answer = client.send(get(&fields)).await;
        assert_eq!(answer.text(), "one two three");
        assert_eq!(answer.header("x-seen"), "13 true");
        assert_eq!(answer.header("content-length"), "13");
        assert_eq!(answer.header("content-encoding"), "");
        assert_eq!(answer.header("etag"), "W/\"coded\"");
        let asked = request_with("HEAD", "/x", &fields);
        let answer = client.send(asked.body(empty()).expect("valid")).await;
        assert_eq!(answer.header("content-length"), "");
        assert_eq!(answer.header("content-encoding"), "");
    }
}

#[tokio::test]
async fn an_instance_for_each_request_serves_its_bodies_too() {
    let app = telling("one two three").await;
    let proxy = seeing(&app, "isolation = \"request\"").start().await;
    for mode in ["chunks", "whole"] {
        let answer = proxy.send(get(&[("x-response-mode", mode), ("x-response-do", "upper")])).await;
        assert_eq!(answer.text(), "ONE TWO THREE", "{mode}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let (app, feed) = Upstream::fed("fine").await;
    let proxy = seeing(&app, "").start().await;
    let mut client = proxy.http1().await;
    let asked = get(&[("x-response-mode", "chunks"), ("x-response-do", "upper")]);
    let answer = client.start(asked).await.expect("a head");
    assert!(feed.send("one").await);
    drop((answer, client));
    feed.abandoned().await;
    let line = proxy.access("/x").await;
    assert_eq!(line["failure"], "broken-off");
    assert_eq!(proxy.get("/after").await.text(), "fine");
}
