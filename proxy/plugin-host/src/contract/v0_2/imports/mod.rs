//! The functions plugins call, one file for each interface of the contract.
//!
//! Every text a plugin passes only to be looked at is read where it lies in the plugin's memory.

mod activation;
mod body;
mod environment;
mod exchange;
mod log;
mod matching;
mod request;
mod response;
mod types;

use crate::contract::offered::{Interface, Offering};

/// Links what is always granted; nothing in it waits.
pub(crate) fn link(offering: &mut Offering<'_>) -> wasmtime::Result<()> {
    // Nothing but types; a language may import it all the same.
    offering.interface("types", VERSION)?;
    request::link(&mut offering.interface("request", VERSION)?)?;
    response::link(&mut offering.interface("response", VERSION)?)?;
    body::link(&mut offering.interface("body", VERSION)?)?;
    exchange::link(&mut offering.interface("exchange", VERSION)?)?;
    log::link(&mut offering.interface("log", VERSION)?)?;
    environment::link(&mut offering.interface("environment", VERSION)?)?;
    activation::link(&mut offering.interface("activation", VERSION)?)?;
    matching::link(&mut offering.interface("matching", VERSION)?)
}

const VERSION: &str = "0.2.0";
