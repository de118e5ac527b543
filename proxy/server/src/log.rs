//! The proxy's own log, on stderr.

use std::io::stderr;

use tidegate_config::{Log, LogFormat, LogLevel};
use tracing::Level;

/// Starts logging; the first call in a process counts.
pub(crate) fn init(log: Log) {
    let level = match log.level {
        LogLevel::Error => Level::ERROR,
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Trace => Level::TRACE,
    };
    let lines = tracing_subscriber::fmt().with_max_level(level).with_writer(stderr).with_ansi(false);
    // An error means that there is a subscriber already.
    let _ = match log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}
