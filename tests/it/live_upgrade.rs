//! Another process takes the place of the one that runs: nobody notices, and one that cannot serve changes nothing.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use rustix::process::Signal;
use serde_json::json;
use tidegate_tests::{
    Authority, Builder, Client, Ended, Proxy, Raw, TlsOptions, Upstream, a_moment, assert_status, command,
    guest, read_head, stock, tls_resumes_after, until, within,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Takes what it is told, and says nothing until the other end has gone.
const SILENT: &str = "echo 'it is there' >&2; exec cat > /dev/null";

/// Answers requests, and sends back what comes through a WebSocket or without any HTTP at all.
async fn app() -> Upstream {
    Upstream::script(|mut stream, _| async move {
        loop {
            let head = read_head(&mut stream).await.to_ascii_lowercase();
            if head.is_empty() {
                return;
            }
            if head.contains("upgrade: websocket") {
                let _ = stream.write_all(SWITCHING.as_bytes()).await;
                return echo(stream).await;
            }
            if head.starts_with("bytes") {
                return echo(stream).await;
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
    })
    .await
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        let _ = stream.write_all(&buffer[..length]).await;
    }
}

/// With drains that nothing here waits for.
fn patient(app: &Upstream) -> Builder {
    Proxy::builder(app)
        .listener("bytes", "tcp = \"app\"")
        .section("[timeouts]\ndrain = \"10m\"\ndrain-tunnels = \"10m\"\nupgrade = \"4m\"")
}

/// In a row, under load.
const UPGRADES: usize = 4;

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A connection for each request.
    Fresh,
    /// A connection of HTTP/1.1 for as long as it may be used.
    Kept,
    Http2,
}

/// Clients that ask one request after the other.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    fn start(proxy: &Proxy, kinds: impl IntoIterator<Item = Kind>) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let address = proxy.address("web");
        let mut clients = JoinSet::new();
        for kind in kinds {
            let (stop, answered) = (stop.clone(), answered.clone());
            clients.spawn(async move {
                let mut client = connect(kind, address).await;
                let (mut is_new, mut ends) = (true, 0);
                while !stop.load(Relaxed) {
                    match client.try_get("/").await {
                        Ok(answer) => assert_eq!((answer.status, answer.text()), (200, "ok"), "{kind:?}"),
                        // A connection may end between two requests, and a client has to ask again then.
                        Err(error) => {
                            ends += 1;
                            assert!(!is_new && ends <= UPGRADES, "{kind:?}: {error:?}");
                        }
                    }
                    answered.fetch_add(1, Relaxed);
                    is_new = matches!(kind, Kind::Fresh) || client.is_closed();
                    if is_new {
                        client = connect(kind, address).await;
                    }
                }
            });
        }
        Self { stop, answered, clients }
    }

    /// Waits until many more requests are answered.
    async fn goes_on(&self) {
        let before = self.answered.load(Relaxed);
        until("requests to be answered", async || self.answered.load(Relaxed) > before + 50).await;
    }

    /// Panics if one request failed.
    async fn stop(self) {
        self.stop.store(true, Relaxed);
        within("the clients to end", self.clients.join_all()).await;
    }
}

async fn connect(kind: Kind, address: std::net::SocketAddr) -> Client {
    match kind {
        Kind::Fresh | Kind::Kept => Client::http1(address).await,
        Kind::Http2 => Client::http2(address).await,
    }
}

#[tokio::test]
async fn nothing_is_lost_while_processes_take_the_place_of_others() {
    let app = app().await;
    let mut proxy = patient(&app).start().await;
    let load = Load::start(&proxy, [Kind::Fresh, Kind::Fresh, Kind::Kept, Kind::Http2, Kind::Http2]);
    let mut tunnels = Vec::new();
    let mut processes = BTreeSet::from([proxy.process_id().await]);
    for round in 0..UPGRADES {
        let mut websocket = proxy.raw().await;
        websocket
            .send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            .await;
        assert_status(&websocket.read_head().await, 101);
        let mut bytes = Raw::connect(proxy.address("bytes")).await;
        bytes.send("bytes\r\n\r\n").await;
        tunnels.extend([websocket, bytes]);
        let process = proxy.upgrade().await;
        assert_eq!(proxy.process_id().await, process, "who has handed over answers no longer");
        processes.insert(process);
        load.goes_on().await;
        // Of all processes that there were.
        for tunnel in &mut tunnels {
            tunnel.send(format!("round {round}")).await;
            assert_eq!(tunnel.read_exactly(7).await, format!("round {round}").into_bytes());
        }
    }
    assert_eq!(processes.len(), UPGRADES + 1);
    load.stop().await;
    drop(tunnels);
    assert_eq!(proxy.ended_alone().await.code(), Some(0));
    assert_eq!(proxy.get("/").await.status, 200);
}

