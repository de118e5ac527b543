//! The upgrade: this process starts its program anew, hands it the listening sockets, and ends once that one serves.
//!
//! ```text
//! this process (successor)                the new one (predecessor)
//!   what it has, and the sockets  ──────▶   loads the files, compiles, makes instances warm
//!                                 ◀──────   ready
//!   limits, stores, servers, go   ──────▶   accepts connections
//!                                 ◀──────   serving
//!   accepts no more, answers who asked, drains
//! ```
//!
//! Both accept on the same sockets for a moment, so that nothing waits and nothing is lost. Until the new process has said that it
//! serves, nothing has changed: if it fails, ends or is silent for too long, it is killed. `channel` carries what they tell each
//! other, `messages` is what that is; `program` says what is started.

mod channel;
mod messages;
mod predecessor;
mod program;
mod successor;

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

pub(crate) use self::predecessor::{Predecessor, Waiting};
pub(crate) use self::program::Program;
pub(crate) use self::successor::{Handed, Serving, hand_over};

/// Tells a process that it was started by an upgrade, and by which process: the socket between them is its standard input.
const VARIABLE: &str = "TIDEGATE_UPGRADE_FROM";

/// For a message that nothing has to be done for. A machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Why there was no upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: String,
    /// The last lines of the new process's log.
    pub(crate) log: Vec<String>,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), log: Vec::new() }
    }
}

/// What somebody is told who asked for an upgrade.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The new process serves. The old one begins to end when `told` is dropped: when this is written.
    Done {
        process: u32,
        told: oneshot::Sender<()>,
    },
    Failed(Failure),
    /// One is under way.
    Busy,
}

/// Who wants to know what came of it.
pub(crate) type Asked = oneshot::Sender<Reply>;

/// Asks for upgrades.
#[derive(Clone)]
pub(crate) struct Door(mpsc::Sender<Asked>);

impl Door {
    /// What came of it; `None` if the proxy is stopping.
    pub(crate) async fn ask(&self) -> Option<Reply> {
        let (asked, reply) = oneshot::channel();
        self.0.send(asked).await.ok()?;
        reply.await.ok()
    }
}

/// A door, and where those come out who ask.
pub(crate) fn door() -> (Door, mpsc::Receiver<Asked>) {
    // Whoever asks while there is no room waits for a moment.
    let (asking, asked) = mpsc::channel(4);
    (Door(asking), asked)
}
