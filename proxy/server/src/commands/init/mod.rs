//! `tidegate init`: the first files of a proxy, for one of five situations.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;

use super::print;
use super::stock::Stock;

/// What the proxy is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Situation {
    /// Several servers behind one address.
    Proxy,
    /// A site of files.
    Static,
    /// A new version that gets a share of the requests.
    Canary,
    /// Connections that are no HTTP.
    Tcp,
    /// Services by path, behind keys and a limit.
    Gateway,
}

/// Files by name, and stock policies by the name they get in the chain.
struct Contents {
    files: &'static [(&'static str, &'static str)],
    policies: &'static [(&'static str, &'static str)],
}

const CONFIGURATION: &str = "tidegate.toml";

impl Situation {
    fn contents(self) -> Contents {
        match self {
            Self::Proxy => Contents {
                files: &[(CONFIGURATION, include_str!("templates/proxy/tidegate.toml"))],
                policies: &[],
            },
            Self::Static => Contents {
                files: &[
                    (CONFIGURATION, include_str!("templates/static/tidegate.toml")),
                    ("public/index.html", include_str!("templates/static/index.html")),
                ],
                policies: &[],
            },
            Self::Canary => Contents {
                files: &[
                    (CONFIGURATION, include_str!("templates/canary/tidegate.toml")),
                    ("plugins/10-canary.toml", include_str!("templates/canary/10-canary.toml")),
                ],
                policies: &[("10-canary", "canary")],
            },
            Self::Tcp => Contents {
                files: &[(CONFIGURATION, include_str!("templates/tcp/tidegate.toml"))],
                policies: &[],
            },
            Self::Gateway => Contents {
                files: &[
                    (CONFIGURATION, include_str!("templates/gateway/tidegate.toml")),
                    ("plugins/10-key.toml", include_str!("templates/gateway/10-key.toml")),
                    ("plugins/20-limit.toml", include_str!("templates/gateway/20-limit.toml")),
                    ("plugins/30-router.toml", include_str!("templates/gateway/30-router.toml")),
                ],
                policies: &[("10-key", "api-key"), ("20-limit", "rate-limit"), ("30-router", "router")],
            },
        }
    }
}

/// Writes them into a directory, and no file that is there already.
pub(crate) fn run(
    situation: Situation,
    directory: &Path,
    stock: Option<PathBuf>,
) -> Result<ExitCode, String> {
    let Contents { files, policies } = situation.contents();
    let mut all: Vec<(PathBuf, Vec<u8>)> =
        files.iter().map(|(name, text)| (directory.join(name), text.as_bytes().to_vec())).collect();
    if !policies.is_empty() {
        let stock = Stock::find(stock)?;
        for (name, policy) in policies {
            let wasm = stock.wasm(policy)?.into_owned();
            all.push((directory.join("plugins").join(name).with_extension("wasm"), wasm));
        }
    }
    let mut hint = String::new();
    if situation == Situation::Gateway {
        let key = format!("{:032x}", rand::random::<u128>());
        all.push((directory.join("plugins/keys.txt"), format!("# name:key\nfirst:{key}\n").into_bytes()));
        hint =
            format!("\nThe key in plugins/keys.txt: curl -H 'x-api-key: {key}' http://localhost:8080/users/");
    }
    if let Some((there, _)) = all.iter().find(|(path, _)| path.exists()) {
        return Err(format!("{} is there already: name another directory", there.display()));
    }
    fs::create_dir_all(directory.join("plugins"))
        .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    for (path, content) in &all {
        write(path, content).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let written: Vec<_> = all.iter().map(|(path, _)| format!("  {}\n", path.display())).collect();
    let configuration = directory.join(CONFIGURATION);
    print(&format!(
        "{}\nName your servers in {configuration}, then:\n\n  tidegate check --config {configuration}\n  tidegate run --config {configuration}\n{hint}",
        written.concat(),
        configuration = configuration.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Keys are among them.
    let mode = if path.ends_with("keys.txt") { 0o600 } else { 0o644 };
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?.write_all(content)
}
