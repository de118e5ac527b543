//! When clients may ask, and what they got.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Lets clients through: as fast as they come, so many, or at a pace.
#[derive(Default)]
pub(super) struct Gate {
    free: Cell<u64>,
    /// When requests were to be sent that no client has taken yet.
    due: RefCell<VecDeque<Instant>>,
    opened: Notify,
}

impl Gate {
    /// Waits for leave to ask; returns the moment from which the answer is waited for. Where all clients are busy, that
    /// is before one of them comes here: a proxy is not excused by what it keeps waiting.
    pub(super) async fn pass(&self) -> Instant {
        loop {
            if let Some(due) = self.due.borrow_mut().pop_front() {
                return due;
            }
            if let Some(left) = self.free.get().checked_sub(1) {
                self.free.set(left);
                return Instant::now();
            }
            self.opened.notified().await;
        }
    }

    /// Lets so many more requests through at once.
    pub(super) fn open(&self, requests: u64) {
        self.free.set(self.free.get().saturating_add(requests));
        self.opened.notify_waiters();
    }

    pub(super) fn close(&self) {
        self.free.set(0);
        self.due.borrow_mut().clear();
    }

    /// Lets requests through one by one, evenly, for so long.
    pub(super) async fn pace(&self, per_second: f64, time: Duration) {
        let between = Duration::from_secs_f64(1.0 / per_second);
        let (begun, mut due) = (Instant::now(), Instant::now());
        while begun.elapsed() < time {
            while due <= Instant::now() {
                self.due.borrow_mut().push_back(due);
                self.opened.notify_one();
                due += between;
            }
            // Not a timer, which would let a millisecond's requests through at once. The core is the load's own.
            tokio::task::yield_now().await;
        }
    }
}

/// What clients got so far.
#[derive(Default)]
pub(super) struct Tally {
    answers: Cell<u64>,
    bytes: Cell<u64>,
    handshakes: Cell<u64>,
    resumed: Cell<u64>,
    /// Of each answer since they are wanted.
    times: RefCell<Option<Vec<Duration>>>,
    changed: Notify,
}

impl Tally {
    /// A part of a body came.
    pub(super) fn took(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
    }

    pub(super) fn answered(&self, since: Instant) {
        self.answers.set(self.answers.get() + 1);
        if let Some(times) = &mut *self.times.borrow_mut() {
            times.push(since.elapsed());
        }
        self.changed.notify_one();
    }

    pub(super) fn shook_hands(&self, resumed: bool) {
        self.handshakes.set(self.handshakes.get() + 1);
        self.resumed.set(self.resumed.get() + u64::from(resumed));
    }

    pub(super) async fn reach(&self, answers: u64) {
        while self.answers.get() < answers {
            self.changed.notified().await;
        }
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Whole answers, or where they are large, bytes by the size of an answer.
    pub(super) fn amount(&self, large: Option<usize>) -> f64 {
        large.map_or(self.answers.get() as f64, |bytes| self.bytes.get() as f64 / bytes as f64)
    }

    /// The share of handshakes that were resumed.
    pub(super) fn resumed(&self) -> f64 {
        self.resumed.get() as f64 / self.handshakes.get().max(1) as f64
    }

    pub(super) fn time(&self) {
        *self.times.borrow_mut() = Some(Vec::new());
    }

    pub(super) fn timed(&self) -> Vec<Duration> {
        self.times.borrow_mut().take().unwrap_or_default()
    }
}
