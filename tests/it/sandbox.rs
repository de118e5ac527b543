//! Plugins that misbehave cost their own request, or their own load, and nothing else.

use rustix::process::Signal;
use serde_json::{Value, json};
use tidegate_tests::{
    Answer, Builder, Proxy, Raw, Upstream, assert_values, body, empty, guest, guest_if_built, request,
    request_with, stalled, stock, until,
};

const PATIENT: &str = "limits = { cpu = \"2s\", time = \"20s\" }";

/// The guest in the middle of two policies that behave.
fn between(app: &Upstream, settings: &str) -> Builder {
    let mark = |value: &str| format!("[config]\nvalue = \"{value}\"");
    Proxy::builder(app)
        .plugin("1-before", guest("stamp"), &mark("before"))
        .plugin("2-misbehave", guest("misbehave"), settings)
        .plugin("3-after", guest("stamp"), &mark("after"))
}

async fn asked_to(proxy: &Proxy, target: &str, field: &str, deed: &str) -> Answer {
    proxy.send(request("GET", target).header(field, deed).body(empty()).expect("valid")).await
}

/// What an access-log line says of the guest in this phase.
fn step<'a>(line: &'a Value, phase: &str) -> &'a Value {
    let steps = line["policies"].as_array().expect("a list");
    let step = steps.iter().find(|step| step["policy"] == "2-misbehave" && step["phase"] == phase);
    step.unwrap_or_else(|| panic!("no step: {line}"))
}

#[tokio::test]
async fn each_misdeed_costs_its_own_request_and_has_its_own_name() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    for (deed, error, logged) in [
        ("loop", "cpu", "processor time"),
        ("memory", "memory", "memory"),
        ("stack", "trap", "stack"),
        ("trap", "trap", "trap"),
        ("panic", "trap", "asked to panic"),
        ("respond-without-reply", "no-reply", "respond"),
    ] {
        let target = format!("/{deed}");
        let mark = proxy.log().len();
        let answer = asked_to(&proxy, &target, "x-do", deed).await;
        assert_eq!(answer.status, 503, "{deed}");
        let line = proxy.access(&target).await;
        assert_values(step(&line, "request"), json!({ "verdict": "fail", "error": error }));
        assert_eq!(line["failure"], "policy", "{deed}");
        proxy.log().wait_from(mark, &["2-misbehave", logged]).await;
        // The next request finds everything as it was, the other policies included.
        let answer = proxy.get("/fine").await;
        assert_eq!(answer.json()["headers"]["x-stamp"], "before, after", "after {deed}");
    }
    assert!(
        app.requests().iter().all(|request| request.target == "/fine"),
        "no failed request went upstream"
    );
    assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving");
}

#[tokio::test]
async fn a_verdict_of_fail_is_the_operators_decision_and_no_fault() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "").start().await;
    for _ in 0..20 {
        assert_eq!(asked_to(&proxy, "/x", "x-do", "fail").await.status, 503);
    }
    let line = proxy.access("/x").await;
    assert_values(step(&line, "request"), json!({ "verdict": "fail", "error": "fail" }));
    assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving");
}

#[tokio::test]
async fn a_response_larger_than_any_may_be_is_an_edit_refused_and_no_crash() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    for deed in ["respond-many-fields", "respond-huge"] {
        let target = format!("/{deed}");
        assert_eq!(asked_to(&proxy, &target, "x-do", deed).await.status, 503, "{deed}");
        let line = proxy.access(&target).await;
        assert_values(step(&line, "request"), json!({ "verdict": "fail", "error": "fail" }));
        assert_eq!(proxy.get("/fine").await.status, 200, "after {deed}");
    }
    assert_eq!(proxy.log().count("panicked"), 0);
}

#[tokio::test]
async fn whether_a_response_has_a_body_is_up_to_the_clients_own_method() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    let ask = |method: &str, deed: &str| {
        request(method, "/method").header("x-do", deed).header("host", "a.test").body(empty()).expect("valid")
    };
    // Each connection goes on: a body that nobody waits for, or one that never comes, would show there.
    for mut client in [proxy.http1().await, proxy.http2().await] {
        let answer = client.send(ask("HEAD", "set-method-get")).await;
        assert_eq!((answer.status, answer.text().len()), (200, 0), "HEAD made GET");
        let answer = client.send(ask("GET", "set-method-head")).await;
        assert_eq!((answer.status, answer.text().len()), (200, 0), "GET made HEAD");
        assert_eq!(client.get("/next").await.json()["target"], "/next");
    }
    let methods: Vec<_> = app.requests().iter().map(|request| request.method.clone()).collect();
    assert_eq!(methods, ["GET", "HEAD", "GET", "GET", "HEAD", "GET"]);
}

