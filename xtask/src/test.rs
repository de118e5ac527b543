//! Formatting, lints and every test of the workspace.

use std::ffi::OsString;

use crate::build::{self, Profile};
use crate::command::{self, Result, cargo, output, root, say};
use crate::wasm::Compiler;

/// Runs all of it, or only the tests whose name contains one of `filters`.
///
/// The end-to-end tests find what they need through `TIDEGATE_BIN`, `TIDEGATE_PLUGINS` and
/// `TIDEGATE_GUESTS`; `TIDEGATE_WASM_BUILD` is what they build plugins with by themselves.
pub(crate) fn run(filters: &[String]) -> Result<()> {
    run_with(filters, &[])
}

/// The same with these variables for the tests.
pub(crate) fn run_with(filters: &[String], variables: &[(&str, OsString)]) -> Result<()> {
    if filters.is_empty() {
        format()?;
    }
    let built = build::with_tests()?;
    let guests = build::guests(&built.target)?;
    let mut test = cargo();
    test.args(["test", "--profile", Profile::Quick.name(), "--workspace", "--no-fail-fast"])
        .env("TIDEGATE_BIN", &built.binary)
        .env("TIDEGATE_PLUGINS", &built.plugins)
        .env("TIDEGATE_GUESTS", &guests)
        .env("TIDEGATE_WASM_BUILD", Compiler::core()?.words())
        .envs(variables.iter().map(|(name, value)| (name, value)));
    if !filters.is_empty() {
        test.arg("--").args(filters);
    }
    command::run(&mut test)?;
    if filters.is_empty() {
        lint()?;
    }
    Ok(())
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
fn lint() -> Result<()> {
    if output(cargo().args(["clippy", "--version"])).is_none() {
        say("clippy is not installed: lints are not checked");
        return Ok(());
    }
    // Not through RUSTFLAGS: that would compile every dependency again.
    command::run(cargo().args([
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
