//! The process whose place this one takes, as this one sees it.

use std::env;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_acme::TicketSecret;
use tidegate_state::{Secret, State};
use tidegate_upstream::Clusters;

use super::channel::Channel;
use super::messages::{FromNew, FromOld, Hello, VERSION};
use super::{AT_ONCE, VARIABLE};
use crate::listener::{Group, Sockets};

/// The old process answers when it has the time: it still serves. It kills this one if it has lost patience.
const PATIENCE: Duration = Duration::from_secs(600);

/// The old process, and what it gave.
pub(crate) struct Predecessor {
    channel: Arc<Channel>,
    pub(crate) process: u32,
    pub(crate) groups: Vec<Group>,
    pub(crate) tickets: Vec<TicketSecret>,
    pub(crate) secret: Secret,
    stderr: OwnedFd,
}

/// What is left of it once its sockets are taken.
pub(crate) struct Waiting {
    channel: Arc<Channel>,
    process: u32,
    stderr: OwnedFd,
}

impl Predecessor {
    /// The process that started this one by an upgrade; `None` if none did.
    ///
    /// # Errors
    /// It has ended, or is of a version that hands nothing over to this one.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        let parent = std::os::unix::process::parent_id();
        // Whoever is started by a proxy that was upgraded inherits the variable.
        if env::var(VARIABLE).ok().and_then(|process| process.parse().ok()) != Some(parent) {
            return Ok(None);
        }
        let until = Instant::now() + AT_ONCE;
        let channel = Channel::new(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?));
        let hello: Hello = channel.receive(until)?;
        if hello.version != VERSION {
            let text = format!(
                "the running process hands over in version {} of the protocol, this program takes version {VERSION}: restart it",
                hello.version
            );
            return Err(io::Error::other(text));
        }
        let count = hello.groups.iter().map(|group| group.count).sum::<usize>();
        let mut files = channel.receive_files(count + 1, until)?.into_iter();
        let mut next = || files.next().ok_or_else(|| io::Error::other("open files are missing"));
        let stderr = next()?;
        let mut groups = Vec::new();
        for described in hello.groups {
            let files = (0..described.count).map(|_| next()).collect::<io::Result<Vec<_>>>()?;
            let sockets = match described.path {
                None => Sockets::Tcp(files.into_iter().map(TcpListener::from).collect()),
                Some(path) => {
                    let file = files.into_iter().next().ok_or_else(|| io::Error::other("no socket"))?;
                    Sockets::Unix { socket: file.into(), path, is_foreign: described.is_foreign }
                }
            };
            groups.push(Group { name: described.name, asked: described.asked, sockets });
        }
        let (tickets, secret) = (hello.tickets, Secret(hello.secret));
        Ok(Some(Self { channel: Arc::new(channel), process: parent, groups, tickets, secret, stderr }))
    }

    /// Without what it gave.
    pub(crate) fn wait(self) -> (Arc<Waiting>, Vec<Group>) {
        let Self { channel, process, groups, stderr, .. } = self;
        (Arc::new(Waiting { channel, process, stderr }), groups)
    }
}

impl Waiting {
    /// Says that this process could serve, takes up limits, stores and what is known of servers, and waits until it is to.
    ///
    /// # Errors
    /// The old process does not want it to, or has ended.
    pub(crate) fn ready(&self, state: &State, clusters: &Clusters) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        self.channel.send(&FromNew::Ready, until)?;
        loop {
            match self.channel.receive(until)? {
                FromOld::State(carried) => carried.take_up(state),
                FromOld::Upstream(kept) => {
                    if let Some(cluster) = clusters.get(&kept.name) {
                        cluster.take_up(kept);
                    }
                }
                FromOld::Go => break,
            }
        }
        // Until now the old process read what this one wrote, to know why it would fail.
        Ok(rustix::stdio::dup2_stderr(&self.stderr)?)
    }

    /// Says that this process serves, on all sockets but those of the groups that are left.
    pub(crate) fn serving(&self, left: Vec<usize>) {
        // Whoever is not there to hear it does not serve either.
        if let Err(error) = self.channel.send(&FromNew::Serving { left }, Instant::now() + AT_ONCE) {
            tracing::warn!(target: "upgrade", "the process before this one has gone: {error}");
        }
        tracing::info!(target: "upgrade", from = self.process, "this process serves in place of another");
    }

    /// Waits, for a while, until the old process has said all that it has to say, to others as well.
    pub(crate) fn until_released(&self) {
        self.channel.until_closed(Instant::now() + AT_ONCE);
    }
}