#[tokio::test]
async fn one_that_cannot_serve_changes_nothing() {
    let app = app().await;
    let proxy = patient(&app).start().await;
    let process = proxy.process_id().await;
    let mut kept = proxy.http1().await;
    let refused = async |problem: &str, line: &str| {
        let mark = proxy.log().len();
        let answer = proxy.admin("POST", "/api/v1/upgrade").await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["upgraded"], false);
        assert!(answer["problems"][0].as_str().is_some_and(|text| text.contains(problem)), "{answer}");
        let log = answer["log"].as_array().expect("lines");
        assert!(
            line.is_empty() || log.iter().any(|text| text.as_str().is_some_and(|text| text.contains(line))),
            "{answer}"
        );
        proxy.log().wait_from(mark, &["ERROR upgrade: not upgraded", problem]).await;
        proxy.log().wait_from(mark, &[line]).await;
        assert_eq!(proxy.process_id().await, process);
    };

    proxy.replace_program(Some("echo 'nothing will do' >&2; exit 7"));
    refused("the new process ended: exit status: 7", "nothing will do").await;
    proxy.replace_program(Some("exec < /dev/null; exec tail -f /dev/null"));
    refused("the new process closed the connection to this one", "").await;
    std::fs::remove_file(proxy.folder().join("bin/tidegate")).expect("a file");
    refused("cannot be started: No such file", "").await;
    proxy.replace_program(None);
    let config = proxy.folder().join("tidegate.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    std::fs::write(&config, format!("{text}\n[upstream.other]\nservers = 1\n")).expect("a file");
    refused("the new process ended: exit status: 1", "tidegate.toml:").await;
    // Nothing of it was given up.
    assert_eq!(kept.get("/").await.text(), "ok");
    assert_eq!(proxy.reload().await.status, 422, "files are read again");
    std::fs::write(&config, text).expect("a file");
    proxy.reconfigure("upgrade = \"4m\"", "upgrade = \"1s\"").await;
    proxy.replace_program(Some(SILENT));
    refused("the new process did not say that it is ready within 1s", "").await;
    proxy.reconfigure("upgrade = \"1s\"", "upgrade = \"4m\"").await;
    proxy.replace_program(None);
    assert_ne!(proxy.upgrade().await, process);
}

#[tokio::test]
async fn there_is_one_at_a_time_and_it_ends_with_the_process_that_wanted_it() {
    let app = app().await;
    let mut proxy = patient(&app).start().await;
    proxy.replace_program(Some(SILENT));
    proxy.signal(Signal::USR2);
    proxy.log().wait(&["it is there"]).await;
    let answer = proxy.admin("POST", "/api/v1/upgrade").await;
    assert_eq!((answer.status, answer.text()), (409, "an upgrade is under way\n"));
    assert_eq!(proxy.get("/").await.text(), "ok");
    proxy.signal(Signal::TERM);
    // The new one has the same outputs: it is gone as well.
    assert_eq!(proxy.ended().await.code(), Some(0));
    assert_eq!(proxy.log().count("this process was told to stop"), 1);
}

#[tokio::test]
async fn the_number_of_workers_may_change() {
    let app = app().await;
    let proxy = patient(&app).workers(2).start().await;
    let config = proxy.folder().join("tidegate.toml");
    let mut before = 2;
    for workers in [5, 1, 3] {
        let text = std::fs::read_to_string(&config).expect("a file");
        let text = text.replace(&format!("workers = {before}"), &format!("workers = {workers}"));
        std::fs::write(&config, text).expect("a file");
        before = workers;
        proxy.upgrade().await;
        let status = proxy.admin("GET", "/api/v1/status").await.json();
        assert_eq!(status["workers"].as_array().map(Vec::len), Some(workers));
        // The kernel spreads them over all sockets, and somebody has to accept on each.
        for _ in 0..64 {
            assert_eq!(proxy.get("/").await.text(), "ok");
        }
    }
}

