//! Host names: all their addresses, followed as they change, kept when DNS fails.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tidegate_tests::{Builder, Dns, Proxy, Upstream, empty, eventually, request, until};
use tokio::net::UdpSocket;

const NAME: &str = "app.test";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// In seconds: the shortest time after which the proxy looks a name up again.
const TTL: u32 = 1;

/// `servers` is [`NAME`] with this port, looked up at `dns` alone.
fn behind(dns: &Dns, port: u16, more: &str) -> Builder {
    let lines = format!("servers = [\"{NAME}:{port}\"]\nslow-start = \"0s\"\n{more}");
    let resolver = format!("[resolver]\nservers = [\"{}\"]\ntimeout = \"200ms\"", dns.address());
    Proxy::with_app(&lines).section(&resolver)
}

/// The servers that answer 10 requests on several connections, none of which fails.
async fn who_answers(proxy: &Proxy) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for _ in 0..5 {
        let mut client = proxy.http1().await;
        for _ in 0..2 {
            names.insert(client.get("/").await.echoed_by());
        }
    }
    names
}

/// Waits until these servers and no others answer; no request fails meanwhile.
async fn until_answered_by(proxy: &Proxy, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
    until(&format!("answers from {expected:?}"), async || who_answers(proxy).await == expected).await;
}

#[tokio::test]
async fn a_name_stands_for_all_its_addresses_and_follows_them() {
    let dns = Dns::start().await;
    let (one, two) = ("127.0.0.1", "127.0.0.2");
    let servers = Upstream::echoes(&[ip(one), ip(two)]).await;
    dns.set(NAME, &[ip(one), ip(two)], TTL);
    let proxy = behind(&dns, servers[0].address().port(), "").start().await;
    until_answered_by(&proxy, &[one, two]).await;

    dns.set(NAME, &[ip(two)], TTL);
    until_answered_by(&proxy, &[two]).await;
    assert_eq!(who_answers(&proxy).await, BTreeSet::from([two.to_owned()]));

    dns.set(NAME, &[ip(two), ip(one)], TTL);
    until_answered_by(&proxy, &[one, two]).await;
}

#[tokio::test]
async fn every_address_is_a_server_of_its_own() {
    let dns = Dns::start().await;
    let (one, two) = ("127.0.0.1", "127.0.0.2");
    let mut servers = Upstream::echoes(&[ip(one), ip(two)]).await;
    dns.set(NAME, &[ip(one), ip(two)], TTL);
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    let proxy = behind(&dns, servers[0].address().port(), health).start().await;
    until_answered_by(&proxy, &[one, two]).await;
    let listed: BTreeSet<String> = proxy
        .servers("app")
        .await
        .iter()
        .map(|server| server["address"].as_str().expect("an address").to_owned())
        .collect();
    assert_eq!(listed, BTreeSet::from([servers[0].server(), servers[1].server()]));

    let gone = servers[1].server();
    servers[1].stop().await;
    proxy.until_server("app", &gone, "down").await;
    until_answered_by(&proxy, &[one]).await;
}

/// Docker says of the names of containers that they hold for ten minutes.
#[tokio::test]
async fn a_server_that_was_put_elsewhere_is_found_although_its_name_holds_for_long() {
    let dns = Dns::start().await;
    let (one, two) = ("127.0.0.1", "127.0.0.2");
    let mut old = Upstream::echoes(&[ip(one)]).await;
    let port = old[0].address().port();
    dns.set(NAME, &[ip(one)], 600);
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    let proxy = behind(&dns, port, health).start().await;
    until_answered_by(&proxy, &[one]).await;
    let _new = Upstream::builder().at((ip(two), port).into()).echo(two).await;
    dns.set(NAME, &[ip(two)], 600);
    old[0].stop().await;
    until("it is found", async || proxy.get("/").await.status == 200).await;
    until_answered_by(&proxy, &[two]).await;
}

