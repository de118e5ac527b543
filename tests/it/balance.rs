//! Which server a request goes to: shares, load, keys, spares, and what is left when all are down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tidegate_tests::{BoxBody, Builder, Client, Proxy, Upstream, body, empty, guest, request, until, within};

/// How many requests each server got.
type Shares = BTreeMap<String, usize>;

/// Echo servers named `0`, `1`, ….
async fn echoes(count: usize) -> Vec<Upstream> {
    let mut echoes = Vec::new();
    for n in 0..count {
        echoes.push(Upstream::echo(&n.to_string()).await);
    }
    echoes
}

/// `servers` with these weights.
fn weighted(servers: &[Upstream], weights: &[u32]) -> String {
    let entries = servers.iter().zip(weights);
    let entries = entries
        .map(|(server, weight)| format!("{{ address = \"{}\", weight = {weight} }}", server.address()));
    format!("servers = [{}]", entries.collect::<Vec<_>>().join(", "))
}

fn all(servers: &[Upstream]) -> String {
    weighted(servers, &vec![1; servers.len()])
}

/// Sends `each` requests one after another on each of `connections`, which spread over the workers.
async fn shares(proxy: &Proxy, connections: usize, each: usize) -> Shares {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(proxy.http1().await);
    }
    let mut shares = Shares::new();
    for _ in 0..each {
        for client in &mut clients {
            *shares.entry(client.get("/").await.echoed_by()).or_default() += 1;
        }
    }
    shares
}

#[tokio::test]
async fn every_way_keeps_to_the_weights_over_all_workers() {
    let servers = echoes(2).await;
    // 160 requests, of which a quarter belongs to the first. Where chance decides, six standard deviations
    // to either side.
    for (balance, least, most) in [("round-robin", 38, 42), ("least-requests", 30, 50), ("random-two", 8, 72)]
    {
        let app = format!("{}\nbalance = \"{balance}\"", weighted(&servers, &[1, 3]));
        let proxy = Proxy::with_app(&app).start().await;
        let shares = shares(&proxy, 8, 20).await;
        let first = shares.get("0").copied().unwrap_or_default();
        assert!((least..=most).contains(&first), "{balance}: {shares:?}");
    }
}

#[tokio::test]
async fn random_two_reaches_every_server() {
    let servers = echoes(5).await;
    let proxy = Proxy::with_app(&format!("{}\nbalance = \"random-two\"", all(&servers))).start().await;
    let shares = shares(&proxy, 4, 50).await;
    assert_eq!(shares.len(), 5, "{shares:?}");
    assert!(shares.values().all(|count| (10..=80).contains(count)), "{shares:?}");
}

#[tokio::test]
async fn a_server_that_holds_requests_gets_fewer() {
    for balance in ["least-requests", "random-two"] {
        let (slow, release) = Upstream::holding().await;
        let fast = Upstream::echo("fast").await;
        let servers = format!("servers = [\"{}\", \"{}\"]", slow.address(), fast.address());
        let proxy = Proxy::with_app(&format!("{servers}\nbalance = \"{balance}\"")).start().await;

        let finished = Arc::new(AtomicUsize::new(0));
        let mut requests = tokio::task::JoinSet::new();
        for sent in 1..=40 {
            let mut client = proxy.http1().await;
            let counter = Arc::clone(&finished);
            requests.spawn(async move {
                let status = client.get("/").await.status;
                counter.fetch_add(1, Relaxed);
                status
            });
            until("an answer, or a request that is held", async || {
                finished.load(Relaxed) + slow.requests().len() == sent
            })
            .await;
        }
        // Either way of balancing compares both servers. The proxy may learn a little later than the client
        // that an exchange is over.
        let held = slow.requests().len();
        assert!((1..=3).contains(&held), "{balance}: {held} of 40 requests");

        release.send_replace(true);
        assert_eq!(within("the answers", requests.join_all()).await, vec![200; 40], "{balance}");
    }
}

