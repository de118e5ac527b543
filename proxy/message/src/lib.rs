//! HTTP messages without their bodies: what heads and fields say, in one form for every part of the proxy.
//!
//! Pure: no runtime, no sockets, no clock. In the order in which a request needs them:
//!
//! * [`Connection`]: the client connection a request came on; [`network`]: who counts as one client.
//! * [`fields`]: lists in fields, and the fields that belong to one connection (RFC 9110 §7.6.1).
//! * [`framing`]: how long a body is, and which heads could be read in two ways (RFC 9112 §6).
//! * [`authority`], [`path`], [`query`], [`cookie`]: the host a request is for, the one form of a path that decisions are
//!   made on, and single values in queries and cookies.
//! * [`RequestHead`], [`ResponseHead`]: the heads themselves; [`Reply`]: a whole response made here.
//! * [`conditional`], [`range`]: which representation a client has already, and how much of one it wants.
//! * [`Coding`], [`AcceptEncoding`], [`media_type`], [`representation`]: the forms a body can have, and what the
//!   fields say of it.

mod accept_encoding;
pub mod authority;
mod coding;
pub mod conditional;
mod connection;
pub mod cookie;
pub mod fields;
pub mod framing;
mod head;
pub mod media_type;
mod network;
pub mod path;
pub mod query;
pub mod range;
pub mod representation;

pub use accept_encoding::AcceptEncoding;
pub use coding::Coding;
pub use connection::{ClientCertificate, Connection, TlsFacts};
pub use head::{Reply, RequestHead, ResponseHead};
pub use network::{UNKNOWN, network};