#[tokio::test]
async fn on_error_skip_goes_on_without_the_policy() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, &format!("on-error = \"skip\"\n{PATIENT}")).start().await;
    for (deed, error) in
        [("loop", "cpu"), ("memory", "memory"), ("trap", "trap"), ("panic", "trap"), ("fail", "fail")]
    {
        let target = format!("/{deed}");
        let answer = asked_to(&proxy, &target, "x-do", deed).await;
        assert_eq!(answer.status, 200, "{deed}");
        assert_eq!(answer.json()["headers"]["x-stamp"], "before, after", "{deed}");
        let line = proxy.access(&target).await;
        assert_values(step(&line, "request"), json!({ "verdict": "skipped", "error": error }));
    }
}

#[tokio::test]
async fn the_edits_of_a_call_that_failed_are_undone() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "on-error = \"skip\"").start().await;
    let answer = asked_to(&proxy, "/as-it-was", "x-do", "edit-then-trap").await.json();
    assert_eq!(answer["target"], "/as-it-was");
    assert_eq!(answer["headers"]["x-edited"], Value::Null);
}

#[tokio::test]
async fn the_response_phase_can_fail_too() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    for (deed, error) in
        [("loop", "cpu"), ("trap", "trap"), ("respond-without-reply", "no-reply"), ("fail", "fail")]
    {
        let target = format!("/{deed}");
        let answer = asked_to(&proxy, &target, "x-do-response", deed).await;
        assert_eq!(answer.status, 503, "{deed}");
        assert!(!answer.text().contains("upstream"), "the response it did not decide on is not sent");
        let line = proxy.access(&target).await;
        assert_values(step(&line, "response"), json!({ "verdict": "fail", "error": error }));
    }
    // Too late for the request.
    let answer = asked_to(&proxy, "/late", "x-do-response", "edit-request").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_failed_log_phase_costs_nobody_anything() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    for deed in ["loop", "panic"] {
        let target = format!("/{deed}");
        assert_eq!(asked_to(&proxy, &target, "x-do-log", deed).await.status, 200);
        proxy.log().wait(&["2-misbehave", "log"]).await;
        let line = proxy.access(&target).await;
        let step = step(&line, "log");
        assert_ne!(step["verdict"], "next", "{deed}: {step}");
        assert!(step["error"].as_str().is_some_and(|error| !error.is_empty()), "{deed}: {step}");
    }
    assert_eq!(proxy.get("/fine").await.status, 200);
}

#[tokio::test]
async fn log_phases_end_before_the_process_does() {
    let app = Upstream::echo("app").await;
    let mut proxy = between(&app, "limits = { cpu = \"1s\", time = \"30s\" }").start().await;
    assert_eq!(asked_to(&proxy, "/last", "x-do-log", "loop").await.status, 200);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    let line = proxy.access("/last").await;
    assert_eq!(step(&line, "log")["error"], "cpu");
}

#[tokio::test]
async fn a_policy_that_fails_for_everybody_does_not_fill_the_log() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).start().await;
    let mut client = proxy.http1().await;
    for _ in 0..2000 {
        let request = request("GET", "/").header("x-do", "trap").body(empty()).expect("valid");
        assert_eq!(client.send(request).await.status, 503);
    }
    // Ten a second of failed calls and as many of failed exchanges.
    let lines = proxy.log().count("2-misbehave");
    assert!(lines > 0 && lines < 1000, "{lines}");
}

#[tokio::test]
async fn a_loop_does_not_stop_the_other_worker_and_ends_in_time() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "limits = { cpu = \"50ms\", time = \"1s\" }").start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let (mut client, deed) = (proxy.http1().await, if n % 2 == 0 { "loop" } else { "nothing" });
        tasks.spawn(async move {
            let request = request("GET", "/").header("x-do", deed).body(empty()).expect("valid");
            (deed, client.send(request).await.status)
        });
    }
    for (deed, status) in tasks.join_all().await {
        assert_eq!(status, if deed == "loop" { 503 } else { 200 }, "{deed}");
    }
}

