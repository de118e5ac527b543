//! Lines of plugins in the proxy's log, bounded in length and number.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Longest message, bytes; the rest is cut.
const MAX_MESSAGE: usize = 8 << 10;
/// Lines of one plugin per second, over all workers.
const MAX_LINES: u32 = 100;

/// Where the lines of one plugin go.
#[derive(Debug)]
pub(crate) struct Log {
    plugin: Arc<str>,
    rate: Rate,
}

impl Log {
    pub(crate) fn new(plugin: Arc<str>, origin: Instant) -> Self {
        Self { plugin, rate: Rate::new(origin) }
    }

    /// One line, unless its level is off or there were too many.
    pub(crate) fn write(&self, level: Level, message: &str) {
        if !enabled(level) {
            return;
        }
        let (allowed, dropped) = self.rate.take();
        let name = &*self.plugin;
        if dropped > 0 {
            tracing::warn!(target: "plugin", plugin = name, dropped, "lines beyond {MAX_LINES} per second were dropped");
        }
        if !allowed {
            return;
        }
        let message = clean(message, MAX_MESSAGE);
        match level {
            Level::Trace => tracing::trace!(target: "plugin", plugin = name, "{message}"),
            Level::Debug => tracing::debug!(target: "plugin", plugin = name, "{message}"),
            Level::Info => tracing::info!(target: "plugin", plugin = name, "{message}"),
            Level::Warn => tracing::warn!(target: "plugin", plugin = name, "{message}"),
            Level::Error => tracing::error!(target: "plugin", plugin = name, "{message}"),
        }
    }
}

pub(crate) fn enabled(level: Level) -> bool {
    match level {
        Level::Trace => tracing::enabled!(target: "plugin", tracing::Level::TRACE),
        Level::Debug => tracing::enabled!(target: "plugin", tracing::Level::DEBUG),
        Level::Info => tracing::enabled!(target: "plugin", tracing::Level::INFO),
        Level::Warn => tracing::enabled!(target: "plugin", tracing::Level::WARN),
        Level::Error => tracing::enabled!(target: "plugin", tracing::Level::ERROR),
    }
}

/// One line of bounded length: a terminal must not obey a plugin, nor must a line look like two.
pub(crate) fn clean(message: &str, max: usize) -> String {
    let cut = &message[..message.floor_char_boundary(max)];
    let mut out = String::with_capacity(cut.len());
    for character in cut.chars() {
        match character {
            '\t' => out.push('\t'),
            control if control.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(out, "{}", control.escape_default());
            }
            other => out.push(other),
        }
    }
    if cut.len() < message.len() {
        out.push('…');
    }
    out
}

/// Lines per second, counted without a lock: the second in the upper half, the lines in the lower.
#[derive(Debug)]
struct Rate {
    origin: Instant,
    window: AtomicU64,
}

impl Rate {
    fn new(origin: Instant) -> Self {
        Self { origin, window: AtomicU64::new(0) }
    }

    /// Whether another line may be written, and how many were dropped in the last busy second if
    /// this line is the first of a new one.
    fn take(&self) -> (bool, u32) {
        self.take_in(self.origin.elapsed().as_secs())
    }

    fn take_in(&self, second: u64) -> (bool, u32) {
        let lines = |window: u64| (window & u64::from(u32::MAX)) as u32;
        let is_new = |window: u64| window >> 32 < second;
        let next = |window: u64| {
            let count = if is_new(window) { 0 } else { lines(window) };
            Some(second.max(window >> 32) << 32 | u64::from(count.saturating_add(1)))
        };
        match self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next) {
            Ok(before) | Err(before) if is_new(before) => (true, lines(before).saturating_sub(MAX_LINES)),
            Ok(before) | Err(before) => (lines(before) < MAX_LINES, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_harmless_line() {
        assert_eq!(clean("a\tb", 10), "a\tb");
        assert_eq!(clean("one\r\ntwo\u{1b}[31m", 100), "one\\r\\ntwo\\u{1b}[31m");
        assert_eq!(clean("ééé", 3), "é…");
    }

    #[test]
    fn lines_beyond_the_limit_are_counted_and_told_once() {
        let rate = Rate::new(Instant::now());
        let allowed = (0..MAX_LINES + 7).filter(|_| rate.take_in(5).0).count();
        assert_eq!(allowed, 100);
        assert_eq!(rate.take_in(6), (true, 7));
        assert_eq!(rate.take_in(6), (true, 0));
        // A clock read late on another worker stays in the newer second.
        assert_eq!(rate.take_in(5), (true, 0));
    }
}
