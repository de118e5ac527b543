//! HTTP on the client's side: drives a connection, refuses ambiguous requests, and keeps the fields
//! that belong to one hop on that hop.

pub(crate) mod connection;
pub(crate) mod forwarded;
mod frames;
mod io;
pub(crate) mod leftover;
mod linger;
pub(crate) mod request;
mod stream;
pub(crate) mod websocket;

#[cfg(test)]
mod tests;
