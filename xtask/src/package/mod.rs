//! What is handed out: a Debian package, an archive for all other systems, and an image for containers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build::Built;
use crate::command::{Result, cargo, output, root, run, say};
use crate::{build, pgo};

mod debian;
mod image;

/// Where things are in the package, from the root of the system.
const BINARY: &str = "usr/bin/tidegate";
const POLICIES: &str = "usr/share/tidegate/plugins";
const MANUAL: &str = "usr/share/man/man1";
const DOCUMENTATION: &str = "usr/share/doc/tidegate";
const UNIT: &str = "usr/lib/systemd/system/tidegate.service";
const CONFIGURATION: &str = "etc/tidegate/tidegate.toml";
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/tidegate"),
    ("zsh", "usr/share/zsh/vendor-completions/_tidegate"),
    ("fish", "usr/share/fish/vendor_completions.d/tidegate.fish"),
];

/// Builds everything and packs it, to `target/package`. With `quick`, the binary of the tests.
pub(crate) fn pack(quick: bool) -> Result<()> {
    let built = if quick { build::with_tests()? } else { pgo::release()? };
    pack_built(&built).map(drop)
}

/// Packs the binary of the tests, and tries its Debian package in a system of its own, where that can be.
pub(crate) fn try_out(built: &Built) -> Result<()> {
    let Some(package) = pack_built(built)? else { return Ok(()) };
    let mut tried = Command::new(root().join("xtask/package/try.sh"));
    let status = tried.arg(package).arg(built.target.join("package/system")).status();
    match status.map(|status| status.code()) {
        // It says itself what is missing.
        Ok(Some(0 | 77)) => Ok(()),
        _ => Err("the Debian package does not do what it should".to_owned()),
    }
}

/// Returns the Debian package, if there is one.
fn pack_built(built: &Built) -> Result<Option<PathBuf>> {
    let folder = built.target.join("package");
    let staged = folder.join("root");
    remove(&folder)?;
    let version = version(built)?;
    let architecture = output(Command::new("dpkg").arg("--print-architecture"));
    lay_out(built, &staged)?;
    let mut made = vec![archive(&folder, &staged, &version)?, image::layout(&folder, &staged, &version)?];
    let debian = match architecture {
        Some(architecture) => Some(debian::package(&folder, &staged, &version, &architecture)?),
        None => {
            say("dpkg is not here: no Debian package");
            None
        }
    };
    made.extend(debian.clone());
    let names = made.iter().map(|path| path.file_name().unwrap_or_default());
    let sums =
        output(Command::new("sha256sum").current_dir(&folder).args(names)).ok_or("`sha256sum` failed")?;
    write(&folder.join("SHA256SUMS"), &format!("{sums}\n"))?;
    for path in &made {
        say(&path.display().to_string());
    }
    Ok(debian)
}

fn version(built: &Built) -> Result<String> {
    let said = output(Command::new(&built.binary).arg("--version")).ok_or("`tidegate --version` failed")?;
    said.split_whitespace().last().map(str::to_owned).ok_or("`tidegate --version` says nothing".to_owned())
}

