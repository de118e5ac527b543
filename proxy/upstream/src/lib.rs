//! Sends requests to the servers of an upstream over kept connections.
//!
//! What all workers share of an upstream is a [`Cluster`]: its servers as DNS and health checks have them
//! (`supervisor`, `resolver`, `check`), what is known of each (`health`, `eject`), and its limits (`limit`,
//! `budget`). Each worker chooses among the servers by itself (`upstream`, `balance`), with connections of its own
//! (`servers`, `pool`, `driver`, `target`).
//!
//! [`send`] takes an [`Outgoing`] request, whoever makes it, and gives the [`Answer`], trying again as far as that
//! is safe; [`Attempts`] says what was tried. `once` sends the request of a health check. [`Upstream::connect`] makes a
//! connection for bytes, which is forwarded at layer 4. `kept` is what a process hands to one that takes its place.

mod attempts;
mod balance;
mod budget;
mod check;
mod cluster;
mod driver;
mod eject;
mod error;
mod health;
mod kept;
mod limit;
mod once;
mod outgoing;
mod pool;
mod resolver;
mod response;
mod send;
mod servers;
mod supervisor;
mod target;
mod upstream;

pub use self::attempts::{Attempt, AttemptEnd, Attempts};
pub use self::cluster::{Cluster, Figures, Hold, ServerStatus, Status};
pub use self::error::Error;
pub use self::kept::Kept;
pub use self::outgoing::{Hop, Outgoing};
pub use self::response::ServerBody;
pub use self::send::{Answer, send};
pub use self::servers::Servers;
pub use self::supervisor::{Clusters, Supervisor};
pub use self::upstream::{Connected, Upstream};
