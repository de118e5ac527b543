//! When a destination fails too often, it is left alone for a while.

use std::cell::RefCell;
use std::time::Duration;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::store::{self, StoreError};

use crate::choice::Weights;

/// Counts failures by destination: in the store for all instances where it is granted, else in this one.
#[derive(Debug)]
pub(crate) struct Circuit {
    failures: u32,
    period: Duration,
    pause: Duration,
    own: RefCell<Vec<Own>>,
}

/// What this instance counts by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Own {
    count: u32,
    period_ends: Duration,
    open_until: Duration,
}

impl Circuit {
    pub(crate) fn new(failures: u32, period: Duration, pause: Duration, destinations: usize) -> Self {
        Self { failures, period, pause, own: RefCell::new(vec![Own::default(); destinations]) }
    }

    /// Whether the destination is left alone. The stable one never is: there is nowhere else to go.
    pub(crate) fn is_open(&self, weights: &Weights, destination: usize) -> bool {
        if destination == 0 {
            return false;
        }
        match store::get(&open_key(weights, destination)) {
            Ok(value) => value.is_some(),
            Err(_) => environment::monotonic_clock() < self.own.borrow()[destination].open_until,
        }
    }

    pub(crate) fn count_failure(&self, weights: &Weights, destination: usize) {
        let name = weights.name(destination);
        let opened = match store::increment(&format!("failures:{name}"), 1, Some(self.period)) {
            // Only the failure that reaches the number: those that were under way then do not make the pause longer.
            Ok(count) => {
                count == i64::from(self.failures)
                    && store::set(&open_key(weights, destination), "1", Some(self.pause)).is_ok()
            }
            Err(error) => {
                if error != StoreError::NotGranted {
                    log::warn!("failures of `{name}` are counted here alone: {error}");
                }
                self.count_own(destination)
            }
        };
        if opened {
            log::warn!("`{name}` failed {} times: left alone for {} s", self.failures, self.pause.as_secs());
        }
    }

    /// Whether this failure was the one too many.
    pub(crate) fn count_own(&self, destination: usize) -> bool {
        let now = environment::monotonic_clock();
        let mut own = self.own.borrow_mut();
        let own = &mut own[destination];
        if now >= own.period_ends {
            *own = Own { count: 0, period_ends: now + self.period, ..*own };
        }
        own.count = own.count.saturating_add(1);
        if own.count == self.failures {
            own.open_until = now + self.pause;
        }
        own.count == self.failures
    }

    #[cfg(test)]
    pub(crate) fn is_open_here(&self, destination: usize) -> bool {
        environment::monotonic_clock() < self.own.borrow()[destination].open_until
    }
}

fn open_key(weights: &Weights, destination: usize) -> String {
    format!("open:{}", weights.name(destination))
}
