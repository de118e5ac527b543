//! Compiled plugins, found where `cargo xtask test` says they are.

use std::path::PathBuf;

/// A compiled plugin.
pub type Plugin = Vec<u8>;

/// A stock policy by the name of its folder in `plugins/`.
#[must_use]
pub fn stock(name: &str) -> Plugin {
    read(&folder("TIDEGATE_PLUGINS"), name)
}

/// A stock policy as it was built for an older version of the contract.
#[must_use]
pub fn older(version: &str, name: &str) -> Plugin {
    let folder = format!("{}/fixtures/policies-{version}", env!("CARGO_MANIFEST_DIR"));
    read(std::path::Path::new(&folder), name)
}

/// A plugin by the name of its folder in `tests/guests/`.
#[must_use]
pub fn guest(name: &str) -> Plugin {
    read(&folder("TIDEGATE_GUESTS"), name)
}

/// [`guest`] for one whose target not every machine can have; `None` when it was not built.
#[must_use]
pub fn guest_if_built(name: &str) -> Option<Plugin> {
    std::fs::read(folder("TIDEGATE_GUESTS").join(format!("{name}.wasm"))).ok()
}

/// The path in an environment variable that `cargo xtask test` sets.
pub(crate) fn folder(variable: &str) -> PathBuf {
    let Some(path) = std::env::var_os(variable) else {
        panic!("{variable} is not set: run `cargo xtask test`, which builds what these tests need")
    };
    PathBuf::from(path)
}

fn read(folder: &std::path::Path, name: &str) -> Plugin {
    let file = folder.join(format!("{name}.wasm"));
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}
