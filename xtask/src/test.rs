//! Formatting, lints and every test of the workspace.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::build::{self, Built, Profile};
use crate::command::{self, Result, cargo, cargo_with, output, root, say};
use crate::package;
use crate::wasm::Compiler;

/// Runs all of it, or only the tests whose name contains one of `filters`.
///
/// The end-to-end tests find what they need through `TIDEGATE_BIN`, `TIDEGATE_PLUGINS` and
/// `TIDEGATE_GUESTS`; `TIDEGATE_WASM_BUILD` is what they build plugins with by themselves.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    run_with(filters, &[])
}

/// What takes longer, or needs more of a machine than Rust: the tests that are left out otherwise, and the Debian package in a
/// system of its own.
pub(crate) fn soak() -> Result<()> {
    let built = build::with_tests()?;
    let mut test = tests(&built)?;
    command::run(test.args(["--", "--ignored", "--nocapture", "--test-threads=1"]))?;
    package::try_out(&built)
}

/// The same with these variables for the tests.
pub(crate) fn run_with(filters: &[String], variables: &[(&str, OsString)]) -> Result<()> {
    if filters.is_empty() {
        format()?;
    }
    let built = build::with_tests()?;
    let mut test = tests(&built)?;
    test.envs(variables.iter().map(|(name, value)| (name, value)));
    if !filters.is_empty() {
        test.arg("--").args(filters);
    }
    command::run(&mut test)?;
    if filters.is_empty() {
        lint(&built.plugins)?;
    }
    Ok(())
}

/// All of them, with what they need to find.
fn tests(built: &Built) -> Result<Command> {
    let guests = build::guests(&built.target)?;
    let mut test = cargo_with(&built.plugins);
    test.args(["test", "--profile", Profile::Quick.name(), "--workspace", "--no-fail-fast"])
        .env("TIDEGATE_BIN", &built.binary)
        .env("TIDEGATE_PLUGINS", &built.plugins)
        .env("TIDEGATE_GUESTS", &guests)
        .env("TIDEGATE_WASM_BUILD", Compiler::core()?.words());
    Ok(test)
}

fn format() -> Result<()> {
    if output(cargo().args(["fmt", "--version"])).is_none() {
        say("rustfmt is not installed: formatting is not checked");
        return Ok(());
    }
    command::run(cargo().args(["fmt", "--all", "--check"]))?;
    // Not `--all` here: it would follow the guests' dependencies back into this workspace.
    command::run(cargo().current_dir(root().join("tests/guests")).args(["fmt", "--check"]))
}

/// After the tests: what they found matters more than a lint.
fn lint(plugins: &Path) -> Result<()> {
    if output(cargo().args(["clippy", "--version"])).is_none() {
        say("clippy is not installed: lints are not checked");
        return Ok(());
    }
    // Not through RUSTFLAGS: that would compile every dependency again.
    command::run(cargo_with(plugins).args([
        "clippy",
        "--profile",
        Profile::Quick.name(),
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))
}
