//! Keeps bodies: of responses that a client takes slower than a server sends them, of requests until
//! they are whole.
//!
//! What does not fit in memory (`pieces`) goes into a temporary file (`file`) within the space that
//! all of them have (`space`). A response passes through a `spool`, first in, first out, which a task fills
//! and its client drains (`response`); a request is stored to be read any number of times (`request`).

mod file;
mod pieces;
mod request;
mod response;
mod space;
mod spool;

pub(crate) use self::request::{Reader, Refused, Stored, store};
pub(crate) use self::response::keep_ahead;
pub(crate) use self::space::{Place, Space, check};
