//! The admin interface.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use tidegate_tests::{
    Authority, Client, Ended, Leaf, Proxy, Raw, TlsOptions, Upstream, assert_values, command, empty,
    eventually, guest, request, stock, tls_connect, until,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[tokio::test]
async fn it_lives_and_is_ready() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for target in ["/livez", "/readyz"] {
        let answer = proxy.admin("GET", target).await;
        assert_eq!(answer.status, 200, "{target}");
        assert_eq!(answer.text().trim(), "ok", "{target}");
    }
}

#[tokio::test]
async fn it_is_not_ready_while_a_policy_denies_for_lack_of_a_version() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1-broken", b"broken".to_vec(), "").start().await;
    let answer = proxy.admin("GET", "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("1-broken"), "{}", answer.text());
    assert_eq!(proxy.admin("GET", "/livez").await.status, 200);
}

#[tokio::test]
async fn it_does_not_live_while_a_worker_does_not_turn_over() {
    let app = Upstream::echo("app").await;
    // A policy that may have a worker for itself for as long as it likes: nothing else there gets its turn.
    let limits = "limits = { cpu = \"60s\", time = \"60s\" }";
    let proxy = Proxy::builder(&app).plugin("1", guest("misbehave"), limits).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\nx-do: loop\r\n\r\n").await;
    let reasons = eventually("a word about the worker", async || {
        let answer = proxy.admin("GET", "/livez").await;
        (answer.status == 503).then(|| answer.text().to_owned())
    })
    .await;
    assert!(reasons.starts_with("worker ") && reasons.contains(" has not turned over for 1"), "{reasons}");
    assert_eq!(reasons.lines().count(), 1, "the other one does: {reasons}");
}

#[tokio::test]
async fn plugins_are_listed_in_order() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .plugin("20-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .plugin("10-router", stock("router"), "[config]\nrules = []")
        .plugin("30-off", guest("counter"), "enabled = false")
        .plugin("40-broken", b"broken".to_vec(), "on-error = \"skip\"")
        .start()
        .await;
    let plugins = proxy.admin("GET", "/api/v1/plugins").await.json();
    let states: Vec<_> = plugins
        .as_array()
        .expect("a list")
        .iter()
        .map(|plugin| (&plugin["name"], &plugin["state"]))
        .collect();
    assert_eq!(
        json!(states),
        json!([
            ["10-router", "serving"],
            ["20-stamp", "serving"],
            ["30-off", "disabled"],
            ["40-broken", "refused"]
        ])
    );
    assert_eq!(plugins[0]["phases"], json!(["request"]));
    assert_eq!(plugins[1]["phases"], json!(["request", "response", "log"]));
    assert_values(&plugins[0], json!({ "generation": 1, "error": null }));
    assert!(plugins[3]["error"].as_str().is_some_and(|error| error.contains("not WebAssembly")), "{plugins}");
}

#[tokio::test]
async fn a_reload_answers_when_the_change_is_live() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).plugin("1", guest("stamp"), "[config]\nvalue = \"one\"").start().await;
    std::fs::write(proxy.plugin_path("1.toml"), "[config]\nvalue = \"two\"").expect("a writable file");
    let answer = proxy.reload().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["generation"], 2);
    assert_eq!(proxy.get("/").await.json()["headers"]["x-stamp"], "two");
    // The files are the same, so the proxy keeps the generation.
    assert_eq!(proxy.reload().await.json()["generation"], 2);
    assert_eq!(proxy.plugin("1").await.expect("an entry")["generation"], 2);
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    assert_eq!(proxy.admin("GET", "/nothing").await.status, 404);
    let answer = proxy.admin("GET", "/api/v1/reload").await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header("allow"), "POST");
    assert_eq!(proxy.admin("POST", "/livez").await.status, 405);
}

