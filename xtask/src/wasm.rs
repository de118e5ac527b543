//! A compiler for WebAssembly on a machine that may have only Rust.
//!
//! Tried in this order, each step checked by looking for the standard library on disk:
//! 1. the target is there; 2. `rustup target add`; 3. the standard library built from its source,
//!    which `rustup component add rust-src` brings; 4. the same with Debian's packages of a recent
//!    Rust, when this is Debian and we may install. The last two serve machines whose mirror has no
//!    rustup components.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{self, Result, output, run, say};

/// What stock policies and most plugins are compiled for.
pub(crate) const CORE: &str = "wasm32-unknown-unknown";
/// For plugins that use the WASI parts of the standard library.
pub(crate) const WASI: &str = "wasm32-wasip2";

/// Debian's names for a recent Rust with the source of its standard library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How plugins are compiled on this machine for one target.
#[derive(Debug)]
pub(crate) struct Compiler {
    target: &'static str,
    how: How,
}

#[derive(Debug)]
enum How {
    /// The target's standard library is installed.
    Installed,
    /// It is built from its source with the usual toolchain.
    BuildStd,
    /// It is built from its source with Debian's toolchain, which has no linker for WebAssembly of
    /// its own.
    BuildStdDebian { linker: PathBuf },
}

impl Compiler {
    /// Finds or makes one for [`CORE`]. Fails with what to do by hand.
    pub(crate) fn core() -> Result<Self> {
        let target = CORE;
        if installed_or_added(target) {
            return Ok(Self { target, how: How::Installed });
        }
        say(&format!("{target} could not be added; building its standard library from source instead"));
        if has_source(&sysroot(Command::new("rustc"))?) || add_source() {
            return Ok(Self { target, how: How::BuildStd });
        }
        if let Some(linker) = bundled_linker()
            && debian_source()
        {
            return Ok(Self { target, how: How::BuildStdDebian { linker } });
        }
        Err(format!(
            "No way to compile for {target}: `rustup target add {target}` and `rustup component add rust-src` \
             both failed, and Debian's packages {} are not there either. Install any one of the three, then \
             repeat the command.",
            DEBIAN_PACKAGES.join(", ")
        ))
    }

    /// Finds or adds one for [`WASI`]; `None` when this machine cannot have it. Its standard library
    /// comes with a C library, so building that from source is no way out.
    pub(crate) fn wasi() -> Option<Self> {
        installed_or_added(WASI).then_some(Self { target: WASI, how: How::Installed })
    }

    /// `cargo build --profile plugin` for the target; the caller adds what to build.
    pub(crate) fn build(&self) -> Command {
        let mut cargo = match &self.how {
            How::Installed => command::cargo(),
            How::BuildStd => {
                let mut cargo = command::cargo();
                cargo.env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
            How::BuildStdDebian { linker } => {
                let mut cargo = Command::new(DEBIAN_CARGO);
                cargo
                    .current_dir(command::root())
                    .env("RUSTC", DEBIAN_RUSTC)
                    .env("RUSTC_BOOTSTRAP", "1")
                    .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker);
                cargo
            }
        };
        cargo.args(["build", "--profile", "plugin", "--target", self.target]);
        if !matches!(self.how, How::Installed) {
            cargo.arg("-Zbuild-std=std,panic_abort");
        }
        cargo
    }

    /// [`Self::build`] as arguments for `env`, one a line: variables, program, arguments.
    pub(crate) fn words(&self) -> String {
        let build = self.build();
        let variables = build.get_envs().filter_map(|(name, value)| {
            Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy()))
        });
        let rest = std::iter::once(build.get_program()).chain(build.get_args());
        let rest = rest.map(|word| word.to_string_lossy().into_owned());
        variables.chain(rest).collect::<Vec<_>>().join("\n")
    }

    /// Where cargo puts what [`Self::build`] makes, under the target folder.
    pub(crate) fn output_folder(&self) -> PathBuf {
        Path::new(self.target).join("plugin")
    }
}

fn installed_or_added(target: &str) -> bool {
    if installed(target) {
        return true;
    }
    say(&format!("{target} is not installed; adding it"));
    // Its own error message is shown; what counts is what is on disk afterwards.
    let _ = run(Command::new("rustup").args(["target", "add", target]));
    installed(target)
}

fn installed(target: &str) -> bool {
    let folder = output(Command::new("rustc").args(["--print", "target-libdir", "--target", target]));
    folder.is_some_and(|folder| {
        std::fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
    })
}

fn sysroot(mut rustc: Command) -> Result<PathBuf> {
    output(rustc.args(["--print", "sysroot"]))
        .map(PathBuf::from)
        .ok_or_else(|| "`rustc --print sysroot` failed; is Rust installed?".to_owned())
}

fn has_source(sysroot: &Path) -> bool {
    sysroot.join("lib/rustlib/src/rust/library/std/Cargo.toml").is_file()
}

fn add_source() -> bool {
    let _ = run(Command::new("rustup").args(["component", "add", "rust-src"]));
    sysroot(Command::new("rustc")).is_ok_and(|sysroot| has_source(&sysroot))
}

/// The `rust-lld` that every rustup toolchain carries.
fn bundled_linker() -> Option<PathBuf> {
    let rustlib = sysroot(Command::new("rustc")).ok()?.join("lib/rustlib");
    let hosts = std::fs::read_dir(rustlib).ok()?.flatten();
    hosts.map(|host| host.path().join("bin/rust-lld")).find(|linker| linker.is_file())
}

fn debian_source() -> bool {
    if debian_ready() {
        return true;
    }
    if !Path::new("/etc/debian_version").is_file() {
        return false;
    }
    say(&format!(
        "installing Debian's {} for the source of the standard library",
        DEBIAN_PACKAGES.join(", ")
    ));
    let apt_get = |arguments: &[&str]| {
        run(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    let mut install = vec!["install", "--yes", "--no-install-recommends"];
    install.extend(DEBIAN_PACKAGES);
    let _ = apt_get(&["update"]).and_then(|()| apt_get(&install));
    debian_ready()
}

fn debian_ready() -> bool {
    Path::new(DEBIAN_CARGO).is_file()
        && sysroot(Command::new(DEBIAN_RUSTC)).is_ok_and(|sysroot| has_source(&sysroot))
}
