//! Which servers may be used: active checks, ejection of those that fail requests, and their return.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use tidegate_tests::{
    Authority, Client, Proxy, Speech, Upstream, body, empty, eventually, guest, request, until, within,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Where checks go.
const CHECK: &str = "/healthz";

/// Two checks in a row decide. A check has so much time because the machine is busy with other tests.
const HEALTH: &str =
    "health = { path = \"/healthz\", interval = \"200ms\", timeout = \"200ms\", fall = 2, rise = 2 }";

/// A server whose checks get a status that the test sets; other requests always succeed.
struct Checked {
    upstream: Upstream,
    status: Arc<AtomicU16>,
}

impl Checked {
    async fn start(name: &'static str) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let answered = Arc::clone(&status);
        let upstream = Upstream::serve(move |request: Request<Incoming>| {
            let is_check = request.uri().path() == CHECK;
            let status = if is_check { answered.load(Relaxed) } else { 200 };
            async move {
                let answer = format!("{{ \"upstream\": \"{name}\" }}");
                Response::builder().status(status).body(body(answer)).expect("valid")
            }
        })
        .await;
        Self { upstream, status }
    }

    fn answer_checks(&self, status: u16) {
        self.status.store(status, Relaxed);
    }

    fn server(&self) -> String {
        self.upstream.server()
    }

    fn checks(&self) -> usize {
        checks(&self.upstream)
    }
}

/// How many checks reached it.
fn checks(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| request.target == CHECK).count()
}

/// Waits for so many further checks.
async fn further_checks(upstream: &Upstream, count: usize) {
    let before = checks(upstream);
    until("further checks", async || checks(upstream) >= before + count).await;
}

fn two(one: &str, two: &str, more: &str) -> String {
    format!("servers = [\"{one}\", \"{two}\"]\nbalance = \"round-robin\"\nslow-start = \"0s\"\n{more}")
}

/// How many requests [`share_of`] sends.
const ALL: usize = 24;
const HALF: usize = ALL / 2;

/// How many of [`ALL`] requests, an even number on each of several connections, were answered by `name`.
async fn share_of(proxy: &Proxy, name: &str) -> usize {
    let mut count = 0;
    for _ in 0..4 {
        let mut client = proxy.http1().await;
        for _ in 0..ALL / 4 {
            count += usize::from(client.get("/").await.echoed_by() == name);
        }
    }
    count
}

#[tokio::test]
async fn a_server_whose_checks_fail_is_out_until_they_pass_again() {
    let (sick, well) = (Checked::start("sick").await, Checked::start("well").await);
    let proxy = Proxy::with_app(&two(&sick.server(), &well.server(), HEALTH)).start().await;
    assert_eq!(share_of(&proxy, "sick").await, HALF, "a server that was not checked yet is used");

    sick.answer_checks(503);
    proxy.log().wait(&["upstream: down", &sick.server()]).await;
    assert_eq!(proxy.server_state("app", &sick.server()).await.as_deref(), Some("down"));
    assert_eq!(share_of(&proxy, "sick").await, 0);

    sick.answer_checks(200);
    proxy.log().wait(&["upstream: up", &sick.server()]).await;
    assert_eq!(proxy.server_state("app", &sick.server()).await.as_deref(), Some("up"));
    assert_eq!(share_of(&proxy, "sick").await, HALF);
    assert_eq!(proxy.log().count(&well.server()), 0, "nothing to say about the other");
}

#[tokio::test]
async fn checks_that_fail_now_and_then_change_nothing() {
    // Every other check fails: never two in a row.
    let count = Arc::new(AtomicUsize::new(0));
    let flapping = Upstream::serve(move |_| {
        let status = if count.fetch_add(1, Relaxed).is_multiple_of(2) { 500 } else { 200 };
        async move { Response::builder().status(status).body(empty()).expect("valid") }
    })
    .await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{HEALTH}", flapping.address())).start().await;
    further_checks(&flapping, 8).await;
    assert_eq!(proxy.log().count(": down"), 0);
    assert_eq!(proxy.server_state("app", &flapping.server()).await.as_deref(), Some("up"));
}

