//! A Redis of a test's own, where the machine has one.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::until;

/// A running server; it ends with this.
pub struct Redis {
    program: &'static str,
    port: u16,
    process: Option<Child>,
    folder: TempDir,
}

impl Redis {
    /// `None`, and a note, where there is none to run.
    #[expect(clippy::print_stderr, reason = "who runs the tests should know what was left out")]
    pub async fn start() -> Option<Self> {
        let runs = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        let Some(program) = ["redis-server", "valkey-server"].into_iter().find(runs) else {
            eprintln!("skipped: no redis-server and no valkey-server here (Debian: redis-server)");
            return None;
        };
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let folder = tempfile::tempdir().expect("a folder");
        let mut redis = Self { program, port, process: None, folder };
        redis.resume().await;
        Some(redis)
    }

    /// For `state.backend`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it, empty, at the same address.
    pub async fn resume(&mut self) {
        let port = self.port.to_string();
        let process = Command::new(self.program)
            .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .spawn();
        self.process = Some(process.expect("it starts"));
        until("redis answers", async || self.answers().await.is_ok()).await;
    }

    async fn answers(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await?;
        if answer == *b"+PONG\r\n" { Ok(()) } else { Err(std::io::Error::other("not yet")) }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