/// The proxy counts the requests in flight over all workers, not for each worker.
#[tokio::test]
async fn requests_in_flight_are_spread_evenly_over_all_workers() {
    let mut servers = Vec::new();
    let mut releases = Vec::new();
    for _ in 0..3 {
        let (server, release) = Upstream::holding().await;
        servers.push(server);
        releases.push(release);
    }
    let proxy = Proxy::with_app(&all(&servers)).start().await;
    let mut waiting = tokio::task::JoinSet::new();
    for sent in 1..=12 {
        let mut client = proxy.http1().await;
        waiting.spawn(async move { client.get("/").await.status });
        until("the request upstream", async || {
            let arrived: usize = servers.iter().map(|server| server.requests().len()).sum();
            arrived == sent
        })
        .await;
    }
    let held: Vec<usize> = servers.iter().map(|server| server.requests().len()).collect();
    assert_eq!(held, [4, 4, 4]);
    for release in releases {
        release.send_replace(true);
    }
    assert_eq!(within("the answers", waiting.join_all()).await, vec![200; 12]);
}

/// A request of this client, by way of a proxy that is trusted.
fn request_of(client: &str) -> http::Request<BoxBody> {
    request("GET", "/").header("x-forwarded-for", client).body(empty()).expect("valid")
}

fn hashing(servers: &str) -> Builder {
    Proxy::with_app(&format!("{servers}\nbalance = \"hash\"\nslow-start = \"0s\""))
        .top("trusted-proxies = [\"127.0.0.1\"]")
}

/// The server of each of `count` clients, asked for on connections in turn.
async fn homes(connections: &mut [Client], count: usize) -> Vec<String> {
    let mut homes = Vec::new();
    for n in 0..count {
        let index = n % connections.len();
        let client = format!("192.0.{}.{}", n / 256, n % 256);
        homes.push(connections[index].send(request_of(&client)).await.echoed_by());
    }
    homes
}

#[tokio::test]
async fn a_client_keeps_its_server_on_every_connection_and_worker() {
    let servers = echoes(5).await;
    let proxy = hashing(&all(&servers)).start().await;
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        let first = proxy.send(request_of(client)).await.echoed_by();
        for _ in 0..10 {
            assert_eq!(proxy.send(request_of(client)).await.echoed_by(), first, "{client}");
        }
    }
}

#[tokio::test]
async fn clients_are_spread_by_weight() {
    let servers = echoes(2).await;
    let proxy = hashing(&weighted(&servers, &[1, 3])).start().await;
    let homes = homes(&mut [proxy.http1().await], 400).await;
    let first = homes.iter().filter(|home| *home == "0").count();
    // A quarter, with five standard deviations to either side.
    assert!((57..=143).contains(&first), "{first} of 400");
}

#[tokio::test]
async fn when_one_of_ten_servers_leaves_a_tenth_of_the_clients_moves() {
    let servers = echoes(10).await;
    let proxy = hashing(&all(&servers)).start().await;
    let mut connections = [proxy.http1().await, proxy.http1().await, proxy.http1().await];
    let before = homes(&mut connections, 400).await;

    let last = servers[9].address();
    proxy.reconfigure(&format!(", {{ address = \"{last}\", weight = 1 }}"), "").await;

    let after = homes(&mut connections, 400).await;
    assert!(!after.contains(&"9".to_owned()), "it left");
    let left = before.iter().filter(|home| *home == "9").count();
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    // 40 clients, with five standard deviations to either side.
    assert!((10..=70).contains(&left), "{left} of 400 clients were on one of ten servers");
    assert!(moved - left <= 20, "{moved} clients moved, though only {left} had to");

    // Once the server is back, every client has the server it had before.
    let whole = all(&servers);
    proxy.reconfigure(&all(&servers[..9]), &whole).await;
    until("the clients to return", async || homes(&mut connections, 400).await == before).await;
}

