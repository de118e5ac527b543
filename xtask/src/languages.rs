//! The tools for policies in other languages, in one folder, and the tests that build and run projects with them.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::build::target_folder;
use crate::command::{Result, cargo, root, run, say};
use crate::test;

/// The bindings for C; later versions may name their functions in other ways.
const WIT_BINDGEN: &str = "wit-bindgen-cli@0.63.0";

/// Installs to `target/languages` what can be had, and runs the tests of `tidegate plugin new`; a language without its tools is
/// skipped there, and said so.
pub(crate) fn run_all() -> Result<()> {
    let tools = target_folder()?.join("languages");
    std::fs::create_dir_all(&tools).map_err(|error| format!("{}: {error}", tools.display()))?;
    for (what, done) in [("node", node(&tools)), ("python", python(&tools)), ("bindings for C", c(&tools))] {
        if let Err(error) = done {
            say(&format!("{what}: not to be had here: {error}"));
        }
    }
    let mut path = OsString::new();
    for folder in ["node_modules/.bin", "python/bin", "bin"] {
        path.push(tools.join(folder));
        path.push(":");
    }
    path.push(std::env::var_os("PATH").unwrap_or_default());
    test::run_with(&["scaffold".to_owned()], &[("PATH", path)])
}

/// What the template for TypeScript names is that for JavaScript, and the compiler.
fn node(tools: &Path) -> Result<()> {
    let template = root().join("proxy/scaffold/templates/typescript/package.json");
    let manifest = std::fs::read_to_string(&template).map_err(|error| error.to_string())?;
    std::fs::write(tools.join("package.json"), manifest.replace("{{name}}", "languages"))
        .map_err(|error| error.to_string())?;
    run(Command::new("npm").args(["install", "--no-audit", "--no-fund"]).current_dir(tools))
}

/// With a compiler for C.
fn python(tools: &Path) -> Result<()> {
    let folder = tools.join("python");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let requirements = root().join("proxy/scaffold/templates/python/requirements.txt");
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "-r"])
        .arg(requirements)
        .arg("ziglang"))
}

fn c(tools: &Path) -> Result<()> {
    let install = ["install", WIT_BINDGEN, "--no-default-features", "--features", "c", "--root"];
    run(cargo().args(install).arg(tools))
}
