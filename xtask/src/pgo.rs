//! Profile-guided optimisation: the binary is built to count what it does, put to work, and built again with that.
//!
//! The compiler then knows which branches are taken and which functions are worth inlining, and puts what is
//! used together. That saves a fifth to a quarter of the CPU time that is not the kernel's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench;
use crate::build::{self, Built};
use crate::command::{Result, cargo, output, run, say};

/// Builds the binary and the stock policies, the binary as `target/pgo/tidegate`.
pub(crate) fn build() -> Result<Built> {
    let profdata = Profdata::find()?;
    let target = build::target_folder()?;
    let plugins = build::plugins(&target)?;
    let folder = target.join("pgo");
    let counts = folder.join("counts");
    let profile = folder.join("tidegate.profdata");
    let binary = compile(&folder, "counting", &format!("-Cprofile-generate={}", counts.display()))?;
    // With another profile, everything would be compiled anew.
    if !is_newer(&profile, &binary) {
        let _ = fs::remove_dir_all(&counts);
        bench::train(&Built { target: target.clone(), binary, plugins: plugins.clone() })?;
        run(Command::new(profdata.0).args(["merge", "-o"]).arg(&profile).arg(&counts))?;
    }
    let made = compile(&folder, "optimised", &format!("-Cprofile-use={}", profile.display()))?;
    let binary = folder.join("tidegate");
    fs::copy(&made, &binary).map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(Built { target, binary, plugins })
}

/// Whether `made` is there and newer than what it is made with: `of`, and this program.
fn is_newer(made: &Path, of: &Path) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|found| found.modified()).ok();
    let program = std::env::current_exe().ok();
    time(made).is_some_and(|made| {
        [Some(of), program.as_deref()].into_iter().flatten().all(|it| time(it) < Some(made))
    })
}

/// The release, with one more flag for the compiler. The target is named because otherwise build scripts would be
/// compiled with it, too; and each flag has a folder, since cargo would compile everything again for the other.
fn compile(folder: &Path, name: &str, flag: &str) -> Result<PathBuf> {
    let host = host()?;
    let folder = folder.join(name);
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = given.split_whitespace().chain([flag]).collect();
    let mut build = cargo();
    build.args(["build", "--release", "--workspace", "--bin", "tidegate", "--target", &host]);
    // Separated so that a folder may have a space in its name.
    build.arg("--target-dir").arg(&folder).env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    run(&mut build)?;
    Ok(folder.join(host).join("release/tidegate"))
}

/// The tool that makes one profile of what several runs counted.
struct Profdata(PathBuf);

impl Profdata {
    /// That of the compiler's own LLVM, which rustup has: the format changes with it.
    fn find() -> Result<Self> {
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
        let sysroot = sysroot.ok_or("`rustc --print sysroot` failed; is Rust installed?")?;
        let program = Path::new(&sysroot).join("lib/rustlib").join(host()?).join("bin/llvm-profdata");
        if !program.is_file() {
            say("llvm-profdata is not installed; adding it");
            // Its own error message is shown; what counts is what is on disk afterwards.
            let _ = run(Command::new("rustup").args(["component", "add", "llvm-tools"]));
        }
        match program.is_file() {
            true => Ok(Self(program)),
            false => Err("--pgo needs llvm-profdata: `rustup component add llvm-tools`. Without --pgo it is not needed.".to_owned()),
        }
    }
}

/// What this machine is called as a target.
fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV")).unwrap_or_default();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host; is Rust installed?".to_owned())
}
