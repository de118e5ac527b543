//! One limit: which numbers it has, and what it says to a request.

use std::cell::Cell;
use std::time::Duration;

use tidegate_plugin_sdk::prelude::*;
use tidegate_plugin_sdk::rate_limit::{self, Decision, Limiter};
use tidegate_plugin_sdk::units;

use crate::key::{Key, Prefixes, Subject, WithoutKey, Written};

/// So many requests in a time, for each key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Numbers {
    /// Shown to clients, in the log and in metrics: 1 to 64 of `a-z`, `A-Z`, `0-9`, `-`, `_` and `.`. Two limits have
    /// two names.
    name: String,
    /// What requests are counted by: `address`, `host`, `path`, `header:NAME`, `cookie:NAME`, `query:NAME`,
    /// `attribute:NAME`, a list of these, or `everyone`.
    #[serde(default)]
    key: Written,
    /// How a client counts that does not have the field, cookie, parameter or attribute of `key`, or has it twice.
    #[serde(default)]
    without_key: WithoutKey,
    /// Of IPv4 addresses, so many bits tell clients apart.
    #[serde(default = "all_of_ipv4")]
    #[schemars(range(max = 32))]
    ipv4_prefix: u8,
    /// Of IPv6 addresses, so many bits tell clients apart.
    #[serde(default = "network_of_ipv6")]
    #[schemars(range(max = 128))]
    ipv6_prefix: u8,
    /// Requests in a period.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    limit: u64,
    /// Whole seconds, such as `"1s"` or `"1h"`; at most a year.
    period: units::Duration,
    /// How many more than one may come at once; after that, they have to come evenly over the period. Without it, all
    /// of `limit` may come at once.
    #[schemars(range(max = 1_000_000_000))]
    burst: Option<u64>,
    /// Where it is counted, if there is a shared store.
    #[serde(default)]
    scope: Scope,
    /// What holds for `scope = "shared"` while the store cannot be reached.
    when_down: Option<WhenDown>,
    /// Counts and tells, and refuses nothing.
    #[serde(default)]
    dry_run: bool,
}

fn all_of_ipv4() -> u8 {
    32
}

fn network_of_ipv6() -> u8 {
    64
}

/// Where a limit is counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Scope {
    /// In this process.
    #[default]
    Local,
    /// In the shared store, exactly: each decision is one round trip.
    Shared,
    /// In this process, which tells the others every 100 ms.
    Approximate,
}

/// What holds while the shared store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum WhenDown {
    /// The same limit, counted in this process.
    Local,
    /// Everything passes.
    Allow,
    /// Nothing does.
    Deny,
}

/// More than that is no limit, and the numbers of the fields for clients end at 15 digits (RFC 9651 §3.3.1).
const MOST: u64 = 1_000_000_000;
const YEAR: Duration = Duration::from_secs(366 * 24 * 3600);

/// A checked limit.
#[derive(Debug)]
pub(crate) struct Limit {
    pub(crate) name: String,
    pub(crate) limit: u64,
    pub(crate) period: Duration,
    pub(crate) dry_run: bool,
    /// Decisions are waited for.
    pub(crate) is_shared: bool,
    burst: u64,
    key: Key,
    limiter: Limiter,
}

impl Limit {
    pub(crate) fn new(numbers: Numbers) -> Result<Self, Error> {
        let Numbers { name, limit, scope, dry_run, .. } = numbers;
        let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > 64 || !name.bytes().all(in_name) {
            let reason = format!("`{name}` is not 1 to 64 letters, digits, `-`, `_` and `.`");
            return Err(Error::at("name", reason));
        }
        if !(1..=MOST).contains(&limit) {
            let reason = format!("{limit} is not 1 to {MOST}; to let nothing pass is for `access-control`");
            return Err(Error::at("limit", reason));
        }
        let period = numbers.period.get();
        if period.subsec_nanos() > 0 || period.is_zero() || period > YEAR {
            let reason = format!("`{}` is not whole seconds, 1 second to a year", numbers.period);
            return Err(Error::at("period", reason));
        }
        let burst = numbers.burst.unwrap_or(limit - 1);
        if burst > MOST {
            return Err(Error::at("burst", format!("{burst} is more than {MOST}")));
        }
        let when_down = match (scope, numbers.when_down) {
            (Scope::Shared, Some(WhenDown::Allow)) => rate_limit::WhenDown::Allow,
            (Scope::Shared, Some(WhenDown::Deny)) => rate_limit::WhenDown::Deny,
            (Scope::Shared, _) | (_, None) => rate_limit::WhenDown::Local,
            (_, Some(_)) => return Err(Error::at("when-down", "belongs to `scope = \"shared\"`")),
        };
        let prefixes = Prefixes { ipv4: numbers.ipv4_prefix, ipv6: numbers.ipv6_prefix };
        let key = Key::new(numbers.key, numbers.without_key, prefixes)?;
        let counted = rate_limit::Limit {
            limit,
            period,
            burst,
            when_down,
            scope: match scope {
                Scope::Local => rate_limit::Scope::Local,
                Scope::Shared => rate_limit::Scope::Shared,
                Scope::Approximate => rate_limit::Scope::Approximate,
            },
        };
        let limiter = Limiter::new(&name, &counted)?;
        Ok(Self { name, limit, period, dry_run, is_shared: scope == Scope::Shared, burst, key, limiter })
    }

    /// How long until one more may pass than may now.
    pub(crate) fn until_more(&self, decision: &Decision) -> Duration {
        if !decision.allowed {
            return decision.retry_after;
        }
        let interval = self.period.as_nanos() / u128::from(self.limit);
        let still_taken = u128::from(self.burst.saturating_sub(decision.remaining));
        let wait = decision.reset_after.as_nanos().saturating_sub(still_taken * interval);
        Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

/// A limit that applies to a request.
pub(crate) struct Applying<'a> {
    pub(crate) limit: &'a Limit,
    /// The last there was; [`Decision::allowed`] = it was counted.
    pub(crate) decision: Cell<Option<Decision>>,
    request: &'a Request,
    subject: Subject,
}

impl<'a> Applying<'a> {
    pub(crate) fn new(limit: &'a Limit, request: &'a Request) -> Self {
        Self { limit, decision: Cell::new(None), request, subject: limit.key.of(request) }
    }

    /// Decides, and counts if the request may pass. Once.
    pub(crate) fn take(&self) -> bool {
        let decide = || self.subject.take(&self.limit.limiter, self.request, 1);
        let decision = self.decision.get().unwrap_or_else(decide);
        self.decision.set(Some(decision));
        decision.allowed
    }

    /// Whether it would be refused: that counts nothing.
    pub(crate) fn is_used_up(&self) -> bool {
        self.subject.take(&self.limit.limiter, self.request, 0).remaining == 0
    }
}
