//! `[cache.NAME]`: what is answered without a server, for whom, and what becomes of it when servers, disks and clients fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_tests::{
    Answer, Builder, Chunks, Ended, Proxy, Upstream, body, chunks, command, empty, eventually, guest,
    next_chunk, request_with, stock, until, within,
};
use tokio::task::JoinSet;

/// Answers with the fields that the query of the target names, `name=value` joined by `&`, and a body that says how many
/// requests there have been. What has an entity tag is not modified for those who ask.
async fn origin() -> (Upstream, Arc<AtomicBool>) {
    let (count, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let failing = fails.clone();
    let upstream = Upstream::serve(move |request: Request<Incoming>| {
        let number = count.fetch_add(1, Relaxed) + 1;
        let fails = failing.load(Relaxed);
        async move {
            let mut response = Response::new(body(format!("response {number}")));
            if fails {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                return response;
            }
            for field in
                request.uri().query().unwrap_or_default().split('&').filter(|field| !field.is_empty())
            {
                let (name, value) = field.split_once('=').expect("a field");
                match name {
                    "status" => *response.status_mut() = value.parse().expect("a status"),
                    "length" => *response.body_mut() = body(vec![b'x'; value.parse().expect("a length")]),
                    _ => {
                        let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
                        let value = HeaderValue::from_str(&value.replace('+', " ")).expect("a value");
                        response.headers_mut().append(name, value);
                    }
                }
            }
            let asked = request.headers().get("if-none-match");
            if asked.is_some() && asked == response.headers().get("etag") {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                *response.body_mut() = empty();
            }
            response
        }
    });
    (upstream.await, fails)
}

/// In front of this upstream, with these keys of the cache.
fn caching(upstream: &Upstream, keys: &str) -> Builder {
    Proxy::with_app(&format!("servers = [\"{}\"]\ncache = \"pages\"", upstream.server()))
        .section(&format!("[cache.pages]\n{keys}"))
}

fn status(answer: &Answer) -> &str {
    answer.header("cache-status")
}

#[tokio::test]
async fn what_is_fresh_comes_from_the_cache_over_each_version_of_http_and_to_each_worker() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "").start().await;
    let first = proxy.get("/a?cache-control=max-age=600").await;
    first.assert_is(200, "response 1");
    assert!(status(&first).starts_with("tidegate; fwd=uri-miss; ttl="), "{first:?}");
    assert!(status(&first).ends_with("; stored"), "{first:?}");
    for _ in 0..4 {
        for mut client in proxy.both().await {
            let hit = client.get("/a?cache-control=max-age=600").await;
            hit.assert_is(200, "response 1");
            assert!(status(&hit).starts_with("tidegate; hit; ttl="), "{hit:?}");
            assert!(!hit.header("age").is_empty());
            let head = client.send(
                request_with("HEAD", "/a?cache-control=max-age=600", &[]).body(empty()).expect("valid"),
            );
            let head = head.await;
            assert_eq!((head.status, head.header("content-length"), &head.body[..]), (200, "10", &b""[..]));
        }
    }
    assert_eq!(app.requests().len(), 1);
    // Another target, another host, another query: another response.
    proxy.get("/b?cache-control=max-age=600").await.assert_is(200, "response 2");
    proxy.get("/a?cache-control=max-age=601").await.assert_is(200, "response 3");
    let other = proxy.ask("GET", "/a?cache-control=max-age=600", &[("host", "other.test")]).await;
    other.assert_is(200, "response 4");
    let log = proxy.accesses("/a?cache-control=max-age=600", 18).await;
    // Workers write their lines each for itself.
    let (hits, others): (Vec<_>, Vec<_>) = log.iter().partition(|line| line["cache"] == "hit");
    assert!(hits.len() == 16 && hits.iter().all(|line| line["server"].is_null()), "{log:?}");
    assert!(
        others.iter().all(|line| line["cache"] == "miss" && line["cache_reason"] == "uri-miss"),
        "{log:?}"
    );
}

