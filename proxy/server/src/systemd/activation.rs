//! Sockets that systemd passes: those of socket units, and those that an earlier process had it keep.

use std::env;

use listenfd::ListenFd;

use crate::listener::{Group, Sockets};

/// By name and address. A warning is a socket that nobody here knows what to do with.
pub(crate) fn sockets() -> (Vec<Group>, Vec<String>) {
    let process = env::var("LISTEN_PID").ok().and_then(|process| process.parse().ok());
    // Meant for whoever started this process.
    if process != Some(std::process::id()) {
        return (Vec::new(), Vec::new());
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut passed = ListenFd::from_env();
    let (mut groups, mut warnings) = (Vec::<Group>::new(), Vec::new());
    for index in 0..passed.len() {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        if let Ok(Some(socket)) = passed.take_tcp_listener(index) {
            let address = socket.local_addr().ok();
            let same = groups.iter_mut().find(|group| group.name == name && group.address() == address);
            match same.map(|group| &mut group.sockets) {
                Some(Sockets::Tcp(sockets)) => sockets.push(socket),
                _ => groups.push(Group {
                    name: name.to_owned(),
                    asked: None,
                    sockets: Sockets::Tcp(vec![socket]),
                }),
            }
            continue;
        }
        let socket = passed.take_unix_listener(index).ok().flatten();
        let path =
            socket.as_ref().and_then(|socket| Some(socket.local_addr().ok()?.as_pathname()?.to_owned()));
        match (socket, path) {
            (Some(socket), Some(path)) => {
                let sockets = Sockets::Unix { socket, path, is_foreign: true };
                groups.push(Group { name: name.to_owned(), asked: None, sockets });
            }
            _ => {
                warnings.push(format!("systemd passed {name}, which is no socket that the proxy listens on"))
            }
        }
    }
    (groups, warnings)
}
