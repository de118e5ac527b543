//! Addresses the proxy accepts connections on, and how many it accepts.

mod accept;
mod admission;
mod bind;

pub(crate) use self::accept::{Listening, listen};
pub(crate) use self::admission::{Admission, Admitted};
pub(crate) use self::bind::{bind, refused};