#[tokio::test]
async fn what_is_in_flight_to_an_address_that_leaves_ends_in_peace() {
    let dns = Dns::start().await;
    let (old, feed) = Upstream::fed("").await;
    dns.set(NAME, &[ip("127.0.0.1")], TTL);
    let proxy = behind(&dns, old.address().port(), "").start().await;
    let mut client = proxy.http1().await;
    let slow = eventually("the first answer", async || {
        let request = request("GET", "/").body(empty()).expect("valid");
        client.start(request).await.ok().filter(|answer| answer.status() == 200)
    })
    .await;

    let new = Upstream::builder().at((ip("127.0.0.2"), old.address().port()).into()).echo("new").await;
    dns.set(NAME, &[ip("127.0.0.2")], TTL);
    proxy.until_server("app", &new.server(), "up").await;
    until("the other address alone", async || {
        let answer = proxy.get("/").await;
        answer.status == 200 && !answer.body.is_empty()
    })
    .await;

    feed.complete(slow).await;
}

#[tokio::test]
async fn the_last_answer_stays_when_dns_fails() {
    let dns = Dns::start().await;
    let servers = Upstream::echoes(&[ip("127.0.0.1"), ip("127.0.0.2")]).await;
    dns.set(NAME, &[ip("127.0.0.1")], TTL);
    let proxy = behind(&dns, servers[0].address().port(), "").start().await;
    until_answered_by(&proxy, &["127.0.0.1"]).await;

    dns.fail(true);
    dns.set(NAME, &[ip("127.0.0.2")], TTL);
    let asked = dns.asked(NAME);
    until("questions in vain", async || {
        assert_eq!(who_answers(&proxy).await, BTreeSet::from(["127.0.0.1".to_owned()]));
        dns.asked(NAME) >= asked + 2
    })
    .await;
    assert_eq!(who_answers(&proxy).await, BTreeSet::from(["127.0.0.1".to_owned()]));

    dns.fail(false);
    until_answered_by(&proxy, &["127.0.0.2"]).await;
}

#[tokio::test]
async fn a_name_that_is_not_known_at_the_start_serves_once_it_is() {
    let dns = Dns::start().await;
    let app = Upstream::echo("app").await;
    dns.fail(true);
    let proxy = behind(&dns, app.address().port(), "").start().await;
    let answer = proxy.get("/x").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(proxy.access("/x").await["failure"], "no-server");

    dns.set(NAME, &[ip("127.0.0.1")], TTL);
    dns.fail(false);
    until("the first answer", async || proxy.get("/").await.status == 200).await;
}

#[tokio::test]
async fn addresses_of_both_families_are_used() {
    let dns = Dns::start().await;
    let servers = Upstream::echoes(&[ip("127.0.0.1"), ip("::1")]).await;
    dns.set(NAME, &[ip("::1")], TTL);
    let proxy = behind(&dns, servers[0].address().port(), "").start().await;
    until_answered_by(&proxy, &["::1"]).await;

    dns.set(NAME, &[ip("127.0.0.1"), ip("::1")], TTL);
    until_answered_by(&proxy, &["127.0.0.1", "::1"]).await;
}

#[tokio::test]
async fn an_ipv6_address_can_be_written() {
    let app = Upstream::echoes(&[ip("::1")]).await;
    let proxy = Proxy::with_app(&format!("servers = [\"{}\"]", app[0].address())).start().await;
    assert_eq!(proxy.get("/").await.echoed_by(), "::1");
    assert_eq!(proxy.server_state("app", &app[0].server()).await.as_deref(), Some("up"));
}

#[tokio::test]
async fn a_dns_server_that_does_not_answer_is_passed_over() {
    let dns = Dns::start().await;
    let app = Upstream::echo("app").await;
    dns.set(NAME, &[ip("127.0.0.1")], TTL);
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let resolver = format!(
        "[resolver]\nservers = [\"{}\", \"{}\"]\ntimeout = \"200ms\"",
        silent.local_addr().expect("a bound socket"),
        dns.address()
    );
    let lines = format!("servers = [\"{NAME}:{}\"]", app.address().port());
    let proxy = Proxy::with_app(&lines).section(&resolver).start().await;
    until("the first answer", async || proxy.get("/").await.status == 200).await;
}
