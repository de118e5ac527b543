//! The functions plugins call, one file for each interface of the contract.
//!
//! Every text a plugin passes only to be looked at is read where it lies in the plugin's memory.

mod activation;
mod body;
mod callout;
mod crypto;
mod environment;
mod exchange;
mod log;
mod matching;
mod metrics;
mod password;
mod rate_limit;
mod request;
mod response;
mod store;
mod types;

use crate::contract::offered::{Interface, Offering};

/// Links what never waits; limits and stores are such where `state_waits` is false.
pub(crate) fn link(offering: &mut Offering<'_>, state_waits: bool) -> wasmtime::Result<()> {
    // Nothing but types; a language may import it all the same.
    offering.interface("types", VERSION)?;
    request::link(&mut offering.interface("request", VERSION)?)?;
    response::link(&mut offering.interface("response", VERSION)?)?;
    body::link(&mut offering.interface("body", VERSION)?)?;
    exchange::link(&mut offering.interface("exchange", VERSION)?)?;
    log::link(&mut offering.interface("log", VERSION)?)?;
    environment::link(&mut offering.interface("environment", VERSION)?)?;
    activation::link(&mut offering.interface("activation", VERSION)?)?;
    matching::link(&mut offering.interface("matching", VERSION)?)?;
    crypto::link(&mut offering.interface("crypto", VERSION)?)?;
    metrics::link(&mut offering.interface("metrics", VERSION)?)?;
    rate_limit::link(&mut offering.interface("rate-limit", VERSION)?, state_waits)?;
    store::link(&mut offering.interface("store", VERSION)?, state_waits)
}

/// Links what may always wait.
pub(crate) fn link_waiting(offering: &mut Offering<'_>) -> wasmtime::Result<()> {
    password::link(&mut offering.interface("password", VERSION)?)?;
    callout::link(&mut offering.interface("callout", VERSION)?)
}

const VERSION: &str = "0.2.0";
