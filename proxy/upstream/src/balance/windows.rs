//! Of very many servers a request looks at some: at one window after the other, each in turns by the weight of what is up
//! in it.

use std::ops::Range;

use tidegate_io::Millis;

use super::take_turn_of;

/// Servers that a request looks at. So many are as good to choose from as all: the least loaded of two drawn at random
/// would nearly be.
const WINDOW: usize = 64;

/// In milliseconds: how old what is known of all windows may be.
const KNOWN_FOR: u64 = 1000;

/// The turns of one worker.
#[derive(Debug)]
pub(super) struct Windows {
    servers: usize,
    first: usize,
    /// Of each: the weight of what was up in it, and how far it is ahead of its turn.
    weights: Vec<u64>,
    credits: Vec<i64>,
    looked: Option<Millis>,
}

impl Windows {
    /// `None` for as few servers as a request can look at one by one. Each `worker` begins with another window.
    pub(super) fn new(servers: usize, worker: usize) -> Option<Self> {
        let count = servers.div_ceil(WINDOW);
        (servers > 2 * WINDOW).then(|| Self {
            servers,
            first: worker % count,
            weights: vec![0; count],
            credits: vec![0; count],
            looked: None,
        })
    }

    /// The servers whose turn it is; `weight` is that of a server which is up, and 0 of others.
    pub(super) fn next(&mut self, now: Millis, weight: impl Fn(usize) -> u64) -> Range<usize> {
        if self.looked.is_none_or(|looked| now.since(looked) >= KNOWN_FOR) {
            for window in 0..self.weights.len() {
                self.weights[window] = self.range(window).map(&weight).sum();
            }
            if self.looked.is_none() {
                for _ in 0..self.first {
                    self.turn();
                }
            }
            self.looked = Some(now);
        }
        let turn = self.turn().unwrap_or(0);
        self.range(turn)
    }

    fn turn(&mut self) -> Option<usize> {
        take_turn_of(&mut self.credits, self.weights.iter().copied().enumerate())
    }

    fn range(&self, window: usize) -> Range<usize> {
        window * WINDOW..self.servers.min((window + 1) * WINDOW)
    }
}
