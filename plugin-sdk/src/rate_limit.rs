//! Limits shared by all workers and kept across reloads; shared by all proxies where the operator configured a shared store
//! (`[state]`). Granted with `grants.rate-limit`.

use std::time::Duration;

pub use crate::bindings::imports::tidegate::policy::rate_limit::{Scope, WhenDown};
use crate::{Error, Request, host};

/// So many per period, and more at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// What may pass in a period; at least 1.
    pub limit: u64,
    /// Whole milliseconds; at least one.
    pub period: Duration,
    /// How many more may come at once.
    pub burst: u64,
    /// Where it is counted, if there is a shared store.
    pub scope: Scope,
    /// What counts while that cannot be reached.
    pub when_down: WhenDown,
}

impl Limit {
    /// Counted in this process, with nothing more at once.
    pub const fn new(limit: u64, period: Duration) -> Self {
        Self { limit, period, burst: 0, scope: Scope::Local, when_down: WhenDown::Local }
    }
}

/// What a limiter says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The request is within the limit and was counted. One that is refused is not.
    pub allowed: bool,
    /// How much may pass in a period.
    pub limit: u64,
    /// How much would still pass now.
    pub remaining: u64,
    /// When all of it would pass again.
    pub reset_after: Duration,
    /// When the same request would pass; zero = now.
    pub retry_after: Duration,
    /// The shared store should have decided and could not.
    pub decided_locally: bool,
}

impl Decision {
    /// [`Decision::retry_after`] for the field `retry-after` (RFC 9110 §10.2.3): whole seconds, rounded up.
    pub fn retry_after_seconds(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}

/// One limit, counted for each key.
#[derive(Debug)]
pub struct Limiter(host::rate_limit::Limiter);

impl Limiter {
    /// The same name and numbers give the same counts, also across reloads.
    ///
    /// # Errors
    ///
    /// `grants.rate-limit` is not `true`, or a number is not what it must be; also when called outside `configure`.
    pub fn new(name: &str, limit: &Limit) -> Result<Self, Error> {
        let period = u64::try_from(limit.period.as_millis()).unwrap_or(u64::MAX);
        let opened =
            host::rate_limit::open(name, limit.limit, period, limit.burst, limit.scope, limit.when_down);
        opened.map(Self).map_err(|error| match error {
            host::rate_limit::OpenError::NotGranted => {
                "the operator did not grant limits: `grants = { rate-limit = true }`".into()
            }
            host::rate_limit::OpenError::Invalid(why) => why.into(),
        })
    }

    /// Decides and counts in one step. A cost of 0 passes, counts nothing and tells what remains.
    pub fn take(&self, key: &str, cost: u64) -> Decision {
        host::rate_limit::take(self.0, key, cost).into()
    }

    /// The same with the client address as the key; of IPv6 its first 64 bits.
    pub fn take_for_client(&self, request: &Request, cost: u64) -> Decision {
        host::rate_limit::take_for_client(self.0, &request.0, cost).into()
    }
}

impl From<host::rate_limit::Decision> for Decision {
    fn from(decision: host::rate_limit::Decision) -> Self {
        Self {
            allowed: decision.allowed,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_after: Duration::from_millis(decision.reset_after),
            retry_after: Duration::from_millis(decision.retry_after),
            decided_locally: decision.decided_locally,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_of_nothing_only_asks() {
        let limit = Limit { burst: 1, ..Limit::new(1, Duration::from_secs(60)) };
        let limiter = Limiter::new("all", &limit).unwrap();
        for (cost, allowed, remaining) in
            [(0, true, 2), (1, true, 1), (0, true, 1), (1, true, 0), (0, true, 0), (1, false, 0)]
        {
            let decision = limiter.take("key", cost);
            assert_eq!((decision.allowed, decision.remaining), (allowed, remaining), "{cost}");
        }
    }
}