/// Matching runs in the proxy, and is the plugin's own time all the same.
#[tokio::test]
async fn a_match_that_takes_long_is_over_the_budget_and_holds_up_nobody() {
    let app = Upstream::echo("app").await;
    let filter = |pattern: &str| {
        let rules = format!("[config]\nrequests = [{{ patterns = ['{pattern}'] }}]\n");
        Proxy::builder(&app).plugin("1-filter", stock("body-filter"), &rules)
    };
    let proxy = filter("(?s)a.{0,400}b").start().await;
    // Without a pattern of its own: each byte is another state of the search.
    let mut noise = 1_u32;
    let bytes = std::iter::repeat_with(|| {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        if noise & 1 == 0 { b'a' } else { b'c' }
    });
    let bytes: Vec<u8> = bytes.take(1 << 20).collect();
    let began = std::time::Instant::now();
    let answer = proxy.send(request("POST", "/slow").body(body(bytes)).expect("valid")).await;
    assert_eq!(answer.status, 503);
    // To the end it would take a minute. The budget is 10 ms; the rest is the machine's.
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    let line = proxy.access("/slow").await;
    let steps = line["policies"].as_array().expect("a list");
    assert!(steps.iter().any(|step| step["phase"] == "request-body" && step["error"] == "cpu"), "{line}");
    let quick = request("POST", "/quick").body(body("nothing of the kind")).expect("valid");
    assert_eq!(proxy.send(quick).await.status, 200);

    let proxy = filter("(?s)a.{0,2000}b").start().await;
    let plugin = proxy.plugin_state("1-filter", "refused").await;
    assert!(plugin["error"].as_str().is_some_and(|error| error.contains("states")), "{plugin}");
}

#[tokio::test]
async fn a_plugin_that_floods_the_log_is_held_back() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "limits = { cpu = \"5s\", time = \"10s\" }").start().await;
    assert_eq!(asked_to(&proxy, "/", "x-do", "log-flood").await.status, 200);
    proxy.access("/").await;
    let lines = proxy.log().count("flood");
    assert!(lines > 0 && lines < 10_000, "{lines} of 100,000 lines were kept");
}

/// Requests of this many clients, one after the other on one connection; the proxy trusts this test.
async fn of_clients(proxy: &Proxy, times: usize, clients: usize, fields: &[(&str, &str)]) -> Vec<u16> {
    let mut connection = proxy.http1().await;
    let mut statuses = Vec::new();
    for n in 0..times {
        let client = format!("192.0.2.{}", n % clients);
        let request = request_with("GET", "/made-to-fail", fields).header("x-forwarded-for", client);
        statuses.push(connection.send(request.body(empty()).expect("valid")).await.status);
    }
    statuses
}

const TRUSTED: &str = "trusted-proxies = [\"127.0.0.1\"]";

#[tokio::test]
async fn one_client_does_not_switch_a_policy_off_for_the_others() {
    let app = Upstream::echo("app").await;
    for on_error in ["deny", "skip"] {
        let settings = format!("on-error = \"{on_error}\"");
        let proxy = between(&app, &settings).top(TRUSTED).start().await;
        of_clients(&proxy, 60, 1, &[("x-do", "trap"), ("x-do-response", "trap")]).await;
        assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving", "{on_error}");
        assert_eq!(proxy.get("/other").await.status, 200, "{on_error}");
        let line = proxy.access("/other").await;
        assert_values(step(&line, "request"), json!({ "verdict": "next", "error": null }));
    }
}

#[tokio::test]
async fn what_a_request_brings_about_does_not_switch_a_policy_off() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, PATIENT).top(TRUSTED).start().await;
    for (field, deed, status) in [("x-do", "memory", 503), ("x-do-log", "trap", 200)] {
        let statuses = of_clients(&proxy, 30, 10, &[(field, deed)]).await;
        assert_eq!(statuses, [status; 30], "{deed}");
        proxy.accesses("/made-to-fail", 30).await;
        assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving", "{deed}");
    }
}

