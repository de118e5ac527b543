//! The host for tests: the imported functions with the signatures of the bindings, in plain Rust.
//!
//! What a function would do in the proxy it does here as far as one policy and one exchange can tell; the
//! operator's limits are not enforced. The host and this double run the same test vectors, `wit/vectors/`.

pub(crate) mod body;
pub(crate) mod callout;
pub(crate) mod crypto;
pub(crate) mod http;
pub(crate) mod matching;
pub(crate) mod password;
mod path;
pub(crate) mod shared;
#[cfg(test)]
mod vectors;

/// Messages go into a list per thread; tests run in one thread each.
pub(crate) mod log {
    use std::cell::RefCell;

    pub(crate) use crate::bindings::imports::tidegate::policy::log::Level;

    thread_local! {
        static LINES: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn enabled(_level: Level) -> bool {
        true
    }

    pub(crate) fn write(level: Level, message: &str) {
        LINES.with_borrow_mut(|lines| lines.push((level, message.to_owned())));
    }

    pub(crate) fn take() -> Vec<(Level, String)> {
        LINES.take()
    }
}

/// The clocks of this process.
pub(crate) mod environment {
    use std::hash::{BuildHasher, RandomState};
    use std::sync::LazyLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    use super::shared;
    pub(crate) use shared::secret;

    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

    pub(crate) fn wall_clock() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + shared::moved();
        since.as_millis().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn monotonic_clock() -> u64 {
        (ORIGIN.elapsed() + shared::moved()).as_nanos().try_into().unwrap_or(u64::MAX)
    }

    pub(crate) fn random() -> u32 {
        // Seeded by the operating system, and differently each time.
        (RandomState::new().hash_one(()) >> 32) as u32
    }

    pub(crate) fn secret_text(name: &str) -> Option<String> {
        Some(String::from_utf8(secret(name)?).ok()?.trim_end().to_owned())
    }

    pub(crate) fn plugin_name() -> String {
        "test".to_owned()
    }
}

pub(crate) use shared::{metrics, rate_limit, store};

/// Checks what it is given; tests call the phases themselves.
pub(crate) mod activation {
    use http::{HeaderName, Method};

    use super::matching::{self, PatternKind};

    pub(crate) fn only_paths(patterns: &[String]) -> Result<(), String> {
        refuse(patterns, "matches nothing, paths begin with `/`", |glob| glob.starts_with(['/', '*']))?;
        matching::patterns(PatternKind::Glob, patterns, false).map(drop)
    }

    pub(crate) fn only_hosts(patterns: &[String]) -> Result<(), String> {
        refuse(patterns, "is neither a host nor `*.` and a domain", |host| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let name = name.strip_suffix('.').unwrap_or(name);
            !name.is_empty() && !name.contains(['*', '/', ' '])
        })
    }

    pub(crate) fn only_methods(methods: &[String]) -> Result<(), String> {
        refuse(methods, "is not a method", |method| Method::from_bytes(method.as_bytes()).is_ok())
    }

    pub(crate) fn only_with_headers(names: &[String]) -> Result<(), String> {
        refuse(names, "is not a field name", |name| HeaderName::from_bytes(name.as_bytes()).is_ok())
    }

    pub(crate) fn pure() {}

    pub(crate) fn routes(_: &[String]) {}

    fn refuse(items: &[String], why: &str, valid: impl Fn(&str) -> bool) -> Result<(), String> {
        match items.iter().position(|item| !valid(item)) {
            Some(index) => Err(format!("[{index}]: `{}` {why}", items[index])),
            None => Ok(()),
        }
    }
}
