//! What systemd passes is used, and it is told what it wants to know.

use std::net::TcpListener;

use rustix::process::{Pid, Signal, kill_process};
use tidegate_tests::{Builder, Client, Proxy, ServiceManager, Upstream, read_head, tcp_connect, within};
use tokio::io::AsyncWriteExt;

fn told_of(app: &Upstream, manager: &ServiceManager) -> Builder {
    Proxy::builder(app).environment("NOTIFY_SOCKET", manager.path().to_string_lossy())
}

#[tokio::test]
async fn it_is_told_how_the_service_fares() {
    let app = Upstream::echo("app").await;
    let manager = ServiceManager::start();
    let mut proxy = told_of(&app, &manager).environment("WATCHDOG_USEC", "20000").start().await;
    assert_eq!(manager.told("READY=1").await.text, "READY=1\nSTATUS=serving");
    manager.told("WATCHDOG=1").await;
    proxy.signal(Signal::HUP);
    let reloading = manager.told("RELOADING=1").await.text;
    let since = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
    assert!(since.is_some_and(|since| since > 0), "{reloading}");
    assert_eq!(manager.told("READY=1").await.text, "READY=1\nSTATUS=serving generation 1");

    let process = proxy.upgrade().await;
    // What the new process says counts from here on, and is not said before.
    assert_eq!(manager.told("MAINPID=").await.text, format!("MAINPID={process}"));
    manager.told("READY=1").await;
    assert_eq!(proxy.ended_alone().await.code(), Some(0));
    manager.told("WATCHDOG=1").await;
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(process, Signal::TERM).expect("it runs");
    assert_eq!(manager.told("STOPPING=1").await.text, "STOPPING=1\nSTATUS=draining");
    proxy.ended().await;
}

#[tokio::test]
async fn a_watchdog_that_is_meant_for_another_process_is_not_fed() {
    let app = Upstream::echo("app").await;
    let manager = ServiceManager::start();
    let builder =
        told_of(&app, &manager).environment("WATCHDOG_USEC", "20000").environment("WATCHDOG_PID", "1");
    let mut proxy = builder.start().await;
    manager.told("READY=1").await;
    proxy.signal(Signal::TERM);
    proxy.ended().await;
    while let Some(message) = manager.next() {
        assert!(!message.text.contains("WATCHDOG"), "{}", message.text);
    }
}

#[tokio::test]
async fn sockets_are_found_by_their_names_or_their_addresses() {
    let app = Upstream::echo("app").await;
    let sockets = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [named, other, unknown] = sockets;
    let (of_named, of_other) = (named.local_addr().expect("bound"), other.local_addr().expect("bound"));
    let builder = Proxy::builder(&app).section(&format!("[listener.other]\naddress = \"{of_other}\""));
    let builder = builder.passing("web", named).passing("x.socket", other).passing("unknown", unknown);
    let proxy = builder.start().await;
    assert_eq!(proxy.address("web"), of_named);
    // Both workers accept on the one socket that there is.
    for address in [of_named, of_other] {
        for _ in 0..8 {
            assert_eq!(Client::http1(address).await.get("/").await.status, 200);
        }
    }
    proxy.log().wait(&["WARN listener", "as no listener is for it: unknown at 127.0.0.1:"]).await;
    proxy.upgrade().await;
    assert_eq!(Client::http1(of_named).await.get("/").await.status, 200);
}

#[tokio::test]
async fn a_restart_refuses_nobody_where_sockets_are_kept() {
    let app = Upstream::echo("app").await;
    let manager = ServiceManager::start();
    let mut proxy = told_of(&app, &manager).workers(3).start().await;
    let kept = manager.told("FDSTORE=1\nFDNAME=web").await.files;
    assert_eq!(kept.len(), 3);
    let address = proxy.address("web");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.ended().await.code(), Some(0));
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let mut client = tcp_connect(address).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("somebody has the socket");
        waiting.push(client);
    }
    // One worker less: it is accepted on all sockets all the same.
    let builder = told_of(&app, &manager).workers(2);
    let proxy =
        kept.into_iter().fold(builder, |builder, socket| builder.passing("web", socket)).start().await;
    assert_eq!(proxy.address("web"), address);
    for mut client in waiting {
        assert!(within("an answer", read_head(&mut client)).await.starts_with("HTTP/1.1 200 "));
    }
    // What is closed is kept no longer.
    let config = proxy.folder().join("tidegate.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    std::fs::write(&config, text.replace("[listener.web]", "[listener.site]")).expect("a file");
    assert_eq!(proxy.reload().await.status, 200);
    manager.told("FDSTOREREMOVE=1\nFDNAME=web").await;
    assert_eq!(manager.told("FDSTORE=1\nFDNAME=site").await.files.len(), 2);
}
