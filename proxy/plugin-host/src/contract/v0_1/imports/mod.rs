//! The functions plugins call, one file for each interface of the contract (and one for its bodies).
//!
//! Every text a plugin passes only to be looked at is read where it lies in the plugin's memory.

mod activation;
mod body;
mod environment;
mod http;
mod log;
mod matching;

use crate::contract::offered::{Interface, Offering};

/// Links the contract; nothing in it waits.
pub(crate) fn link(offering: &mut Offering<'_>) -> wasmtime::Result<()> {
    http::link(&mut offering.interface("http", "0.1.0")?)?;
    log::link(&mut offering.interface("log", "0.1.0")?)?;
    environment::link(&mut offering.interface("environment", "0.1.0")?)?;
    activation::link(&mut offering.interface("activation", "0.1.0")?)?;
    matching::link(&mut offering.interface("matching", "0.1.0")?)
}
