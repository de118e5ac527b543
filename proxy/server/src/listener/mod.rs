//! Addresses the proxy accepts connections on, and how many it accepts.
//!
//! `bind` opens sockets, `inherited` has those that the process was started with.

mod accept;
mod admission;
mod bind;
mod inherited;

pub(crate) use self::accept::{Listening, listen};
pub(crate) use self::admission::{Admission, Admitted};
pub(crate) use self::bind::{bind, refused, share_out};
pub(crate) use self::inherited::{Group, Inherited, Sockets, adopt};
