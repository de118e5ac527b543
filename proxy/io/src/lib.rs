//! What a proxy needs below HTTP: byte streams, the PROXY protocol, wake-ups and time, each at the price a
//! request can pay.
//!
//! * [`Stream`]: a connection to a server, whatever carries it; [`write_together`] joins small writes.
//! * [`proxy_protocol`]: whom a connection is made for, read and written.
//! * [`wake`]: part of a task is polled only when it was woken itself.
//! * [`clock`]: a moment to the millisecond, cheap enough to be asked for at every step.

pub mod clock;
pub mod proxy_protocol;
mod stream;
pub mod wake;

pub use clock::Millis;
pub use stream::{Carrier, Stream, write_together};