#[tokio::test]
async fn a_check_asks_what_is_configured() {
    let app = Upstream::echo("app").await;
    let plain = "path = \"/healthz\"";
    let full = "path = \"/up?deep=1\", method = \"HEAD\", host = \"health.test:81\"";
    let own_address = app.server();
    for (health, method, target, host) in
        [(plain, "GET", "/healthz", own_address.as_str()), (full, "HEAD", "/up?deep=1", "health.test:81")]
    {
        let lines = format!("servers = [\"{}\"]\nhealth = {{ {health} }}", app.address());
        let _proxy = Proxy::with_app(&lines).start().await;
        let check = eventually("a check", async || {
            app.requests().into_iter().find(|request| request.target == target)
        })
        .await;
        assert_eq!(check.method, method, "{check:?}");
        assert_eq!(check.header("host"), host, "{check:?}");
        assert_eq!(check.count("x-forwarded-for"), 0, "no client is behind it");
    }
}

#[tokio::test]
async fn the_status_decides() {
    let app = Checked::start("app").await;
    for (status, answered, is_good) in [
        ("", 200, true),
        ("", 299, true),
        ("", 300, false),
        ("", 404, false),
        (", status = [\"204\", \"300-399\"]", 204, true),
        (", status = [\"204\", \"300-399\"]", 301, true),
        (", status = [\"204\", \"300-399\"]", 200, false),
    ] {
        app.answer_checks(answered);
        let health = format!(
            "health = {{ path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", fall = 2{status} }}"
        );
        let lines = format!("servers = [\"{}\"]\n{health}", app.server());
        let proxy = Proxy::with_app(&lines).start().await;
        if is_good {
            further_checks(&app.upstream, 3).await;
            let state = proxy.server_state("app", &app.server()).await;
            assert_eq!(state.as_deref(), Some("up"), "{answered} with {status:?}");
        } else {
            proxy.until_server("app", &app.server(), "down").await;
        }
    }
}

#[tokio::test]
async fn the_body_must_contain_the_text() {
    let ready = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&ready);
    let app = Upstream::serve(move |_| {
        let text = if told.load(Relaxed) == 0 { "not yet" } else { "all is ready now" };
        async move { Response::new(body(text)) }
    })
    .await;
    let health = "health = { path = \"/healthz\", body = \"ready\", interval = \"100ms\", timeout = \"100ms\", \
                  fall = 1, rise = 1 }";
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{health}", app.address())).start().await;
    proxy.until_server("app", &app.server(), "down").await;
    ready.store(1, Relaxed);
    proxy.until_server("app", &app.server(), "up").await;
}

#[tokio::test]
async fn a_check_that_is_not_answered_in_time_has_failed() {
    let silent = Upstream::silent().await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{HEALTH}", silent.address())).start().await;
    proxy.until_server("app", &silent.server(), "down").await;
    // The proxy closes the connections of checks that it gave up.
    further_checks(&silent, 3).await;
    assert!(silent.connections() - silent.closed() <= 2, "{} of {}", silent.closed(), silent.connections());
}

#[tokio::test]
async fn a_connection_is_enough_for_a_tcp_check() {
    let mut app = Upstream::silent().await;
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 2, rise = 2 }";
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{health}", app.address())).start().await;
    until("checks", async || app.connections() >= 4).await;
    assert_eq!(proxy.server_state("app", &app.server()).await.as_deref(), Some("up"));
    assert!(app.requests().is_empty(), "nothing is asked");

    app.stop().await;
    proxy.until_server("app", &app.server(), "down").await;
    app.start().await;
    proxy.until_server("app", &app.server(), "up").await;
}

