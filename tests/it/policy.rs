//! What policies decide: order, verdicts, edits, phases, and the operator's settings for each.

use serde_json::{Value, json};
use tidegate_tests::{
    Authority, Builder, Client, Proxy, TlsOptions, Upstream, assert_values, body, empty, guest, request,
    stock,
};

fn stamp(builder: Builder, name: &str, mark: &str) -> Builder {
    stamp_with(builder, name, mark, "")
}

/// `settings` are lines of `NAME.toml` before its `[config]`.
fn stamp_with(builder: Builder, name: &str, mark: &str, settings: &str) -> Builder {
    builder.plugin(name, guest("stamp"), &format!("{settings}\n[config]\nvalue = \"{mark}\""))
}

/// The verdicts of one phase in an access-log line: `NAME=VERDICT` each.
fn verdicts(line: &Value, phase: &str) -> Vec<String> {
    let steps = line["policies"].as_array().expect("a list");
    let of_phase = steps.iter().filter(|step| step["phase"] == phase);
    of_phase.map(|step| format!("{}={}", text(&step["policy"]), text(&step["verdict"]))).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

#[tokio::test]
async fn file_names_are_the_order_and_responses_go_backwards() {
    let app = Upstream::echo("app").await;
    let builder = stamp(stamp(stamp(Proxy::builder(&app), "20-b", "two"), "10-c", "one"), "30-a", "three");
    let proxy = builder.start().await;

    let answer = proxy.get("/x").await;

    assert_eq!(answer.json()["headers"]["x-stamp"], "one, two, three");
    assert_eq!(answer.all("x-stamp"), "three,two,one");
    let line = proxy.access("/x").await;
    assert_eq!(verdicts(&line, "request"), ["10-c=next", "20-b=next", "30-a=next"]);
    assert_eq!(verdicts(&line, "response"), ["30-a=next", "20-b=next", "10-c=next"]);
    for mark in ["one", "two", "three"] {
        proxy.log().wait(&[&format!("{mark} logged /x 200")]).await;
    }
}

#[tokio::test]
async fn finish_ends_the_chain_and_the_request_goes_on() {
    let app = Upstream::echo("app").await;
    let builder = stamp(stamp(stamp(Proxy::builder(&app), "1", "one"), "2", "two"), "3", "three");
    let proxy = builder.start().await;

    let answer = proxy.ask("GET", "/x", &[("x-finish", "two")]).await;

    assert_eq!(answer.json()["headers"]["x-stamp"], "one, two");
    assert_eq!(answer.all("x-stamp"), "two,one", "who did not see the request does not see the response");
    assert_eq!(verdicts(&proxy.access("/x").await, "request"), ["1=next", "2=finish"]);
}

#[tokio::test]
async fn a_policy_can_answer_itself() {
    let app = Upstream::echo("app").await;
    let builder = stamp(stamp(stamp(Proxy::builder(&app), "1", "one"), "2", "two"), "3", "three");
    let proxy = builder.start().await;

    let answer = proxy.ask("GET", "/x", &[("x-answer", "two")]).await;

    answer.assert_is(299, "answered\n");
    assert_eq!(answer.header("x-answered-by"), "two");
    assert_eq!(answer.all("x-stamp"), "two,one", "its response passes the response phase like any other");
    assert!(app.requests().is_empty());
    let line = proxy.access("/x").await;
    assert_eq!(verdicts(&line, "request"), ["1=next", "2=respond"]);
    assert_values(&line, json!({ "route": null, "failure": null }));
    proxy.log().wait(&["one logged /x 299"]).await;
}

#[tokio::test]
async fn an_upload_that_a_policy_answers_is_not_left_half_read() {
    let app = Upstream::echo("app").await;
    let proxy = stamp(Proxy::builder(&app), "1", "one").start().await;
    let mut client = proxy.http1().await;
    let upload =
        request("POST", "/").header("x-answer", "one").body(body(vec![b'x'; 1 << 20])).expect("valid");
    let answer = client.try_send(upload).await.expect("an answer");
    assert_eq!(answer.status, 299);
    // The proxy has read the rest and the connection goes on, or it has closed it: it never takes the rest
    // for a request.
    let next = client.try_send(request("GET", "/next").body(empty()).expect("valid")).await;
    assert!(next.is_err() || next.is_ok_and(|next| next.status == 200));
}

#[tokio::test]
async fn a_response_can_be_replaced() {
    let app = Upstream::echo("app").await;
    let builder = stamp(stamp(stamp(Proxy::builder(&app), "1", "one"), "2", "two"), "3", "three");
    let proxy = builder.start().await;

    let answer = proxy.ask("GET", "/x", &[("x-replace", "two")]).await;

    answer.assert_is(298, "replaced\n");
    assert_eq!(answer.header("x-replaced-by"), "two");
    assert_eq!(app.requests().len(), 1);
    assert_eq!(proxy.access("/x").await["status"], 298);
}

#[tokio::test]
async fn routes_are_upstreams_by_name_and_can_be_granted() {
    let (app, images) = (Upstream::echo("app").await, Upstream::echo("images").await);
    let builder = stamp(Proxy::builder(&app).upstream("images", &images), "1", "one");
    let proxy = builder.start().await;
    let to = async |proxy: &Proxy, route: &str| {
        let answer = proxy.ask("GET", "/", &[("x-route", route)]).await.json();
        (text(&answer["upstream"]).to_owned(), text(&answer["headers"]["x-routed"]).to_owned())
    };
    for route in ["images", "app"] {
        let (upstream, told) = to(&proxy, route).await;
        assert_eq!(upstream, route);
        assert_eq!(told, "routed", "{route}");
    }
    let (upstream, told) = to(&proxy, "unknown").await;
    assert_eq!(upstream, "app", "the default: {told}");
    assert!(told.contains("no upstream"), "{told}");

    let granted = "grants = { routes = [\"app\"] }";
    let builder = stamp_with(Proxy::builder(&app).upstream("images", &images), "1", "one", granted);
    let proxy = builder.start().await;
    let (upstream, told) = to(&proxy, "images").await;
    assert_eq!(upstream, "app", "the default: {told}");
    assert!(told.contains("did not grant"), "{told}");
    let (upstream, told) = to(&proxy, "app").await;
    assert_eq!(upstream, "app");
    assert_eq!(told, "routed");
}

#[tokio::test]
async fn match_narrows_who_is_asked() {
    let app = Upstream::echo("app").await;
    let mut builder = Proxy::builder(&app).listener("second", "");
    for (name, narrowed) in [
        ("1", "hosts = [\"a.test\", \"*.b.test\"]"),
        ("2", "paths = [\"/api/**\", \"/*.txt\"]"),
        ("3", "methods = [\"POST\"]"),
        ("4", "listeners = [\"second\"]"),
        ("5", "hosts = [\"a.test\"], methods = [\"GET\"]"),
    ] {
        builder = stamp_with(builder, name, name, &format!("match = {{ {narrowed} }}"));
    }
    let proxy = builder.start().await;
    let asked = async |listener: &str, method: &str, host: &str, target: &str| {
        let request = request(method, target).header("host", host).body(empty()).expect("valid");
        let answer = Client::http1(proxy.address(listener)).await.send(request).await.json();
        answer["headers"]["x-stamp"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(asked("web", "GET", "c.test", "/").await, "");
    assert_eq!(asked("web", "GET", "A.test:80", "/").await, "1, 5");
    assert_eq!(asked("web", "POST", "a.test", "/").await, "1, 3");
    assert_eq!(asked("web", "GET", "deep.x.b.test", "/").await, "1");
    assert_eq!(asked("web", "GET", "b.test", "/").await, "");
    assert_eq!(asked("web", "GET", "c.test", "/api/v1/x").await, "2");
    assert_eq!(asked("web", "GET", "c.test", "/x.txt").await, "2");
    assert_eq!(asked("web", "GET", "c.test", "/deep/x.txt").await, "");
    // Patterns match the normalised path, as a server would resolve it.
    assert_eq!(asked("web", "GET", "c.test", "/x/../%61pi//v1").await, "2");
    assert_eq!(asked("second", "GET", "c.test", "/").await, "4");
}

#[tokio::test]
async fn a_policy_narrows_itself_in_configure() {
    let app = Upstream::echo("app").await;
    let settings = "[config]\nvalue = \"one\"\nonly_paths = [\"/marked/**\"]";
    let proxy = Proxy::builder(&app).plugin("1", guest("stamp"), settings).start().await;
    assert_eq!(proxy.get("/marked/x").await.json()["headers"]["x-stamp"], "one");
    assert_eq!(proxy.get("/other").await.json()["headers"]["x-stamp"], Value::Null);
    assert_eq!(verdicts(&proxy.access("/other").await, "request"), [""; 0]);
}

#[tokio::test]
async fn a_link_runs_the_same_code_with_its_own_settings() {
    let app = Upstream::echo("app").await;
    let link = "link = \"10-stamp\"\nmatch = { paths = [\"/twice\"] }\n[config]\nvalue = \"linked\"";
    let proxy =
        stamp(Proxy::builder(&app), "10-stamp", "own").file("plugins/20-again.toml", link).start().await;
    assert_eq!(proxy.get("/once").await.json()["headers"]["x-stamp"], "own");
    assert_eq!(proxy.get("/twice").await.json()["headers"]["x-stamp"], "own, linked");
}

#[tokio::test]
async fn a_disabled_plugin_is_out_of_the_chain() {
    let app = Upstream::echo("app").await;
    let builder = stamp(stamp_with(Proxy::builder(&app), "1", "one", "enabled = false"), "2", "two");
    let proxy = builder.start().await;
    assert_eq!(proxy.get("/").await.json()["headers"]["x-stamp"], "two");
    assert_eq!(proxy.plugin("1").await.expect("an entry")["state"], "disabled");
}

#[tokio::test]
async fn other_files_in_the_directory_are_left_alone() {
    let app = Upstream::echo("app").await;
    let proxy = stamp(Proxy::builder(&app), "1", "one")
        .file("plugins/.hidden.wasm", "not a plugin")
        .file("plugins/2-stamp.wasm.part", "half a plugin")
        .file("plugins/README.md", "about the chain")
        .file("plugins/nested/3.wasm", "not here")
        .start()
        .await;
    assert_eq!(proxy.get("/").await.json()["headers"]["x-stamp"], "one");
    let plugins = proxy.admin("GET", "/api/v1/plugins").await.json();
    assert_eq!(plugins.as_array().map(Vec::len), Some(1), "{plugins}");
}

#[tokio::test]
async fn a_policy_sees_the_facts_of_the_request() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .plugin("10-observer", guest("observer"), "")
        .start()
        .await;
    let fields = [
        ("x-forwarded-for", "2001:db8::1"),
        ("x-several", "one"),
        ("x-several", "two"),
        ("host", "A.test:81"),
    ];
    let answer = proxy.ask("GET", "//x/..//%66acts?a=1&b", &fields).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let facts = answer.json();
    let line = proxy.access("//x/..//%66acts?a=1&b").await;
    let expected = json!({
        "id": line["id"],
        "listener": "web",
        "client": "2001:db8::1",
        "client-text": "2001:db8::1",
        "peer": line["peer"],
        "tls": null,
        "server-name": null,
        "certificate": null,
        "names": [],
        "version": "Version::Http11",
        "method": "GET",
        "method-is-get": true,
        "scheme": "http",
        "authority": "A.test:81",
        "path": "//x/..//%66acts",
        "normalized-path": "/facts",
        "query": "a=1&b",
        "content-length": null,
        "several": 2,
        "contains": true,
        "starts": true,
        "route": null,
        "plugin": "10-observer",
    });
    assert_values(&facts, expected);
}

#[tokio::test]
async fn a_policy_sees_the_facts_of_the_tls_connection() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let (leaf, client) = (authority.sign(&["a.test"]), authority.sign(&["client.test", "10.1.2.3"]));
    let tls = "[listener.secure.tls]\ncertificates = [{ chain = \"a.pem\", key = \"a.key\" }]\n\
               client-ca = \"ca.pem\"\nclient-auth = \"optional\"";
    let proxy = Proxy::builder(&app)
        .listener("secure", tls)
        .certificate("a", &leaf)
        .file("ca.pem", authority.pem())
        .plugin("1", guest("observer"), "")
        .start()
        .await;
    let options = TlsOptions { client: Some(&client), ..TlsOptions::new(&authority, "a.test") };
    let facts = proxy.tls("secure", &options).await.expect("a handshake").get("/facts").await.json();
    let tls_1_3 = u16::from(rustls::ProtocolVersion::TLSv1_3);
    let expected = json!({
        "tls": { "version": tls_1_3, "verified": true },
        "server-name": "a.test",
        "certificate": 32,
        "names": ["DNS:client.test", "IP:10.1.2.3"],
        "scheme": "https",
        "version": "Version::Http2",
    });
    assert_values(&facts, expected);

    let options = TlsOptions::new(&authority, "a.test");
    let facts = proxy.tls("secure", &options).await.expect("a handshake").get("/facts").await.json();
    assert_eq!(facts["tls"]["verified"], false);
    assert_values(&facts, json!({ "certificate": null, "names": [] }));
}

#[tokio::test]
async fn edits_are_checked() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1", guest("observer"), "").start().await;
    let edits = proxy.get("/edits").await.json();
    for (edit, outcome) in [
        ("set x-fine", "ok"),
        ("set content-length", "forbidden"),
        ("set transfer-encoding", "forbidden"),
        ("append connection", "forbidden"),
        ("remove upgrade", "forbidden"),
        ("set host", "forbidden"),
        ("name with space", "invalid"),
        ("value with newline", "invalid"),
        ("value with nul", "invalid"),
        ("huge value", "too-large"),
        ("method with space", "invalid"),
        ("target without slash", "invalid"),
        ("target with space", "invalid"),
        ("authority with slash", "invalid"),
        ("method", "ok"),
        ("target", "ok"),
        ("authority", "ok"),
    ] {
        assert_eq!(edits[edit], outcome, "{edit}");
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_through_policies_unharmed() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1", guest("observer"), "").start().await;
    let request =
        request("GET", "/").header("x-raw", http::HeaderValue::from_bytes(b"caf\xe9\xff").expect("valid"));
    let answer = proxy.send(request.body(empty()).expect("valid")).await;
    assert_eq!(answer.headers["x-copy"].as_bytes(), b"caf\xe9\xff!");
    let seen = app.only_request();
    assert_eq!(seen.headers["x-raw"].as_bytes(), b"caf\xe9\xff");
    assert_eq!(seen.headers["x-copy"].as_bytes(), b"caf\xe9\xff!");
    assert_eq!(seen.header("x-raw-is-text"), "false");
}

#[tokio::test]
async fn the_response_phase_sees_where_a_response_came_from() {
    let app = Upstream::echo("app").await;
    let gone = Upstream::absent().await;
    let down = format!("[upstream.down]\nservers = [\"{gone}\"]");
    let builder = Proxy::builder(&app).section(&down).plugin("1", guest("observer"), "");
    let proxy = stamp(builder, "2", "one").start().await;

    let answer = proxy.get("/").await;
    assert_eq!(answer.header("x-saw-status"), "200");
    assert_eq!(answer.header("x-saw-origin"), "app");
    assert_eq!(answer.header("x-saw-failure"), "");
    assert!(answer.header("x-saw-elapsed").parse::<u64>().is_ok_and(|micros| micros > 0));

    let answer = proxy.ask("GET", "/", &[("x-answer", "one")]).await;
    assert_eq!(answer.header("x-saw-status"), "299");
    assert_eq!(answer.header("x-saw-origin"), "");

    let answer = proxy.ask("GET", "/", &[("x-route", "down")]).await;
    assert_eq!(answer.header("x-saw-status"), "503");
    assert_eq!(answer.header("x-saw-failure"), "connect");
}

#[tokio::test]
async fn tokens_are_private_and_attributes_are_shared_and_logged() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .plugin("1", guest("counter"), "")
        .plugin("2", guest("counter"), "")
        .start()
        .await;
    let mut client = proxy.http1().await;
    client.get("/first").await;
    let answer = client.get("/second").await;
    assert_eq!(answer.header("x-token"), "2");
    assert_eq!(answer.header("x-attribute"), "2");
    assert_eq!(proxy.access("/second").await["attributes"]["count"], "2");
}