#[tokio::test]
async fn a_policy_that_always_fails_is_in_quarantine_until_a_call_works() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "").top(TRUSTED).start().await;
    of_clients(&proxy, 20, 3, &[("x-do", "trap")]).await;
    proxy.plugin_state("2-misbehave", "quarantined").await;
    assert_eq!(proxy.get("/quarantined").await.status, 503);
    let line = proxy.access("/quarantined").await;
    assert_values(step(&line, "request"), json!({ "verdict": "fail", "error": "quarantined" }));
    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("2-misbehave"), "{}", ready.text());

    // One call a second tries whether it works, and it does.
    until("the policy is called again", async || proxy.get("/").await.status == 200).await;
    assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_policy_that_is_skipped_is_in_quarantine_when_all_its_phases_fail() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "on-error = \"skip\"").top(TRUSTED).start().await;
    let statuses = of_clients(&proxy, 20, 3, &[("x-do", "trap"), ("x-do-response", "trap")]).await;
    assert_eq!(statuses, [200; 20]);
    proxy.plugin_state("2-misbehave", "quarantined").await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200, "requests are served without it");
    proxy.get("/quarantined").await;
    let line = proxy.access("/quarantined").await;
    assert_values(step(&line, "request"), json!({ "verdict": "skipped", "error": "quarantined" }));
}

#[tokio::test]
async fn a_required_policy_is_called_however_often_it_fails() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "required = true").top(TRUSTED).start().await;
    of_clients(&proxy, 30, 3, &[("x-do", "trap")]).await;
    proxy.plugin_state("2-misbehave", "failing").await;
    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("2-misbehave"), "{}", ready.text());

    assert_eq!(proxy.get("/").await.status, 200, "the next call works, and nothing kept it from being made");
    assert_eq!(proxy.plugin("2-misbehave").await.expect("an entry")["state"], "serving");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_configure_that_misbehaves_costs_its_own_load() {
    let app = Upstream::echo("app").await;
    for (deed, why) in [
        ("panic", "asked to panic"),
        ("trap", "configure"),
        ("loop", "configure"),
        ("memory", "configure"),
        ("stack", "configure"),
        ("refuse", "configure: asked to refuse"),
    ] {
        let settings = format!("limits = {{ memory = \"4MiB\" }}\n[config]\nconfigure = \"{deed}\"");
        let proxy = between(&app, &settings).start().await;
        proxy.log().wait(&["2-misbehave", why]).await;
        let plugin = proxy.plugin_state("2-misbehave", "refused").await;
        assert!(plugin["error"].as_str().is_some_and(|error| !error.is_empty()), "{deed}: {plugin}");
        assert_eq!(proxy.get("/").await.status, 503, "{deed}: there is no version that could decide");
        assert_eq!(proxy.admin("GET", "/readyz").await.status, 503, "{deed}");

        // With `on-error = "skip"` the chain works without the policy.
        let skipping = format!("on-error = \"skip\"\n{settings}");
        std::fs::write(proxy.plugin_path("2-misbehave.toml"), skipping).expect("a writable file");
        until("the new setting", async || proxy.get("/").await.status == 200).await;
    }
}

#[tokio::test]
async fn a_plugin_from_the_future_is_refused_with_what_it_wants() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1-future", guest("future"), "").start().await;
    let wants = "wants the function `weather` of `request` of `tidegate:policy@0.2.99`, and this tidegate offers version 0.2.0";
    proxy.log().wait(&["ERROR", "1-future.wasm", wants]).await;
    let plugin = proxy.plugin_state("1-future", "refused").await;
    assert!(plugin["error"].as_str().is_some_and(|error| error.contains(wants)), "{plugin}");
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_the_reason() {
    let app = Upstream::echo("app").await;
    let half = {
        let mut whole = guest("stamp");
        whole.truncate(whole.len() / 2);
        whole
    };
    for (what, bytes) in [
        ("text", b"#!/bin/sh\n".to_vec()),
        ("nothing", Vec::new()),
        ("an empty module", b"\0asm\x01\0\0\0".to_vec()),
        ("an empty component", b"\0asm\x0d\0\x01\0".to_vec()),
        ("half a plugin", half),
    ] {
        let proxy = Proxy::builder(&app).plugin("1-thing", bytes, "on-error = \"skip\"").start().await;
        proxy.log().wait(&["ERROR", "1-thing.wasm"]).await;
        assert_eq!(proxy.get("/").await.status, 200, "{what}");
    }
}

