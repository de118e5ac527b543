//! A cache of responses (RFC 9111): what may be stored and used, where it is stored, and how requests for the same are made
//! one.
//!
//! * [`decide`]: what the standards say of one request and one response; pure, without a clock.
//! * [`store`]: what is stored, in memory and on a disk, for all workers; requests to the origin that several wait for.
//! * [`Time`]: moments, on the wall clock.
//!
//! Nothing here sends or answers a request: the server does, and asks.

pub mod decide;
pub mod store;
mod time;

pub use time::Time;
