//! What a plugin shares with its other instances, in the thread of a test: a store, limits, metrics, secrets; and a clock
//! that the test can move. Everything is granted.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

thread_local! {
    static MOVED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    static SECRETS: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
}

/// How far the clocks are ahead of those of the machine.
pub(crate) fn moved() -> Duration {
    MOVED.get()
}

pub(crate) fn advance(by: Duration) {
    MOVED.set(MOVED.get() + by);
}

pub(crate) fn set_secret(name: &str, value: &[u8]) {
    SECRETS.with_borrow_mut(|secrets| secrets.insert(name.to_owned(), value.to_vec()));
}

pub(crate) fn secret(name: &str) -> Option<Vec<u8>> {
    SECRETS.with_borrow(|secrets| secrets.get(name).cloned())
}

/// Milliseconds of the clock that limits and the store go by.
fn now() -> u64 {
    super::environment::monotonic_clock() / 1_000_000
}

/// Values with expiry.
pub(crate) mod store {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::now;
    pub(crate) use crate::bindings::imports::tidegate::policy::store::StoreError;

    /// A value and when it is gone, in milliseconds.
    type Entry = (Vec<u8>, Option<u64>);

    thread_local! {
        static ENTRIES: RefCell<BTreeMap<String, Entry>> = const { RefCell::new(BTreeMap::new()) };
    }

    fn read(key: &str) -> Option<Entry> {
        ENTRIES.with_borrow(|entries| {
            entries.get(key).filter(|(_, until)| until.is_none_or(|until| now() < until)).cloned()
        })
    }

    fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
        if key.len() > 512 || value.len() > 64 << 10 { Err(StoreError::TooLarge) } else { Ok(()) }
    }

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check(key, &[])?;
        Ok(read(key).map(|(value, _)| value))
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl: u64) -> Result<(), StoreError> {
        check(key, value)?;
        let until = (ttl > 0).then(|| now().saturating_add(ttl));
        ENTRIES.with_borrow_mut(|entries| entries.insert(key.to_owned(), (value.to_vec(), until)));
        Ok(())
    }

    pub(crate) fn compare_and_set(
        key: &str,
        expected: Option<&[u8]>,
        value: &[u8],
        ttl: u64,
    ) -> Result<bool, StoreError> {
        check(key, value)?;
        let same = read(key).map(|(value, _)| value).as_deref() == expected;
        if same {
            set(key, value, ttl)?;
        }
        Ok(same)
    }

    pub(crate) fn increment(key: &str, delta: i64, ttl: u64) -> Result<i64, StoreError> {
        check(key, &[])?;
        let before = read(key);
        let number = match &before {
            Some((value, _)) => {
                let text = str::from_utf8(value).map_err(|_| StoreError::NotANumber)?;
                text.parse().map_err(|_| StoreError::NotANumber)?
            }
            None => 0_i64,
        };
        let sum = number.checked_add(delta).ok_or(StoreError::NotANumber)?;
        let until = match before {
            Some((_, until)) => until,
            None => (ttl > 0).then(|| now().saturating_add(ttl)),
        };
        let entry = (sum.to_string().into_bytes(), until);
        ENTRIES.with_borrow_mut(|entries| entries.insert(key.to_owned(), entry));
        Ok(sum)
    }

    pub(crate) fn remove(key: &str) -> Result<(), StoreError> {
        check(key, &[])?;
        ENTRIES.with_borrow_mut(|entries| entries.remove(key));
        Ok(())
    }
}

/// Limits by the generic cell rate algorithm, as the proxy has them.
pub(crate) mod rate_limit {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    pub(crate) use crate::bindings::imports::tidegate::policy::rate_limit::{
        Decision, Limiter, OpenError, Scope, WhenDown,
    };
    use crate::double::http::Request;

    /// Nanoseconds.
    struct Opened {
        limit: u64,
        interval: u64,
        capacity: u64,
        /// When each key would be free again.
        debts: BTreeMap<String, u64>,
    }