#[tokio::test]
async fn pages_elsewhere_cannot_ask_it() {
    let app = Upstream::echo("app").await;
    // It is the last table so far.
    let admin = Proxy::bare().section("hosts = [\"edge.example.com\"]");
    let proxy =
        admin.top("default-upstream = \"app\"").listener("web", "").upstream("app", &app).start().await;
    for (fields, status) in [
        ("Host: 127.0.0.1:9900", 200),
        ("Host: localhost", 200),
        ("Host: tidegate:9900", 200),
        ("Host: Edge.example.com:9900", 200),
        ("Host: evil.example.com", 403),
        ("Host: 127.0.0.1.evil.test", 403),
        ("Host: localhost:9900\r\nOrigin: http://localhost:9900", 200),
        ("Host: localhost:9900\r\nOrigin: http://evil.test", 403),
        ("Host: localhost:9900\r\nOrigin: http://localhost:8080", 403),
        ("Host: localhost:9900\r\nOrigin: null", 403),
        ("Host: localhost:9900\r\nSec-Fetch-Site: cross-site", 403),
        ("Host: localhost:9900\r\nSec-Fetch-Site: same-origin", 200),
    ] {
        let mut raw = Raw::connect(proxy.address("admin")).await;
        raw.send(format!("POST /api/v1/reload HTTP/1.1\r\n{fields}\r\nContent-Length: 0\r\n\r\n")).await;
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{fields}: {head}");
    }
}

#[tokio::test]
async fn idle_connections_do_not_pile_up() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let before = proxy.open_sockets();
    let mut idle = Vec::new();
    for _ in 0..200 {
        idle.push(Raw::connect(proxy.address("admin")).await);
    }
    until("few of them", async || proxy.open_sockets() <= before + 64).await;
}

#[tokio::test]
async fn it_is_not_ready_while_an_upstream_that_is_needed_has_no_server() {
    let mut app = Upstream::echo("app").await;
    let lines = format!(
        "servers = [\"{}\"]\nhealth = {{ path = \"/\", interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }}",
        app.server()
    );
    let proxy = Proxy::with_app(&lines).section("[ready]\nupstreams = [\"app\"]").start().await;
    until("the first check", async || proxy.admin("GET", "/readyz").await.status == 200).await;
    app.stop().await;
    until("a word about the upstream", async || {
        let answer = proxy.admin("GET", "/readyz").await;
        answer.status == 503 && answer.text().contains("upstream app: no server is up")
    })
    .await;
    app.start().await;
    until("a server again", async || proxy.admin("GET", "/readyz").await.status == 200).await;
}

/// Every operation of the interface, as it describes itself, with values for the names in paths.
async fn operations(proxy: &Proxy) -> Vec<(String, String, Value)> {
    let document = proxy.admin("GET", "/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let server = proxy.servers("app").await[0]["address"].as_str().expect("an address").to_owned();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().expect("an object") {
        let path = path.replace("{upstream}", "app").replace("{server}", &server).replace("{id}", "none");
        for (method, operation) in methods.as_object().expect("an object") {
            operations.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    assert!(operations.len() > 20, "{operations:?}");
    operations
}

/// Whether a value is what a schema says, as far as the schemas of the interface go.
fn assert_fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.trim_start_matches("#/components/schemas/");
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "there is no schema {name}");
        return assert_fits(document, schema, value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => panic!("{at}: a schema without a type"),
    };
    let fits = kinds.contains(&kind) || kind == "integer" && kinds.contains(&"number");
    assert!(fits, "{at} is {value}, not {kinds:?}");
    if let Some(words) = schema["enum"].as_array() {
        assert!(words.contains(value), "{at} is {value}, none of {words:?}");
    }
    for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(value.get(key).is_some(), "{at} has no {key}: {value}");
    }
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object()) {
        for (key, value) in object {
            if let Some(schema) = properties.get(key) {
                assert_fits(document, schema, value, &format!("{at}.{key}"));
            }
        }
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        assert_fits(document, &schema["items"], item, &format!("{at}[{index}]"));
    }
}

