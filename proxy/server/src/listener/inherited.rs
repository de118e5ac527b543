//! Listening sockets that this process was started with.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use socket2::SockRef;

use super::bind::{BACKLOG, UNSENT};

/// What is handed over for one listener, or for the admin interface.
pub(crate) enum Sockets {
    Tcp(Vec<TcpListener>),
    Unix {
        socket: UnixListener,
        path: PathBuf,
        /// The file is not of this proxy's making.
        is_foreign: bool,
    },
}

/// Sockets that belong together.
pub(crate) struct Group {
    /// The listener that has them, or is to have them.
    pub(crate) name: String,
    /// What was asked for when they were bound; `None`: somebody else bound them.
    pub(crate) asked: Option<SocketAddr>,
    pub(crate) sockets: Sockets,
}

/// The sockets that nobody has taken yet; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Inherited(Arc<Mutex<Vec<(usize, Group)>>>);

impl Inherited {
    /// The groups are told apart by their order.
    pub(crate) fn new(groups: Vec<Group>) -> Self {
        Self(Arc::new(Mutex::new(groups.into_iter().enumerate().collect())))
    }

    /// The sockets for an address: those that were bound for this name, else any that were bound there. A
    /// name alone is enough only where nobody knows what was asked for.
    pub(crate) fn take(&self, name: &str, address: SocketAddr) -> Option<Vec<TcpListener>> {
        let mut groups = self.groups();
        let first = |fits: &dyn Fn(&Group) -> bool| groups.iter().position(|(_, group)| fits(group));
        let at = first(&|group| group.name == name && group.is_at(address))
            .or_else(|| {
                first(&|group| group.name == name && group.asked.is_none() && group.address().is_some())
            })
            .or_else(|| first(&|group| group.is_at(address)))?;
        match groups.remove(at).1.sockets {
            Sockets::Tcp(sockets) => Some(sockets),
            Sockets::Unix { .. } => None,
        }
    }

    /// The Unix socket with this path, and whether its file is not of the proxy's making.
    pub(crate) fn take_unix(&self, path: &Path) -> Option<(UnixListener, bool)> {
        let mut groups = self.groups();
        let has_path =
            |group: &Group| matches!(&group.sockets, Sockets::Unix { path: bound, .. } if bound == path);
        let at = groups.iter().position(|(_, group)| has_path(group))?;
        match groups.remove(at).1.sockets {
            Sockets::Unix { socket, is_foreign, .. } => Some((socket, is_foreign)),
            Sockets::Tcp(_) => None,
        }
    }

    /// Whether some have this port, on whatever address.
    pub(crate) fn have_port(&self, port: u16) -> bool {
        let groups = self.groups();
        let mut addresses = groups.iter().filter_map(|(_, group)| group.address());
        addresses.any(|address| address.port() == port)
    }

    /// The numbers of the groups that are left.
    pub(crate) fn left(&self) -> Vec<usize> {
        self.groups().iter().map(|(number, _)| *number).collect()
    }

    /// What nobody has taken.
    pub(crate) fn take_rest(&self) -> Vec<Group> {
        std::mem::take(&mut *self.groups()).into_iter().map(|(_, group)| group).collect()
    }

    fn groups(&self) -> MutexGuard<'_, Vec<(usize, Group)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Group {
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match &self.sockets {
            Sockets::Tcp(sockets) => sockets.first()?.local_addr().ok(),
            Sockets::Unix { .. } => None,
        }
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        let Some(bound) = self.address() else { return false };
        self.asked == Some(address) || bound == address
    }
}

/// For people.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.sockets, self.address()) {
            (Sockets::Unix { path, .. }, _) => write!(f, "{} at unix:{}", self.name, path.display()),
            (Sockets::Tcp(_), Some(address)) => write!(f, "{} at {address}", self.name),
            (Sockets::Tcp(_), None) => f.write_str(&self.name),
        }
    }
}

/// Readies a socket that somebody else has bound.
///
/// # Errors
/// It is not usable.
pub(crate) fn adopt(socket: &TcpListener) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    // What it was bound with may be less.
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> (TcpListener, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        (socket, address)
    }

    fn group(name: &str, asked: Option<&str>, socket: TcpListener) -> Group {
        let asked = asked.map(|asked| asked.parse().expect("an address"));
        Group { name: name.to_owned(), asked, sockets: Sockets::Tcp(vec![socket]) }
    }

    fn taken(inherited: &Inherited, name: &str, address: &str) -> Option<SocketAddr> {
        let address = address.parse().expect("an address");
        inherited.take(name, address)?.first()?.local_addr().ok()
    }

    #[test]
    fn a_listener_gets_its_own_sockets_before_others_at_its_address() {
        let any = Some("127.0.0.1:0");
        let ((one, of_one), (two, of_two), (three, of_three)) = (socket(), socket(), socket());
        let groups = [group("one", any, one), group("two", any, two), group("three", any, three)];
        let inherited = Inherited::new(groups.into());
        assert_eq!(taken(&inherited, "two", "127.0.0.1:0"), Some(of_two));
        assert_eq!(taken(&inherited, "renamed", &of_three.to_string()), Some(of_three));
        assert_eq!(taken(&inherited, "one", "127.0.0.1:1"), None, "it has moved");
        assert!(inherited.have_port(of_one.port()));
        assert_eq!(inherited.left(), [0]);
        let rest: Vec<_> = inherited.take_rest().iter().map(ToString::to_string).collect();
        assert_eq!(rest, [format!("one at {of_one}")]);
        assert!(inherited.left().is_empty());
    }

    #[test]
    fn where_nobody_knows_what_was_asked_for_the_name_decides() {
        let ((one, of_one), (two, of_two)) = (socket(), socket());
        let inherited = Inherited::new(vec![group("web", None, one), group("x", None, two)]);
        assert_eq!(taken(&inherited, "web", "0.0.0.0:443"), Some(of_one));
        assert_eq!(taken(&inherited, "other", &of_two.to_string()), Some(of_two));
    }
}
