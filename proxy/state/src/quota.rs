//! The arithmetic of a limit: GCRA, without a clock and without a table.
//!
//! All that is kept of a key is its *debt*: how long it takes until it is as good as new. Debt melts away by
//! itself, a second in a second. Each unit of cost adds the time in which one is earned back, and what would
//! bring the debt over that of a whole burst is refused. The field's "theoretical arrival time" is now plus
//! debt.

use std::time::Duration;

use crate::clock::nanos;

/// What a limiter says to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Within the limit, and counted. What is refused is not counted.
    pub allowed: bool,
    /// How much passes in a period: the quota (`q`) of a `RateLimit-Policy` field
    /// (draft-ietf-httpapi-ratelimit-headers).
    pub limit: u64,
    /// How much cost would still pass now.
    pub remaining: u64,
    /// When the whole burst could pass again.
    pub reset_after: Duration,
    /// When the same cost would pass; zero if it did, `Duration::MAX` if it never will.
    pub retry_after: Duration,
    /// Decided by this proxy alone, for want of the shared store.
    pub local: bool,
}

/// A limit in the units it is counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Quota {
    limit: u64,
    capacity: u64,
    /// In what time one is earned back, ns. Rounded down, an error below a millionth for up to a thousand in
    /// a second.
    interval: u64,
    /// The debt that admits nothing more, ns.
    full: u64,
}

impl Quota {
    /// Longer times count as this: 146 years. The sum of two does not overflow.
    const FOREVER: u64 = u64::MAX / 4;

    /// `limit` in a `period`, and `burst` more at once: a key that rested has `1 + burst`.
    ///
    /// Nothing passes a limit of zero. More than one in a nanosecond counts as one in a nanosecond.
    pub(crate) fn new(limit: u64, period: Duration, burst: u64) -> Self {
        let capacity = if limit == 0 { 0 } else { burst.saturating_add(1) };
        let interval = nanos(period).checked_div(limit).unwrap_or(u64::MAX).clamp(1, Self::FOREVER);
        let full = interval.saturating_mul(capacity).min(Self::FOREVER);
        Self { limit, capacity, interval, full }
    }

    pub(crate) fn full(&self) -> u64 {
        self.full
    }

    /// The debt this cost adds.
    pub(crate) fn price(&self, cost: u64) -> u64 {
        self.interval.saturating_mul(cost)
    }

    /// Whether this cost passes at this debt.
    pub(crate) fn admits(&self, debt: u64, cost: u64) -> bool {
        debt.saturating_add(self.price(cost)) <= self.full || cost == 0
    }

    /// In words, when the debt is `debt` after the decision.
    pub(crate) fn decision(&self, allowed: bool, debt: u64, cost: u64, local: bool) -> Decision {
        let price = self.price(cost);
        let retry_after = if allowed {
            Duration::ZERO
        } else if price > self.full {
            Duration::MAX
        } else {
            Duration::from_nanos(debt.saturating_add(price) - self.full)
        };
        Decision {
            allowed,
            limit: self.limit,
            remaining: self.full.saturating_sub(debt) / self.interval,
            reset_after: Duration::from_nanos(debt),
            retry_after,
            local,
        }
    }

    /// Without having counted anything: as if the key had rested, or was used up until then.
    pub(crate) fn blind(&self, allowed: bool, retry_after: Duration) -> Decision {
        Decision {
            allowed,
            limit: self.limit,
            remaining: if allowed { self.capacity } else { 0 },
            reset_after: retry_after,
            retry_after,
            local: true,
        }
    }

    /// Tells limits with the same name apart where their counts are kept.
    pub(crate) fn numbers(&self) -> String {
        format!("{}/{}/{}", self.limit, self.interval, self.capacity)
    }
}