#[tokio::test]
async fn what_is_not_for_others_is_not_kept() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "").start().await;
    for (number, (target, fields, reason)) in [
        ("/?a=b", &[][..], "not-fresh"),
        ("/?cache-control=no-store", &[], "no-store"),
        ("/?cache-control=private,max-age=9", &[], "private"),
        ("/?cache-control=max-age=9&set-cookie=a", &[], "set-cookie"),
        ("/?cache-control=max-age=9&vary=*", &[], "vary"),
        ("/?cache-control=max-age=9&content-type=text/event-stream", &[], "stream"),
        ("/?cache-control=max-age=10", &[("authorization", "x")], "authorization"),
        ("/?cache-control=max-age=11", &[("cache-control", "no-store")], "request-no-store"),
    ]
    .into_iter()
    .enumerate()
    {
        for time in 1..=2 {
            let answer = proxy.ask("GET", target, fields).await;
            answer.assert_is(200, &format!("response {}", 2 * number + time));
            assert_eq!(status(&answer), format!("tidegate; fwd=uri-miss; detail={reason}"), "{target}");
        }
    }
    let metrics = proxy.admin("GET", "/metrics").await;
    let counted = "tidegate_cache_requests_total{destination=\"app\",result=\"pass\",reason=\"private\"} 2";
    assert!(metrics.text().contains(counted), "{}", metrics.text());
}

#[tokio::test]
async fn requests_that_servers_read_in_another_way_have_nothing_to_do_with_the_cache() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "").start().await;
    let target = "/?cache-control=max-age=600";
    proxy.get(target).await.assert_is(200, "response 1");
    for (fields, detail) in [
        (&[("x-http-method-override", "DELETE")][..], "override"),
        (&[("x-original-url", "/admin")], "override"),
        (&[("if-match", "\"a\"")], "precondition"),
    ] {
        let answer = proxy.ask("GET", target, fields).await;
        assert_eq!(status(&answer), format!("tidegate; fwd=bypass; detail={detail}"), "{answer:?}");
    }
    // A body is in no key.
    let fat = request_with("GET", target, &[]).body(body("a=b")).expect("valid");
    assert_eq!(status(&proxy.send(fat).await), "tidegate; fwd=bypass; detail=body");
    // Hosts are kept apart as servers see them.
    for host in ["EXAMPLE.test", "example.test:80", "example.test:8080"] {
        assert!(status(&proxy.ask("GET", target, &[("host", host)]).await).contains("uri-miss"), "{host}");
    }
    // What clients say of the codings they take reaches servers as it is compared.
    let target = "/?cache-control=max-age=601&vary=accept-encoding";
    let first = proxy.ask("GET", target, &[("accept-encoding", "evil\"><script>, gzip;q=0.1, br")]).await;
    assert!(status(&first).contains("stored"));
    assert_eq!(app.requests().last().expect("a request").header("accept-encoding"), "br, gzip");
    let other = proxy.ask("GET", target, &[("accept-encoding", "gzip, br")]).await;
    assert!(status(&other).starts_with("tidegate; hit"), "{other:?}");
    let none = proxy.ask("GET", target, &[("accept-encoding", "identity")]).await;
    assert!(status(&none).contains("vary-miss"), "{none:?}");
    proxy.get("/?cache-control=max-age=600").await.assert_is(200, "response 1");
}

#[tokio::test]
async fn what_is_stale_is_validated_or_served_while_or_although_the_server_fails() {
    let (app, fails) = origin().await;
    let proxy = caching(&app, "").start().await;
    let validated = "/?cache-control=max-age=0&etag=same";
    proxy.get(validated).await.assert_is(200, "response 1");
    let again = proxy.get(validated).await;
    again.assert_is(200, "response 1");
    assert!(status(&again).starts_with("tidegate; fwd=stale; fwd-status=304"), "{again:?}");
    assert_eq!(app.requests().last().expect("a request").header("if-none-match"), "same");
    // Who has it already is told so, whoever asked.
    let known = proxy.ask("GET", validated, &[("if-none-match", "W/same")]).await;
    assert_eq!((known.status, &known.body[..]), (304, &b""[..]));

    let while_it_asks = "/?cache-control=max-age=0,stale-while-revalidate=600&etag=same";
    proxy.get(while_it_asks).await.assert_is(200, "response 4");
    let stale = proxy.get(while_it_asks).await;
    stale.assert_is(200, "response 4");
    assert!(status(&stale).starts_with("tidegate; hit; ttl="), "{stale:?}");
    until("it is asked in the background", async || app.requests().len() == 5).await;

    let although = "/?cache-control=max-age=0,stale-if-error=600&x=1";
    let needs = "/?cache-control=max-age=0,must-revalidate,stale-if-error=600&etag=same";
    proxy.get(although).await.assert_is(200, "response 6");
    proxy.get(needs).await.assert_is(200, "response 7");
    fails.store(true, Relaxed);
    let stale = proxy.get(although).await;
    stale.assert_is(200, "response 6");
    assert!(status(&stale).contains("fwd-status=503"), "{stale:?}");
    assert_eq!(proxy.get(needs).await.status, 503);
    let mut app = app;
    app.stop().await;
    let stale = proxy.get(although).await;
    stale.assert_is(200, "response 6");
    assert!(status(&stale).contains("detail=origin-failed"), "{stale:?}");
    let nothing = proxy.ask("GET", "/unknown", &[("cache-control", "only-if-cached")]).await;
    assert_eq!(nothing.status, 504);
}

