//! Traces: W3C trace context, and spans for a collector.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tidegate_tests::{Proxy, Upstream, assert_values, eventually, guest, stock};
use tokio::sync::mpsc;

/// A collector that keeps what it is sent.
struct Collector {
    upstream: Upstream,
    messages: mpsc::UnboundedReceiver<Bytes>,
}

impl Collector {
    async fn start() -> Self {
        let (sender, messages) = mpsc::unbounded_channel();
        let upstream = Upstream::serve(move |request: Request<Incoming>| {
            let sender = sender.clone();
            async move {
                assert_eq!(request.uri().path(), "/v1/traces");
                assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                let message = request.into_body().collect().await.expect("a message").to_bytes();
                let _ = sender.send(message);
                Response::new(tidegate_tests::empty())
            }
        })
        .await;
        Self { upstream, messages }
    }

    fn table(&self, keys: &str) -> String {
        format!("[tracing]\notlp = \"http://{}\"\n{keys}", self.upstream.server())
    }

    /// The spans of the next message.
    async fn spans(&mut self) -> Vec<Value> {
        let message = tidegate_tests::within("a message", self.messages.recv()).await.expect("a message");
        let request = fields(&message);
        let resource_spans = fields(request[0].1.bytes());
        let scope_spans = resource_spans.iter().find(|(field, _)| *field == 2).expect("spans").1.bytes();
        let spans = fields(scope_spans).into_iter().filter(|(field, _)| *field == 2);
        spans.map(|(_, span)| span_of(span.bytes())).collect()
    }
}

/// A value of protobuf.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("{number} is no message"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("text")
    }

    fn hex(&self) -> String {
        self.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The fields of a message (<https://protobuf.dev/programming-guides/encoding/>).
fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let (byte, rest) = message.split_first().expect("a number");
            *message = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let mut take = |length: usize| {
            let (taken, rest) = message.split_at(length);
            message = rest;
            taken
        };
        let value = match tag & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => Field::Number(u64::from_le_bytes(take(8).try_into().expect("eight bytes"))),
            5 => Field::Number(u32::from_le_bytes(take(4).try_into().expect("four bytes")).into()),
            2 => {
                let length = usize::try_from(varint(&mut message)).expect("a length");
                let (taken, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(taken)
            }
            form => panic!("no form {form}"),
        };
        found.push((tag >> 3, value));
    }
    found
}

fn attribute(message: &[u8]) -> (String, Value) {
    let pair = fields(message);
    let value = match &fields(pair[1].1.bytes())[0] {
        (1, text) => json!(text.text()),
        (3, Field::Number(number)) => json!(number),
        (field, _) => panic!("no value {field}"),
    };
    (pair[0].1.text(), value)
}