#[tokio::test]
async fn checks_speak_what_the_upstream_speaks() {
    let leaf = |authority: &Authority| authority.sign(&["localhost"]);
    let authority = Authority::new();
    for (speech, lines, version) in [
        (Speech::http2(), "protocol = \"h2\"", Version::HTTP_2),
        (Speech::tls(&leaf(&authority), &["h2"]), "tls = { ca = \"ca.pem\" }", Version::HTTP_2),
        (Speech::tls(&leaf(&authority), &["http/1.1"]), "tls = { ca = \"ca.pem\" }", Version::HTTP_11),
    ] {
        let app = Upstream::builder().speaking(speech).echo("app").await;
        let server = format!("localhost:{}", app.address().port());
        let proxy = Proxy::with_app(&format!("servers = [\"{server}\"]\n{HEALTH}\n{lines}"))
            .file("ca.pem", authority.pem())
            .start()
            .await;
        further_checks(&app, 3).await;
        assert!(app.requests().iter().all(|check| check.version == version), "{lines}");
        assert_eq!(proxy.log().count(": down"), 0, "{lines}");
    }
}

#[tokio::test]
async fn a_server_is_checked_once_an_interval_whatever_the_number_of_workers() {
    let app = Checked::start("app").await;
    let health = "health = { path = \"/healthz\", interval = \"200ms\", timeout = \"200ms\" }";
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{health}", app.server())).start().await;
    // Now every worker has a connection to the server.
    share_of(&proxy, "app").await;
    until("a check", async || app.checks() >= 1).await;
    let (begin, before) = (Instant::now(), app.checks());
    until("more checks", async || app.checks() >= before + 10).await;
    // If each worker checked, ten checks would take half the time; jitter makes it a little shorter than ten
    // intervals.
    let least = Duration::from_millis(10 * 200 * 2 / 3);
    assert!(begin.elapsed() >= least, "10 checks in {:?}", begin.elapsed());
}

#[tokio::test]
async fn what_is_known_of_a_server_survives_a_reload() {
    let (sick, well) = (Checked::start("sick").await, Checked::start("well").await);
    let failing = Upstream::answering(503).await;
    let health = "health = { path = \"/healthz\", interval = \"300ms\", timeout = \"300ms\", fall = 2 }";
    let lines = format!(
        "servers = [\"{}\", \"{}\"]\nslow-start = \"0s\"\n{health}\n# more\n[upstream.other]\n\
         servers = [\"{}\", \"{}\"]\neject = {{ failures = 2 }}\nbalance = \"round-robin\"",
        sick.server(),
        well.server(),
        failing.server(),
        well.server()
    );
    let proxy = Proxy::with_app(&lines).plugin("1", guest("stamp"), "[config]\nvalue = \"x\"").start().await;
    let other = || request("GET", "/other").header("x-route", "other").body(empty()).expect("valid");
    sick.answer_checks(500);
    proxy.until_server("app", &sick.server(), "down").await;
    until("the ejection", async || {
        proxy.send(other()).await;
        proxy.server_state("other", &failing.server()).await.as_deref() == Some("ejected")
    })
    .await;

    let third = Checked::start("third").await;
    let mark = proxy.log().len();
    // One reload adds a server, another changes a key.
    proxy
        .reconfigure(
            &format!("\"{}\"]\nslow-start", well.server()),
            &format!("\"{}\", \"{}\"]\nslow-start", well.server(), third.server()),
        )
        .await;
    proxy.reconfigure("# more", "timeouts = { idle = \"50s\" }").await;

    let asked = failing.requests().len();
    for _ in 0..4 {
        assert_eq!(share_of(&proxy, "sick").await, 0, "it is still down");
        assert_eq!(proxy.send(other()).await.echoed_by(), "well", "the other is still ejected");
    }
    assert_eq!(failing.requests().len(), asked);
    further_checks(&sick.upstream, 3).await;
    let lines = proxy.log().all();
    let again = lines.iter().skip(mark).filter(|line| line.contains(&sick.server())).count();
    assert_eq!(again, 0, "nothing has changed for it");
}