#[tokio::test]
async fn what_a_request_changes_is_asked_for_again() {
    let (app, fails) = origin().await;
    let proxy = caching(&app, "key = { headers = [\"x-tenant\"] }").start().await;
    let page = "/page?cache-control=max-age=600";
    let of = async |tenant: &str| proxy.ask("GET", page, &[("x-tenant", tenant)]).await;
    of("a").await.assert_is(200, "response 1");
    of("b").await.assert_is(200, "response 2");
    fails.store(true, Relaxed);
    assert_eq!(proxy.ask("POST", page, &[]).await.status, 503);
    of("a").await.assert_is(200, "response 1");
    fails.store(false, Relaxed);
    proxy.ask("POST", page, &[("x-tenant", "a")]).await.assert_is(200, "response 4");
    of("a").await.assert_is(200, "response 5");
    until("those of others are found as well", async || of("b").await.text() != "response 2").await;
    let before = proxy.get("/other?cache-control=max-age=600").await;
    let location = "/create?status=201&location=/other?cache-control=max-age=600";
    assert_eq!(proxy.ask("POST", &location.replace("?cache", "%3Fcache"), &[]).await.status, 201);
    let unchanged = proxy.get("/other?cache-control=max-age=600").await;
    assert_eq!(unchanged.text(), before.text(), "that is another path");
}

#[tokio::test]
async fn parts_come_from_what_is_whole() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "disk = \"64MiB\"\npath = \"kept\"").start().await;
    for target in ["/?cache-control=max-age=600", "/?cache-control=max-age=600&length=300000"] {
        let whole = proxy.get(target).await;
        let part = async |range: &str| proxy.ask("GET", target, &[("range", range)]).await;
        until("it is stored", async || status(&proxy.get(target).await).contains("hit")).await;
        let size = whole.body.len();
        let one = part("bytes=2-4").await;
        assert_eq!((one.status, &one.body[..]), (206, &whole.body[2..5]));
        assert_eq!(one.header("content-range"), format!("bytes 2-4/{size}"));
        let two = part("bytes=0-0,-1").await;
        assert!(two.header("content-type").starts_with("multipart/byteranges"), "{two:?}");
        let beyond = part("bytes=1000000-").await;
        assert_eq!((beyond.status, beyond.header("content-range")), (416, &*format!("bytes */{size}")));
    }
    assert_eq!(app.requests().len(), 2);
    // What is not stored is asked for as the client does, unless it begins with the first byte.
    let absent = proxy.ask("GET", "/x?cache-control=max-age=600", &[("range", "bytes=2-4")]).await;
    assert_eq!(
        (absent.status, app.requests().last().expect("a request").header("range")),
        (200, "bytes=2-4")
    );
    let begins = proxy.ask("GET", "/y?cache-control=max-age=600", &[("range", "bytes=0-2")]).await;
    assert_eq!((begins.status, begins.text()), (206, "res"));
    assert_eq!(app.requests().last().expect("a request").header("range"), "");
}

/// An origin whose first response has a body that the test feeds.
async fn feeding(fields: &'static [(&'static str, &'static str)]) -> (Upstream, Chunks) {
    let (feed, download) = chunks();
    let first = Arc::new(std::sync::Mutex::new(Some(download)));
    let upstream = Upstream::serve(move |_| {
        let fed = first.lock().expect("no panic").take();
        async move {
            let mut response = Response::new(fed.unwrap_or_else(|| body("another")));
            for (name, value) in fields {
                response.headers_mut().insert(*name, HeaderValue::from_static(value));
            }
            response
        }
    });
    (upstream.await, feed)
}

