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
    /// Calls that wait for something they asked for, by client; `None` is the timer's.
    suspended: Mutex<HashMap<Option<IpAddr>, usize>>,
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

    /// How many instances there are.
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
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

    /// A call for a client waits for what it asked for; `None` if as many do as may, or as many for this client as are
    /// its share.
    pub(crate) fn suspend(self: &Arc<Self>, client: Option<IpAddr>, limit: usize) -> Option<Suspended> {
        let client = client.map(network);
        let mut suspended = self.suspended();
        let of_client = suspended.get(&client).copied().unwrap_or(0);
        if suspended.values().sum::<usize>() >= limit || of_client >= (limit / SHARE).max(1) {
            return None;
        }
        suspended.insert(client, of_client + 1);
        Some(Suspended { capacity: self.clone(), client })
    }

    fn suspended(&self) -> MutexGuard<'_, HashMap<Option<IpAddr>, usize>> {
        self.suspended.lock().unwrap_or_else(PoisonError::into_inner)
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

impl Permit {
    pub(crate) fn capacity(&self) -> &Arc<Capacity> {
        &self.0
    }
}

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

/// Stands for one call that waits for what it asked for.
pub(crate) struct Suspended {
    capacity: Arc<Capacity>,
    client: Option<IpAddr>,
}

impl Drop for Suspended {
    fn drop(&mut self) {
        let mut suspended = self.capacity.suspended();
        match suspended.get_mut(&self.client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(suspended.remove(&self.client)),
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
    fn the_calls_of_one_client_are_half_of_those_that_wait() {
        let capacity = Arc::new(Capacity::default());
        let [one, other] = [[192, 0, 2, 1], [192, 0, 2, 2]].map(|octets| Some(IpAddr::from(octets)));
        let of_one = [capacity.suspend(one, 4), capacity.suspend(one, 4), capacity.suspend(one, 4)];
        assert_eq!(of_one.each_ref().map(Option::is_some), [true, true, false]);
        let timer = capacity.suspend(None, 4);
        let of_other = [capacity.suspend(other, 4), capacity.suspend(other, 4)];
        assert_eq!(of_other.each_ref().map(Option::is_some), [true, false], "no more than four in all");
        drop((of_one, timer, of_other));
        assert!(capacity.suspended().is_empty());
    }

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
