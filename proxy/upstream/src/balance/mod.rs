//! Chooses one of an upstream's servers for a request.
//!
//! **Which servers come into question.** The first of these groups that is not empty:
//!
//! 1. primaries that are up, 2. backups that are up,
//! 3. ejected primaries, 4. ejected backups,
//! 5. primaries that are down, 6. backups that are down,
//! 7. what is draining.
//!
//! So when nothing is up the least bad is tried, rather than that every request fails: health may be wrong
//! about a server, and a failed request costs no more than a refused one. Servers that were tried for the
//! same request are left out of every group: a retry rather goes to a backup, or to a server that is
//! ejected, than to the same server again. When all were tried, they count again.
//!
//! Of more than 128 servers a request looks at 64 at a time ([`windows`]), and at all of them if no primary is up there.
//!
//! **Which one of the group** is up to the [`Mode`]. Each counts a server with its weight, in a slow start
//! with the share of it that the server takes.

mod hash;
mod maglev;
#[cfg(test)]
mod tests;
mod windows;

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, make_rng};

use self::hash::{hash, mix};
use self::maglev::{Entry, Maglev};
use self::windows::Windows;
use crate::health::{FULL_SHARE, Health, State};
use tidegate_io::clock::{Millis, in_millis};

/// How often a key looks for a server that is up in the table, before all servers are compared. With half
/// of them out, one key in 256 gets that far.
const LOOKUPS: u64 = 8;

/// How one server is chosen among equally good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// In turns, smoothly as nginx does it: with weights 5, 1, 1 the turns are a a b a c a a.
    RoundRobin,
    /// The one with the fewest requests in flight for its weight. Servers that are within one request of
    /// each other take turns, so that weights hold when there is little to do as well. See [`level`] for those
    /// that answer fast because they fail.
    LeastRequests,
    /// The one with fewer requests in flight out of two drawn by weight. Unlike with
    /// [`Self::LeastRequests`], proxies that know nothing of each other do not all run to the same server.
    RandomTwo,
    /// The one its key belongs to, and the same one in every proxy that has the same servers, by Maglev
    /// hashing. The keys of a server that is out are spread over all others and come back with it,
    /// gradually if it starts slowly.
    Hash,
}

/// A server that can be chosen.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) health: Arc<Health>,
    /// 1 to 1000.
    weight: u32,
    /// Used only when no primary is up.
    backup: bool,
    /// The hash of the address.
    key: u64,
}

/// The servers of an upstream and how one is chosen: built by the control side when any of it changes,
/// shared by the workers.
#[derive(Debug)]
pub(crate) struct Candidates {
    servers: Vec<Candidate>,
    mode: Mode,
    /// Where keys belong among the primaries, for [`Mode::Hash`].
    homes: Option<Maglev>,
}

/// Chooses for one worker.
pub(crate) struct Balancer {
    candidates: Arc<Candidates>,
    /// In milliseconds.
    slow_start: u64,
    state: RefCell<WorkerState>,
}

struct WorkerState {
    /// What comes into question for the present request; kept for its memory.
    group: Vec<Contender>,
    /// By server: how far it is ahead of its turn (smooth weighted round-robin).
    credits: Vec<i64>,
    /// Where there are very many servers.
    windows: Option<Windows>,
    random: SmallRng,
}

#[derive(Debug, Clone, Copy)]
struct Contender {
    index: usize,
    /// With its share in a slow start: 10 to 100,000, so that products with `in_flight` fit.
    weight: u64,
    in_flight: u64,
    /// Its last request failed.
    failing: bool,
}

impl Candidate {
    /// A server at `address`, by whose text proxies recognise it.
    pub(crate) fn new(address: &str, weight: u32, backup: bool, health: Arc<Health>) -> Self {
        Self { health, weight, backup, key: hash(address.as_bytes()) }
    }
}

impl Candidates {
    pub(crate) fn new(servers: Vec<Candidate>, mode: Mode) -> Self {
        let primaries = servers.iter().enumerate().filter(|(_, server)| !server.backup);
        let homes = (mode == Mode::Hash).then(|| {
            Maglev::new(primaries.map(|(index, &Candidate { key, weight, .. })| Entry { index, key, weight }))
        });
        Self { servers, mode, homes }
    }

