//! What policies may use beyond the request they look at: store, limits, callouts, timers, metrics, secrets, passwords.

use std::time::Duration;

use http::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH};
use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_tests::{Authority, Builder, Proxy, TlsOptions, Upstream, body, guest, until};

fn capable(upstream: &Upstream, settings: &str) -> Builder {
    Proxy::builder(upstream).plugin("10-capable", guest("capabilities"), settings)
}

const ALL: &str = "grants = { callout = [\"app\"], store = true, rate-limit = true, metrics = true }\n";

async fn told(proxy: &Proxy, target: &str) -> Value {
    proxy.get(target).await.json()
}

#[tokio::test]
async fn the_store_is_one_for_all_workers_and_lasts_across_reloads() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, ALL).workers(2).start().await;
    // Each request on a connection of its own: with chance on either worker.
    for number in 1..=20 {
        assert_eq!(told(&proxy, "/store?do=add&key=n").await, json!(number));
    }
    assert_eq!(told(&proxy, "/store?do=set&key=k&value=one").await, json!(true));
    assert_eq!(told(&proxy, "/store?do=swap&key=k&expected=two&value=x").await, json!(false));
    assert_eq!(told(&proxy, "/store?do=swap&key=k&expected=one&value=two").await, json!(true));
    assert_eq!(told(&proxy, "/store?do=swap&key=new&value=x").await, json!(true));
    assert_eq!(
        told(&proxy, "/store?do=add&key=k").await,
        json!("the value or the sum is not a number of 64 bits")
    );
    assert_eq!(told(&proxy, "/store?do=set&key=short&value=x&ttl=1").await, json!(true));
    until("it expires", async || told(&proxy, "/store?key=short").await == Value::Null).await;

    std::fs::write(proxy.plugin_path("10-capable.toml"), format!("{ALL}[config]\nburst = 1"))
        .expect("a writable file");
    proxy.reload().await;
    assert_eq!(told(&proxy, "/store?key=n").await, json!("20"));
    assert_eq!(told(&proxy, "/store?key=k").await, json!("two"));
    assert_eq!(told(&proxy, "/store?do=remove&key=k").await, json!(true));
    assert_eq!(told(&proxy, "/store?key=k").await, Value::Null);
    let long = "k".repeat(513);
    assert_eq!(told(&proxy, &format!("/store?key={long}")).await, json!("the key or the value is too large"));
}

#[tokio::test]
async fn what_was_not_granted_says_so() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, "").start().await;
    assert_eq!(told(&proxy, "/store?key=k").await, json!("the operator did not grant the store"));
    assert_eq!(
        told(&proxy, "/callout?to=app&path=/").await,
        json!("the operator did not grant this upstream")
    );
    for (config, needs) in [("limit = 1", "rate-limit = true"), ("metrics = true", "metrics = true")] {
        let settings = format!("[config]\n{config}");
        std::fs::write(proxy.plugin_path("10-capable.toml"), settings).expect("a writable file");
        proxy.log().wait(&["ERROR", "10-capable.toml:2:", needs]).await;
    }
}

#[tokio::test]
async fn a_limit_counts_over_all_workers_and_across_reloads() {
    let app = Upstream::echo("app").await;
    let settings = |other: &str| format!("{ALL}[config]\nlimit = 1\nburst = 4\n{other}");
    let proxy = capable(&app, &settings("")).workers(2).start().await;
    let mut allowed = 0;
    for _ in 0..10 {
        let decision = told(&proxy, "/limit?key=slow").await;
        assert_eq!((&decision["limit"], &decision["locally"]), (&json!(1), &json!(false)));
        allowed += i32::from(decision["allowed"] == true);
    }
    // Five at once, and perhaps one more for each second that this took.
    assert!((5..=8).contains(&allowed), "{allowed}");
    std::fs::write(proxy.plugin_path("10-capable.toml"), settings("metrics = true"))
        .expect("a writable file");
    proxy.reload().await;
    let decision = told(&proxy, "/limit?key=slow").await;
    assert!(decision["remaining"].as_u64() <= Some(2), "{decision}");
    assert_eq!(told(&proxy, "/limit?key=other").await["remaining"], 4);
    assert_eq!(told(&proxy, "/limit").await["allowed"], true);
}

