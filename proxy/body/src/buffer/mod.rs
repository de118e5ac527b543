//! Keeps bodies: of responses that a client takes slower than a server sends them, of requests until
//! they are whole.
//!
//! What does not fit in memory (`chunks`) goes into a temporary file (`file`) within the space that
//! all of them have (`space`). A response passes through a `spool`, first in, first out, which a task fills
//! and its client drains (`ahead`); a request is stored to be read any number of times (`stored`).

mod ahead;
mod chunks;
mod file;
mod space;
mod spool;
mod stored;

pub use self::ahead::{ReadAhead, keep_ahead};
pub(crate) use self::chunks::Chunks;
pub use self::space::{Space, TemporaryFiles, check};
pub(crate) use self::stored::{Reader, Refused, Stored, store};