#[tokio::test]
async fn the_admin_interface_tells_about_every_server() {
    let (app, spare) = (Upstream::echo("app").await, Upstream::echo("spare").await);
    let lines = format!(
        "servers = [{{ address = \"{}\", weight = 7 }}, {{ address = \"{}\", backup = true }}]",
        app.address(),
        spare.address()
    );
    let proxy = Proxy::with_app(&lines).upstream("other", &app).start().await;
    let upstreams = proxy.admin("GET", "/api/v1/upstreams").await.json();
    let expected = |address: &str, weight: u64, backup: bool| {
        serde_json::json!({
            "address": address, "state": "up", "weight": weight, "backup": backup, "in-flight": 0
        })
    };
    let upstreams = upstreams.as_array().expect("a list");
    let names: Vec<_> = upstreams.iter().map(|upstream| upstream["name"].as_str().expect("a name")).collect();
    assert_eq!(names, ["app", "other"]);
    assert_eq!(
        proxy.servers("app").await,
        [expected(&app.server(), 7, false), expected(&spare.server(), 1, true)]
    );
}

#[tokio::test]
async fn a_server_that_left_is_listed_until_its_last_request_is_over() {
    let (old, feed) = Upstream::fed("").await;
    let new = Upstream::echo("new").await;
    let both = two(&old.server(), &new.server(), "");
    let proxy = Proxy::with_app(&both).start().await;
    // One request gets to the old server, whose answer does not end.
    let mut clients: Vec<Client> = Vec::new();
    let slow = loop {
        let mut client = proxy.http1().await;
        let answer = client.start_get("/").await;
        clients.push(client);
        if !old.requests().is_empty() {
            break answer;
        }
    };
    let servers = proxy.servers("app").await;
    assert_eq!(servers[0]["in-flight"], 1, "{servers:?}");

    proxy.reconfigure(&both, &format!("servers = [\"{}\"]", new.server())).await;

    proxy.until_server("app", &old.server(), "draining").await;
    assert_eq!(share_of(&proxy, "new").await, ALL);
    feed.complete(slow).await;
    until("it to be forgotten", async || proxy.server_state("app", &old.server()).await.is_none()).await;
}

/// The statuses of `count` requests one after another, on one connection. They are not idempotent: none
/// that reached a server is sent again.
async fn statuses(proxy: &Proxy, count: usize) -> Vec<u16> {
    let mut client = proxy.http1().await;
    let mut statuses = Vec::new();
    for _ in 0..count {
        let request = request("POST", "/").body(body("once")).expect("valid");
        statuses.push(client.send(request).await.status);
    }
    statuses
}

fn failed(statuses: &[u16]) -> usize {
    statuses.iter().filter(|status| **status != 200).count()
}

#[tokio::test]
async fn five_failures_in_a_row_eject_a_server() {
    for status in [502, 503, 504] {
        let (failing, well) = (Upstream::answering(status).await, Upstream::echo("well").await);
        let proxy = Proxy::with_app(&two(&failing.server(), &well.server(), "")).start().await;
        let seen = statuses(&proxy, 40).await;
        assert_eq!(failed(&seen), 5, "{status}: {seen:?}");
        assert_eq!(failing.requests().len(), 5, "{status}");
        proxy.log().wait(&[&failing.server(), "ejected"]).await;
        assert_eq!(proxy.server_state("app", &failing.server()).await.as_deref(), Some("ejected"));
    }
}

#[tokio::test]
async fn other_answers_do_not_eject() {
    for status in [400, 404, 429, 500, 501] {
        let (failing, well) = (Upstream::answering(status).await, Upstream::echo("well").await);
        let proxy = Proxy::with_app(&two(&failing.server(), &well.server(), "")).start().await;
        assert_eq!(failed(&statuses(&proxy, 20).await), 10, "{status}");
    }
}

#[tokio::test]
async fn a_success_in_between_begins_the_count_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let flapping = Upstream::serve(move |_| {
        // Two failures, then a success.
        let status = if count.fetch_add(1, Relaxed) % 3 == 2 { 200 } else { 503 };
        async move { Response::builder().status(status).body(empty()).expect("valid") }
    })
    .await;
    let well = Upstream::echo("well").await;
    let eject = "eject = { failures = 3 }";
    let proxy = Proxy::with_app(&two(&flapping.server(), &well.server(), eject)).start().await;
    statuses(&proxy, 40).await;
    assert_eq!(flapping.requests().len(), 20);
}

