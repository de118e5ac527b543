//! The functions plugins call, one file for each interface of the contract (and one for its bodies).
//!
//! Every text a plugin passes only to be looked at is read where it lies in the plugin's memory.

mod activation;
mod body;
mod environment;
mod http;
mod log;
mod matching;

use wasmtime::component::Linker;

use crate::state::State;

/// Links the contract; nothing in it waits.
pub(crate) fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    http::link(&mut linker.instance("tidegate:policy/http@0.1.0")?)?;
    log::link(&mut linker.instance("tidegate:policy/log@0.1.0")?)?;
    environment::link(&mut linker.instance("tidegate:policy/environment@0.1.0")?)?;
    activation::link(&mut linker.instance("tidegate:policy/activation@0.1.0")?)?;
    matching::link(&mut linker.instance("tidegate:policy/matching@0.1.0")?)
}

/// Adds WASI, whose functions may wait.
pub(crate) fn link_wasi(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)
}
