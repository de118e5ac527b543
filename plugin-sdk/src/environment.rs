//! Time, chance and the plugin's own name. `std::time` does not work without WASI; this does.

use std::time::Duration;

use crate::host;

/// Since the Unix epoch, in whole milliseconds.
pub fn wall_clock() -> Duration {
    Duration::from_millis(host::environment::wall_clock())
}

/// Since an arbitrary origin, never going back: subtract two of them. In whole nanoseconds.
pub fn monotonic_clock() -> Duration {
    Duration::from_nanos(host::environment::monotonic_clock())
}

/// 64 random bits, fit for secrets.
pub fn random() -> u64 {
    u64::from(host::environment::random()) << 32 | u64::from(host::environment::random())
}

/// The plugin's file name without the ending: `10-access`.
pub fn plugin_name() -> String {
    host::environment::plugin_name()
}

/// What the operator put under this name in `[secrets]`; `None` if nothing. It does not change: the plugin is configured
/// anew when it does.
pub fn secret(name: &str) -> Option<Vec<u8>> {
    host::environment::secret(name)
}

/// [`secret`] as text, without white space at the end; `None` also if it is not UTF-8.
pub fn secret_text(name: &str) -> Option<String> {
    host::environment::secret_text(name)
}
