//! Tells systemd how the service fares.

use std::env;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::interval;

/// Where messages go.
const SOCKET: &str = "NOTIFY_SOCKET";
/// In microseconds, how often systemd wants a sign of life; and from whom, if that is said.
const WATCHDOG: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";

/// systemd reads as it has the time, and is not waited for longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sockets in one message; systemd takes 253.
const SOCKETS: usize = 64;
/// A worker turns over once a second; one that does not for so long serves nobody.
const STUCK: Duration = Duration::from_secs(10);
/// A sign of life is not said more often.
const SHORTEST: Duration = Duration::from_millis(10);

/// Says nothing unless something wants to know. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Notifier(Option<Arc<Telling>>);

struct Telling {
    socket: UnixDatagram,
    /// What waits until systemd takes this process for the service.
    waiting: Mutex<Option<Vec<Message>>>,
}

struct Message {
    text: String,
    sockets: Vec<TcpListener>,
}

impl Notifier {
    /// For whoever the environment names. With `waits` nothing is said before [`Self::release`]: another process is the service.
    ///
    /// # Errors
    /// Who is named is not there.
    pub(crate) fn of_environment(waits: bool) -> io::Result<Self> {
        let Some(place) = env::var_os(SOCKET).filter(|place| !place.is_empty()) else {
            return Ok(Self(None));
        };
        let address = match place.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&place)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let waiting = Mutex::new(waits.then(Vec::new));
        Ok(Self(Some(Arc::new(Telling { socket, waiting }))))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Says what waited, and from now on everything at once.
    pub(crate) fn release(&self) {
        let Some(telling) = &self.0 else { return };
        let waiting = telling.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiting.into_iter().flatten().for_each(|message| telling.say(&message));
    }

    pub(crate) fn ready(&self, status: &str) {
        self.tell(format!("READY=1\nSTATUS={status}"), Vec::new());
    }

    /// [`Self::ready`] is to follow.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // Neither is ever negative.
        let micros = now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"), Vec::new());
    }

    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining".to_owned(), Vec::new());
    }

    /// Another process is the service from now on. It says itself what else there is to say.
    pub(crate) fn succeeded_by(&self, process: u32) {
        self.tell(format!("MAINPID={process}"), Vec::new());
    }

    /// Has sockets kept while the service is restarted.
    pub(crate) fn keep<'s>(&self, name: &str, sockets: impl IntoIterator<Item = &'s TcpListener>) {
        if !self.is_there() {
            return;
        }
        // Without copies they are not kept, and a restart refuses connections for a while.
        let sockets: Vec<_> = sockets.into_iter().filter_map(|socket| socket.try_clone().ok()).collect();
        self.tell(format!("FDSTORE=1\nFDNAME={name}"), sockets);
    }

    /// Those of this name are kept no longer.
    pub(crate) fn forget(&self, name: &str) {
        self.tell(format!("FDSTOREREMOVE=1\nFDNAME={name}"), Vec::new());
    }

    fn tell(&self, text: String, sockets: Vec<TcpListener>) {
        let Some(telling) = &self.0 else { return };
        let message = Message { text, sockets };
        let mut waiting = telling.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(waiting) => waiting.push(message),
            None => telling.say(&message),
        }
    }
}

impl Telling {
    fn say(&self, message: &Message) {
        if let Err(error) = self.send(message, SendFlags::empty()) {
            tracing::warn!(target: "systemd", "cannot tell systemd how the service fares: {error}");
        }
    }

    fn send(&self, Message { text, sockets }: &Message, flags: SendFlags) -> rustix::io::Result<()> {
        let text = [IoSlice::new(text.as_bytes())];
        let send = |some: &[BorrowedFd<'_>]| {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !some.is_empty() {
                beside.push(SendAncillaryMessage::ScmRights(some));
            }
            sendmsg(&self.socket, &text, &mut beside, flags | SendFlags::NOSIGNAL)
        };
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
        match &sockets[..] {
            [] => send(&[]).map(drop),
            sockets => sockets.chunks(SOCKETS).try_for_each(|some| send(some).map(drop)),
        }
    }
}

/// Says that the service lives as long as all workers turn over within a limit, where systemd wants to know. Ends with the
/// runtime.
pub(crate) async fn watchdog(notifier: Notifier, is_well: impl Fn(Duration) -> bool) {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let is_meant = number(WATCHDOG_PROCESS).is_none_or(|process| process == u64::from(std::process::id()));
    let Some(within) = number(WATCHDOG).filter(|within| *within > 0 && is_meant) else { return };
    // Half the time, as sd_watchdog_enabled(3) recommends.
    let mut ticks = interval((Duration::from_micros(within) / 2).max(SHORTEST));
    loop {
        ticks.tick().await;
        if let Some(telling) = &notifier.0
            && telling.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_none()
            && is_well(STUCK)
        {
            // Where there is no room, there are signs of life that were not read yet.
            let _ = telling
                .send(&Message { text: "WATCHDOG=1".to_owned(), sockets: Vec::new() }, SendFlags::DONTWAIT);
        }
    }
}