#[tokio::test]
async fn servers_that_cannot_be_reached_are_ejected() {
    let (gone, well) = (Upstream::absent().await, Upstream::echo("well").await);
    let budget = "retry-budget = \"100%\"";
    let proxy = Proxy::with_app(&two(&gone.to_string(), &well.server(), budget)).start().await;
    assert_eq!(failed(&statuses(&proxy, 40).await), 0, "each is retried on the other");
    assert_eq!(proxy.server_state("app", &gone.to_string()).await.as_deref(), Some("ejected"));
}

#[tokio::test]
async fn servers_that_break_off_or_do_not_answer_are_ejected() {
    let timeouts = "retries = 0\ntimeouts = { response = \"400ms\" }\neject = { failures = 2 }";
    for (bad, status) in [(Upstream::closing().await, 502), (Upstream::silent().await, 504)] {
        let well = Upstream::echo("well").await;
        let proxy = Proxy::with_app(&two(&bad.server(), &well.server(), timeouts)).start().await;
        let seen = statuses(&proxy, 20).await;
        assert_eq!(seen.iter().filter(|seen| **seen == status).count(), 2, "{status}: {seen:?}");
        assert_eq!(failed(&seen), 2, "{status}: {seen:?}");
        assert_eq!(proxy.server_state("app", &bad.server()).await.as_deref(), Some("ejected"));
    }
}

