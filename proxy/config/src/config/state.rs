//! The checked `[state]`.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `[state]`: where policies keep what they share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Where that is.
    pub backend: StateBackend,
    /// For one answer about a limit; over it [`StateBackend::Redis`] counts as out of reach.
    pub timeout: Duration,
    /// For one operation of a store.
    pub store_timeout: Duration,
}

/// `state.backend`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBackend {
    /// In the process, until it ends.
    Memory,
    /// In a Redis or Valkey, for all proxies that name it.
    Redis(Redis),
}

/// A `redis://` or `rediss://` URL. Shown as such, without user and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// A name in lower case or an IP address, of IPv6 without brackets.
    pub host: String,
    /// Never 0.
    pub port: u16,
    /// What to `SELECT`.
    pub database: u32,
    /// What to say to `AUTH`; `None` = nothing.
    pub credentials: Option<Credentials>,
    /// `None` = clear text.
    pub tls: Option<RedisTls>,
}

/// Who the proxy is for Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `None` = the user that Redis calls `default`. Never empty.
    pub user: Option<String>,
    /// Never empty.
    pub password: Password,
}

/// What nobody is shown: `Debug` says only that there is one, and there is no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// TLS towards Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisTls {
    /// PEM file of the authorities that sign the certificate, already joined with the directory of the file; `None` =
    /// those of the system.
    pub ca: Option<PathBuf>,
}

impl Redis {
    /// Where Redis listens unless it is told otherwise.
    pub(crate) const PORT: u16 = 6379;
}

impl fmt::Display for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}/{}", self.host, self.port, self.database)
    }
}

impl Password {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The password itself, for `AUTH` alone.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
