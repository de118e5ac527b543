//! Names that no listener has: a client asks for one, and whoever decides lets it have a certificate.
//!
//! Workers ask here in the middle of a handshake. Those that are known are answered at once; the agent obtains the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::{mpsc, oneshot};

use crate::Stored;

/// Questions on their way to the agent, which looks at each at once.
const QUEUE: usize = 64;

/// The certificates of names that clients asked for.
pub struct OnDemand {
    known: RwLock<HashMap<String, Known>>,
    demands: mpsc::Sender<Demand>,
}

struct Known {
    certificate: Arc<Stored>,
    /// Since the certificate is there.
    was_used: AtomicBool,
}

/// A client waits for the certificate of a name.
pub(crate) struct Demand {
    pub(crate) name: String,
    pub(crate) reply: Reply,
}

pub(crate) type Reply = oneshot::Sender<Result<Arc<Stored>, Denied>>;

/// Why a client gets no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// It asks for none, or for what no host on the Internet is called.
    NoName,
    /// Who decides said so.
    NotAllowed,
    /// As many names as may be have one, or as many as may be are waited for.
    TooMany,
    /// It could not be obtained, or it could not be found out whether it may be.
    Failed,
}

impl Denied {
    /// For people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NoName => "asks for no name that a certificate can be obtained for",
            Self::NotAllowed => "the name is not allowed",
            Self::TooMany => "there are too many names",
            Self::Failed => "no certificate could be obtained",
        }
    }
}

impl OnDemand {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Demand>) {
        let (demands, queue) = mpsc::channel(QUEUE);
        (Self { known: RwLock::default(), demands }, queue)
    }

    /// The certificate of a name, which is obtained if there is none: within seconds, or not at all.
    ///
    /// # Errors
    ///
    /// There will be none now.
    pub async fn certificate(&self, name: Option<&str>) -> Result<Arc<Stored>, Denied> {
        let name = name.map(str::to_ascii_lowercase).filter(|name| is_host(name)).ok_or(Denied::NoName)?;
        if let Some(known) = self.read().get(&name) {
            known.was_used.store(true, Ordering::Relaxed);
            return Ok(known.certificate.clone());
        }
        let (reply, answer) = oneshot::channel();
        self.demands.try_send(Demand { name, reply }).map_err(|_| Denied::TooMany)?;
        answer.await.unwrap_or(Err(Denied::Failed))
    }

    pub(crate) fn set(&self, name: &str, certificate: Arc<Stored>) {
        let known = Known { certificate, was_used: AtomicBool::new(false) };
        self.write().insert(name.to_owned(), known);
    }

    pub(crate) fn forget(&self, name: &str) {
        self.write().remove(name);
    }

    pub(crate) fn retain(&self, keep: impl Fn(&str) -> bool) {
        self.write().retain(|name, _| keep(name));
    }

    /// Whether somebody asked for a name since its certificate is there.
    pub(crate) fn was_used(&self, name: &str) -> bool {
        self.read().get(name).is_some_and(|known| known.was_used.load(Ordering::Relaxed))
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Known>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name of several labels (RFC 1123 §2.1), and no address. It names a file of the storage.
fn is_host(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| is_letter(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.contains('.')
        && name.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_is_never_asked_for() {
        for name in ["a.test", "a-b.c.test", "xn--bcher-kva.example", "1.2.3.a"] {
            assert!(is_host(name), "{name}");
        }
        let long = format!("{}.test", "a".repeat(64));
        let strange = ["", "localhost", "a.test.", ".test", "a..b", "*.test", "a_b.test", "../x", "a/b.test"];
        for name in strange.into_iter().chain(["1.2.3.4", "-a.test", "a-.test", &long]) {
            assert!(!is_host(name), "{name}");
        }
    }
}