/// Says what it was asked; `/slow` is never answered, `/large` with more than a policy takes.
async fn service() -> Upstream {
    Upstream::serve(|request: Request<Incoming>| async move {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/slow" => std::future::pending().await,
            "/large" => Response::new(body(vec![b'x'; 2 << 20])),
            _ => {
                let field = |name| {
                    let value = request.headers().get(name).map(|value| value.to_str().expect("text"));
                    value.unwrap_or("-").to_owned()
                };
                let asked = format!(
                    "{} {path} {} {} {}",
                    request.method(),
                    field(AUTHORIZATION),
                    field(CONNECTION),
                    field(CONTENT_LENGTH)
                );
                Response::builder().status(403).header("x-server", "auth").body(body(asked)).expect("valid")
            }
        }
    })
    .await
}

const TO_AUTH: &str = "grants = { callout = [\"auth\", \"gone\"], store = true }\nlimits = { callout-timeout = \"10s\", time = \"20s\" }\n";

/// A server for clients, the service, and a proxy that knows both.
async fn with_service(settings: &str) -> ([Upstream; 2], Proxy) {
    let app = Upstream::echo("app").await;
    let auth = service().await;
    let gone = Upstream::absent().await;
    let proxy = capable(&app, settings)
        .upstream("auth", &auth)
        .section(&format!("[upstream.gone]\nservers = [\"{gone}\"]\nretries = 0"))
        .start()
        .await;
    ([app, auth], proxy)
}

#[tokio::test]
async fn a_callout_has_what_the_policy_gives_it() {
    let ([_app, auth], proxy) = with_service(TO_AUTH).await;
    let answer = proxy.ask("GET", "/callout?to=auth&path=/check", &[("authorization", "Basic x")]).await;
    let expected = json!({ "status": 403, "server": "auth", "body": "POST /check Basic x - 5" });
    assert_eq!(answer.json(), expected);
    assert_eq!(auth.only_request().header("x-mine"), "1");
    for (target, why) in [
        ("to=app&path=/", "the operator did not grant this upstream"),
        ("to=gone&path=/", "no server answered"),
        ("to=auth&path=no-path", "the request is not valid HTTP"),
        ("to=auth&path=/large", "the response is too large"),
        ("to=auth&path=/slow&timeout=20", "no answer in time"),
        ("to=auth&path=/check&times=9", "too many callouts"),
    ] {
        assert_eq!(told(&proxy, &format!("/callout?{target}")).await, json!(why), "{target}");
    }
    let all = told(&proxy, "/callout?to=auth,gone,auth&path=/all").await;
    assert_eq!((&all[0]["status"], &all[1]), (&json!(403), &json!("no server answered")));
    assert_eq!(all[2]["body"], "POST /all - - 5");
}

#[tokio::test]
async fn a_callout_reads_a_file() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, "grants.callout = [\"pages\"]")
        .file("pages/sorry.html", "<p>sorry</p>")
        .section("[files.pages]\nroot = \"pages\"")
        .start()
        .await;
    let page = told(&proxy, "/callout?to=pages&method=GET&path=/sorry.html").await;
    assert_eq!((&page["status"], &page["body"]), (&json!(200), &json!("<p>sorry</p>")));
    assert_eq!(told(&proxy, "/callout?to=pages&method=GET&path=/none.html").await["status"], 404);
}

#[tokio::test]
async fn a_slow_callee_holds_only_who_asks_it() {
    let ([_app, auth], proxy) =
        with_service(&TO_AUTH.replace("time = ", "instances = 8, waiting = 4, time = ")).await;
    let slow = async |client: &str| {
        let from = [("x-forwarded-for", client)];
        proxy.ask("GET", "/callout?to=auth&path=/slow", &from).await.json()
    };
    let waiting = async {
        // As many as may wait on each of the two workers, and more.
        let all: Vec<_> = (0..24).map(|_| slow("192.0.2.1")).collect();
        futures_join(all).await
    };
    let others = async {
        until("some wait", async || auth.requests().len() >= 2).await;
        for number in 0..20 {
            assert_eq!(proxy.get(&format!("/plain/{number}")).await.status, 200);
        }
    };
    let (told, ()) = tokio::join!(waiting, others);
    let too_many = told.iter().filter(|told| **told == json!("too many callouts")).count();
    assert!(too_many >= 24 - 8, "{told:?}");
    assert!(told.iter().any(|told| *told == json!("no answer in time")), "{told:?}");
    let plugin = proxy.plugin_state("10-capable", "serving").await;
    assert_eq!(plugin["state"], "serving", "it is not the plugin's fault");
}