#[tokio::test]
async fn it_answers_what_it_says_it_does() {
    let app = Upstream::echo("app").await;
    let proxy =
        Proxy::builder(&app).plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"").start().await;
    proxy.ask("GET", "/", &[("expect", "miracles")]).await;
    let document = proxy.admin("GET", "/api/v1/openapi.json").await.json();
    for (method, path, operation) in operations(&proxy).await {
        let is_last = ["/api/v1/drain", "/api/v1/events", "/api/v1/upgrade"].contains(&path.as_str());
        if is_last {
            continue;
        }
        let content = match operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()
        {
            Some(name) if name.ends_with("/NewServers") => json!([app.server()]),
            Some(name) if name.ends_with("/Weight") => json!({ "weight": 2 }),
            Some(name) if name.ends_with("/Log") => json!({ "level": "info" }),
            Some(name) if name.ends_with("/Purge") => json!({ "all": true }),
            Some(name) if name.ends_with("/Token") => json!({ "token": "none" }),
            Some(name) => panic!("what is {name}?"),
            None => Value::Null,
        };
        let answer = match method.as_str() {
            "GET" => proxy.admin("GET", &path).await,
            method => proxy.change(method, &path, &content).await,
        };
        let described = &operation["responses"][answer.status.to_string()];
        assert!(described.is_object(), "{method} {path}: {} is not described", answer.status);
        let schema = &described["content"]["application/json"]["schema"];
        if schema.is_object() {
            assert_fits(&document, schema, &answer.json(), &format!("{method} {path}"));
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_and_a_rebound_name_get_nothing() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for (method, path, _) in operations(&proxy).await {
        for fields in [
            "Host: evil.test:9900",
            "Host: localhost\r\nOrigin: http://evil.test",
            "Host: localhost\r\nOrigin: null",
            "Host: localhost\r\nSec-Fetch-Site: cross-site",
        ] {
            let mut raw = Raw::connect(proxy.address("admin")).await;
            let json = "Content-Type: application/json\r\nContent-Length: 0";
            raw.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n{json}\r\n\r\n")).await;
            let head = raw.read_head().await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{method} {path} {fields}: {head}");
            assert!(!head.to_lowercase().contains("access-control"), "{head}");
        }
        if method != "GET" {
            // What a form or a script sends without asking first.
            for content in
                ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
            {
                let mut raw = Raw::connect(proxy.address("admin")).await;
                raw.send(format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content}\r\nContent-Length: 2\r\n\r\n{{}}"
                ))
                .await;
                let head = raw.read_head().await;
                assert!(head.starts_with("HTTP/1.1 415 "), "{method} {path} {content}: {head}");
            }
        }
    }
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200, "nothing of it did anything");
}

