//! The stock policies, as they are built for WebAssembly, for a binary that carries them.
//!
//! `build.rs` takes them from where `$TIDEGATE_STOCK_POLICIES` says, as `cargo xtask` does, or else builds them itself, as
//! for `cargo install`. Debug builds carry none.

/// A stock policy.
#[derive(Debug)]
pub struct Policy {
    /// The name of its folder in `plugins/`.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub purpose: &'static str,
    /// The plugin.
    pub wasm: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/policies.rs"));

/// The one with this name.
pub fn policy(name: &str) -> Option<&'static Policy> {
    POLICIES.iter().find(|policy| policy.name == name)
}
