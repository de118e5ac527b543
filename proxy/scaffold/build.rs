//! Puts the templates, the contract, and the sources of the SDK into the crate: a table of paths and texts.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is taken of the checkout, by its path there.
const TAKEN: [&str; 7] = [
    "Cargo.toml",
    "Cargo.lock",
    "LICENSE",
    "wit/policy.wit",
    "plugin-sdk",
    "proxy/crypto",
    "proxy/scaffold/templates",
];

/// Modules for the SDK's own tests. They have keys in them that a search for secrets would report in every project.
const LEFT_OUT: [&str; 2] = ["tests.rs", "vectors.rs"];

fn main() -> io::Result<()> {
    let variable = |name| PathBuf::from(std::env::var_os(name).expect("cargo sets it"));
    let root = variable("CARGO_MANIFEST_DIR").join("../..").canonicalize()?;
    let mut files = Vec::new();
    for path in TAKEN {
        println!("cargo::rerun-if-changed={}", root.join(path).display());
        collect(&root.join(path), &mut files)?;
    }
    files.sort();
    let mut table = "[\n".to_owned();
    for file in &files {
        let path = file.strip_prefix(&root).expect("below the root").to_str().expect("our names are ASCII");
        table += &format!("    ({path:?}, include_str!({file:?})),\n");
    }
    fs::write(variable("OUT_DIR").join("embedded.rs"), table + "]\n")
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        if !LEFT_OUT.iter().any(|left| name == *left) {
            collect(&entry.path(), files)?;
        }
    }
    Ok(())
}