#[tokio::test]
async fn listeners_may_change_as_well() {
    let app = app().await;
    let free =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let proxy = patient(&app).listener("gone", "").start().await;
    let (web, gone) = (proxy.address("web"), proxy.address("gone"));
    let config = proxy.folder().join("tidegate.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    let text = text.replace(
        "[listener.gone]\naddress = \"127.0.0.1:0\"",
        &format!("[listener.new]\naddress = \"{free}\""),
    );
    let text = text.replace(
        "[listener.web]\naddress = \"127.0.0.1:0\"",
        &format!("[listener.renamed]\naddress = \"{web}\""),
    );
    std::fs::write(&config, text).expect("a file");
    proxy.upgrade().await;
    for address in [web, free] {
        assert_eq!(Client::http1(address).await.get("/").await.text(), "ok");
    }
    until("nobody to listen there", async || TcpStream::connect(gone).await.is_err()).await;
}

#[tokio::test]
async fn sessions_and_what_policies_share_go_on() {
    let app = Upstream::echo("app").await;
    let authority = Authority::new();
    let leaf = authority.sign(&["a.test"]);
    let limit = "grants = { rate-limit = true }\n[config]\nlimits = [{ name = \"client\", limit = 3, period = \"1h\", paths = [\"/limited\"] }]";
    let proxy = Proxy::builder(&app)
        .tls_listener("secure", &leaf, "")
        .plugin("10-limit", stock("rate-limit"), limit)
        .plugin("20-store", guest("capabilities"), "grants = { store = true }")
        .start()
        .await;
    for status in [200, 200] {
        assert_eq!(proxy.get("/limited").await.status, status);
    }
    for number in 1..=3 {
        assert_eq!(proxy.get("/store?do=add&key=n").await.json(), json!(number));
    }
    let options = TlsOptions::new(&authority, "a.test");
    let secure = proxy.address("secure");
    let upgrade = async { _ = proxy.upgrade().await };
    assert!(tls_resumes_after(secure, secure, &options, upgrade).await.expect("two handshakes"));
    for status in [200, 429] {
        assert_eq!(proxy.get("/limited").await.status, status);
    }
    assert_eq!(proxy.get("/store?do=add&key=n").await.json(), json!(4));
}

#[tokio::test]
async fn the_answer_arrives_however_soon_the_process_ends() {
    let app = app().await;
    let builder = Proxy::bare().section("socket = \"admin.sock\"").top("default-upstream = \"app\"");
    let mut proxy = builder.listener("web", "").upstream("app", &app).start().await;
    let config = proxy.folder().join("tidegate.toml").to_string_lossy().into_owned();
    for round in 0..5 {
        // Nothing is in flight: it ends at once.
        let mut command = command(&["upgrade", "--config", &config]);
        command.stdin(Stdio::null());
        let ended = tokio::task::spawn_blocking(move || Ended::of(&mut command));
        let ended = within("the command", ended).await.expect("no panic");
        assert!(ended.status.success() && ended.stdout.starts_with("upgraded: process "), "{round}: {ended}");
        let process = proxy.process_id().await;
        assert!(ended.stdout.contains(&format!(" {process} ")), "{process}: {ended}");
    }
    assert_eq!(proxy.ended_alone().await.code(), Some(0));
    // Processes that ended have left the file of the socket to the one that serves.
    UnixStream::connect(proxy.folder().join("admin.sock")).await.expect("somebody listens");
    proxy.replace_program(Some("echo 'out of order' >&2; exit 1"));
    let ended = Ended::of(&mut command(&["upgrade", "--config", &config]));
    assert_eq!(ended.status.code(), Some(1), "{ended}");
    assert!(
        ended.stderr.contains("the new process ended") && ended.stderr.contains("\n  out of order"),
        "{ended}"
    );
}

#[tokio::test]
async fn a_reload_that_is_asked_for_meanwhile_waits_for_what_comes_of_it() {
    let app = app().await;
    let proxy = patient(&app).start().await;
    proxy.replace_program(Some(SILENT));
    proxy.signal(Signal::USR2);
    proxy.log().wait(&["it is there"]).await;
    let config = proxy.folder().join("tidegate.toml");
    let text = std::fs::read_to_string(&config).expect("a file");
    std::fs::write(&config, format!("{text}\n[limits]\nrequest-body = \"1MiB\"\n")).expect("a file");
    let reload = proxy.reload();
    tokio::pin!(reload);
    tokio::select! {
        answer = &mut reload => panic!("it is answered already: {}", answer.status),
        () = a_moment() => {}
    }
    // Ended as the operator would.
    let started = proxy.log().wait(&["upgrade: started", "process="]).await;
    let process =
        started.split_whitespace().find_map(|word| word.strip_prefix("process=")).expect("a number");
    let process = process.parse().ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(process, Signal::KILL).expect("it runs");
    let answer = reload.await;
    assert_eq!((answer.status, &answer.json()["changed"]), (200, &json!(true)));
}
