//! The Debian package.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{copy, write};
use crate::command::{Result, output, root, run};

/// Adds its control files to what is staged, and packs it.
pub(super) fn package(folder: &Path, staged: &Path, version: &str, architecture: &str) -> Result<PathBuf> {
    let control = staged.join("DEBIAN");
    for (name, mode) in [("conffiles", 0o644), ("postinst", 0o755), ("prerm", 0o755), ("postrm", 0o755)] {
        copy(&root().join("xtask/package").join(name), &control.join(name))?;
        set_mode(&control.join(name), mode)?;
    }
    let size = output(Command::new("du").args(["--summarize", "--block-size=1K"]).arg(staged));
    let size = size.as_deref().and_then(|size| size.split_whitespace().next()).unwrap_or("0").to_owned();
    let text = format!(
        "Package: tidegate\nVersion: {version}\nArchitecture: {architecture}\nSection: httpd\nPriority: optional\n\
         Maintainer: the tidegate developers <tidegate@localhost>\nInstalled-Size: {size}\nDepends: libc6 (>= 2.36), libgcc-s1, adduser\n\
         Recommends: ca-certificates\nDescription: programmable edge proxy\n Handles connections, TLS, pooling, buffering and health checks; routing, access\n \
         control and rewriting are WebAssembly plugins in a directory, which are taken\n up when they change.\n"
    );
    write(&control.join("control"), &text)?;
    let path = folder.join(format!("tidegate_{version}_{architecture}.deb"));
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(staged).arg(&path))?;
    Ok(path)
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|error| format!("{}: {error}", path.display()))
}