async fn futures_join<T>(all: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|task| {
        for (work, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(value) = work.as_mut().poll(task)
            {
                *done = Some(value);
            }
        }
        match pending.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(pending.iter_mut().filter_map(|(_, done)| done.take()).collect()),
            false => std::task::Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_callout_up() {
    let ([_app, auth], proxy) = with_service(TO_AUTH).await;
    let mut client = proxy.raw().await;
    client.send("GET /callout?to=auth&path=/slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    auth.until_requests(1).await;
    drop(client);
    auth.until_closed(1).await;
}

#[tokio::test]
async fn log_phases_and_timers_call_out_too() {
    let app = Upstream::echo("app").await;
    let auth = Upstream::echo("auth").await;
    let settings =
        "timer = \"1s\"\ngrants = { callout = [\"auth\"], store = true }\n[config]\ntimer_to = \"auth\"";
    let proxy = capable(&app, settings).workers(2).upstream("auth", &auth).start().await;
    // At once, and then after each period: by one worker.
    auth.until_requests(2).await;
    assert_eq!(proxy.get("/x?log-to=auth").await.status, 200);
    until("both came", async || {
        let asked: Vec<_> = auth.requests().iter().map(|asked| asked.target.clone()).collect();
        asked.iter().any(|target| target == "/logged") && asked.iter().any(|target| target == "/tick")
    })
    .await;
    proxy.log().wait(&["log phase: 200"]).await;
    proxy.log().wait(&["ended /x in=0 out=", &format!("server={}", app.server())]).await;
}

#[tokio::test]
async fn a_timer_never_overlaps_itself_and_its_failures_are_told() {
    let app = Upstream::echo("app").await;
    let (holding, release) = Upstream::holding().await;
    let settings = "timer = \"1s\"\nlimits = { callout-timeout = \"30s\", time = \"30s\" }\n\
                    grants = { callout = [\"held\"] }\n[config]\ntimer_to = \"held\"";
    let proxy = capable(&app, settings).workers(2).upstream("held", &holding).start().await;
    holding.until_requests(1).await;
    // Two periods of other work pass meanwhile.
    let began = std::time::Instant::now();
    until("two periods", async || began.elapsed() > Duration::from_millis(2500)).await;
    assert_eq!(holding.requests().len(), 1);
    release.send_replace(true);
    holding.until_requests(2).await;
    let gone = "timer = \"1s\"\n[config]\ntimer_to = \"held\"";
    std::fs::write(proxy.plugin_path("10-capable.toml"), gone).expect("a writable file");
    proxy.log().wait(&["WARN", "10-capable", "timer", "the operator did not grant this upstream"]).await;
}

#[tokio::test]
async fn secrets_are_given_to_the_policy_and_shown_to_nobody() {
    let app = Upstream::echo("app").await;
    let settings = "[secrets]\nword = { file = \"word.txt\" }\n";
    let proxy = capable(&app, settings).file("plugins/word.txt", "open sesame").start().await;
    assert_eq!(told(&proxy, "/secret?name=word").await, json!("open sesame"));
    assert_eq!(told(&proxy, "/secret?name=other").await, Value::Null);
    std::fs::write(proxy.plugin_path("word.txt"), "new words").expect("a writable file");
    until("it is read again", async || told(&proxy, "/secret?name=word").await == json!("new words")).await;
    std::fs::remove_file(proxy.plugin_path("word.txt")).expect("it is there");
    proxy.log().wait(&["ERROR", "10-capable.toml:2:", "word.txt"]).await;
    assert_eq!(told(&proxy, "/secret?name=word").await, json!("new words"), "the last good version serves");
    let plugins = proxy.admin("GET", "/api/v1/plugins").await.text().to_owned();
    for secret in ["open sesame", "new words"] {
        assert!(!plugins.contains(secret), "{plugins}");
        assert_eq!(proxy.log().count(secret), 0);
    }
}

#[tokio::test]
async fn signatures_and_passwords_are_checked() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, "").start().await;
    let told_of = told(&proxy, "/crypto").await;
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(told_of["digest"], digest);
    for (what, expected) in [
        ("right", json!(true)),
        ("wrong", json!(false)),
        ("unsuitable", json!(false)),
        ("with", json!({ "Ok": true })),
        ("no-key", json!(true)),
        ("equal", json!(true)),
        ("random", json!(true)),
        ("late", json!("this is defined in `configure` only")),
    ] {
        assert_eq!(told_of[what], expected, "{what}");
    }
    // `htpasswd -nbB user secret`, with the least cost.
    let hash = "$2y$04$FQ4PR9BXhB1AQ3bDx4Vhde1ICyLH0jjSDJX.7K1FvEZ8QAt2bNmF2";
    let wrong = told(&proxy, &format!("/password?hash={hash}&password=guess")).await;
    assert_eq!(wrong, json!(false));
    let weak = told(&proxy, "/password?hash=$apr1$x$y&password=x").await;
    assert_eq!(weak, json!("not a bcrypt, argon2, scrypt or SHA-crypt hash"));
}

#[tokio::test]
async fn what_policies_count_is_exposed() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, &format!("{ALL}[config]\nmetrics = true")).workers(2).start().await;
    for _ in 0..3 {
        assert_eq!(told(&proxy, "/count?path=a%22b").await, json!("counted"));
    }
    let metrics = proxy.admin("GET", "/metrics").await;
    assert!(metrics.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "tidegate_policy_seen_total{policy=\"10-capable\",path=\"a\\\"b\"} 6",
        "tidegate_policy_level{policy=\"10-capable\"} 1.5",
        "tidegate_policy_size_bucket{policy=\"10-capable\",le=\"10\"} 3",
        "# HELP tidegate_policy_seen_total Requests seen",
    ] {
        assert!(metrics.text().contains(line), "{line}: {}", metrics.text());
    }
}

