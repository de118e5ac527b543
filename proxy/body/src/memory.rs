//! One account of the memory that requests make the process hold, with a share for each client.
//!
//! What is counted is what is held, not what a peer announced: bodies kept for retries, for policies and until they
//! are whole, and responses for slow clients. Who cannot hold more either does without (no retry, a response waits
//! for its client) or is refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tidegate_message::network;

use crate::complaints::Complaints;

/// One client may hold this part of the limit.
const SHARE: u64 = 10;

/// The memory of the whole process. Outlives generations.
#[derive(Debug, Default)]
pub struct Memory {
    limit: AtomicU64,
    held: AtomicU64,
    complaints: Complaints,
    /// Those that hold something. Locked when a request holds something for the first time.
    clients: Mutex<HashMap<IpAddr, Weak<Client>>>,
}

#[derive(Debug)]
struct Client {
    address: IpAddr,
    held: AtomicU64,
    memory: Arc<Memory>,
}

/// The account is full, or the client's share of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limits.memory is used up")]
pub struct MemoryUsedUp;

/// On whose account a request holds memory. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Payer {
    memory: Arc<Memory>,
    client: IpAddr,
}

/// Bytes on the account of a client, until this is dropped.
#[derive(Debug)]
pub struct Held {
    payer: Payer,
    /// `None` while nothing is held.
    client: Option<Arc<Client>>,
    bytes: u64,
}

impl Memory {
    /// Changes `limits.memory`. What is held stays.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// What `limits.memory` is.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Bytes held now.
    pub fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// The account of one client, which of IPv6 is a network of 64 bits.
    pub fn payer(self: &Arc<Self>, client: IpAddr) -> Payer {
        Payer { memory: self.clone(), client: network(client) }
    }

    fn client(self: &Arc<Self>, address: IpAddr) -> Arc<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = clients.get(&address).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let client = Arc::new(Client { address, held: AtomicU64::new(0), memory: self.clone() });
            clients.insert(address, Arc::downgrade(&client));
            client
        })
    }

    fn complain(&self, what: &str, client: IpAddr) {
        if self.complaints.allow() {
            let (held, limit) = (self.held(), self.limit.load(Relaxed));
            tracing::warn!(target: "memory", %client, held, limit, "{what} is used up: requests are refused");
        }
    }
}

impl Client {
    fn take(&self, bytes: u64) -> Result<(), &'static str> {
        let limit = self.memory.limit.load(Relaxed);
        let take = |most: u64| move |held: u64| held.checked_add(bytes).filter(|held| *held <= most);
        if self.held.fetch_update(Relaxed, Relaxed, take(limit / SHARE)).is_err() {
            return Err("the client's tenth of limits.memory");
        }
        if self.memory.held.fetch_update(Relaxed, Relaxed, take(limit)).is_err() {
            self.held.fetch_sub(bytes, Relaxed);
            return Err("limits.memory");
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Relaxed);
        self.memory.held.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let mut clients = self.memory.clients.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have come in its place meanwhile.
        if clients.get(&self.address).is_some_and(|known| known.strong_count() == 0) {
            clients.remove(&self.address);
        }
    }
}

impl Payer {
    /// Who pays.
    pub fn client(&self) -> IpAddr {
        self.client
    }

    /// Nothing yet.
    pub fn hold(&self) -> Held {
        Held { payer: self.clone(), client: None, bytes: 0 }
    }

    /// One whose account is never full, for tests of what holds memory.
    #[cfg(test)]
    pub(crate) fn rich() -> Self {
        Self::with(u64::MAX)
    }

    #[cfg(test)]
    pub(crate) fn with(limit: u64) -> Self {
        let memory = Arc::new(Memory::default());
        memory.set_limit(limit);
        memory.payer(IpAddr::from([192, 0, 2, 1]))
    }

    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.memory.held()
    }
}

impl Held {
    /// Who pays.
    pub(crate) fn client(&self) -> IpAddr {
        self.payer.client
    }

    /// So much is held from now on, whether that is more or less than before.
    ///
    /// # Errors
    /// It is more than there is, or than one client may hold. What was held before still is.
    pub fn set(&mut self, bytes: usize) -> Result<(), MemoryUsedUp> {
        let bytes = bytes as u64;
        match bytes.checked_sub(self.bytes) {
            Some(0) => return Ok(()),
            Some(more) => {
                let payer = &self.payer;
                let client = self.client.get_or_insert_with(|| payer.memory.client(payer.client));
                if let Err(what) = client.take(more) {
                    payer.memory.complain(what, payer.client);
                    return Err(MemoryUsedUp);
                }
            }
            None => {
                if let Some(client) = &self.client {
                    client.give_back(self.bytes - bytes);
                }
            }
        }
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            client.give_back(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_comes_back_and_no_client_has_more_than_its_share() {
        let memory = Arc::new(Memory::default());
        memory.set_limit(1000);
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|client| memory.payer(client.into()));
        let (mut first, mut second) = (one.hold(), one.hold());
        assert_eq!(first.set(60), Ok(()));
        assert_eq!(second.set(41), Err(MemoryUsedUp), "a tenth is 100");
        assert_eq!(second.set(40), Ok(()));
        assert_eq!(other.hold().set(100), Ok(()), "another client has its own share");
        assert_eq!(first.set(10), Ok(()));
        assert_eq!(second.set(90), Ok(()));
        assert_eq!(memory.held(), 100);
        drop((first, second));
        assert_eq!(memory.held(), 0);
        assert!(memory.clients.lock().expect("no panic").is_empty());
    }

    #[test]
    fn all_clients_together_hold_no_more_than_the_limit() {
        let memory = Arc::new(Memory::default());
        memory.set_limit(1000);
        let held: Vec<_> = (1..=12)
            .map(|client| {
                let mut held = memory.payer([192, 0, 2, client].into()).hold();
                (held.set(100), held)
            })
            .collect();
        assert_eq!(held.iter().filter(|(held, _)| held.is_ok()).count(), 10);
        memory.set_limit(500);
        assert_eq!(memory.held(), 1000, "what is held stays");
    }
}
