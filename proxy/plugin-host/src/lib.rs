//! Policies: WebAssembly components in a sandbox that starts empty. The only crate that names
//! wasmtime.
//!
//! The life of a plugin, in the order of the files:
//!
//! 1. `engine`: one [`Host`] per process owns the engine; `clock` ticks for the time budgets.
//! 2. `code`: [`Host::compile`] turns a file into [`Code`], checked against the contract in `wit/`; `exports` are
//!    the phases it has.
//! 3. `plugin`: [`Host::load`] adds the operator's [`Settings`], asks the plugin to configure itself
//!    and freezes what it defined: a [`Plugin`], shared by all workers.
//! 4. `instances`: each worker keeps warm [`Instances`] of it, as many as `capacity` allows, and calls them about
//!    an [`Exchange`] and the chunks of its bodies; `instance` is a single one, `state` what belongs to it.
//!
//! What policies see: `exchange`, which is in its `slot` between calls; `bodies` says which bodies they want to see,
//! `chunk` is a part of one; `edit` is how they change what they see, and how a failed call is undone; `phase` when
//! they are called, and what they decide.
//!
//! What the host decides for them: `activation` whether they are called at all, `memo` what a pure one decided
//! before, `matching` whether a pattern fits.
//!
//! What they may use: `limits`; `imports`, the functions they call, one file for each interface; `log` and `wasi`.

mod activation;
mod bodies;
mod callout;
mod capacity;
mod chunk;
mod clock;
mod code;
mod contract;
mod edit;
mod engine;
mod error;
mod exchange;
mod instance;
mod instances;
mod limits;
mod log;
mod matching;
mod memo;
mod observe;
mod phase;
mod plugin;
mod refusal;
mod services;
mod settings;
mod state;
mod trial;
#[cfg(test)]
mod vectors;
mod wasi;

pub use activation::{Activation, Match};
pub use bodies::{BodyMode, Side};
pub use callout::{Answered, Callout, CalloutError, CalloutTrace, Callouts, Sent};
pub use chunk::Chunk;
pub use code::Code;
pub use engine::Host;
pub use error::{CallError, HostError, LoadError};
pub use exchange::{CacheChoice, Caching, Destinations, EditLimits, Exchange, Retry, Tally};
pub use instances::{Figures, Instances, Slot, settle};
pub use limits::Limits;
pub use matching::PathPatterns;
pub use observe::{Account, Seen, Witness};
pub use phase::{Phase, Verdict};
pub use plugin::Plugin;
pub use services::{Grants, Services};
pub use settings::{Isolation, Secrets, Settings};
pub use trial::Fixed;