    pub(crate) fn servers(&self) -> &[Candidate] {
        &self.servers
    }
}

impl Balancer {
    /// `worker` is the number of the worker: each begins with another server.
    pub(crate) fn new(candidates: Arc<Candidates>, slow_start: Duration, worker: usize) -> Self {
        let servers = candidates.servers();
        let mut credits = vec![0; servers.len()];
        let all: Vec<_> =
            servers.iter().enumerate().map(|(index, server)| server.contender(index, FULL_SHARE)).collect();
        for _ in 0..worker {
            take_turn(&mut credits, all.iter());
        }
        let windows = if candidates.mode == Mode::Hash { None } else { Windows::new(servers.len(), worker) };
        let state = RefCell::new(WorkerState { group: all, credits, windows, random: make_rng() });
        Self { candidates, slow_start: in_millis(slow_start), state }
    }

    /// The index of the server to send a request to; `None` only if there are no servers.
    ///
    /// `key` is what [`Mode::Hash`] goes by; other modes do not look at it. `tried` are the servers to
    /// which this request was sent already. It does not allocate.
    pub(crate) fn choose(&self, now: Millis, key: &[u8], tried: &[usize]) -> Option<usize> {
        let key = if self.candidates.mode == Mode::Hash { hash(key) } else { 0 };
        if let Some(index) = self.home(now, key, tried) {
            return Some(index);
        }
        let WorkerState { group, credits, windows, random } = &mut *self.state.borrow_mut();
        let all = 0..self.candidates.servers.len();
        let some = windows.as_mut().filter(|_| tried.is_empty()).is_some_and(|windows| {
            let window = windows.next(now, |index| self.weight_if_up(index, now));
            self.gather(group, window, now, tried) == Some(BEST)
        });
        if !some && self.gather(group, all.clone(), now, tried).is_none() {
            self.gather(group, all, now, &[]);
        }
        match self.candidates.mode {
            Mode::RoundRobin => take_turn(credits, group.iter()),
            Mode::LeastRequests => {
                level(group);
                least_requests(group, credits)
            }
            Mode::RandomTwo => {
                level(group);
                random_two(group, random)
            }
            Mode::Hash => rendezvous(group, self.candidates.servers(), key),
        }
    }

    /// The server a key belongs to, or, while that is out, the one it is lent to.
    fn home(&self, now: Millis, key: u64, tried: &[usize]) -> Option<usize> {
        let homes = self.candidates.homes.as_ref()?;
        for hash in (0..LOOKUPS).map(|lookup| mix(key.wrapping_add(lookup))) {
            let index = homes.lookup(hash)?;
            let health = &self.candidates.servers[index].health;
            // In a slow start more and more of the keys stay.
            let stays = || ((hash >> 32) % u64::from(FULL_SHARE)) < health.share(now, self.slow_start).into();
            if health.state(now) == State::Up && stays() && !tried.contains(&index) {
                return Some(index);
            }
        }
        None
    }

    /// The weight of a primary that is up; 0 of any other.
    fn weight_if_up(&self, index: usize, now: Millis) -> u64 {
        let server = &self.candidates.servers[index];
        if (server.health.state(now), server.backup) != BEST {
            return 0;
        }
        u64::from(server.weight) * u64::from(server.health.share(now, self.slow_start))
    }

    /// Puts the best servers out of `among` in `group`, and answers how good they are; `None` if there are none.
    fn gather(
        &self,
        group: &mut Vec<Contender>,
        among: Range<usize>,
        now: Millis,
        tried: &[usize],
    ) -> Option<Rank> {
        group.clear();
        let mut best = (State::Draining, true);
        for index in among {
            let server = &self.candidates.servers[index];
            let rank = (server.health.state(now), server.backup);
            if rank > best || tried.contains(&index) {
                continue;
            }
            if rank < best {
                best = rank;
                group.clear();
            }
            group.push(server.contender(index, server.health.share(now, self.slow_start)));
        }
        (!group.is_empty()).then_some(best)
    }
}