/// Every file at its place.
fn lay_out(built: &Built, staged: &Path) -> Result<()> {
    copy(&built.binary, &staged.join(BINARY))?;
    let policies =
        fs::read_dir(&built.plugins).map_err(|error| format!("{}: {error}", built.plugins.display()))?;
    for policy in policies.flatten().map(|entry| entry.path()) {
        let name = policy.file_stem().unwrap_or_default().to_owned();
        copy(&policy, &staged.join(POLICIES).join(&name).with_extension("wasm"))?;
        copy(
            &root().join("plugins").join(&name).join("README.md"),
            &staged.join(DOCUMENTATION).join(&name).with_extension("md"),
        )?;
    }
    let unit = root().join("examples/systemd/tidegate.service");
    let unit = fs::read_to_string(&unit).map_err(|error| format!("{}: {error}", unit.display()))?;
    write(&staged.join(UNIT), &unit.replace("/usr/local/bin/", "/usr/bin/"))?;
    copy(
        &root().join("proxy/server/src/commands/init/templates/proxy/tidegate.toml"),
        &staged.join(CONFIGURATION),
    )?;
    fs::create_dir_all(staged.join("etc/tidegate/plugins")).map_err(|error| error.to_string())?;
    run(Command::new(&built.binary).arg("manual").arg(staged.join(MANUAL)))?;
    let pages = fs::read_dir(staged.join(MANUAL)).map_err(|error| error.to_string())?;
    run(Command::new("gzip").arg("-9n").args(pages.flatten().map(|entry| entry.path())))?;
    for (shell, path) in COMPLETIONS {
        let text = output(Command::new(&built.binary).args(["completions", shell]));
        write(&staged.join(path), &(text.ok_or("`tidegate completions` failed")? + "\n"))?;
    }
    copy(&root().join("LICENSE"), &staged.join(DOCUMENTATION).join("copyright"))?;
    let dependencies = dependencies()?;
    let licences: String =
        dependencies.iter().map(|one| format!("{} {}\t{}\n", one.name, one.version, one.licence)).collect();
    write(&staged.join(DOCUMENTATION).join("DEPENDENCIES"), &licences)?;
    write(&staged.join(DOCUMENTATION).join("sbom.cdx.json"), &bill_of_materials(&dependencies))
}

/// What the binary is made of.
struct Dependency {
    name: String,
    version: String,
    licence: String,
}

fn dependencies() -> Result<Vec<Dependency>> {
    let tree = cargo_tree().ok_or("`cargo tree` failed")?;
    let mut found: Vec<Dependency> = Vec::new();
    for line in tree.lines() {
        let mut fields = line.split('|');
        let (Some(package), Some(licence)) = (fields.next(), fields.next()) else { continue };
        let mut words = package.split_whitespace();
        let (Some(name), Some(version)) = (words.next(), words.next()) else { continue };
        let version = version.trim_start_matches('v');
        // Packages of this checkout stand there with their path.
        let is_own = package.contains('/');
        if !is_own && !found.iter().any(|known| known.name == name && known.version == version) {
            let licence = licence.trim_end_matches(" (*)").to_owned();
            found.push(Dependency { name: name.to_owned(), version: version.to_owned(), licence });
        }
    }
    found.sort_by(|one, other| (&one.name, &one.version).cmp(&(&other.name, &other.version)));
    Ok(found)
}

fn cargo_tree() -> Option<String> {
    output(cargo().args([
        "tree",
        "--package",
        "tidegate",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}|{l}",
    ]))
}

/// CycloneDX 1.5.
fn bill_of_materials(dependencies: &[Dependency]) -> String {
    let components: Vec<_> = dependencies
        .iter()
        .map(|Dependency { name, version, licence }| {
            format!(
                "{{\"type\":\"library\",\"name\":\"{name}\",\"version\":\"{version}\",\"purl\":\"pkg:cargo/{name}@{version}\",\
                 \"licenses\":[{{\"expression\":\"{licence}\"}}]}}"
            )
        })
        .collect();
    format!(
        "{{\"bomFormat\":\"CycloneDX\",\"specVersion\":\"1.5\",\"version\":1,\
         \"metadata\":{{\"component\":{{\"type\":\"application\",\"name\":\"tidegate\"}}}},\n\"components\":[\n{}\n]}}\n",
        components.join(",\n")
    )
}

fn archive(folder: &Path, staged: &Path, version: &str) -> Result<PathBuf> {
    let path = folder.join(format!("tidegate-{version}-{}-linux.tar.gz", std::env::consts::ARCH));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--file"]);
    run(tar.arg(&path).arg("--directory").arg(staged).arg("."))?;
    Ok(path)
}

fn write(path: &Path, text: &str) -> Result<()> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = to.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::copy(from, to).map(drop));
    copied.map_err(|error| format!("{} to {}: {error}", from.display(), to.display()))
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}