#[tokio::test]
async fn many_ask_for_one_and_the_server_is_asked_once() {
    let (app, feed) = feeding(&[("cache-control", "max-age=600")]).await;
    let proxy = caching(&app, "disk = \"64MiB\"\npath = \"kept\"").start().await;
    let mut first = proxy.http1().await;
    let mut leader = within("the head", async { first.start_get("/big").await }).await;
    assert!(feed.send("beginning ").await);
    assert_eq!(next_chunk(leader.body_mut()).await, "beginning ");
    // They come while it is on its way, on either worker, and get what there is at once.
    let mut others = JoinSet::new();
    for _ in 0..20 {
        let mut client = proxy.http1().await;
        others.spawn(async move {
            let mut response = client.start_get("/big").await;
            let mut read = next_chunk(response.body_mut()).await.to_vec();
            let collapsed =
                response.headers()["cache-status"].to_str().expect("text").contains("; collapsed");
            read.extend_from_slice(&response.into_body().collect().await.expect("a whole body").to_bytes());
            (collapsed, read)
        });
    }
    until("all of them wait for the rest", async || {
        let metrics = proxy.admin("GET", "/metrics").await;
        metrics.text().contains("tidegate_requests_in_flight{listener=\"web\"} 21")
    })
    .await;
    let piece = vec![b'x'; 100_000];
    for _ in 0..20 {
        assert!(feed.send(piece.clone()).await);
    }
    drop(feed);
    let expected = [&b"beginning "[..], &piece.repeat(20)].concat();
    while let Some(read) = others.join_next().await {
        let (collapsed, read) = read.expect("no panic");
        assert!(collapsed && read == expected, "{} bytes", read.len());
    }
    let rest = leader.into_body().collect().await.expect("a whole body").to_bytes();
    assert!(rest == expected[10..]);
    let hit = eventually("it is stored", async || {
        let answer = proxy.get("/big").await;
        status(&answer).contains("hit").then_some(answer)
    })
    .await;
    assert!(hit.body == expected);
    assert_eq!(app.requests().len(), 1);
}

#[tokio::test]
async fn what_breaks_off_is_broken_for_all_and_not_kept() {
    let (app, feed) = feeding(&[("cache-control", "max-age=600")]).await;
    let proxy = caching(&app, "").start().await;
    let mut clients = [proxy.http1().await, proxy.http1().await];
    let mut responses = Vec::new();
    let [first, second] = &mut clients;
    responses.push(first.start_get("/").await);
    assert!(feed.send("half").await);
    responses.push(second.start_get("/").await);
    for response in &mut responses {
        assert_eq!(next_chunk(response.body_mut()).await, "half");
    }
    feed.break_off().await;
    for response in responses {
        response.into_body().collect().await.expect_err("it is not whole");
    }
    proxy.get("/").await.assert_is(200, "another");
}

