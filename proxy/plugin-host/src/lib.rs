//! Policies: WebAssembly components in a sandbox that starts empty. The only crate that names
//! wasmtime.
//!
//! The life of a plugin, in the order of the files:
//!
//! 1. `engine`: one [`Host`] per process owns the engine and the clock of the time budgets.
//! 2. `code`: [`Host::compile`] turns a file into [`Code`], checked against the contract in `wit/`.
//! 3. `plugin`: [`Host::load`] adds the operator's [`Settings`], asks the plugin to configure itself
//!    and freezes what it defined: a [`Plugin`], shared by all workers.
//! 4. `instances`: each worker keeps warm [`Instances`] of it and calls them about an [`Exchange`] and
//!    the pieces of its bodies; `instance` is a single one, `phases` what it exports.
//!
//! Beside the path: `exchange` is what policies see, `bodies` which bodies they want to see, `piece` one of
//! those, `edit` how they change it and how a failed call is undone, `matching` and `activation` what
//! the host decides for them, `limits` what they may use, `state` what belongs to one instance, and
//! `imports` the functions they call, one file for each interface.

mod activation;
mod bindings;
mod bodies;
mod code;
mod edit;
mod engine;
mod error;
mod exchange;
mod imports;
mod instance;
mod instances;
mod limits;
mod matching;
mod memo;
mod phases;
mod piece;
mod plugin;
mod state;

pub use activation::{Activation, Match};
pub use bodies::{BodyMode, Side};
pub use code::{Code, Phase};
pub use engine::Host;
pub use error::{CallError, HostError, LoadError};
pub use exchange::{Destinations, EditLimits, Exchange};
pub use instance::Verdict;
pub use instances::Instances;
pub use limits::Limits;
pub use matching::PathPatterns;
pub use piece::Piece;
pub use plugin::{Isolation, Plugin, Settings};
