//! The shared store: Redis or Valkey.

mod calls;
mod exchange;
pub(crate) mod keys;
mod link;
#[cfg(test)]
mod server;
#[cfg(test)]
mod tests;
mod url;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use redis::FromRedisValue as Reply;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

pub(crate) use self::calls::{Call, Calls};
pub(crate) use self::link::{Link, RETRY, Trouble};
pub use self::link::{Reach, Status};
pub use self::url::{RedisUrl, UrlError};
use crate::plugins::Plugins;

/// Everything needed to ask the shared store. The tasks behind it end when it is dropped.
pub(crate) struct Remote {
    pub(crate) link: Arc<Link>,
    pub(crate) calls: Arc<Calls>,
    /// For one answer to a store.
    pub(crate) store_timeout: Duration,
    _connecting: Task,
    _exchanging: Task,
}

/// Why there is no shared store to talk to. A store that merely does not answer is no error; see
/// [`crate::State::status`].
#[derive(Debug, Error)]
pub enum StateError {
    /// Authorities were given for a store that is not spoken to over TLS.
    #[error("certificate authorities are of use only with rediss://")]
    AuthoritiesWithoutTls,
    /// What was given as authorities is not PEM, or has no certificate, or one that is none.
    #[error("the certificate authorities are not certificates in PEM")]
    BadAuthorities,
    /// The address cannot be connected to, whatever the store does.
    #[error("the address of the shared store is of no use")]
    BadAddress,
}

/// Ends with its owner.
struct Task(AbortHandle);

impl Remote {
    pub(crate) fn start(
        url: &RedisUrl,
        store_timeout: Duration,
        runtime: &Handle,
        plugins: Arc<Plugins>,
    ) -> Result<Self, StateError> {
        let client = url.client()?;
        let calls = Arc::new(Calls::new());
        let link = Arc::new(Link::new(url));
        let connecting = runtime.spawn(link::keep(link.clone(), client, calls.clone()));
        let exchanging = runtime.spawn(exchange::run(link.clone(), calls.clone(), plugins));
        Ok(Self {
            link,
            calls,
            store_timeout,
            _connecting: Task(connecting.abort_handle()),
            _exchanging: Task(exchanging.abort_handle()),
        })
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
