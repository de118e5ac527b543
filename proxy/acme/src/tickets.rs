//! Secrets that session tickets are sealed with, for all proxies that share a storage.
//!
//! A new one is made while the last one is not too old, and is used only when all proxies have had the time to read it. So a
//! ticket that one of them gave is good for the others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{At, Storage};

/// How long tickets are sealed with one secret.
const USED: Duration = Duration::from_secs(8 * 3600);
/// How long before that it is there: several times [`LOOK`].
const AHEAD: Duration = Duration::from_secs(300);
/// How often the storage is looked at.
pub(crate) const LOOK: Duration = Duration::from_secs(30);
/// Secrets that are kept: the next, the present one, and two whose tickets are still good.
const KEPT: usize = 4;

/// A secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketSecret {
    /// Random bytes.
    pub bytes: [u8; 32],
    /// When it is used from.
    pub from: At,
}

/// The secrets as they are now.
#[derive(Default)]
pub struct TicketSecrets(Mutex<Arc<[TicketSecret]>>);

impl TicketSecrets {
    /// The newest first. Empty while none could be read or made.
    pub fn now(&self) -> Arc<[TicketSecret]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, secrets: Arc<[TicketSecret]>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = secrets;
    }
}

/// Reads the secrets, and makes the next one when it is time and no other proxy does.
pub(crate) fn look(storage: &Storage, now: At) -> Result<Vec<TicketSecret>, String> {
    let secrets = storage.ticket_secrets()?;
    if !is_due(&secrets, now) {
        return Ok(secrets);
    }
    let text = |error: std::io::Error| error.to_string();
    let Some(_lease) = storage.lease("ticket@secrets").map_err(text)? else { return Ok(secrets) };
    let mut secrets = storage.ticket_secrets()?;
    if is_due(&secrets, now) {
        // The first is wanted now.
        let from = if secrets.is_empty() { now } else { now.plus(AHEAD) };
        secrets.insert(0, TicketSecret { bytes: rand::random(), from });
        secrets.truncate(KEPT);
        storage.set_ticket_secrets(&secrets).map_err(text)?;
    }
    Ok(secrets)
}

fn is_due(secrets: &[TicketSecret], now: At) -> bool {
    secrets.first().is_none_or(|newest| newest.from.plus(USED - AHEAD) <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_there_before_it_is_used_and_after() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("it is made");
        let mut now = At(1_000_000);
        let first = look(&storage, now).expect("it is made");
        assert!(first.len() == 1 && first[0].from == now);
        assert!(look(&storage, now.plus(USED / 2)).expect("it is read") == first, "all read the same");
        now = now.plus(USED - AHEAD);
        let second = look(&storage, now).expect("it is made");
        assert!(second.len() == 2 && second[1] == first[0] && second[0].from == now.plus(AHEAD));
        for _ in 0..5 {
            now = now.plus(USED);
            look(&storage, now).expect("it is made");
        }
        let last = look(&storage, now).expect("it is read");
        assert_eq!(last.len(), KEPT);
        assert!(last.windows(2).all(|pair| pair[0].from.since(pair[1].from) >= USED));
    }
}
