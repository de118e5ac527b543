//! A real server for tests, on a port and in a folder of its own.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::{Client, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::RedisUrl;

pub(crate) struct Server {
    program: &'static str,
    options: Vec<String>,
    pub(crate) port: u16,
    process: Child,
    folder: TempDir,
}

/// How long anything may take; used up only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until it is so.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}");
        // Between two looks at something about which no event tells.
        sleep(Duration::from_millis(5)).await;
    }
}

impl Server {
    /// `None`, with a note, where there is none to run.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    pub(crate) async fn start_with(options: &[&str]) -> Option<Self> {
        let runs = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let Some(program) = ["redis-server", "valkey-server"].into_iter().find(runs) else {
            println!("skipped: no redis-server and no valkey-server here");
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        let options: Vec<_> = options.iter().map(ToString::to_string).collect();
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let process = spawn(program, port, &options, folder.path());
        let server = Self { program, options, port, process, folder };
        server.listens().await;
        Some(server)
    }

    pub(crate) fn url(&self) -> RedisUrl {
        self.url_of("redis://")
    }

    /// With this scheme, user and password.
    pub(crate) fn url_of(&self, beginning: &str) -> RedisUrl {
        format!("{beginning}127.0.0.1:{}", self.port).parse().expect("an address")
    }

    /// Over a connection of its own.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = Client::open(url).expect("an address");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.expect("an answer")
    }

    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("a process");
        self.process.wait().expect("its end");
    }

    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(self.program, self.port, &self.options, self.folder.path());
        self.listens().await;
    }

    async fn listens(&self) {
        until("the server listens", async || {
            tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.is_ok()
        })
        .await;
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("a process");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(program: &str, port: u16, options: &[String], folder: &Path) -> Child {
    let port = port.to_string();
    let has_tls = options.iter().any(|option| option.starts_with("--tls"));
    let ports =
        if has_tls { ["--port", "0", "--tls-port", &port] } else { ["--port", &port, "--tls-port", "0"] };
    Command::new(program)
        .args(if has_tls { &ports[..] } else { &ports[..2] })
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .args(options)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a server")
}
