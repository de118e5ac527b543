//! The process that takes the place of this one, as this one sees it.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidegate_acme::TicketSecret;
use tidegate_state::State;
use tidegate_upstream::Cluster;
use tokio::sync::oneshot;

use super::channel::Channel;
use super::messages::{Described, FromNew, FromOld, Hello, VERSION, carry};
use super::{AT_ONCE, Failure, Program, VARIABLE};
use crate::listener::{Group, Sockets};

/// Lines of its log that are told of when it fails.
const LAST_LINES: usize = 20;
/// A line is cut here.
const LONGEST_LINE: u64 = 16 << 10;

/// What the new process is given.
pub(crate) struct Handed {
    pub(crate) groups: Vec<Group>,
    pub(crate) tickets: Vec<TicketSecret>,
    pub(crate) state: State,
    pub(crate) upstreams: Vec<Arc<Cluster>>,
    /// `timeouts.upgrade`.
    pub(crate) patience: Duration,
}

/// A process that serves in place of this one.
pub(crate) struct Serving {
    pub(crate) process: u32,
    /// The groups that it did not take.
    pub(crate) left: Vec<usize>,
    /// Held until this process has told others about it.
    _channel: Option<Channel>,
}

/// Starts the program and waits until the new process serves; what it writes until then goes to `log`. Dropping the future
/// kills it.
pub(crate) async fn hand_over(
    program: &Program,
    handed: Handed,
    log: impl Write + Send + 'static,
) -> Result<Serving, Failure> {
    let started = Successor::start(program);
    let (mut successor, channel, stderr) = started
        .map_err(|error| Failure::new(format!("{} cannot be started: {error}", program.path().display())))?;
    let process = successor.process;
    tracing::info!(target: "upgrade", process, program = %program.path().display(), "started");
    let tail = Tail::follow(stderr, log);
    let (told, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("upgrade".to_owned()).spawn(move || {
        let result = converse(&channel, &handed);
        drop(handed);
        // Nobody waits for it any longer if the proxy is stopping.
        let _ = told.send((result, channel));
    });
    let failed = |reason: String| Err(Broken { reason, may_have_ended: false });
    let (result, channel) = match thread {
        Ok(_) => match result.await {
            Ok((result, channel)) => (result, Some(channel)),
            Err(_) => (failed("the thread that spoke with it ended".to_owned()), None),
        },
        Err(error) => (failed(format!("no thread for it: {error}")), None),
    };
    match result {
        Ok(left) => {
            successor.release();
            Ok(Serving { process, left, _channel: channel })
        }
        Err(Broken { reason, may_have_ended }) => {
            let end = move || {
                let status = successor.end(may_have_ended);
                // Only now: some end by themselves when it is closed.
                drop(channel);
                (status, tail.lines())
            };
            let Ok((status, log)) = tokio::task::spawn_blocking(end).await else {
                return Err(Failure::new(reason));
            };
            let reason = match status {
                Some(status) => format!("the new process ended: {status}"),
                None => reason,
            };
            Err(Failure { reason, log })
        }
    }
}

/// Why the new process does not serve.
struct Broken {
    reason: String,
    /// Then its status tells more.
    may_have_ended: bool,
}

/// The groups that the new process does not serve on.
fn converse(channel: &Channel, handed: &Handed) -> Result<Vec<usize>, Broken> {
    let broken = |reason: String, may_have_ended| Broken { reason, may_have_ended };
    let silent = |what: &str, error: io::Error| match error.kind() {
        ErrorKind::TimedOut => broken(format!("the new process {what} within {:?}", handed.patience), false),
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            broken("the new process closed the connection to this one".to_owned(), true)
        }
        _ => broken(format!("no understanding with the new process: {error}"), false),
    };
    let until = Instant::now() + handed.patience;
    let stderr = io::stderr();
    let mut files: Vec<BorrowedFd<'_>> = vec![stderr.as_fd()];
    let groups = handed.groups.iter().map(|group| {
        let Group { name, asked, sockets } = group;
        let described =
            Described { name: name.clone(), asked: *asked, path: None, is_foreign: false, count: 1 };
        match sockets {
            Sockets::Tcp(sockets) => {
                files.extend(sockets.iter().map(AsFd::as_fd));
                Described { count: sockets.len(), ..described }
            }
            Sockets::Unix { socket, path, is_foreign } => {
                files.push(socket.as_fd());
                Described { path: Some(path.clone()), is_foreign: *is_foreign, ..described }
            }
        }
    });
    let hello = Hello {
        version: VERSION,
        groups: groups.collect(),
        tickets: handed.tickets.clone(),
        secret: handed.state.secret().0,
    };
    let ready = channel
        .send(&hello, until)
        .and_then(|()| channel.send_files(&files, until))
        .and_then(|()| channel.receive::<FromNew>(until));
    ready.map_err(|error| silent("did not say that it is ready", error))?;
    let until = Instant::now() + AT_ONCE;
    let serving = carry(&handed.state, |carried| channel.send(&FromOld::State(carried), until))
        .and_then(|()| {
            let kept = handed.upstreams.iter().map(|cluster| FromOld::Upstream(cluster.kept()));
            kept.into_iter().try_for_each(|kept| channel.send(&kept, until))
        })
        .and_then(|()| channel.send(&FromOld::Go, until))
        .and_then(|()| channel.receive(until));
    match serving.map_err(|error| silent("was ready but did not serve", error))? {
        FromNew::Serving { left } => Ok(left),
        FromNew::Ready => Err(broken("the new process was ready twice".to_owned(), false)),
    }
}

