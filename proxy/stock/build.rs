//! Finds or builds the stock policies, and lists them in `$OUT_DIR/policies.rs`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

/// Where they are built already, as `NAME.wasm`.
const BUILT: &str = "TIDEGATE_STOCK_POLICIES";
const TARGET: &str = "wasm32-unknown-unknown";

fn main() {
    println!("cargo::rerun-if-env-changed={BUILT}");
    let root = Path::new(&variable("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout");
    let plugins = root.join("plugins");
    let names = names(&plugins);
    let built = match env::var_os(BUILT) {
        Some(folder) => Some(root.join(folder)),
        // For programmers, who have them beside the binary.
        None if variable("PROFILE") == "debug" => None,
        None => built(&root, &names),
    };
    let mut list =
        "/// Every stock policy that this binary carries, by name.\npub static POLICIES: &[Policy] = &[\n"
            .to_owned();
    for name in names.iter().filter(|_| built.is_some()) {
        let wasm = built.as_ref().expect("it is there").join(name).with_extension("wasm");
        println!("cargo::rerun-if-changed={}", wasm.display());
        let purpose = purpose(&plugins.join(name).join("Cargo.toml"));
        writeln!(
            list,
            "    Policy {{ name: {name:?}, purpose: {purpose:?}, wasm: include_bytes!({wasm:?}) }},"
        )
        .expect("text takes all");
    }
    list.push_str("];\n");
    fs::write(Path::new(&variable("OUT_DIR")).join("policies.rs"), list)
        .expect("cargo's folder can be written");
}

/// Builds them in a folder of their own, as cargo has locked the one it works in. Without the target, the binary carries none.
fn built(root: &Path, names: &[String]) -> Option<PathBuf> {
    for changed in ["plugins", "plugin-sdk", "wit", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(changed).display());
    }
    let target = Path::new(&variable("OUT_DIR")).join("policies");
    let mut build = Command::new(variable("CARGO"));
    build
        .current_dir(root)
        .args(["build", "--profile", "plugin", "--target", TARGET, "--target-dir"])
        .arg(&target);
    build.args(names.iter().flat_map(|name| ["--package", name]));
    // What is meant for the machine that the proxy runs on.
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_this_build(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    // Standard output is for cargo.
    let is_built = build.stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_built {
        println!(
            "cargo::warning=this binary carries no stock policies: `rustup target add {TARGET}`, then build it again"
        );
        return None;
    }
    let made = target.join(TARGET).join("plugin");
    for name in names {
        fs::rename(
            made.join(name.replace('-', "_")).with_extension("wasm"),
            made.join(name).with_extension("wasm"),
        )
        .or_else(|error| if made.join(name).with_extension("wasm").exists() { Ok(()) } else { Err(error) })
        .expect("cargo has built it");
    }
    Some(made)
}

fn is_of_this_build(name: &str) -> bool {
    let prefixes = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    let names =
        ["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTFLAGS", "TARGET", "RUSTC_WORKSPACE_WRAPPER"];
    prefixes.iter().any(|prefix| name.starts_with(prefix)) || names.contains(&name)
}

fn names(plugins: &Path) -> Vec<String> {
    println!("cargo::rerun-if-changed={}", plugins.display());
    let entries = fs::read_dir(plugins).expect("the checkout has plugins").flatten();
    let packages = entries.filter(|entry| entry.path().join("Cargo.toml").is_file());
    let mut names: Vec<_> = packages.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What the package says of itself.
fn purpose(manifest: &Path) -> String {
    println!("cargo::rerun-if-changed={}", manifest.display());
    let text = fs::read_to_string(manifest).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("description = \""));
    line.and_then(|line| line.strip_suffix('"')).unwrap_or_default().to_owned()
}

fn variable(name: &str) -> String {
    env::var(name).expect("cargo sets it")
}
