//! Lines in the proxy's log, marked with the plugin's name: `log::info!("…")`.
//!
//! A message is formatted, and its arguments are evaluated, only if the operator's log level keeps it.
//! The proxy limits how much a plugin may write and drops what is over.

use std::fmt;

pub use crate::bindings::imports::tidegate::policy::log::Level;
use crate::host;

#[doc(inline)]
pub use crate::{
    __log_debug as debug, __log_error as error, __log_info as info, __log_trace as trace, __log_warn as warn,
};

/// Whether a message of this level would be kept. The macros ask by themselves.
pub fn enabled(level: Level) -> bool {
    host::log::enabled(level)
}

/// Writes one line, whatever the level; the macros call it when the level is enabled.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    match message.as_str() {
        Some(text) => host::log::write(level, text),
        None => host::log::write(level, &message.to_string()),
    }
}

/// Every step, for finding a fault.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace { ($($message:tt)+) => { $crate::__log!(Trace, $($message)+) }; }

/// What was decided and why.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug { ($($message:tt)+) => { $crate::__log!(Debug, $($message)+) }; }

/// What an operator may want to know.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info { ($($message:tt)+) => { $crate::__log!(Info, $($message)+) }; }

/// Something is not as it should be; the policy went on.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn { ($($message:tt)+) => { $crate::__log!(Warn, $($message)+) }; }

/// The policy could not do its work.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error { ($($message:tt)+) => { $crate::__log!(Error, $($message)+) }; }

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($message:tt)+) => {
        if $crate::log::enabled($crate::log::Level::$level) {
            $crate::log::write($crate::log::Level::$level, ::core::format_args!($($message)+));
        }
    };
}
