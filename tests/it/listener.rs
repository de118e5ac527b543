//! Addresses the proxy accepts connections on.

use std::net::TcpListener;

use tidegate_tests::{Client, Proxy, Upstream};

#[tokio::test]
async fn every_listener_serves_under_its_own_name() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).listener("second", "").start().await;

    for (listener, target) in [("web", "/first"), ("second", "/other")] {
        let answer = Client::http1(proxy.address(listener)).await.get(target).await;
        assert_eq!(answer.status, 200);
        assert_eq!(proxy.access(target).await["listener"], listener);
    }
}

#[tokio::test]
async fn ipv6_works_where_the_machine_has_it() {
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let app = Upstream::echo("app").await;
    let six = "[listener.six]\naddress = \"[::1]:0\"";
    let proxy = Proxy::builder(&app).section(six).start().await;

    let answer = Client::http1(proxy.address("six")).await.get("/").await;

    assert_eq!(answer.json()["headers"]["x-forwarded-for"], "::1");
    assert!(
        answer.json()["headers"]["forwarded"]
            .as_str()
            .is_some_and(|field| field.starts_with("for=\"[::1]\""))
    );
}

#[tokio::test]
async fn an_address_in_use_stops_the_start_and_is_named_with_its_place() {
    let app = Upstream::echo("app").await;
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound socket");
    let second = format!("[listener.second]\naddress = \"{address}\"");

    let ended = Proxy::builder(&app).section(&second).try_start().await.expect_err("the port is taken");

    assert!(!ended.status.success());
    assert!(ended.stderr.contains("tidegate.toml:10:11: "), "{ended}");
    assert!(ended.stderr.contains(&address.to_string()), "{ended}");
}

#[tokio::test]
async fn all_workers_accept() {
    let app = Upstream::echo("app").await;
    let proxy = Proxy::builder(&app).start().await;
    // Each worker has a pool of its own, and the requests come one by one: with two connections upstream, two
    // workers have served.
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = proxy.http1().await;
        assert_eq!(client.get("/").await.status, 200);
        clients.push(client);
    }
    assert_eq!(app.connections(), 2);
}
