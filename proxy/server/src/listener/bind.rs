//! Opens one socket per worker on the same address.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Connections the kernel keeps until a worker accepts them; it lowers this to `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// Bytes that the kernel takes of what is still to be sent to a client before it says that it has enough; without a
/// bound some megabytes. A slow reader is seen to read then, and what waits for it is on its account rather than
/// the kernel's.
pub(super) const UNSENT: u32 = 64 << 10;

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
        let socket = joined(address)?;
        address = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A share for each of `count` workers of sockets that are bound already. All of them are in it: what the kernel has given one
/// waits there for whoever accepts. Where there are too few and others may be bound beside them, there are; else workers share.
///
/// # Errors
/// The process may have no more open files.
pub(crate) fn share_out(mut sockets: Vec<TcpListener>, count: usize) -> io::Result<Vec<Vec<TcpListener>>> {
    let bound = sockets.len();
    let first = sockets.first().ok_or(io::ErrorKind::NotFound)?;
    let address = first.local_addr()?;
    let spreads = SockRef::from(first).reuse_port().unwrap_or(false);
    for index in bound..count {
        // Only who bound the first may bind others beside it.
        let beside = spreads.then(|| joined(address).ok()).flatten();
        let socket = beside.map_or_else(|| sockets[index % bound].try_clone(), Ok)?;
        sockets.push(socket);
    }
    let mut shares: Vec<Vec<TcpListener>> = (0..count).map(|_| Vec::new()).collect();
    for (index, socket) in sockets.into_iter().enumerate() {
        shares[index % count].push(socket);
    }
    Ok(shares)
}

/// One more socket among those that the kernel spreads connections of an address over.
fn joined(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bound(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
