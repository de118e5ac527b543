//! The bodies of messages: what streams, what is kept, what it may cost.
//!
//! * [`Body`]: any body, at hand or coming out of a stage (`any`); [`ResponseBody`]: one on its way to the client,
//!   whose end is reported (`response`).
//! * [`RequestBody`]: one on its way to a server, within its bounds, and [`Replay`], which sends it again
//!   (`request`, `arriving`, `replay`, `progress`).
//! * [`buffer`]: bodies in memory and in temporary files, so that slow clients do not hold servers.
//! * [`codec`]: content codings, made and undone while a body streams.
//! * [`Memory`]: one account of what requests make the process hold, with a share for each client.
//! * [`collect`]: a body taken in whole (`whole`). [`Idle`]: a wait for the next chunk.
//!
//! Every body here is polled by one thread. No code here depends on hyper or on policies; comments say what those do
//! with a body.

mod any;
mod arriving;
pub mod buffer;
pub mod codec;
mod complaints;
mod error;
mod idle;
mod memory;
mod progress;
mod replay;
mod request;
mod response;
mod whole;

pub use any::{Body, BoxError, longer};
pub use error::RequestBodyError;
pub use idle::Idle;
pub use memory::{Held, Memory, MemoryUsedUp, Payer};
pub use progress::Progress;
pub use replay::Replay;
pub use request::{Bounds, RequestBody};
pub use response::{End, ResponseBody};
pub use whole::{Collected, collect};