    thread_local! {
        static LIMITERS: RefCell<Vec<Opened>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn open(
        _name: &str,
        limit: u64,
        period: u64,
        burst: u64,
        _scope: Scope,
        _when_down: WhenDown,
    ) -> Result<Limiter, OpenError> {
        if limit == 0 || period == 0 {
            return Err(OpenError::Invalid("a limit and its period are at least 1".to_owned()));
        }
        let interval = (period.saturating_mul(1_000_000) / limit).max(1);
        let opened = Opened { limit, interval, capacity: burst.saturating_add(1), debts: BTreeMap::new() };
        LIMITERS.with_borrow_mut(|limiters| {
            limiters.push(opened);
            Ok(u32::try_from(limiters.len() - 1).expect("a test opens a handful"))
        })
    }

    pub(crate) fn take(limiter: Limiter, key: &str, cost: u64) -> Decision {
        let now = crate::double::environment::monotonic_clock();
        LIMITERS.with_borrow_mut(|limiters| {
            let Some(opened) = limiters.get_mut(limiter as usize) else {
                panic!("{limiter} is no limiter opened in this thread")
            };
            let room = opened.capacity.saturating_mul(opened.interval);
            let debt = opened.debts.get(key).copied().unwrap_or(0).max(now);
            let after = debt.saturating_add(cost.saturating_mul(opened.interval));
            let allowed = after - now <= room;
            let debt = if allowed { after } else { debt };
            if allowed {
                opened.debts.insert(key.to_owned(), debt);
            }
            let millis = |nanos: u64| nanos.div_ceil(1_000_000);
            Decision {
                allowed,
                limit: opened.limit,
                remaining: room.saturating_sub(debt - now) / opened.interval,
                reset_after: millis(debt - now),
                retry_after: if allowed { 0 } else { millis(after - now - room) },
                decided_locally: false,
            }
        })
    }

    pub(crate) fn take_for_client(limiter: Limiter, request: &Request, cost: u64) -> Decision {
        let key = match request.client() {
            std::net::IpAddr::V4(address) => address.to_string(),
            std::net::IpAddr::V6(address) => format!("{:?}", &address.segments()[..4]),
        };
        take(limiter, &key, cost)
    }
}

/// What a policy counts.
pub(crate) mod metrics {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    pub(crate) use crate::bindings::imports::tidegate::policy::metrics::{CountError, DefineError, Metric};

    thread_local! {
        static DEFINED: RefCell<Vec<(String, usize)>> = const { RefCell::new(Vec::new()) };
        static VALUES: RefCell<BTreeMap<(String, Vec<String>), f64>> = const { RefCell::new(BTreeMap::new()) };
    }

    fn define(name: &str, labels: &[String]) -> Result<Metric, DefineError> {
        let is_name = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && text.chars().all(|other| other.is_ascii_alphanumeric() || other == '_')
        };
        if let Some(wrong) = labels.iter().map(String::as_str).chain([name]).find(|text| !is_name(text)) {
            return Err(DefineError::Invalid(format!("`{wrong}` is no name: letters, digits and `_`")));
        }
        DEFINED.with_borrow_mut(|defined| {
            defined.push((name.to_owned(), labels.len()));
            Ok(u32::try_from(defined.len() - 1).expect("a test defines a handful"))
        })
    }

    pub(crate) fn counter(name: &str, _help: &str, labels: &[String]) -> Result<Metric, DefineError> {
        define(name, labels)
    }

    pub(crate) fn gauge(name: &str, _help: &str, labels: &[String]) -> Result<Metric, DefineError> {
        define(name, labels)
    }

    pub(crate) fn histogram(
        name: &str,
        _help: &str,
        labels: &[String],
        _buckets: &[f64],
    ) -> Result<Metric, DefineError> {
        define(name, labels)
    }

    fn change(metric: Metric, labels: &[String], change: impl FnOnce(&mut f64)) -> Result<(), CountError> {
        let defined = DEFINED.with_borrow(|defined| defined.get(metric as usize).cloned());
        let Some((name, count)) = defined else { panic!("{metric} is no metric defined in this thread") };
        if labels.len() != count {
            return Err(CountError::Invalid);
        }
        VALUES.with_borrow_mut(|values| change(values.entry((name, labels.to_vec())).or_default()));
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a test counts to a handful")]
    pub(crate) fn add(metric: Metric, labels: &[String], delta: u64) -> Result<(), CountError> {
        change(metric, labels, |value| *value += delta as f64)
    }

    pub(crate) fn set(metric: Metric, labels: &[String], new: f64) -> Result<(), CountError> {
        change(metric, labels, |value| *value = new)
    }

    /// Counts.
    pub(crate) fn observe(metric: Metric, labels: &[String], _value: f64) -> Result<(), CountError> {
        change(metric, labels, |value| *value += 1.0)
    }

    pub(crate) fn value(name: &str, labels: &[&str]) -> Option<f64> {
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        VALUES.with_borrow(|values| values.get(&(name.to_owned(), labels)).copied())
    }
}
