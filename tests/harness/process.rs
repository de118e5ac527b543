//! A `tidegate` process: its output as it comes, and its end.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::log::Lines;
use crate::plugins::folder;
use crate::wait::{eventually, within};

/// A `tidegate` command, not started yet.
#[must_use]
pub fn command(arguments: &[&str]) -> Command {
    command_at(&folder("TIDEGATE_BIN"), arguments)
}

/// [`command`] by another path to the same program.
pub(crate) fn command_at(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    // One for all tests, beside what is built, rather than that of who runs them.
    let cache = folder("TIDEGATE_PLUGINS").with_file_name("compile-cache");
    command.args(arguments).env("CACHE_DIRECTORY", cache);
    command
}

/// A running [`command`]; dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    /// Starts it without input.
    #[must_use]
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary at TIDEGATE_BIN");
        let stdout = Lines::of(child.stdout.take().expect("a pipe"));
        let stderr = Lines::of(child.stderr.take().expect("a pipe"));
        Self { child, stdout, stderr }
    }

    /// What it wrote to stdout.
    #[must_use]
    pub fn stdout(&self) -> &Lines {
        &self.stdout
    }

    /// What it wrote to stderr.
    #[must_use]
    pub fn stderr(&self) -> &Lines {
        &self.stderr
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a running process");
    }

    /// Memory in use, in bytes.
    pub(crate) fn resident_memory(&self) -> u64 {
        let status = fs::read_to_string(self.in_proc("status")).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line of the kernel");
        let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kibibytes * 1024
    }

    /// Its open files and sockets.
    pub(crate) fn open_files(&self) -> Vec<OpenFile> {
        let links = fs::read_dir(self.in_proc("fd")).expect("a running process").flatten();
        // A file may be closed while they are read.
        let files = links.filter_map(|link| {
            let target = fs::read_link(link.path()).ok()?.to_string_lossy().into_owned();
            Some(OpenFile { link: link.path(), target })
        });
        files.collect()
    }

    fn in_proc(&self, name: &str) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string()).join(name)
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        within("the process to end", self.stderr.end()).await;
        self.child.wait().expect("a child of this process")
    }

    /// Waits until it ends by itself, whoever goes on with its outputs.
    pub async fn ended_alone(&mut self) -> ExitStatus {
        eventually("the process to end", async || self.child.try_wait().expect("a child of this process"))
            .await
    }

    /// Ends it as with `kill -9`, if it has not ended.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One of [`Process::open_files`].
#[derive(Debug)]
pub(crate) struct OpenFile {
    /// The link in `/proc`, through which a file without a name is reached too.
    pub(crate) link: PathBuf,
    /// Path of a file, with ` (deleted)` behind it if it has no name any more; `socket:` and a number for a
    /// socket.
    pub(crate) target: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends every process that was started with this on its command line.
pub(crate) fn kill_all_with(argument: &Path) {
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).any(|word| word == argument.as_os_str().as_encoded_bytes()) {
            // It may have ended meanwhile.
            let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// A process that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// Runs a command to its end.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("the binary at TIDEGATE_BIN");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status, stdout: text(stdout), stderr: text(stderr) }
    }
}

/// For the message of an assertion.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.status, self.stdout, self.stderr)
    }
}
