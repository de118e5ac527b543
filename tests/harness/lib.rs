//! What the end-to-end tests stand on: a proxy to start, upstreams to put behind it, clients to put in front.
//!
//! * [`Proxy`] starts the real binary with files of its own in a temporary folder and ends it with the test.
//! * [`Upstream`] is a server behind it that records what it was asked.
//! * [`Client`] speaks HTTP/1.1 and HTTP/2, clear or over TLS; [`Raw`] sends exactly the bytes a test gives it.
//! * [`Authority`] signs certificates.
//! * [`stock`] and [`guest`] are compiled plugins.
//!
//! Nothing here waits for time to pass: every wait is for a condition, and gives up after [`PATIENCE`].

mod body;
mod certificates;
mod client;
mod h2_frames;
mod log;
mod plugins;
mod proxy;
mod raw;
mod upstream;
mod wait;

pub use body::{BoxBody, Pieces, Zeros, full, pieces};
pub use certificates::{Authority, Leaf};
pub use client::{Answer, Client, TlsOptions, body, empty, request};
pub use h2_frames::{Frame, H2Frames};
pub use log::Lines;
pub use plugins::{Plugin, guest, guest_if_built, stock};
pub use proxy::{Builder, Ended, Proxy, command};
pub use raw::Raw;
pub use upstream::{Recorded, Upstream, read_head};
pub use wait::{PATIENCE, a_moment, eventually, within};
