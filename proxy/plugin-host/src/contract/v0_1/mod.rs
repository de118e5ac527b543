//! Version 0.1: `wit/0.1/policy.wit`. Requests, responses and bodies are handles, which carry nothing: what a call is
//! about is in the store.

pub(super) mod bindings;
pub(super) mod exports;
pub(super) mod imports;
