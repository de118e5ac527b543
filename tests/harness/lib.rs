//! What the end-to-end tests stand on: a proxy to start, upstreams to put behind it, clients to put in front.
//!
//! * [`Proxy`] starts the real binary with files of its own in a temporary folder and ends it with the test;
//!   [`command`] is the other things it can do.
//! * [`Upstream`] is a server behind it that records what it was asked; [`Speech`] is what it speaks.
//! * [`FullPort`] takes no connection, [`Dns`] says where names lead.
//! * [`Client`] speaks HTTP/1.1 and HTTP/2, clear or over TLS; [`Raw`] sends exactly the bytes that a test
//!   gives it.
//! * [`H2Frames`] is a peer of HTTP/2 that sends what no well-behaved one does.
//! * [`Authority`] signs certificates, [`Acme`] those that the proxy asks for.
//! * [`ServiceManager`] is systemd to it.
//! * [`stock`] and [`guest`] are compiled plugins.
//!
//! Nothing here waits for time to pass: every wait is for a condition, and gives up after [`PATIENCE`].

mod acme;
mod answer;
mod body;
mod browser;
mod certificates;
mod client;
mod dns;
mod h2_frames;
mod h2_names;
mod head;
mod json;
mod log;
mod place;
mod plugins;
mod process;
mod proxy;
mod raw;
mod redis;
mod service_manager;
mod speech;
mod terminal;
mod tls;
mod upstream;
mod wait;

pub use acme::{Acme, Order, Refusal};
pub use answer::Answer;
pub use body::{
    BoxBody, Chunks, Zeros, body, chunked, chunks, empty, exclusive, gzipped, next_chunk, stalled,
};
pub use browser::Browser;
pub use certificates::{Authority, Leaf};
pub use client::{Client, request, request_with, tcp_connect};
pub use dns::Dns;
pub use h2_frames::{Frame, H2Frames};
pub use h2_names::{ErrorCode, FrameType, Setting, flags};
pub use head::{assert_status, head_field, read_head};
pub use json::assert_values;
pub use log::Lines;
pub use place::FullPort;
pub use plugins::{Plugin, guest, guest_if_built, older, stock};
pub use process::{Ended, Process, command};
pub use proxy::{Builder, Proxy};
pub use raw::Raw;
pub use redis::Redis;
pub use service_manager::{Notification, ServiceManager};
pub use speech::{Speech, TlsSeen};
pub use terminal::Terminal;
pub use tls::{TlsOptions, tls_accept, tls_connect, tls_resumes, tls_resumes_after};
pub use upstream::{Recorded, Upstream, UpstreamBuilder};
pub use wait::{PATIENCE, a_moment, eventually, until, within};