#[tokio::test]
async fn a_response_that_fails_is_asked_for_elsewhere_once() {
    // It reads the request first: who answers before and closes may be taken for broken.
    let app = Upstream::serve(|request: Request<Incoming>| async move {
        let _ = http_body_util::BodyExt::collect(request.into_body()).await;
        Response::builder().status(503).body(body("")).expect("valid")
    })
    .await;
    let other = Upstream::echo("other").await;
    let settings = "[config]\nretry_at = \"other\"";
    let proxy = capable(&app, settings).upstream("other", &other).start().await;
    let answer = proxy.ask("GET", "/a?b", &[]).await;
    assert_eq!((answer.status, answer.echoed_by().as_str()), (200, "other"));
    assert_eq!(answer.header("x-server"), other.server());
    let mut client = proxy.http1().await;
    let small = tidegate_tests::request("POST", "/a").body(body("kept")).expect("valid");
    let answer = client.send(small).await;
    assert_eq!(answer.json()["body"], "kept");
    let line = proxy.access("/a?b").await;
    assert_eq!((&line["route"], &line["status"]), (&json!("other"), &json!(200)), "{line}");
    // To answer itself is the last word.
    assert_eq!(proxy.get("/a?but=1").await.status, 418);
    assert_eq!(other.requests().len(), 2);

    // What is not kept cannot be sent again: the response stays, and the policy says something else of it.
    let mut client = proxy.http1().await;
    let large = tidegate_tests::request("POST", "/a").body(body(vec![b'x'; 1 << 20])).expect("valid");
    let answer = client.send(large).await;
    answer.assert_is(502, "the request cannot be sent again");

    // The second response is what there is.
    let failing = Upstream::answering(503).await;
    let proxy = capable(&app, settings).upstream("other", &failing).start().await;
    proxy.get("/").await.assert_is(502, "the request cannot be sent again");
    assert_eq!(failing.requests().len(), 1);
}