#[tokio::test]
async fn the_last_server_is_never_ejected() {
    let eject = "eject = { failures = 1, max-percent = 100 }";
    let only = Upstream::answering(503).await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]\n{eject}", only.address())).start().await;
    assert_eq!(failed(&statuses(&proxy, 20).await), 20);
    assert_eq!(only.requests().len(), 20);
    assert_eq!(proxy.server_state("app", &only.server()).await.as_deref(), Some("up"));

    let (one, other) = (Upstream::answering(503).await, Upstream::answering(503).await);
    let proxy = Proxy::with_app(&two(&one.server(), &other.server(), eject)).start().await;
    assert_eq!(failed(&statuses(&proxy, 20).await), 20);
    assert_eq!(one.requests().len() + other.requests().len(), 20, "somebody is always asked");
    let states: Vec<_> = proxy.servers("app").await.iter().map(|server| server["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| *state == "up").count(), 1, "{states:?}");
}

#[tokio::test]
async fn at_most_a_part_of_the_servers_is_ejected() {
    let mut servers = Vec::new();
    for _ in 0..3 {
        servers.push(Upstream::answering(503).await);
    }
    servers.push(Upstream::echo("well").await);
    let addresses: Vec<_> = servers.iter().map(|server| format!("\"{}\"", server.address())).collect();
    let lines = format!(
        "servers = [{}]\nbalance = \"round-robin\"\neject = {{ failures = 1, max-percent = 50 }}",
        addresses.join(", ")
    );
    let proxy = Proxy::with_app(&lines).start().await;
    statuses(&proxy, 40).await;
    let states: Vec<_> = proxy.servers("app").await.iter().map(|server| server["state"].clone()).collect();
    assert_eq!(states.iter().filter(|state| *state == "ejected").count(), 2, "{states:?}");
}

#[tokio::test]
async fn ejection_can_be_switched_off() {
    let (failing, well) = (Upstream::answering(503).await, Upstream::echo("well").await);
    let proxy = Proxy::with_app(&two(&failing.server(), &well.server(), "eject = false")).start().await;
    assert_eq!(failed(&statuses(&proxy, 40).await), 20);
}

#[tokio::test]
async fn an_ejected_server_is_back_after_its_time_and_longer_out_when_it_fails_again() {
    let status = Arc::new(AtomicU16::new(503));
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (answered, arrived) = (Arc::clone(&status), Arc::clone(&arrivals));
    let ill = Upstream::serve(move |_| {
        arrived.lock().expect("no panic").push(Instant::now());
        let status = answered.load(Relaxed);
        let answer = body("{ \"upstream\": \"ill\" }");
        async move { Response::builder().status(status).body(answer).expect("valid") }
    })
    .await;
    let well = Upstream::echo("well").await;
    let eject = "eject = { failures = 2, time = \"200ms\" }";
    let proxy = Proxy::with_app(&two(&ill.server(), &well.server(), eject)).start().await;

    // While requests go on, the proxy asks the server again by itself; now one failure ejects it.
    until("its second return", async || {
        statuses(&proxy, 2).await;
        ill.requests().len() >= 4
    })
    .await;
    let arrivals = arrivals.lock().expect("no panic").clone();
    let (once, twice) = (arrivals[2] - arrivals[1], arrivals[3] - arrivals[2]);
    // The clock of the proxy may be a few milliseconds late.
    assert!(once >= Duration::from_millis(180) && twice >= Duration::from_millis(380), "{once:?}, {twice:?}");

    status.store(200, Relaxed);
    until("the return", async || share_of(&proxy, "ill").await == HALF).await;
    proxy.log().wait(&["upstream: up", &ill.server()]).await;
}

#[tokio::test]
async fn a_server_that_comes_back_starts_slowly() {
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    for (slow_start, least, most) in [("1h", 1, HALF), ("1ms", 2 * ALL, 3 * ALL)] {
        let (mut back, well) = (Upstream::echo("back").await, Upstream::echo("well").await);
        let lines = two(&back.server(), &well.server(), health);
        let lines = lines.replace("slow-start = \"0s\"", &format!("slow-start = \"{slow_start}\""));
        let proxy = Proxy::with_app(&lines).start().await;
        assert_eq!(share_of(&proxy, "back").await, HALF, "those of the beginning do not start slowly");

        back.stop().await;
        proxy.until_server("app", &back.server(), "down").await;
        back.start().await;
        proxy.until_server("app", &back.server(), "up").await;

        let mut share = 0;
        for _ in 0..5 {
            share += share_of(&proxy, "back").await;
        }
        assert!((least..=most).contains(&share), "{share} of {} with {slow_start}", 5 * ALL);
    }
}

/// Requests one after another on several connections, until told to stop; each has to succeed.
async fn load(proxy: &Proxy, stop: &Arc<AtomicBool>) -> JoinSet<usize> {
    let mut load = JoinSet::new();
    for n in 0..4 {
        let mut client = if n % 2 == 0 { proxy.http1().await } else { proxy.http2().await };
        let stop = Arc::clone(stop);
        load.spawn(async move {
            let mut count = 0;
            while !stop.load(Relaxed) {
                assert_eq!(client.get("/load").await.status, 200);
                count += 1;
            }
            count
        });
    }
    load
}

#[tokio::test]
async fn servers_that_die_hang_or_fail_under_load_cost_no_idempotent_request() {
    let (mut mortal, well) = (Upstream::echo("mortal").await, Upstream::echo("well").await);
    let (hung, unable) = (Upstream::silent().await, Upstream::answering(503).await);
    let servers = [&mortal, &well, &hung, &unable].map(|server| format!("\"{}\"", server.address()));
    let lines = format!(
        "servers = [{}]\nslow-start = \"0s\"\nretries = 3\ntimeouts = {{ response = \"1s\" }}\n\
         eject = {{ failures = 3 }}",
        servers.join(", ")
    );
    // The clients of this test do not connect again.
    let proxy =
        Proxy::with_app(&lines).section("[limits]\nrequests-per-connection = 1000000000").start().await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = load(&proxy, &stop).await;
    proxy.until_server("app", &hung.server(), "ejected").await;
    proxy.until_server("app", &unable.server(), "ejected").await;

    for _ in 0..2 {
        let before = well.requests().len();
        mortal.stop().await;
        until("requests meanwhile", async || well.requests().len() > before + 100).await;
        mortal.start().await;
        let before = mortal.requests().len();
        until("requests to it again", async || mortal.requests().len() > before + 20).await;
    }

    stop.store(true, Relaxed);
    let served: usize = within("the load to end", load.join_all()).await.iter().sum();
    assert!(served > 200, "every request succeeded, but only {served} were sent");
}
