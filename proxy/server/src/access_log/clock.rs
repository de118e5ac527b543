//! The time as lines have it, put into words once a second.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of one worker.
#[derive(Default)]
pub(super) struct Clock {
    second: Cell<u64>,
    /// `2030-01-02T03:04:05.` and, in its place, the milliseconds; `02/Jan/2030:03:04:05 +0000`.
    texts: RefCell<(String, String)>,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl Clock {
    /// Now in UTC, to the millisecond, as RFC 3339 writes it.
    pub(super) fn rfc3339<R>(&self, take: impl FnOnce(&str) -> R) -> R {
        let millis = self.look();
        let (time, _) = &mut *self.texts.borrow_mut();
        time.truncate("2030-01-02T03:04:05.".len());
        for divisor in [100, 10, 1] {
            time.push(char::from(b'0' + u8::try_from(millis / divisor % 10).expect("a digit")));
        }
        time.push('Z');
        take(time)
    }

    /// As the common log format has it.
    pub(super) fn common<R>(&self, take: impl FnOnce(&str) -> R) -> R {
        self.look();
        take(&self.texts.borrow().1)
    }

    /// Brings the texts up to date; the milliseconds.
    fn look(&self) -> u32 {
        let now = SystemTime::now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second.replace(since.as_secs()) != since.as_secs() {
            self.word(now.into());
        }
        since.subsec_millis()
    }

    fn word(&self, now: time::OffsetDateTime) {
        let (date, time) = (now.date(), now.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = time.as_hms();
        let (rfc3339, common) = &mut *self.texts.borrow_mut();
        rfc3339.clear();
        common.clear();
        // A String takes all text.
        let _ = write!(rfc3339, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.");
        let name = MONTHS[usize::from(month) - 1];
        let _ = write!(common, "{day:02}/{name}/{year:04}:{hour:02}:{minute:02}:{second:02} +0000");
    }
}