/// The child; dropping it kills it.
struct Successor {
    process: u32,
    child: Option<Child>,
}

impl Successor {
    fn start(program: &Program) -> io::Result<(Self, Channel, impl Read + Send + use<>)> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut command = program.command();
        command.env(VARIABLE, std::process::id().to_string());
        // Said of this process: what it was given, the other one gets from it.
        for variable in ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(variable);
        }
        command.stdin(OwnedFd::from(theirs)).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // With it goes the other end of the socket: the end of the child is seen by it.
        drop(command);
        let stderr = child.stderr.take().ok_or(ErrorKind::NotFound)?;
        Ok((Self { process: child.id(), child: Some(child) }, Channel::new(ours), stderr))
    }

    /// It goes on without this process.
    fn release(&mut self) {
        self.child = None;
    }

    /// Its status if it has ended by itself; else it is killed.
    fn end(&mut self, may_have_ended: bool) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        // Its socket may have closed a little before it ends.
        for _ in 0..if may_have_ended { 100 } else { 1 } {
            if let Ok(Some(status)) = child.try_wait() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the new process writes to its log before it serves.
struct Tail {
    last: Arc<Mutex<VecDeque<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Tail {
    /// Passes it on to the log of this process.
    fn follow(stderr: impl Read + Send + 'static, mut log: impl Write + Send + 'static) -> Self {
        let last = Arc::<Mutex<VecDeque<String>>>::default();
        let kept = last.clone();
        let follow = move || {
            let mut reader = BufReader::new(stderr);
            loop {
                let mut line = Vec::new();
                match reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => return,
                }
                if line.last() != Some(&b'\n') {
                    line.push(b'\n');
                }
                // The queue of the log takes it or counts it as lost.
                let _ = log.write_all(&line);
                let mut last = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == LAST_LINES {
                    last.pop_front();
                }
                last.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        };
        // Without a thread its log is lost.
        let thread = std::thread::Builder::new().name("upgrade-log".to_owned()).spawn(follow).ok();
        Self { last, thread }
    }

    /// The last lines of a process that has ended.
    fn lines(self) -> Vec<String> {
        // What it started itself may go on writing.
        for _ in 0..20 {
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
