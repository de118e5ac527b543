//! Where an upstream listens: a port that stays its own while nobody listens there, or a Unix socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixStream};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Where to listen.
#[derive(Debug)]
pub(crate) enum Place {
    /// Port 0 until it is reserved.
    Tcp { address: SocketAddr, reserved: Option<TcpSocket> },
    /// The path of a socket.
    Unix(PathBuf),
}

/// An open [`Place`].
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection to a [`Place`].
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// Bytes both ways.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

impl Place {
    pub(crate) fn any_port() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        Self::Tcp { address, reserved: None }
    }

    pub(crate) fn unix(path: PathBuf) -> Self {
        Self::Unix(path)
    }

    /// One port on all these addresses.
    pub(crate) fn side_by_side(addresses: &[IpAddr]) -> Vec<Self> {
        // What is free on one address may be taken on another.
        for _ in 0..100 {
            let mut port = 0;
            let mut places = Vec::new();
            for ip in addresses {
                let mut place = Self::at(SocketAddr::new(*ip, port));
                if place.try_reserve().is_err() {
                    break;
                }
                port = place.address().port();
                places.push(place);
            }
            if places.len() == addresses.len() {
                return places;
            }
        }
        panic!("no port is free on all of {addresses:?}");
    }

    /// From now on no other process gets the port, whether or not this one listens on it.
    pub(crate) fn reserve(&mut self) {
        self.try_reserve().expect("a free port");
    }

    fn try_reserve(&mut self) -> io::Result<()> {
        if let Self::Tcp { address, reserved: reserved @ None } = self {
            let socket = bound(*address)?;
            *address = socket.local_addr()?;
            *reserved = Some(socket);
        }
        Ok(())
    }

    /// Opens it, after [`Self::reserve`]; once at a time.
    pub(crate) fn listen(&self) -> Listener {
        match self {
            // The socket that reserves the port is bound too, but never listens.
            Self::Tcp { address, .. } => {
                let socket = bound(*address).expect("the port is reserved");
                Listener::Tcp(socket.listen(BACKLOG).expect("nobody else listens there"))
            }
            Self::Unix(path) => {
                let _ = std::fs::remove_file(path);
                Listener::Unix(UnixListener::bind(path).expect("a new socket"))
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp { address, .. } => *address,
            Self::Unix(path) => panic!("{} is no address", path.display()),
        }
    }
}

fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// As it stands in `servers`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listener {
    pub(crate) async fn accept(&self) -> Accepted {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await.expect("a connection");
                stream.set_nodelay(true).expect("an open socket");
                Accepted::Tcp(stream)
            }
            Self::Unix(listener) => Accepted::Unix(listener.accept().await.expect("a connection").0),
        }
    }
}

impl Accepted {
    pub(crate) fn into_tcp(self) -> TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Unix(_) => panic!("a script is for TCP"),
        }
    }

    pub(crate) fn into_io(self) -> Box<dyn Io> {
        match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Unix(stream) => Box::new(stream),
        }
    }
}

/// A port at which attempts to connect neither succeed nor fail: its queue of connections to accept is full.
#[derive(Debug)]
pub struct FullPort {
    address: SocketAddr,
    _listener: TcpListener,
    _waiting: TcpStream,
}

impl FullPort {
    /// Full until it is dropped.
    pub async fn open() -> Self {
        let socket = bound(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        // On Linux, one connection more than this may wait; the kernel drops the SYNs of further ones.
        let listener = socket.listen(0).expect("a bound socket");
        let waiting = TcpStream::connect(address).await.expect("the one that may wait");
        Self { address, _listener: listener, _waiting: waiting }
    }

    /// For `servers`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
