//! How many instances of a plugin there may be, how many of them one client may hold, and who waits for one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_message::network;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// How many instances of one plugin there are on one worker. Shared with the instances themselves, some of which
/// live with their exchange.
#[derive(Debug, Default)]
pub(crate) struct Capacity {
    alive: AtomicUsize,
    waiting: AtomicUsize,
    pub(crate) freed: Notify,
    /// Those that hold instances, or wait until they hold fewer.
    clients: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// The requests of one client may hold this part of the instances.
const SHARE: usize = 2;

impl Capacity {
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<Permit> {
        // Only the worker's own thread adds, so nothing comes between the look and the step.
        if self.alive.load(Ordering::Relaxed) >= limit.max(1) {
            return None;
        }
        self.alive.fetch_add(1, Ordering::Relaxed);
        Some(Permit(self.clone()))
    }

    /// One of the `limit` instances for a client; to be waited for while it holds its share of them.
    pub(crate) fn share(self: &Arc<Self>, client: IpAddr, limit: usize) -> Share {
        let client = network(client);
        let fresh = || Arc::new(Semaphore::new((limit / SHARE).max(1)));
        let semaphore = self.clients().entry(client).or_insert_with(fresh).clone();
        let held = semaphore.clone().try_acquire_owned().ok();
        Share { capacity: self.clone(), client, semaphore, held }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Arc<Semaphore>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(self.clone())
    }

    /// Calls that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Something became free.
    pub(crate) fn tell(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.freed.notify_one();
        }
    }
}

/// Stands for one living instance.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Capacity>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
        self.0.tell();
    }
}

/// Stands for one of the instances that a client holds, or waits for until it holds fewer.
#[derive(Debug)]
pub(crate) struct Share {
    capacity: Arc<Capacity>,
    client: IpAddr,
    semaphore: Arc<Semaphore>,
    /// `None` while it is waited for.
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    pub(crate) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Waits until the client holds fewer.
    pub(crate) async fn hold(&mut self) {
        // Nobody closes it.
        self.held = self.semaphore.clone().acquire_owned().await.ok();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.held = None;
        let mut clients = self.capacity.clients();
        // The map has a handle to it, and this: whoever else holds or waits has more.
        if Arc::strong_count(&self.semaphore) == 2 {
            clients.remove(&self.client);
        }
    }
}

/// Stands for one waiting call.
pub(crate) struct Waiting(Arc<Capacity>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_its_share_and_leaves_nothing_behind() {
        let capacity = Arc::new(Capacity::default());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(IpAddr::from);
        let first = capacity.share(one, 4);
        let second = capacity.share(one, 4);
        let third = capacity.share(one, 4);
        let elsewhere = capacity.share(other, 4);
        assert_eq!([&first, &second, &third, &elsewhere].map(Share::is_held), [true, true, false, true]);
        drop(first);
        assert!(!third.is_held(), "it is waited for");
        assert!(capacity.share(one, 4).is_held());
        drop((second, third, elsewhere));
        assert!(capacity.share(one, 0).is_held(), "one at least");
        assert!(capacity.clients().is_empty());
    }
}