#[tokio::test]
async fn a_replaced_response_is_seen_by_the_policies_outside() {
    let app = Upstream::answering(503).await;
    let proxy = Proxy::builder(&app)
        .plugin(
            "10-outer",
            tidegate_tests::stock("rewrite"),
            "[config]\nresponse-headers = { set = { x-outer = \"seen\" } }",
        )
        .plugin("20-inner", guest("capabilities"), "[config]\nretry_at = \"nowhere\"")
        .start()
        .await;
    let answer = proxy.get("/").await;
    answer.assert_is(502, "no upstream or file root has this name");
    assert_eq!(answer.header("x-outer"), "seen");
}

#[tokio::test]
async fn a_policy_limits_a_body() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, "").start().await;
    for path in ["/small", "/small?whole=1"] {
        for (size, status) in [(4, 200), (5, 413)] {
            let mut client = proxy.http1().await;
            let request = tidegate_tests::request("POST", path).body(body(vec![b'x'; size])).expect("valid");
            assert_eq!(client.send(request).await.status, status, "{path} {size}");
            let chunks = format!("{size}\r\n{}\r\n0\r\n", "x".repeat(size));
            for end in ["\r\n", "x-trailer: 1\r\n\r\n"] {
                assert_eq!(
                    chunked(&proxy, path, &format!("{chunks}{end}")).await.0,
                    status,
                    "{path} {size} {end}"
                );
            }
        }
    }
}

/// Status and body of the answer to a request with these chunks.
async fn chunked(proxy: &Proxy, target: &str, chunks: &str) -> (u16, String) {
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
    );
    let mut client = proxy.raw().await;
    client.send(format!("{head}\r\n{chunks}")).await;
    let answer = client.read_to_end().await;
    let (head, body) = answer.split_once("\r\n\r\n").expect("a response");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[tokio::test]