#[tokio::test]
async fn instances_serve_one_exchange_after_another_or_just_one() {
    let app = Upstream::echo("app").await;
    for (settings, reused) in
        [("", true), ("isolation = \"request\"", false), ("limits = { reuse = 1 }", false)]
    {
        let proxy = Proxy::builder(&app).plugin("1-counter", guest("counter"), settings).start().await;
        // One connection stays on one worker.
        let mut client = proxy.http1().await;
        let mut counts = Vec::new();
        let mut instances = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let seen = client.get("/").await.json();
            counts.push(seen["headers"]["x-count"].as_str().expect("a count").to_owned());
            instances.insert(seen["headers"]["x-instance"].as_str().expect("an instance").to_owned());
        }
        if reused {
            assert_eq!(counts, ["1", "2", "3", "4", "5"]);
            assert_eq!(instances.len(), 1);
        } else {
            assert_eq!(counts, ["1"; 5], "{settings}");
            assert_eq!(instances.len(), 5, "{settings}");
        }
    }
}

#[tokio::test]
async fn a_download_holds_no_instance_of_a_policy_that_has_seen_it() {
    let app = Upstream::serve(|_| async { http::Response::new(stalled("begun")) }).await;
    let settings = "isolation = \"request\"\nlimits = { instances = 1, time = \"300ms\" }";
    let proxy = Proxy::builder(&app).plugin("1-counter", guest("counter"), settings).start().await;
    let mut under_way = Vec::new();
    for n in 0..8 {
        let mut download = Raw::connect(proxy.address("web")).await;
        download.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert!(download.read_head().await.starts_with("HTTP/1.1 200 "), "download {n}");
        under_way.push(download);
    }
    assert_eq!(app.requests().len(), 8);
}

#[tokio::test]
async fn a_wasi_component_works_and_finds_nothing_but_clocks() {
    let Some(wasi) = guest_if_built("wasi-facts") else { return };
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1-wasi", wasi, "limits = { time = \"500ms\" }").start().await;
    let seen = proxy.get("/x").await.json();
    for (fact, value) in [
        ("x-clock", "true"),
        ("x-variables", "0"),
        ("x-arguments", "0"),
        ("x-files", "false"),
        ("x-network", "false"),
    ] {
        assert_eq!(seen["headers"][fact], value, "{fact}");
    }
    for stream in ["stdout", "stderr"] {
        proxy.log().wait(&["1-wasi", &format!("a line on {stream} for /x")]).await;
    }

    // A policy that waits uses no processor time, but its call has a bound too.
    let request = request("GET", "/wait").header("x-wait", "60").body(empty()).expect("valid");
    assert_eq!(proxy.send(request).await.status, 503);
    let line = proxy.access("/wait").await;
    assert_eq!(line["policies"][0]["error"], "time", "{line}");
    assert_eq!(proxy.get("/x").await.status, 200);
}

#[tokio::test]
async fn failures_leak_no_memory() {
    let app = Upstream::echo("app").await;
    let proxy = between(&app, "on-error = \"skip\"\nlimits = { cpu = \"1s\" }").start().await;
    let mut client = proxy.http1().await;
    // Each round uses new settings, and so a new version of the policy, before it would be quarantined.
    let mut round = async |n: u32| {
        let settings = format!("on-error = \"skip\"\nlimits = {{ cpu = \"1s\", reuse = {} }}", 1000 + n);
        std::fs::write(proxy.plugin_path("2-misbehave.toml"), settings).expect("a writable file");
        assert_eq!(proxy.reload().await.status, 200);
        for deed in ["memory", "trap", "panic", "stack"] {
            let request = request("GET", "/").header("x-do", deed).body(empty()).expect("valid");
            assert_eq!(client.send(request).await.status, 200);
        }
    };
    for n in 0..10 {
        round(n).await;
    }
    let before = proxy.resident_memory();
    for n in 10..40 {
        round(n).await;
    }
    let grown = proxy.resident_memory().saturating_sub(before);
    // The rounds used 120 instances, 30 of them with 32 MiB of memory.
    assert!(grown < 48 << 20, "{grown} bytes after instances that failed");
}
