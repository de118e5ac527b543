//! Moments and spans of a cache, to the millisecond.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// Milliseconds since 1970. What is stored outlives the process, and is compared with dates of others: the wall clock
/// it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

impl Time {
    /// This moment.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// Whole seconds from `earlier` to this moment; 0 if it is still to come.
    pub fn seconds_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1000
    }

    /// So many seconds later.
    pub fn plus(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// What a field says (RFC 9110 §5.6.7); `None` for what is no date.
    pub(crate) fn of_field(value: &HeaderValue) -> Option<Self> {
        let time = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(u64::try_from(since.as_millis()).ok()?))
    }

    /// As the value of a field.
    pub(crate) fn to_field(self) -> HeaderValue {
        let time = UNIX_EPOCH + Duration::from_millis(self.0);
        // The last year that a date can have has four digits.
        let last = UNIX_EPOCH + Duration::from_secs(253_402_300_799);
        HeaderValue::try_from(httpdate::fmt_http_date(time.min(last))).expect("a date is ASCII")
    }
}
