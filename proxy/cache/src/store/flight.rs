//! Requests for the same at the same time: one goes to the origin, the others wait for what it gets.

use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::key::Key;
use crate::decide::Selection;

/// All that are under way. Locks are taken when a request begins or ends that is not met by what is stored.
/// `L` is what comes of one.
#[derive(Debug)]
pub(super) struct Flights<L> {
    shards: [Shard<L>; 16],
    hasher: RandomState,
}

type Shard<L> = Mutex<HashMap<FlightKey, Arc<Flight<L>>>>;

/// A key, and what the request has in the fields that are known to count.
type FlightKey = (Key, Box<[u8]>);

/// A request to the origin.
#[derive(Debug)]
pub(super) struct Flight<L> {
    key: FlightKey,
    state: Mutex<State<L>>,
}

#[derive(Debug)]
struct State<L> {
    landing: Option<L>,
    waiting: Vec<Waker>,
}

/// Somebody else's request to the origin: ready when there is a response, or none.
#[derive(Debug)]
pub struct Waiting<L>(Arc<Flight<L>>);

impl<L> Default for Flights<L> {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: RandomState::new() }
    }
}

impl<L> Flights<L> {
    /// Begins a flight, or finds the one there is.
    pub(super) fn begin(&self, key: &Key, selection: &Selection) -> Result<Arc<Flight<L>>, Waiting<L>> {
        let mut selected = Vec::new();
        selection.write(&mut selected);
        let key = (key.clone(), selected.into_boxed_slice());
        let mut flights = self.shard(&key.0);
        if let Some(flight) = flights.get(&key) {
            return Err(Waiting(flight.clone()));
        }
        let flight = Arc::new(Flight {
            key: key.clone(),
            state: Mutex::new(State { landing: None, waiting: Vec::new() }),
        });
        flights.insert(key, flight.clone());
        Ok(flight)
    }

    /// Nobody joins it any more.
    pub(super) fn end(&self, flight: &Arc<Flight<L>>) {
        let mut flights = self.shard(&flight.key.0);
        if flights.get(&flight.key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            flights.remove(&flight.key);
        }
    }

    /// Nobody joins those that are for such keys any more: what they bring is out of date.
    pub(super) fn forget(&self, is_meant: impl Fn(&Key) -> bool) {
        for shard in &self.shards {
            let mut flights = shard.lock().unwrap_or_else(PoisonError::into_inner);
            flights.retain(|(key, _), _| !is_meant(key));
        }
    }

    pub(super) fn forget_key(&self, key: &Key) {
        self.shard(key).retain(|(other, _), _| other != key);
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, HashMap<FlightKey, Arc<Flight<L>>>> {
        let shard = self.hasher.hash_one(key) as usize % self.shards.len();
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L> Flight<L> {
    /// Tells all who wait. The last word counts for who comes later.
    pub(super) fn land(&self, landing: L) {
        let waiting = {
            let mut state = self.state();
            state.landing = Some(landing);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Clone> Future for Waiting<L> {
    type Output = L;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<L> {
        let mut state = self.0.state();
        if let Some(landing) = &state.landing {
            return Poll::Ready(landing.clone());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}
