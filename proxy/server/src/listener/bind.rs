//! Opens one socket per worker on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections the kernel keeps until a worker accepts them; it lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes of what is still to be sent to a client before it says that it has enough; without a
/// bound some megabytes. A slow reader is seen to read then, and what waits for it is on its account rather than
/// the kernel's.
const UNSENT: u32 = 64 << 10;

/// Binds `count` sockets to `address`, among which the kernel spreads connections (SO_REUSEPORT). With
/// port 0 all get the port that the system chose for the first. With `join`, sockets of this process
/// may be bound to it already: a listener that is renamed or whose address is widened has them until
/// the new one serves.
///
/// # Errors
/// The address is in use, without `join` also by another process that spreads connections in this
/// way: two proxies must not share a port by accident.
pub(crate) fn bind(address: SocketAddr, count: usize, join: bool) -> io::Result<Vec<TcpListener>> {
    if !join {
        // Fails where SO_REUSEPORT would join in. Closed before the others are bound; it does not listen, as who
        // connects meanwhile would be cut off.
        drop(bound(address, false)?);
    }
    let mut address = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bound(address, true)?;
        socket.listen(BACKLOG)?;
        let socket = TcpListener::from(socket);
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Why an address cannot be listened on, and what to do about it.
pub(crate) fn refused(address: SocketAddr, error: &io::Error) -> String {
    let help = match error.kind() {
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            "; ports below 1024 need the capability CAP_NET_BIND_SERVICE (systemd: \
             AmbientCapabilities=CAP_NET_BIND_SERVICE), or a lower net.ipv4.ip_unprivileged_port_start"
        }
        io::ErrorKind::AddrInUse => "; another process listens there: `ss -ltnp` names it",
        io::ErrorKind::AddrNotAvailable => {
            "; no interface of this machine has the address: `ip address` lists them"
        }
        _ => "",
    };
    format!("cannot listen on {address}: {error}{help}")
}

fn bound(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a previous process in TIME_WAIT must not keep a new one from starting.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(reuse_port)?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two addresses; whether the first includes the second would depend
        // on the system.
        socket.set_only_v6(true)?;
    }
    // Handed down to the connections that are accepted. Without it only slow readers are seen less well.
    let _ = socket.set_tcp_notsent_lowat(UNSENT);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
