//! Profile-guided optimisation: the binary is built to count what it does, put to work, and built again with that.
//!
//! The compiler then knows which branches are taken and which functions are worth inlining, and puts what is
//! used together. That saves a fifth to a quarter of the CPU time that is not the kernel's. To count takes half an hour,
//! so what was counted is kept with the sources; what has changed since is compiled as if nothing was known of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench;
use crate::build::{self, Built, Profile};
use crate::command::{Result, cargo_with, output, root, run, say};

/// The release and the stock policies: by the profile that is kept, where there is one for this compiler.
pub(crate) fn release() -> Result<Built> {
    let profile = kept()?;
    if !profile.is_file() {
        let name = profile.file_name().unwrap_or_default().to_string_lossy();
        say(&format!(
            "built without a profile: xtask/profiles has none for this compiler ({name}); `cargo xtask profile` makes it"
        ));
        return build::everything(Profile::Release);
    }
    let target = build::target_folder()?;
    let plugins = build::plugins(&target)?;
    let folder = target.join("pgo");
    // What has changed since is no news.
    let flags = [&*format!("-Cprofile-use={}", profile.display()), "-Cllvm-args=-no-pgo-warn-mismatch"];
    let made = compile(&folder, "optimised", &plugins, &flags)?;
    let binary = put(&made, &target.join("release"))?;
    Ok(Built { target, binary, plugins })
}

/// Counts anew and keeps what was counted.
pub(crate) fn count() -> Result<()> {
    let profdata = Profdata::find()?;
    let target = build::target_folder()?;
    let plugins = build::plugins(&target)?;
    let folder = target.join("pgo");
    let counts = folder.join("counts");
    let flags = [&*format!("-Cprofile-generate={}", counts.display())];
    let binary = compile(&folder, "counting", &plugins, &flags)?;
    let _ = fs::remove_dir_all(&counts);
    bench::train(&Built { target, binary, plugins })?;
    let kept = kept()?;
    let profiles = kept.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(profiles).map_err(|error| format!("{}: {error}", profiles.display()))?;
    // Sparse: without what was never used.
    run(Command::new(profdata.0).args(["merge", "--sparse", "-o"]).arg(&kept).arg(&counts))?;
    say(&format!("{} is new; `cargo xtask build` uses it", kept.display()));
    Ok(())
}

/// Where the profile for this compiler is kept: its format changes with the compiler, and its content with the target.
fn kept() -> Result<PathBuf> {
    let version = output(Command::new("rustc").arg("-vV")).unwrap_or_default();
    let release = version.lines().find_map(|line| line.strip_prefix("release: "));
    let release = release.ok_or("`rustc -vV` names no release; is Rust installed?")?;
    Ok(root().join("xtask/profiles").join(format!("rustc-{release}-{}.profdata", host()?)))
}

/// Beside and renamed: the old one may be running.
fn put(made: &Path, folder: &Path) -> Result<PathBuf> {
    let (beside, binary) = (folder.join("tidegate.new"), folder.join("tidegate"));
    fs::create_dir_all(folder)
        .and_then(|()| fs::copy(made, &beside))
        .and_then(|_| fs::rename(&beside, &binary))
        .map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(binary)
}

/// The release, with more flags for the compiler. The target is named because otherwise build scripts would be
/// compiled with them, too; and each purpose has a folder, since cargo would compile everything again for the other.
fn compile(folder: &Path, name: &str, plugins: &Path, flags: &[&str]) -> Result<PathBuf> {
    let host = host()?;
    let folder = folder.join(name);
    let given = std::env::var("RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = given.split_whitespace().chain(flags.iter().copied()).collect();
    let mut build = cargo_with(plugins);
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
            false => {
                Err("`cargo xtask profile` needs llvm-profdata: `rustup component add llvm-tools`".to_owned())
            }
        }
    }
}

/// What this machine is called as a target.
fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV")).unwrap_or_default();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "`rustc -vV` names no host; is Rust installed?".to_owned())
}
