//! The checked `[cache.NAME]`.

use std::path::PathBuf;
use std::time::Duration;

/// `[cache.NAME]`: responses that the proxy keeps, and answers by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// Bytes in memory.
    pub memory: u64,
    /// What is kept on a disk; `None` = nothing.
    pub disk: Option<CacheDisk>,
    /// Bytes of a body.
    pub max_object: u64,
    /// Responses for one URL, at least 1.
    pub max_variants: usize,
    /// In lower case: fields that tell requests apart.
    pub key_headers: Vec<String>,
    /// Cookies that do.
    pub key_cookies: Vec<String>,
    /// Fields that policies set, in small letters, and that tell nothing apart.
    pub key_without: Vec<String>,
    /// Of responses that do not say how long they are fresh; 0 = none.
    pub default_lifetime: Duration,
    /// The longest guess; 0 = none.
    pub heuristic_lifetime: Duration,
    /// Where the response does not say.
    pub stale_while_revalidate: Duration,
    /// Where the response does not say.
    pub stale_if_error: Duration,
    /// Whether responses that set cookies are kept.
    pub set_cookie: bool,
    /// Whether what clients say in `Cache-Control` counts.
    pub client_directives: bool,
    /// How long a request waits for another.
    pub max_wait: Duration,
    /// Of each worker, at least 1.
    pub max_revalidations: usize,
    /// Whether responses have `Cache-Status`.
    pub status_field: bool,
}

/// The part of a cache that is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheDisk {
    /// Already joined with the directory of the file; no two caches have the same.
    pub path: PathBuf,
    /// Bytes.
    pub space: u64,
}