#[tokio::test]
async fn a_token_is_asked_for() {
    let app = Upstream::echo("app").await;
    let admin = Proxy::bare().section("token-file = \"admin.token\"\nsocket = \"admin.sock\"");
    let proxy = admin
        .top("default-upstream = \"app\"")
        .listener("web", "")
        .upstream("app", &app)
        .file("admin.token", "0123456789abcdef\n")
        .start()
        .await;
    assert_eq!(proxy.admin("GET", "/livez").await.status, 200);
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    assert_eq!(proxy.admin("GET", "/").await.status, 200);
    let answer = proxy.admin("GET", "/api/v1/status").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    assert_eq!(proxy.change("POST", "/api/v1/session", &json!({ "token": "wrong" })).await.status, 401);
    let session = proxy.change("POST", "/api/v1/session", &json!({ "token": "0123456789abcdef" })).await;
    let cookie = session.header("set-cookie").split(';').next().expect("a pair").to_owned();
    for (field, status) in [
        ("Authorization: Bearer 0123456789abcdef".to_owned(), 200),
        ("Authorization: Bearer 0123456789abcdee".to_owned(), 401),
        (format!("Cookie: {cookie}"), 200),
        (format!("Cookie: {cookie}0"), 401),
    ] {
        let mut raw = Raw::connect(proxy.address("admin")).await;
        raw.send(format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n")).await;
        let head = raw.read_head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{field}: {head}");
    }
    // Its owner needs none.
    let path = proxy.folder().join("admin.sock");
    let socket = eventually("the socket", async || UnixStream::connect(&path).await.ok()).await;
    let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut socket = socket;
    let request = b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.expect("sent");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn probes_are_answered_elsewhere_and_nothing_else_is() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::bare()
        .section("probes = \"127.0.0.1:0\"")
        .top("default-upstream = \"app\"")
        .section(&format!("[upstream.app]\nservers = [\"{}\"]", app.server()))
        .listener("web", "")
        .start()
        .await;
    let probes = proxy.address("admin-probes");
    let ask = async |method: &str, path: &str, host: &str| {
        let request = request(method, path).header("host", host).body(empty()).expect("a valid request");
        Client::http1(probes).await.send(request).await.status
    };
    for host in ["localhost", "any.example.com"] {
        assert_eq!((ask("GET", "/livez", host).await, ask("GET", "/readyz", host).await), (200, 200));
    }
    for path in ["/", "/metrics", "/api/v1/status", "/livez/"] {
        assert_eq!(ask("GET", path, "localhost").await, 404, "{path}");
    }
    assert_eq!(
        (ask("POST", "/api/v1/drain", "localhost").await, ask("POST", "/livez", "localhost").await),
        (404, 405)
    );
    // Another process takes that address over as well.
    proxy.upgrade().await;
    assert_eq!(ask("GET", "/readyz", "localhost").await, 200);
}

#[tokio::test]
async fn a_certificate_of_a_client_stands_for_the_token() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.sign(&["a.test", "127.0.0.1"]);
    let [alice, mallory] = [authority.sign(&["alice.test"]), other.sign(&["mallory.test"])];
    let table = "tls = { certificates = [{ chain = \"a.pem\", key = \"a.key\" }], client-ca = \"ca.pem\" }";
    let proxy = Proxy::bare()
        .section(table)
        .listener("web", "")
        .certificate("a", &server)
        .certificate("alice", &alice)
        .file("ca.pem", authority.pem())
        .start()
        .await;
    let status = async |leaf: Option<&Leaf>, method: &str, path: &str| {
        let options = TlsOptions { client: leaf, ..TlsOptions::new(&authority, "a.test") };
        let mut client = proxy.tls("admin", &options).await?;
        let request = request(method, path).header("host", "localhost").body(empty()).expect("valid");
        Ok::<_, std::io::Error>(client.send(request).await.status)
    };
    for (leaf, method, path, expected) in [
        (Some(&alice), "GET", "/api/v1/status", 200),
        (Some(&alice), "POST", "/api/v1/reload", 200),
        (None, "GET", "/livez", 200),
        (None, "GET", "/", 200),
        (None, "GET", "/api/v1/status", 403),
        (None, "GET", "/metrics", 403),
        (None, "POST", "/api/v1/drain", 403),
    ] {
        assert_eq!(status(leaf, method, path).await.expect("an answer"), expected, "{method} {path}");
    }
    // Who asks is known by name, and nothing goes in clear text.
    proxy.log().wait(&["audit", "/api/v1/reload", "alice.test", "status=200"]).await;
    let mut raw = Raw::connect(proxy.address("admin")).await;
    raw.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!raw.read_to_end().await.contains("HTTP/1.1 "));
    // A certificate that another authority signed is worse than none: with TLS 1.3 the client learns it from its first answer.
    let options = TlsOptions { client: Some(&mallory), ..TlsOptions::new(&authority, "a.test") };
    let stream = tokio::net::TcpStream::connect(proxy.address("admin")).await.expect("a connection");
    let mut answer = Vec::new();
    if let Ok(mut stream) = tls_connect(stream, &options).await {
        let _ =
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await;
        let _ = stream.read_to_end(&mut answer).await;
    }
    assert_eq!(String::from_utf8_lossy(&answer), "");

    // Commands: by a name that an authority vouches for, or by the certificate in the configuration.
    let address = proxy.address("admin");
    let asks =
        format!("[listener.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"{address}\"\n{table}\n");
    std::fs::write(proxy.folder().join("asks.toml"), asks).expect("a writable folder");
    let admin = format!("https://{address}");
    let show = ["--certificate", "alice.pem", "--key", "alice.key"];
    for (words, code, told) in [
        ([&["--admin", &admin, "--ca", "ca.pem"][..], &show].concat(), 0, "ready"),
        ([&["--config", "asks.toml"][..], &show].concat(), 0, "ready"),
        (vec!["--config", "asks.toml"], 1, "403 Forbidden: say who you are"),
        (vec!["--admin", &admin, "--ca", "alice.pem"], 1, "TLS: "),
    ] {
        let mut status = command(&["status"]);
        status.args(&words).current_dir(proxy.folder());
        let ended = tokio::task::spawn_blocking(move || Ended::of(&mut status)).await.expect("no panic");
        assert_eq!(ended.status.code(), Some(code), "{words:?}: {ended}");
        assert!(format!("{ended}").contains(told), "{words:?}: {ended}");
    }

    // A certificate that is renewed is shown from then on.
    let renewed = authority.sign(&["b.test"]);
    std::fs::write(proxy.folder().join("a.pem"), renewed.chain_pem()).expect("a writable file");
    std::fs::write(proxy.folder().join("a.key"), renewed.key_pem()).expect("a writable file");
    until("the new certificate", async || {
        proxy.tls("admin", &TlsOptions::new(&authority, "b.test")).await.is_ok()
    })
    .await;
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let admin = |lines: &str| {
        let config =
            format!("[listener.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"0.0.0.0:0\"\n{lines}");
        Proxy::bare().config(&config)
    };
    let ended = admin("").check();
    assert!(!ended.status.success());
    assert!(
        ended.stdout.contains("4:11: admin.address: others reach 0.0.0.0:0, and nothing keeps them out"),
        "{ended}"
    );
    let ended = admin("token-file = \"t\"").file("t", "short").check();
    assert!(ended.stdout.contains("a token has at least 16 characters"), "{ended}");
    assert!(admin("token-file = \"t\"").file("t", "0123456789abcdef").check().status.success());
    let authority = Authority::new();
    let secure = |keys: &str| {
        let tls = format!("tls = {{ certificates = [{{ chain = \"a.pem\", key = \"a.key\" }}]{keys} }}");
        admin(&tls).certificate("a", &authority.sign(&["a.test"])).file("ca.pem", authority.pem())
    };
    let ended = secure(", client-ca = \"ca.pem\"").check();
    assert!(ended.status.success(), "{ended}");
    for (keys, problem) in [
        ("", "and nothing keeps them out"),
        (", client-crl = \"a.pem\"", "client-crl is of no use without client-ca"),
        (", client-ca = \"gone.pem\"", "gone.pem: cannot read it"),
    ] {
        let ended = secure(keys).check();
        assert!(!ended.status.success() && ended.stdout.contains(problem), "{ended}");
    }
}

