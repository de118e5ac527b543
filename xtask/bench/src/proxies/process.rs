//! Starting a proxy, and ending it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::terminal::Result;

/// How long a proxy may take until it accepts connections.
const START: Duration = Duration::from_secs(60);

/// One line of the table: a proxy with its configuration.
#[derive(Debug, Clone)]
pub(crate) struct Contender {
    pub(crate) name: String,
    program: PathBuf,
    arguments: Vec<String>,
    address: SocketAddr,
    /// What it writes goes there.
    folder: PathBuf,
    pub(crate) is_baseline: bool,
}

impl Contender {
    pub(super) fn new(
        name: &str,
        program: &Path,
        folder: &Path,
        arguments: &[&str],
        address: SocketAddr,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            address,
            folder: folder.to_owned(),
            is_baseline: false,
        }
    }

    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// What the others are compared with.
    pub(super) fn into_baseline(self) -> Self {
        Self { is_baseline: true, ..self }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its configuration and its logs are.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it wrote to stderr so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) fn start(&self) -> Result<Running> {
        self.run(Command::new(&self.program), START)
    }

    /// The same within a tool that takes a program and its arguments; it may be this much slower.
    pub(crate) fn start_within(&self, mut tool: Command, slower: u32) -> Result<Running> {
        tool.arg(&self.program);
        self.run(tool, START * slower)
    }

    fn run(&self, mut command: Command, patience: Duration) -> Result<Running> {
        let file = |name: &str| {
            let file = self.folder.join(name);
            fs::File::create(&file).map_err(|error| format!("{}: {error}", file.display()))
        };
        let child = command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("log")?)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))?;
        let begun = Instant::now();
        let mut running = Running { child, address: self.address, start: Duration::ZERO };
        while TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_err() {
            let ended = !matches!(running.child.try_wait(), Ok(None));
            if ended || begun.elapsed() > patience {
                return Err(format!("{} did not start:\n{}", self.name, self.log()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        running.start = begun.elapsed();
        Ok(running)
    }
}

/// A proxy at work; dropping it ends it. All of them are one process each.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    start: Duration,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long it took until it accepted connections, to some milliseconds.
    pub(crate) fn start(&self) -> Duration {
        self.start
    }

    /// Has it look at its files again.
    pub(crate) fn reload(&self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::HUP).map_err(|error| error.to_string())
    }

    /// Has it end by itself and waits for that.
    pub(crate) fn end(mut self) -> Result<()> {
        let ended = kill_process(Pid::from_child(&self.child), Signal::TERM);
        ended
            .map_err(std::io::Error::from)
            .and_then(|()| self.child.wait())
            .map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
