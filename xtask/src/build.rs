//! What a release consists of: the binary and the stock policies.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Result, cargo, cargo_with, output, root, run, say};
use crate::wasm::{self, Compiler};

/// Where everything was put.
#[derive(Debug)]
pub(crate) struct Built {
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// The proxy.
    pub(crate) binary: PathBuf,
    /// The stock policies, `NAME.wasm` each.
    pub(crate) plugins: PathBuf,
}

/// The profiles of the root manifest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// As fast as it gets.
    Release,
    /// Sooner built: for tests and the demo.
    Quick,
}

impl Profile {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// Builds the binary and the stock policies.
pub(crate) fn everything(profile: Profile) -> Result<Built> {
    with_binary(profile, &[])
}

/// The same, and the tests with it: their dependencies ask for more features of what the binary is made of, which would
/// otherwise be compiled twice, the compiler for plugins among it.
pub(crate) fn with_tests() -> Result<Built> {
    with_binary(Profile::Quick, &["--tests"])
}

fn with_binary(profile: Profile, also: &[&str]) -> Result<Built> {
    let target = target_folder()?;
    let plugins = plugins(&target)?;
    let build = ["build", "--profile", profile.name(), "--workspace", "--bin", "tidegate"];
    run(cargo_with(&plugins).args(build).args(also))?;
    Ok(Built { binary: target.join(profile.name()).join("tidegate"), plugins, target })
}

/// Builds the stock policies, to `target/plugins/NAME.wasm`.
pub(crate) fn plugins(target: &Path) -> Result<PathBuf> {
    let plugins = target.join("plugins");
    let names = folders(&root().join("plugins"))?;
    let compiler = Compiler::core()?;
    let mut build = compiler.build();
    build.args(names.iter().flat_map(|name| ["--package", name]));
    run(&mut build)?;
    install(&names, &target.join(compiler.output_folder()), &plugins)?;
    Ok(plugins)
}

/// Builds `tests/guests`, the plugins that only tests use, to `target/guests/NAME.wasm`.
///
/// The one guest for WASI is left out, and said so, where its target cannot be had.
pub(crate) fn guests(target: &Path) -> Result<PathBuf> {
    let workspace = root().join("tests/guests");
    let guests = target.join("guests");
    let (wasi, core): (Vec<_>, Vec<_>) =
        folders(&workspace)?.into_iter().partition(|name| name.starts_with("wasi"));
    let mut compilers = vec![(Compiler::core()?, core)];
    match Compiler::wasi() {
        Some(compiler) => compilers.push((compiler, wasi)),
        None => say(&format!("{} cannot be had here: its test is skipped", wasm::WASI)),
    }
    for (compiler, names) in compilers {
        let mut build = compiler.build();
        // The same target folder: the SDK and its macros are compiled once for both workspaces.
        build.arg("--manifest-path").arg(workspace.join("Cargo.toml")).arg("--target-dir").arg(target);
        build.args(names.iter().flat_map(|name| ["--package", name]));
        run(&mut build)?;
        install(&names, &target.join(compiler.output_folder()), &guests)?;
    }
    Ok(guests)
}

impl Built {
    /// Says what was built.
    pub(crate) fn report(&self) {
        say(&format!("proxy           {}", self.binary.display()));
        say(&format!("stock policies  {}", self.plugins.display()));
    }

    /// Becomes `tidegate demo` with the stock policies; returns only when that does not start.
    pub(crate) fn demo(&self, arguments: &[String]) -> Result<()> {
        let mut demo = Command::new(&self.binary);
        let error = demo.arg("demo").arg("--plugins").arg(&self.plugins).args(arguments).exec();
        Err(format!("{}: {error}", self.binary.display()))
    }
}

/// Copies what cargo made to `folder`, under the package's own name. What is the same there keeps its time: the binary that
/// carries it need not be built again.
fn install(names: &[String], made: &Path, folder: &Path) -> Result<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    fs::create_dir_all(folder).map_err(failed)?;
    for name in names {
        let from = made.join(format!("{}.wasm", name.replace('-', "_")));
        let to = folder.join(format!("{name}.wasm"));
        let new = fs::read(&from).map_err(|error| format!("{}: {error}", from.display()))?;
        if !fs::read(&to).is_ok_and(|old| old == new) {
            fs::write(&to, new).map_err(|error| format!("{}: {error}", to.display()))?;
        }
    }
    Ok(())
}

/// Names of the packages in a folder of packages; a package has its folder's name.
fn folders(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut names: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    Ok(names)
}

/// As cargo sees it: `CARGO_TARGET_DIR`, its configuration, or `target`.
pub(crate) fn target_folder() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))
        .ok_or("`cargo metadata` failed; is the checkout complete?")?;
    let (_, rest) =
        metadata.split_once("\"target_directory\":\"").ok_or("`cargo metadata` names no target folder")?;
    let (folder, _) = rest.split_once('"').ok_or("`cargo metadata` is cut short")?;
    Ok(PathBuf::from(folder))
}