/// How good a server is, and whether it is a backup: the less the better.
type Rank = (State, bool);
const BEST: Rank = (State::Up, false);

impl Candidate {
    fn contender(&self, index: usize, share: u32) -> Contender {
        let weight = u64::from(self.weight) * u64::from(share);
        let health = &self.health;
        Contender { index, weight, in_flight: health.in_flight().into(), failing: health.is_failing() }
    }
}

/// Smooth weighted round-robin: each earns its weight, the richest is chosen and pays for all.
fn take_turn<'a>(credits: &mut [i64], contenders: impl Iterator<Item = &'a Contender>) -> Option<usize> {
    take_turn_of(credits, contenders.map(|contender| (contender.index, contender.weight)))
}

/// The same of anything with an index and a weight.
fn take_turn_of(credits: &mut [i64], contenders: impl Iterator<Item = (usize, u64)>) -> Option<usize> {
    let mut total = 0;
    let mut best: Option<(usize, i64)> = None;
    for (index, weight) in contenders {
        let credit = &mut credits[index];
        *credit += weight as i64;
        total += weight as i64;
        if best.is_none_or(|(_, most)| *credit > most) {
            best = Some((index, *credit));
        }
    }
    let (index, _) = best?;
    credits[index] -= total;
    Some(index)
}

/// A server that fails every request at once always has the fewest in flight. It counts as loaded as the others
/// are on average, so that it gets its share of the requests at most, and with one of them a chance to recover.
fn level(group: &mut [Contender]) {
    if !group.iter().any(|contender| contender.failing) {
        return;
    }
    let others = group.iter().filter(|contender| !contender.failing);
    let (requests, weights) = others
        .fold((0, 0), |(requests, weights), other| (requests + other.in_flight, weights + other.weight));
    for contender in group.iter_mut().filter(|contender| contender.failing && weights > 0) {
        contender.in_flight = contender.in_flight.max((requests * contender.weight).div_ceil(weights));
    }
}

/// The server that would have the lowest load *with* the request sets the mark; all whose load *without* it is
/// below take turns. With equal weights these are the servers with the fewest requests. With other weights
/// the lowest load alone would send nothing to the lighter servers while the heaviest is idle.
fn least_requests(group: &[Contender], credits: &mut [i64]) -> Option<usize> {
    // Weight 0: more loaded than any.
    let (mut requests, mut weight) = (1, 0);
    for contender in group {
        if (contender.in_flight + 1) * weight < requests * contender.weight {
            (requests, weight) = (contender.in_flight + 1, contender.weight);
        }
    }
    let below = |contender: &&Contender| contender.in_flight * weight < requests * contender.weight;
    take_turn(credits, group.iter().filter(below))
}

/// Power of two choices; the first one drawn wins a tie.
fn random_two(group: &[Contender], random: &mut SmallRng) -> Option<usize> {
    let first = draw(group, None, random)?;
    let Some(second) = draw(group, Some(first.index), random) else { return Some(first.index) };
    let less = second.in_flight * first.weight < first.in_flight * second.weight;
    Some(if less { second.index } else { first.index })
}

fn draw<'a>(group: &'a [Contender], without: Option<usize>, random: &mut SmallRng) -> Option<&'a Contender> {
    let others = || group.iter().filter(|contender| Some(contender.index) != without);
    let total: u64 = others().map(|contender| contender.weight).sum();
    if total == 0 {
        return None;
    }
    let mut point = random.random_range(0..total);
    others().find(|contender| match point.checked_sub(contender.weight) {
        Some(rest) => {
            point = rest;
            false
        }
        None => true,
    })
}

/// Highest random weight: of the servers that are left, a key keeps to the same one too.
fn rendezvous(group: &[Contender], servers: &[Candidate], key: u64) -> Option<usize> {
    let score = |contender: &Contender| {
        // 53 bits, in (0, 1].
        let drawn = ((mix(key ^ servers[contender.index].key) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        drawn.ln() / contender.weight as f64
    };
    let best = group.iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    Some(best.index)
}
