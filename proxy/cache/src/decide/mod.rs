//! What RFC 9111 says of one request and one response, and what extends it: pure, and without a clock.
//!
//! [`Directives`] are read from fields (`directives`). A response [`may be stored`](storable) or not, and says for how
//! long it is [`fresh`](Lifetime) (`storing`, `freshness`); a request may get a stored one as it is, stale, or after it was
//! validated ([`Use`], `reuse`), if it would have selected it ([`Selection`], `vary`). `conditional` answers clients that have a
//! representation already and words what asks an origin whether there is a new one; `status` tells the client what was done.

mod conditional;
mod directives;
mod freshness;
mod reuse;
mod status;
mod storing;
mod vary;

#[cfg(test)]
mod tests;

pub(crate) use self::conditional::updated;
pub use self::conditional::{
    Answer, answer, ask_for_whole, asks_for_beginning, has_preconditions, of_not_modified, validate,
    validates,
};
pub use self::directives::{Asked, Directives};
pub use self::freshness::{Aged, Lifetime, Rules};
pub use self::reuse::{Staleness, Use, Why, reuse, serves_stale_on_error};
pub use self::status::{Forward, Status, name};
pub use self::storing::{Refusal, Shielded, prepare, shielded, storable};
pub use self::vary::{Selection, normalize};