async fn the_limit_of_a_destination_holds_for_what_was_kept() {
    let app = Upstream::answering(503).await;
    let other = Upstream::echo("other").await;
    let proxy = capable(&app, "[config]\nretry_at = \"other\"")
        .section(&format!("[upstream.other]\nservers = [\"{}\"]\nrequest-body = \"1KiB\"", other.server()))
        .start()
        .await;
    for (size, status) in [(1024, 200), (1025, 413)] {
        let chunks = format!("{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size));
        assert_eq!(chunked(&proxy, "/", &chunks).await.0, status, "{size}");
    }
}

#[tokio::test]
async fn no_instance_goes_on_with_a_body_that_another_began() {
    let app = Upstream::echo("app").await;
    let proxy = capable(&app, "on-error = \"skip\"\n[limits]\nreuse = 1").workers(1).start().await;
    // At the end of its calls an instance has its body still.
    let chunks = ["a", "b", "c"].map(|chunk| format!("1\r\n{chunk}\r\n")).concat();
    for _ in 0..20 {
        let (_, answer) = chunked(&proxy, "/count-chunks", &format!("{chunks}0\r\n\r\n")).await;
        assert!(answer.contains("[0]a[1]b[2]c"), "{answer}");
    }
    // And when it crashes the rest is seen by none.
    let chunks = format!("1\r\na\r\n5\r\ncrash\r\n{chunks}0\r\n\r\n");
    let (_, answer) = chunked(&proxy, "/count-chunks", &chunks).await;
    assert!(answer.contains("[0]acrashabc"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_not_there_holds_no_instance() {
    let (app, release) = Upstream::holding().await;
    let proxy = capable(&app, "[limits]\ninstances = 1").workers(1).start().await;
    let requests = futures_join((0..4).map(|_| proxy.get("/count-chunks")).collect());
    let all_pass = async {
        app.until_requests(4).await;
        release.send(true).expect("it holds them");
    };
    let (answers, ()) = tokio::join!(requests, all_pass);
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
}

#[tokio::test]
async fn callouts_are_bounded_before_they_cost_anything() {
    let (_services, proxy) = with_service(TO_AUTH).await;
    assert_eq!(told(&proxy, "/callout?to=auth&path=/&fields=90").await["status"], 403);
    for fields in [101, 5000] {
        let refused = told(&proxy, &format!("/callout?to=auth&path=/&fields={fields}")).await;
        assert_eq!(refused, "the request is not valid HTTP", "{fields}");
    }
    let many = |count| format!("/callout?to={}&path=/", vec!["auth"; count].join(","));
    assert_eq!(proxy.get(&many(65)).await.status, 503);
    proxy.log().wait(&["more than 64 callouts in one call"]).await;
    // Nine wait as one call.
    let answers = told(&proxy, &many(9)).await;
    let answers: Vec<_> =
        answers.as_array().expect("a list").iter().map(|answer| &answer["status"]).collect();
    assert_eq!(answers.iter().filter(|status| **status == 403).count(), 8, "{answers:?}");
}

#[tokio::test]
async fn a_policy_sees_more_of_a_request() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let client = authority.sign(&["alice.test"]);
    let proxy = capable(&app, "")
        .file("ca.pem", authority.pem())
        .certificate("secure", &leaf)
        .listener(
            "secure",
            "tls = { certificates = [{ chain = \"secure.pem\", key = \"secure.key\" }], client-ca = \"ca.pem\", \
             client-auth = \"optional\" }",
        )
        .start()
        .await;
    let fields = [("cookie", "a=1; session=\"x y\""), ("cookie", "session=later")];
    let facts = proxy.ask("GET", "/facts?a=1+2&b=&a=%c3%a9", &fields).await.json();
    assert_eq!((&facts["cookie"], &facts["param"]), (&json!("x y"), &json!("1 2")));
    assert_eq!(facts["params"], json!(["1 2", "\u{e9}"]));
    assert_eq!(facts["original"], "/facts?a=1+2&b=&a=%c3%a9");
    assert_eq!(facts["local"], proxy.address("web").to_string());
    assert_eq!((&facts["has-body"], &facts["subject"]), (&json!(false), &Value::Null));
    assert_eq!(facts["id"].as_str().map(str::len), Some(16));

    let answer = proxy.get("/caf%c3%a9/x").await;
    assert_eq!((answer.header("x-token"), answer.header("x-note")), ("1", "/caf%c3%a9/x"));

    let options = TlsOptions { client: Some(&client), ..TlsOptions::new(&authority, "a.test") };
    let mut tls = proxy.tls("secure", &options).await.expect("a handshake");
    let facts = tls
        .send(tidegate_tests::request("GET", "/facts").body(tidegate_tests::empty()).expect("valid"))
        .await;
    let facts = facts.json();
    assert_eq!(
        (&facts["subject"], &facts["verified"]),
        (&json!("CN=rcgen self signed cert"), &json!(true)),
        "{facts}"
    );
    assert!(facts["der"].as_u64() > Some(200) && facts["serial"].is_string(), "{facts}");
}

#[tokio::test]
async fn a_parser_in_an_instance_sees_all_of_a_body() {
    let page = |links: usize| -> String {
        (0..links)
            .map(|number| format!("<p>text {number} <a class=x href=\"/{number}\">a link</a></p>\n"))
            .collect()
    };
    let large = page(80_000);
    assert!(large.len() > 4 << 20);
    let small = page(3);
    let app = {
        let large = large.clone();
        Upstream::serve(move |request: Request<Incoming>| {
            let page = if request.uri().path() == "/large" { large.clone() } else { small.clone() };
            async move { Response::builder().header("content-type", "text/html").body(body(page)).expect("valid") }
        })
        .await
    };
    let proxy = Proxy::builder(&app).plugin("10-stream", guest("stream"), "").workers(1).start().await;
    let (one, two, three) = tokio::join!(proxy.get("/large"), proxy.get("/small"), proxy.get("/large"));
    for (answer, links) in [(one, 80_000), (two, 3), (three, 80_000)] {
        let text = answer.text();
        assert_eq!(text.matches("rel=\"nofollow\"").count(), links);
        assert!(text.ends_with(&format!("<!-- {links} links -->")), "{}", &text[text.len() - 100..]);
    }
}
