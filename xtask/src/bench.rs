//! The benchmark, a program of its own: it talks TLS and HTTP/2, and no other command should wait for that to be built.

use std::path::Path;
use std::process::Command;

use crate::build::{self, Built, Profile};
use crate::command::{Result, cargo_with, run};
use crate::pgo;

/// `cargo xtask bench [--quick] …`: the rest is in `xtask/bench/src/arguments.rs`.
pub(crate) fn measure(arguments: &[String]) -> Result<()> {
    let is = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let rest = arguments.iter().filter(|argument| *argument != "--quick");
    let profile = if is("--quick") { Profile::Quick } else { Profile::Release };
    if is("--list") {
        let nothing = Built { target: build::target_folder()?, binary: "-".into(), plugins: "-".into() };
        let bench = program(Profile::Quick, &nothing.target)?;
        return run(command(&bench, &nothing, "quick").args(rest));
    }
    let built = match profile {
        Profile::Release => pgo::release()?,
        Profile::Quick => build::everything(profile)?,
    };
    let bench = program(profile, &built.target)?;
    run(command(&bench, &built, profile.name()).args(rest))
}

/// Sends requests to `built`, whose processes write down what they counted.
pub(crate) fn train(built: &Built) -> Result<()> {
    let bench = program(Profile::Quick, &built.target)?;
    run(command(&bench, built, "counting").arg("--train"))
}

/// Builds the program, with the floor beside it.
fn program(profile: Profile, target: &Path) -> Result<std::path::PathBuf> {
    let bins = ["--bin", "tidegate-bench", "--bin", "floor"];
    run(cargo_with(&target.join("plugins"))
        .args(["build", "--profile", profile.name(), "--workspace"])
        .args(bins))?;
    Ok(target.join(profile.name()).join("tidegate-bench"))
}

fn command(bench: &Path, built: &Built, how: &str) -> Command {
    let mut command = Command::new(bench);
    command.arg(&built.binary).arg(&built.plugins).arg(&built.target).arg(how);
    command
}
