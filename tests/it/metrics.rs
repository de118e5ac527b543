//! What the proxy counts of its own work.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use http::header::{ACCEPT, HOST};
use tidegate_tests::{Answer, Authority, Proxy, TlsOptions, Upstream, eventually, guest, request, until};

/// Every sample, by its name with its labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let sample = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        (series.to_owned(), value.parse().expect("a number"))
    };
    lines.map(sample).collect()
}

async fn scrape(proxy: &Proxy) -> BTreeMap<String, f64> {
    samples(proxy.admin("GET", "/metrics").await.text())
}

/// Waits for a series to have this value: what a request counts is there once its last byte is on its way.
async fn until_counted(proxy: &Proxy, series: &str, value: f64) {
    until(&format!("{series} {value}"), async || scrape(proxy).await.get(series) == Some(&value)).await;
}

#[tokio::test]
async fn requests_are_counted_by_what_the_configuration_names() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).workers(2).start().await;
    for (method, target, fields) in [
        ("GET", "/", vec![]),
        ("GET", "/a", vec![]),
        ("POST", "/", vec![]),
        ("INVENTED", "/", vec![]),
        ("GET", "/", vec![("expect", "miracles")]),
    ] {
        proxy.ask(method, target, &fields).await;
    }
    for (series, value) in [
        (r#"tidegate_requests_total{listener="web",destination="app",method="GET",status="2xx"}"#, 2.0),
        (r#"tidegate_requests_total{listener="web",destination="app",method="POST",status="2xx"}"#, 1.0),
        (r#"tidegate_requests_total{listener="web",destination="app",method="other",status="2xx"}"#, 1.0),
        (r#"tidegate_requests_total{listener="web",destination="",method="GET",status="4xx"}"#, 1.0),
        (
            r#"tidegate_request_failures_total{listener="web",destination="",failure="expectation-failed"}"#,
            1.0,
        ),
        (r#"tidegate_request_duration_seconds_count{listener="web",destination="app"}"#, 4.0),
        (r#"tidegate_request_duration_seconds_bucket{listener="web",destination="app",le="+Inf"}"#, 4.0),
        (r#"tidegate_upstream_duration_seconds_count{upstream="app"}"#, 4.0),
        (r#"tidegate_upstream_attempts_total{upstream="app",outcome="answered"}"#, 4.0),
        (r#"tidegate_upstream_retries_total{upstream="app"}"#, 0.0),
        (r#"tidegate_upstream_servers{upstream="app",state="up"}"#, 1.0),
        (r#"tidegate_requests_in_flight{listener="web"}"#, 0.0),
        (r#"tidegate_reloads_total{result="changed"}"#, 1.0),
        ("tidegate_generation", 1.0),
        ("tidegate_reload_problems", 0.0),
        ("tidegate_workers", 2.0),
    ] {
        until_counted(&proxy, series, value).await;
    }
    let counted = scrape(&proxy).await;
    assert!(counted[r#"tidegate_response_body_bytes_total{listener="web",destination="app"}"#] > 100.0);
    assert!(counted["process_resident_memory_bytes"] > 1e6);
    assert!(!counted.keys().any(|series| series.starts_with("tidegate_server_")), "behind a key");
}

#[tokio::test]
async fn a_request_that_is_under_way_is_in_flight_and_one_given_up_has_no_status() {
    let app = Upstream::serve(async |_| std::future::pending().await).await;
    let proxy = Proxy::builder(&app).start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_counted(&proxy, r#"tidegate_requests_in_flight{listener="web"}"#, 1.0).await;
    until_counted(&proxy, r#"tidegate_upstream_in_flight{upstream="app"}"#, 1.0).await;
    until_counted(&proxy, r#"tidegate_connections{listener="web"}"#, 1.0).await;
    drop(raw);
    for (series, value) in [
        (r#"tidegate_requests_total{listener="web",destination="app",method="GET",status="none"}"#, 1.0),
        (r#"tidegate_request_failures_total{listener="web",destination="app",failure="client-closed"}"#, 1.0),
        (r#"tidegate_upstream_attempts_total{upstream="app",outcome="given-up"}"#, 1.0),
        (r#"tidegate_requests_in_flight{listener="web"}"#, 0.0),
        (r#"tidegate_connections{listener="web"}"#, 0.0),
    ] {
        until_counted(&proxy, series, value).await;
    }
}

#[tokio::test]
async fn what_is_refused_before_it_is_a_request_is_counted_by_reason() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let proxy = Proxy::builder(&app).tls_listener("secure", &leaf, "").start().await;
    let mut raw = proxy.raw().await;
    raw.send("GET / HTTP/9\r\n\r\n").await;
    raw.read_head().await;
    until_counted(&proxy, r#"tidegate_requests_refused_total{listener="web",reason="bad-request"}"#, 1.0)
        .await;
    let mut raw = tidegate_tests::Raw::connect(proxy.address("secure")).await;
    raw.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until_counted(&proxy, r#"tidegate_tls_failures_total{listener="secure",reason="not-tls"}"#, 1.0).await;
    let mut client = proxy.tls("secure", &TlsOptions::new(&authority, "a.test")).await.expect("a handshake");
    client.get("/").await;
    let series = r#"tidegate_tls_handshakes_total{listener="secure",version="1.3",resumed="no"}"#;
    until_counted(&proxy, series, 1.0).await;
}

#[tokio::test]
async fn policies_and_servers_are_counted() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app)
        .section("[metrics]\nservers = true")
        .plugin("10-stamp", guest("stamp"), "[config]\nvalue = \"x\"")
        .plugin("20-broken", b"broken".to_vec(), "on-error = \"skip\"")
        .start()
        .await;
    proxy.get("/").await;
    let server = app.server();
    for (series, value) in [
        (r#"tidegate_plugin_calls_total{policy="10-stamp",phase="request",verdict="next"}"#, 1.0),
        (r#"tidegate_plugin_calls_total{policy="10-stamp",phase="response",verdict="next"}"#, 1.0),
        (r#"tidegate_plugin_calls_total{policy="20-broken",phase="request",verdict="skipped"}"#, 1.0),
        (r#"tidegate_plugin_faults_total{policy="20-broken",fault="refused"}"#, 1.0),
        (r#"tidegate_plugin_state{policy="10-stamp",state="serving"}"#, 1.0),
        (r#"tidegate_plugin_state{policy="20-broken",state="refused"}"#, 1.0),
        (r#"tidegate_plugin_generation{policy="10-stamp"}"#, 1.0),
        (r#"tidegate_plugin_duration_seconds_count{policy="10-stamp"}"#, 1.0),
        (&format!(r#"tidegate_server_up{{upstream="app",server="{server}"}}"#), 1.0),
        (
            &format!(r#"tidegate_server_responses_total{{upstream="app",server="{server}",status="2xx"}}"#),
            1.0,
        ),
    ] {
        until_counted(&proxy, series, value).await;
    }
    // Once a second.
    eventually("the instances", async || {
        let counted = scrape(&proxy).await;
        let memory = counted[r#"tidegate_plugin_memory_bytes{policy="10-stamp"}"#];
        (counted[r#"tidegate_plugin_instances{policy="10-stamp"}"#] >= 1.0 && memory > 65_535.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_shown_of_what_the_configuration_does_not_name_any_more() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).upstream("old", &app).start().await;
    proxy.reconfigure("default-upstream = \"app\"", "default-upstream = \"old\"").await;
    proxy.get("/").await;
    let of_old = r#"tidegate_requests_total{listener="web",destination="old",method="GET",status="2xx"}"#;
    until_counted(&proxy, of_old, 1.0).await;
    proxy.reconfigure("default-upstream = \"old\"", "default-upstream = \"app\"").await;
    until_counted(&proxy, of_old, 1.0).await;
    proxy.reconfigure("[upstream.old]", "[upstream.new]").await;
    assert!(!scrape(&proxy).await.contains_key(of_old));
}

async fn open_metrics(proxy: &Proxy) -> Answer {
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2";
    let mut client = tidegate_tests::Client::http1(proxy.address("admin")).await;
    client
        .send(
            request("GET", "/metrics")
                .header(HOST, "localhost")
                .header(ACCEPT, accept)
                .body(tidegate_tests::empty())
                .expect("valid"),
        )
        .await
}

#[tokio::test]
async fn both_formats_are_spoken() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    proxy.get("/").await;
    let text = proxy.admin("GET", "/metrics").await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.text().contains("# TYPE tidegate_requests_total counter\n"));
    let open = open_metrics(&proxy).await;
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text().contains("# TYPE tidegate_requests counter\n"));
    assert!(open.text().contains(r#"le="1.0"}"#) && open.text().ends_with("\n# EOF\n"));
}

/// The rows of the tables below a heading of a page: name, type and meaning.
fn documented() -> BTreeMap<String, (String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).expect("a page");
    let section =
        page.split("\n### Metrics\n").nth(1).expect("a heading").split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let [name, shown_type, _, meaning] = &cells[..] else { panic!("{line}") };
        (name.trim_matches('`').to_owned(), (shown_type.clone(), meaning.replace('`', "")))
    };
    rows.map(row).collect()
}

#[tokio::test]
async fn every_metric_is_documented_as_it_is_shown() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    let answer = proxy.admin("GET", "/metrics").await;
    let mut shown: BTreeMap<String, (String, String)> = BTreeMap::new();
    for line in answer.text().lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            shown.entry(name.to_owned()).or_default().1 = help.to_owned();
        } else if let Some((name, shown_type)) =
            line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '))
        {
            shown.entry(name.to_owned()).or_default().0 = shown_type.to_owned();
        }
    }
    let documented = documented();
    for (name, as_shown) in &shown {
        assert_eq!(documented.get(name), Some(as_shown), "docs/operations.md: {name}");
    }
    for name in documented.keys() {
        assert!(shown.contains_key(name), "docs/operations.md: there is no {name}");
    }
}