#[tokio::test]
async fn what_is_kept_on_the_disk_is_there_after_a_restart_and_what_is_damaged_is_not() {
    let (app, _) = origin().await;
    let kept = tempfile::tempdir().expect("a directory");
    let keys = format!("disk = \"64MiB\"\npath = \"{}\"", kept.path().join("pages").display());
    let targets = ["/small?cache-control=max-age=600", "/large?cache-control=max-age=600&length=400000"];
    let mut proxy = caching(&app, &keys).start().await;
    let mut bodies = Vec::new();
    for target in targets {
        bodies.push(proxy.get(target).await.body);
        until("it is stored", async || status(&proxy.get(target).await).contains("hit")).await;
    }
    let files = || {
        let folders = std::fs::read_dir(kept.path().join("pages")).expect("a directory").flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.map(|file| file.path()).filter(|path| path.extension().is_none()).collect::<Vec<_>>()
    };
    until("both are on the disk", async || files().len() == 2).await;
    // As it is: it has no time to finish anything.
    proxy.signal(rustix::process::Signal::KILL);
    proxy.ended().await;
    let mut proxy = caching(&app, &keys).start().await;
    for (target, body) in targets.iter().zip(&bodies) {
        let hit = eventually("it is found", async || {
            let answer = proxy.ask("GET", target, &[("cache-control", "only-if-cached")]).await;
            (answer.status == 200).then_some(answer)
        })
        .await;
        assert!(hit.body == *body && status(&hit).contains("hit"), "{target}");
    }
    proxy.signal(rustix::process::Signal::TERM);
    proxy.ended().await;
    for path in files() {
        let mut content = std::fs::read(&path).expect("a file");
        content[5] ^= 1;
        std::fs::write(&path, content).expect("a file");
    }
    let asked = app.requests().len();
    let proxy = caching(&app, &keys).start().await;
    for (number, target) in (asked + 1..).zip(targets) {
        let answer = proxy.get(target).await;
        assert_eq!(app.requests().len(), number, "{answer:?}");
        assert!(status(&answer).contains("uri-miss"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_purge_that_was_answered_holds_whatever_becomes_of_the_process() {
    let (app, _) = origin().await;
    let kept = tempfile::tempdir().expect("a directory");
    let keys = format!("disk = \"64MiB\"\npath = \"{}\"", kept.path().join("pages").display());
    let targets: Vec<_> =
        (0..300).map(|number| format!("/{number}?cache-control=max-age=600&etag=same")).collect();
    let mut proxy = caching(&app, &keys).start().await;
    let mut client = proxy.http1().await;
    for target in &targets {
        client.get(target).await;
    }
    let files = || {
        let folders = std::fs::read_dir(kept.path().join("pages")).expect("a directory").flatten();
        let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
        files.filter(|file| file.path().extension().is_none()).count()
    };
    until("all are on the disk", async || files() == targets.len()).await;
    let admin = proxy.address("admin").to_string();
    let purged = Ended::of(&mut command(&["cache", "purge", "--all", "--admin", &admin]));
    assert_eq!(purged.stdout, "300 purged\n", "{purged}");
    proxy.signal(rustix::process::Signal::KILL);
    proxy.ended().await;
    let proxy = caching(&app, &keys).start().await;
    let mut client = proxy.http1().await;
    for target in &targets {
        let answer = client.get(target).await;
        assert!(!status(&answer).starts_with("tidegate; hit"), "{target} {answer:?}");
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_costs_hits_alone() {
    let (app, _) = origin().await;
    let builder = caching(&app, "disk = \"64MiB\"\npath = \"kept\"").file("kept", "no directory");
    let proxy = builder.start().await;
    let large = proxy.get("/?cache-control=max-age=600&length=3000000").await;
    assert_eq!((large.status, large.body.len()), (200, 3_000_000));
    proxy.get("/?cache-control=max-age=600").await.assert_is(200, "response 2");
    proxy.get("/?cache-control=max-age=600").await.assert_is(200, "response 2");
    proxy.log().wait(&["nothing is kept on the disk"]).await;
}

#[tokio::test]
async fn policies_decide_about_what_is_kept_as_about_anything_else() {
    let (app, _) = origin().await;
    let target = "/page?cache-control=max-age=600";
    let proxy = caching(&app, "")
        .plugin(
            "10-access",
            stock("access-control"),
            "[config]\nrules = [{ user-agents = [\"Evil\"], deny = true }]",
        )
        .plugin(
            "20-rewrite",
            stock("rewrite"),
            "[config]\nresponse-headers = { set = { x-version = \"1\" } }",
        )
        .start()
        .await;
    assert_eq!(proxy.get(target).await.header("x-version"), "1");
    let hit = proxy.get(target).await;
    assert_eq!((hit.text(), hit.header("x-version")), ("response 1", "1"));
    assert_eq!(proxy.ask("GET", target, &[("user-agent", "Evil/1.0")]).await.status, 403);
    // What a policy says now counts for what was stored before.
    let toml = proxy.plugin_path("20-rewrite.toml");
    std::fs::write(toml, "[config]\nresponse-headers = { set = { x-version = \"2\" } }").expect("a file");
    until("the change is live", async || {
        let hit = proxy.get(target).await;
        assert_eq!(hit.text(), "response 1");
        hit.header("x-version") == "2"
    })
    .await;
}

#[tokio::test]
async fn policies_choose_the_cache_and_what_is_kept_for_whom() {
    let (app, _) = origin().await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]", app.server()))
        .section("[cache.pages]")
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"a\"")
        .start()
        .await;
    let target = "/?cache-control=max-age=600&etag=same";
    let ask = async |target: &str, said: &[(&str, &str)]| {
        let answer = proxy.ask("GET", target, &[&[("x-cache-use", "pages")], said].concat()).await;
        (answer.text().to_owned(), status(&answer).to_owned(), answer)
    };
    assert_eq!(status(&proxy.get(target).await), "", "the upstream has no cache");
    let unknown = proxy.ask("GET", target, &[("x-cache-use", "page")]).await;
    assert_eq!(unknown.status, 500, "{unknown:?}");

    // Others with other parts of the key, however these are cut.
    for (number, parts) in [&[][..], &["de"], &["d", "e"], &["e", "d"]].into_iter().enumerate() {
        let said: Vec<_> = parts.iter().map(|part| ("x-cache-key", *part)).collect();
        for is_hit in [false, true] {
            let (text, status, _) = ask(target, &said).await;
            assert_eq!(text, format!("response {}", number + 2), "{parts:?}");
            assert_eq!(status.contains("; hit"), is_hit, "{parts:?} {status}");
        }
    }
    // A part that is too long might be another's: no cache then.
    let long = "x".repeat(5000);
    assert_eq!(ask(target, &[("x-cache-key", &long)]).await.2.status, 500);
    let (text, status, _) = ask(target, &[("x-cache-bypass", "1")]).await;
    assert_eq!((&*text, &*status), ("response 6", ""));

    // What was changed is changed for all of them.
    assert_eq!(proxy.ask("POST", target, &[("x-cache-use", "pages")]).await.status, 200);
    for said in [&[][..], &[("x-cache-key", "de")]] {
        until("it is asked for again", async || !ask(target, said).await.1.contains("; hit")).await;
    }
}

/// Servers that are told who the client is answer by that, and need not say so: the field is none of the client's.
#[tokio::test]
async fn what_policies_tell_servers_of_clients_keeps_these_apart() {
    let app = Upstream::serve(|request: Request<Incoming>| async move {
        let name = request.headers().get("x-api-key-name").and_then(|name| name.to_str().ok());
        let mut response = Response::new(body(format!("hello {}", name.unwrap_or("nobody"))));
        response.headers_mut().insert("cache-control", HeaderValue::from_static("max-age=600"));
        response
    })
    .await;
    let with_keys = |keys| {
        let settings = "[secrets]\nkeys = { file = \"keys.txt\" }\n[config]\nrules = [{ keys = \"keys\" }]";
        let known = "alice:alice-0123456789abcdef\nbob:bob-0123456789abcdef\n";
        let proxy = caching(&app, keys).plugin("10-key", stock("api-key"), settings);
        proxy.file("plugins/keys.txt", known).start()
    };
    let proxy = with_keys("").await;
    let users = [("alice", "alice-0123456789abcdef"), ("bob", "bob-0123456789abcdef")];
    for is_hit in [false, true] {
        for (name, key) in users {
            let answer = proxy.ask("GET", "/", &[("x-api-key", key)]).await;
            answer.assert_is(200, &format!("hello {name}"));
            assert_eq!(status(&answer).starts_with("tidegate; hit"), is_hit, "{answer:?}");
        }
    }
    // What one of them changes is asked for again for all.
    assert_eq!(proxy.ask("POST", "/", &[("x-api-key", users[0].1)]).await.status, 200);
    for (_, key) in users {
        until("it is asked for again", async || {
            !status(&proxy.ask("GET", "/", &[("x-api-key", key)]).await).starts_with("tidegate; hit")
        })
        .await;
    }

    // Unless the operator says that the field changes no response.
    let proxy = with_keys("key = { without-headers = [\"x-api-key-name\"] }").await;
    for (_, key) in users {
        proxy.ask("GET", "/", &[("x-api-key", key)]).await.assert_is(200, "hello alice");
    }
}

#[tokio::test]
async fn policies_say_how_long_something_is_kept_and_tag_it() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "").plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"a\"").start().await;
    let hour = ("x-cache-lifetime", "3600");
    for (target, text) in [("/a", "response 1"), ("/a?cache-control=max-age=1", "response 2")] {
        proxy.ask("GET", target, &[hour]).await.assert_is(200, text);
        let hit = proxy.get(target).await;
        hit.assert_is(200, text);
        let ttl = status(&hit).strip_prefix("tidegate; hit; ttl=").and_then(|ttl| ttl.parse::<u32>().ok());
        assert!(ttl.is_some_and(|ttl| ttl > 3000), "{hit:?}");
    }
    // It says nothing of who may have it.
    let private = proxy.ask("GET", "/?cache-control=private", &[hour]).await;
    assert_eq!(status(&private), "tidegate; fwd=uri-miss; detail=private");
    // Errors have no default, and what others may have only because it is validated is not theirs for longer.
    let known = ("authorization", "x");
    for (target, said) in [
        ("/?status=503", &[hour][..]),
        ("/e?cache-control=max-age=0,must-revalidate&etag=same", &[hour, known]),
    ] {
        proxy.ask("GET", target, said).await;
        let again = proxy.get(target).await;
        assert!(!status(&again).starts_with("tidegate; hit"), "{again:?}");
    }

    let tagged = "/b?cache-control=max-age=600&cache-tag=own";
    let first = proxy.ask("GET", tagged, &[("x-cache-tag", "news"), ("x-cache-tag", "home")]).await;
    assert!(status(&first).ends_with("; stored"), "{first:?}");
    assert_eq!(proxy.ask("GET", tagged, &[("x-cache-tag", "a,b")]).await.status, 500);
    let admin = proxy.address("admin").to_string();
    for tag in ["own", "home"] {
        assert!(status(&proxy.get(tagged).await).starts_with("tidegate; hit"), "{tag}");
        let purged = Ended::of(&mut command(&["cache", "purge", "--tag", tag, "--admin", &admin]));
        assert_eq!((purged.status.code(), &*purged.stdout), (Some(0), "1 purged\n"), "{purged}");
        let again = proxy.ask("GET", tagged, &[("x-cache-tag", "home")]).await;
        assert!(status(&again).contains("fwd=stale"), "{again:?}");
    }
}

#[tokio::test]
async fn the_operator_purges_what_is_meant_and_nothing_else() {
    let (app, _) = origin().await;
    let proxy = caching(&app, "").start().await;
    let admin = proxy.address("admin").to_string();
    let fresh = "cache-control=max-age=600&etag=same";
    let targets = ["/a/1", "/a/2", "/b"].map(|path| format!("{path}?{fresh}"));
    let hits = async || {
        let mut hits = Vec::new();
        for target in &targets {
            let answer = proxy.ask("GET", target, &[("host", "a.test")]).await;
            hits.push(status(&answer).starts_with("tidegate; hit"));
        }
        hits
    };
    let one = format!("a.test/a/1?{fresh}");
    assert_eq!(hits().await, [false; 3]);
    for (what, purged, stay) in [
        (&["--url", &one][..], 1, [false, true, true]),
        (&["--prefix", "http://a.test/a/"], 2, [false, false, true]),
        (&["--host", "a.test"], 3, [false; 3]),
        (&["--all", "--hard"], 3, [false; 3]),
        (&["--host", "b.test"], 0, [true; 3]),
        (&["--prefix", "https://a.test/"], 0, [true; 3]),
    ] {
        let ended = Ended::of(command(&["cache", "purge", "--admin", &admin]).args(what));
        assert_eq!(ended.stdout, format!("{purged} purged\n"), "{ended}");
        assert_eq!(hits().await, stay, "{what:?}");
        assert_eq!(hits().await, [true; 3], "{what:?}");
    }
    let unknown = Ended::of(&mut command(&["cache", "purge", "--all", "--cache", "b", "--admin", &admin]));
    assert!(!unknown.status.success() && unknown.stderr.contains("there is no cache \"b\""), "{unknown}");
}

#[tokio::test]
async fn without_a_cache_nothing_is_kept_or_said() {
    let (app, _) = origin().await;
    let proxy = Proxy::builder(&app).start().await;
    for number in 1..=2 {
        let answer = proxy.get("/?cache-control=max-age=600").await;
        answer.assert_is(200, &format!("response {number}"));
        assert_eq!(status(&answer), "");
    }
}