#[tokio::test]
async fn the_dashboard_asks_for_nothing_elsewhere() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    for (path, media_type) in [
        ("/", "text/html"),
        ("/app.js", "text/javascript"),
        ("/style.css", "text/css"),
        ("/metrics", "text/plain"),
    ] {
        let answer = proxy.admin("GET", path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").starts_with(media_type), "{path}");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none';"), "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        let elsewhere =
            ["https://", "//cdn", "innerHTML", "insertAdjacentHTML", "document.write", "style=\""];
        let found = elsewhere.iter().find(|text| path != "/metrics" && answer.text().contains(**text));
        assert_eq!(found, None, "{path}");
    }
}

#[tokio::test]
async fn the_configuration_is_shown_with_its_defaults_and_without_passwords() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[limits]\nrequest-body = \"1MiB\"\n[state]\nbackend = \"redis://user:hunter2@127.0.0.1:1\"")
        .start()
        .await;
    let answer = proxy.admin("GET", "/api/v1/config").await;
    assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    let shown = answer.json();
    assert_eq!(shown["values"]["limits"]["request-body"], "1MiB");
    assert_eq!(shown["values"]["limits"]["request-target"], "8KiB");
    assert!(shown["written"]["limits.request-body"].is_string(), "{shown}");
    assert!(shown["written"]["limits.request-target"].is_null(), "{shown}");
}
