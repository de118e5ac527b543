//! Small values with expiry, private to the plugin, shared by all workers and kept across reloads; shared by all proxies
//! where the operator configured a shared store. Granted with `grants.store`.

use std::time::Duration;

use thiserror::Error;

use crate::host;

/// Why the store did not do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// `grants.store` is not `true`.
    #[error("the operator did not grant the store")]
    NotGranted,
    /// The key is over 512 bytes, or the value over 64 KiB.
    #[error("the key or the value is too large")]
    TooLarge,
    /// The plugin's share is used up by values that do not expire.
    #[error("there is no room for more")]
    Full,
    /// [`increment`] of a value that is no number, or beyond 64 bits.
    #[error("the value or the sum is not a number of 64 bits")]
    NotANumber,
    /// A write may have been done all the same.
    #[error("the shared store cannot be reached")]
    Unavailable,
}

impl From<host::store::StoreError> for StoreError {
    fn from(error: host::store::StoreError) -> Self {
        match error {
            host::store::StoreError::NotGranted => Self::NotGranted,
            host::store::StoreError::TooLarge => Self::TooLarge,
            host::store::StoreError::Full => Self::Full,
            host::store::StoreError::NotANumber => Self::NotANumber,
            host::store::StoreError::Unavailable => Self::Unavailable,
        }
    }
}

/// The value; `None` if absent or expired.
///
/// # Errors
///
/// See [`StoreError`].
pub fn get(key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    Ok(host::store::get(key)?)
}

/// Writes the value; `None` = it does not expire.
///
/// # Errors
///
/// See [`StoreError`].
pub fn set(key: &str, value: impl AsRef<[u8]>, ttl: Option<Duration>) -> Result<(), StoreError> {
    Ok(host::store::set(key, value.as_ref(), millis(ttl))?)
}

/// Writes only if the value is still `expected` (`None` = absent); says whether it wrote.
///
/// # Errors
///
/// See [`StoreError`].
pub fn compare_and_set(
    key: &str,
    expected: Option<&[u8]>,
    value: impl AsRef<[u8]>,
    ttl: Option<Duration>,
) -> Result<bool, StoreError> {
    Ok(host::store::compare_and_set(key, expected, value.as_ref(), millis(ttl))?)
}

/// Adds to a counter and returns the sum; `ttl` applies when it is created. [`get`] reads it as decimal text.
///
/// # Errors
///
/// See [`StoreError`].
pub fn increment(key: &str, delta: i64, ttl: Option<Duration>) -> Result<i64, StoreError> {
    Ok(host::store::increment(key, delta, millis(ttl))?)
}

/// Removes the value; no error if there is none.
///
/// # Errors
///
/// See [`StoreError`].
pub fn remove(key: &str) -> Result<(), StoreError> {
    Ok(host::store::remove(key)?)
}

/// 0 means no expiry, so less than a millisecond is one.
fn millis(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1))
}