fn span_of(message: &[u8]) -> Value {
    let mut span = json!({ "attributes": {}, "events": [], "parent": null, "error": false });
    let mut times = Vec::new();
    for (field, value) in fields(message) {
        match (field, &value) {
            (1, id) => span["trace"] = json!(id.hex()),
            (2, id) => span["id"] = json!(id.hex()),
            (4, id) => span["parent"] = json!(id.hex()),
            (5, name) => span["name"] = json!(name.text()),
            (6, Field::Number(kind)) => span["kind"] = json!(kind),
            (7 | 8, Field::Number(nanos)) => times.push(*nanos),
            (9, pair) => {
                let (key, value) = attribute(pair.bytes());
                span["attributes"][key] = value;
            }
            (11, event) => {
                let pairs = fields(event.bytes()).into_iter().filter(|(field, _)| *field == 3);
                let pairs: serde_json::Map<_, _> = pairs.map(|(_, pair)| attribute(pair.bytes())).collect();
                span["events"].as_array_mut().expect("a list").push(Value::Object(pairs));
            }
            (15, _) => span["error"] = json!(true),
            _ => {}
        }
    }
    assert!(times[0] <= times[1] && times[0] > 1_700_000_000_000_000_000, "{times:?}");
    span
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn an_exchange_has_a_span_for_each_side_below_its_parent() {
    let app = Upstream::echo("app").await;
    let mut collector = Collector::start().await;
    let proxy = Proxy::builder(&app)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .section(&collector.table("share = 0"))
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .start()
        .await;
    let answer = proxy.ask("GET", "/a?secret=1", &[("traceparent", PARENT), ("tracestate", "a=b")]).await;
    let sent = answer.json()["headers"].clone();
    assert_eq!(sent["tracestate"], "a=b");
    let told = sent["traceparent"].as_str().expect("a field").to_owned();
    let spans = collector.spans().await;
    let [server, client] = &spans[..] else { panic!("{spans:?}") };
    assert_values(
        server,
        json!({
            "trace": "0af7651916cd43dd8448eb211c80319c", "parent": "b7ad6b7169203331", "name": "GET app", "kind": 2,
            "error": false,
        }),
    );
    assert_values(
        &server["attributes"],
        json!({ "http.request.method": "GET", "url.path": "/a", "http.response.status_code": 200, "tidegate.destination": "app" }),
    );
    assert_values(
        &server["events"][0],
        json!({ "tidegate.policy": "10-stamp", "tidegate.phase": "request" }),
    );
    assert_values(
        client,
        json!({ "trace": server["trace"], "parent": server["id"], "name": "GET", "kind": 3 }),
    );
    let expected =
        format!("00-0af7651916cd43dd8448eb211c80319c-{}-01", client["id"].as_str().expect("a number"));
    assert_eq!(told, expected, "the server is below the try");
    assert_eq!(proxy.access("/a?secret=1").await["trace_id"], server["trace"]);
    let sent = "tidegate_trace_spans_sent_total 2";
    eventually("two spans", async || {
        proxy.admin("GET", "/metrics").await.text().contains(sent).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_try_has_a_span() {
    let (bad, good) = (
        Upstream::serve(async |_| {
            let mut response = Response::new(tidegate_tests::empty());
            *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            response
        })
        .await,
        Upstream::echo("good").await,
    );
    let mut collector = Collector::start().await;
    let lines = format!(
        "servers = [\"{}\", {{ address = \"{}\", backup = true }}]\nbalance = \"round-robin\"",
        bad.server(),
        good.server()
    );
    let proxy = Proxy::with_app(&lines).section(&collector.table("share = 100")).start().await;
    assert_eq!(proxy.get("/").await.status, 200);
    let spans = collector.spans().await;
    let [server, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_values(server, json!({ "parent": null, "error": false }));
    assert_values(first, json!({ "parent": server["id"], "error": true }));
    assert_values(&first["attributes"], json!({ "http.response.status_code": 503 }));
    assert_values(second, json!({ "parent": server["id"], "error": false }));
    assert_values(&second["attributes"], json!({ "http.request.resend_count": 1 }));
    for (upstream, span) in [(&bad, first), (&good, second)] {
        let told = upstream.only_request().header("traceparent").to_owned();
        let part = |key: &str| span[key].as_str().expect("digits").to_owned();
        assert_eq!(
            told,
            format!("00-{}-{}-01", part("trace"), part("id")),
            "each server is below its own try"
        );
    }
}

#[tokio::test]
async fn what_a_policy_asks_is_a_span_below_the_exchange() {
    let (app, service) = (Upstream::echo("app").await, Upstream::echo("service").await);
    let mut collector = Collector::start().await;
    let auth = format!("[upstream.auth]\nservers = [\"{}\"]", service.server());
    let settings =
        "grants = { callout = [\"auth\"], store = true }\n[config]\nupstream = \"auth\"\npath = \"/verify\"";
    let proxy = Proxy::builder(&app)
        .section(&auth)
        .section(&collector.table("share = 100"))
        .plugin("10-auth", stock("external-auth"), settings)
        .start()
        .await;
    assert_eq!(proxy.get("/").await.status, 200);
    let mut spans = collector.spans().await;
    while spans.len() < 3 {
        spans.extend(collector.spans().await);
    }
    let found = |holds: &dyn Fn(&Value) -> bool| spans.iter().find(|span| holds(span)).expect("a span");
    let server = found(&|span| span["kind"] == 2);
    let callout = found(&|span| span["attributes"]["tidegate.policy"] == "10-auth");
    assert_values(
        callout,
        json!({ "trace": server["trace"], "parent": server["id"], "name": "GET", "kind": 3, "error": false }),
    );
    assert_values(
        &callout["attributes"],
        json!({ "tidegate.policy": "10-auth", "tidegate.destination": "auth", "url.path": "/verify" }),
    );
    let told = service.only_request().header("traceparent").to_owned();
    assert!(told.contains(callout["id"].as_str().expect("digits")), "{told}: {callout}");
}

#[tokio::test]
async fn whose_word_counts_is_recorded_and_no_other() {
    let app = Upstream::echo("app").await;
    let mut collector = Collector::start().await;
    // Nobody is trusted: what a client asks for has no weight.
    let proxy = Proxy::builder(&app).section(&collector.table("share = 0")).start().await;
    let told = async |fields: &[(&str, &str)]| {
        let headers = proxy.ask("GET", "/", fields).await.json()["headers"].clone();
        headers["traceparent"].as_str().map(str::to_owned).expect("a place in a trace")
    };
    let kept = told(&[("traceparent", PARENT)]).await;
    assert!(kept.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && kept.ends_with("-00"), "{kept}");
    let new = told(&[("traceparent", "garbage"), ("tracestate", "a=b")]).await;
    assert!(new.ends_with("-00") && !new.contains("garbage"), "{new}");
    assert!(collector.messages.try_recv().is_err());
}

#[tokio::test]
async fn without_the_table_the_fields_pass_as_they_come() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let headers = proxy.ask("GET", "/a", &[("traceparent", "whatever")]).await.json()["headers"].clone();
    assert_eq!(headers["traceparent"], "whatever");
    assert!(proxy.access("/a").await.get("trace_id").is_none());
}

#[tokio::test]
async fn whose_word_counts_is_the_operators_to_say() {
    let app = Upstream::echo("app").await;
    let mut collector = Collector::start().await;
    let keys = "share = 0\nparents = \"all\"\nservice-name = \"edge\"";
    let proxy = Proxy::builder(&app).section(&collector.table(keys)).start().await;
    proxy.ask("GET", "/", &[("traceparent", PARENT)]).await;
    let message = tidegate_tests::within("a message", collector.messages.recv()).await.expect("a message");
    let resource_spans = fields(&message)[0].1.bytes();
    let resource = fields(fields(resource_spans)[0].1.bytes());
    let attributes: Vec<_> = resource.iter().map(|(_, pair)| attribute(pair.bytes())).collect();
    assert!(attributes.contains(&("service.name".to_owned(), json!("edge"))), "{attributes:?}");

    let keys = "share = 0\nparents = \"none\"";
    let proxy = Proxy::builder(&app)
        .top("trusted-proxies = [\"127.0.0.1\"]")
        .section(&collector.table(keys))
        .start()
        .await;
    let sent = proxy.ask("GET", "/", &[("traceparent", PARENT)]).await.json()["headers"].clone();
    assert!(sent["traceparent"].as_str().is_some_and(|told| told.ends_with("-00")), "{sent}");
    assert!(collector.messages.try_recv().is_err());
}