#[tokio::test]
async fn edited_requests_are_what_the_upstream_gets() {
    let app = Upstream::echo("app").await;
    // The guest `observer` edits method, target and authority too, but answers itself. This policy does not
    // answer, so its edit reaches the upstream.
    let rewrite = "[config]\nrules = [{ path = \"^/old/(.*)$\", to = \"/new/$1\" }]";
    let proxy =
        stamp(Proxy::builder(&app), "2", "one").plugin("1-rewrite", stock("rewrite"), rewrite).start().await;
    let answer = proxy.get("/old/a%20b?q=1").await.json();
    assert_eq!(answer["target"], "/new/a%20b?q=1");
    // The access log keeps what the client asked for; later policies see the edit.
    assert_eq!(proxy.access("/old/a%20b?q=1").await["status"], 200);
    proxy.log().wait(&["one logged /new/a%20b 200"]).await;
}

#[tokio::test]
async fn head_and_options_pass_policies_like_any_other_method() {
    let app = Upstream::echo("app").await;
    let proxy = stamp(Proxy::builder(&app), "1", "one").start().await;
    for method in ["HEAD", "OPTIONS", "DELETE", "PATCH", "BREW"] {
        let request = request(method, "/").body(empty()).expect("valid");
        let answer = proxy.send(request).await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.all("x-stamp"), "one", "{method}");
    }
}