#[tokio::test]
async fn clients_of_a_server_that_is_down_spread_over_the_others_and_come_back() {
    let mut servers = echoes(4).await;
    let health = "health = { tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }";
    let proxy = hashing(&format!("{}\n{health}", all(&servers))).start().await;
    let mut connections = [proxy.http1().await, proxy.http1().await];
    let before = homes(&mut connections, 200).await;

    servers[3].stop().await;
    let gone = servers[3].server();
    proxy.until_server("app", &gone, "down").await;
    let during = homes(&mut connections, 200).await;
    for (before, during) in before.iter().zip(&during) {
        assert_ne!(during, "3");
        assert!(before == "3" || before == during, "only those who have to move: {before} to {during}");
    }
    let moved: Vec<_> = before.iter().zip(&during).filter(|(before, _)| *before == "3").collect();
    for other in ["0", "1", "2"] {
        assert!(moved.iter().any(|(_, during)| *during == other), "nobody moved to {other}: {moved:?}");
    }

    servers[3].start().await;
    proxy.until_server("app", &gone, "up").await;
    assert_eq!(homes(&mut connections, 200).await, before);
}

#[tokio::test]
async fn a_policy_can_choose_the_key() {
    let servers = echoes(5).await;
    let proxy = hashing(&all(&servers)).plugin("1", guest("stamp"), "[config]\nvalue = \"x\"").start().await;
    let mut of_key = BTreeMap::new();
    for n in 0..200 {
        let key = format!("tenant-{}", n % 100);
        let request = request("GET", "/")
            .header("x-hash-key", &key)
            .header("x-forwarded-for", format!("192.0.2.{n}"))
            .body(empty())
            .expect("valid");
        let server = proxy.send(request).await.echoed_by();
        let home = of_key.entry(key.clone()).or_insert_with(|| server.clone());
        assert_eq!(*home, server, "{key} of another client");
    }
    let used: std::collections::BTreeSet<_> = of_key.values().collect();
    assert_eq!(used.len(), 5, "{of_key:?}");
}

#[tokio::test]
async fn a_backup_serves_only_while_no_other_server_can() {
    for balance in ["round-robin", "least-requests", "random-two", "hash"] {
        let mut servers = echoes(2).await;
        let backup = Upstream::echo("backup").await;
        let app = format!(
            "servers = [\"{}\", {{ address = \"{}\", weight = 100, backup = true }}, \"{}\"]\n\
             balance = \"{balance}\"\nslow-start = \"0s\"\n\
             health = {{ tcp = true, interval = \"100ms\", timeout = \"100ms\", fall = 1, rise = 1 }}",
            servers[0].address(),
            backup.address(),
            servers[1].address(),
        );
        let proxy = Proxy::with_app(&app).start().await;
        assert_eq!(shares(&proxy, 4, 5).await.get("backup"), None, "{balance}");

        let gone = servers[0].server();
        servers[0].stop().await;
        proxy.until_server("app", &gone, "down").await;
        assert_eq!(shares(&proxy, 4, 5).await, Shares::from([("1".to_owned(), 20)]), "{balance}");

        let other = servers[1].server();
        servers[1].stop().await;
        proxy.until_server("app", &other, "down").await;
        assert_eq!(shares(&proxy, 4, 5).await, Shares::from([("backup".to_owned(), 20)]), "{balance}");

        servers[0].start().await;
        proxy.until_server("app", &gone, "up").await;
        assert_eq!(shares(&proxy, 4, 5).await, Shares::from([("0".to_owned(), 20)]), "{balance}");
    }
}

#[tokio::test]
async fn when_all_are_down_they_are_tried_rather_than_that_everybody_fails() {
    // These servers fail their health checks and answer requests all the same.
    let serving = async |name: &'static str| {
        Upstream::serve(move |request: http::Request<hyper::body::Incoming>| async move {
            let status = if request.uri().path() == "/healthz" { 500 } else { 200 };
            let answer = format!("{{ \"upstream\": \"{name}\" }}");
            http::Response::builder().status(status).body(body(answer)).expect("valid")
        })
        .await
    };
    let (one, two) = (serving("one").await, serving("two").await);
    let app = format!(
        "servers = [\"{}\", \"{}\"]\n\
         health = {{ path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", fall = 1 }}",
        one.address(),
        two.address()
    );
    let proxy = Proxy::with_app(&app).start().await;
    proxy.until_server("app", &one.server(), "down").await;
    proxy.until_server("app", &two.server(), "down").await;
    let shares = shares(&proxy, 2, 10).await;
    assert_eq!(shares.len(), 2, "{shares:?}");
}
