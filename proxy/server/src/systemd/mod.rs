//! What systemd gives a service and wants to know of it; nothing of it is there when something else starts the proxy.
//!
//! `activation` has the sockets that it passes (sd_listen_fds(3)), `notify` tells it how the service fares (sd_notify(3)).

mod activation;
mod notify;

pub(crate) use self::activation::sockets;
pub(crate) use self::notify::{Notifier, watchdog};

/// Whether systemd takes the end of this process for that of its service, and would end what took its place: it does not know
/// of another main process unless it is told.
pub(crate) fn ends_with_this_process(notifier: &Notifier) -> bool {
    let main = std::env::var("SYSTEMD_EXEC_PID").ok().and_then(|process| process.parse().ok());
    !notifier.is_there() && main == Some(std::process::id())
}
