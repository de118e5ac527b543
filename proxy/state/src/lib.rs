//! What policies share: rate limits and small stores, in this process or in Redis (or Valkey) for several
//! proxies.
//!
//! [`State`] is one for the process and outlives generations. It gives out a [`Limiter`] for a plugin, a name
//! and a [`Spec`], and a [`Store`] for a plugin; both say their [`Answer`] at once where they can.
//!
//! * `quota` is the arithmetic of a limit, without a clock and without a table.
//! * `limiter` decides in this process, or asks the shared store, or both; `store` keeps values in one of
//!   them.
//! * `buckets` and `entries` are the tables in this process, which `plugins` keeps by the plugin's name.
//! * `remote` is the shared store: where it is (`url`), the connection (`link`), what is asked of it
//!   (`calls`), by which names (`keys`), and how proxies tell each other what they let pass (`exchange`).
//! * `kept` is what another process that takes the place of this one goes on with; `secret` is what it needs for that.
//! * `clock` is the time all of this goes by.

mod answer;
mod buckets;
mod clock;
mod entries;
mod kept;
mod limiter;
mod plugins;
mod quota;
mod remote;
mod secret;
mod state;
mod store;

pub use self::answer::Answer;
pub use self::clock::StoppedClock;
pub use self::kept::{Kept, KeptValue};
pub use self::limiter::{Limiter, Scope, Spec, WhenDown};
pub use self::quota::Decision;
pub use self::remote::{Reach, RedisUrl, StateError, Status, UrlError};
pub use self::secret::Secret;
pub use self::state::State;
pub use self::store::{STORE_TIMEOUT, Store, StoreError};
