//! The stock policies: from this binary, or from a directory.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use tidegate_stock::{POLICIES, Policy};

use super::{print, replace};

/// Where they are.
pub(super) enum Stock {
    InBinary,
    In(PathBuf),
}

impl Stock {
    /// In the directory that was named, in this binary, or beside it, where `cargo xtask build` leaves them.
    pub(super) fn find(named: Option<PathBuf>) -> Result<Self, String> {
        if let Some(directory) = named {
            return Ok(Self::In(directory));
        }
        if !POLICIES.is_empty() {
            return Ok(Self::InBinary);
        }
        let exe = env::current_exe().ok();
        let root = exe.as_deref().and_then(|exe| exe.parent()?.parent());
        let places = ["plugins", "share/tidegate/plugins"].map(|place| Some(root?.join(place)));
        let mut places = places.into_iter().flatten();
        places.find(|directory| directory.join("router.wasm").exists()).map(Self::In).ok_or_else(|| {
            "this binary carries no stock policies: build them with `cargo xtask build` and name their directory with --plugins"
                .to_owned()
        })
    }

    /// The plugin of this name.
    pub(super) fn wasm(&self, name: &str) -> Result<Cow<'static, [u8]>, String> {
        match self {
            Self::InBinary => Ok(Cow::Borrowed(known(name)?.wasm)),
            Self::In(directory) => {
                let file = directory.join(name).with_extension("wasm");
                let read = fs::read(&file).map(Cow::Owned);
                read.map_err(|error| format!("cannot read {}: {error}", file.display()))
            }
        }
    }
}

fn known(name: &str) -> Result<&'static Policy, String> {
    tidegate_stock::policy(name).ok_or_else(|| {
        let names: Vec<_> = POLICIES.iter().map(|policy| policy.name).collect();
        format!("there is no stock policy {name:?}; there are {}", names.join(", "))
    })
}

/// What `plugin install` is asked for.
#[derive(clap::Args)]
pub(crate) struct Wanted {
    /// The policies; without any, those there are.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The plugin directory.
    #[arg(long, value_name = "DIRECTORY", default_value = "plugins")]
    directory: PathBuf,
    /// Its name there, by which it has its place in the chain: `10-router`. For one policy alone.
    #[arg(long = "as", value_name = "NAME")]
    alias: Option<String>,
    /// Replace what is there already, as after an upgrade of the proxy.
    #[arg(long)]
    replace: bool,
}

/// Writes stock policies to a directory, or lists them.
pub(crate) fn install(wanted: &Wanted) -> Result<ExitCode, String> {
    let Wanted { names, directory, alias, replace: may_replace } = wanted;
    if POLICIES.is_empty() {
        return Err(
            "this binary carries no stock policies: `cargo xtask build` makes one that does".to_owned()
        );
    }
    if names.is_empty() {
        let width = POLICIES.iter().map(|policy| policy.name.len()).max().unwrap_or_default();
        let lines = POLICIES.iter().map(|policy| format!("{:width$}  {}", policy.name, policy.purpose));
        print(&lines.collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(alias) = alias {
        if names.len() > 1 {
            return Err("--as is for one policy: install each by a command of its own".to_owned());
        }
        if alias.is_empty() || alias.starts_with('.') || alias.contains('/') {
            return Err(format!(
                "--as {alias}: write a name as \"10-{}\", without a folder or an ending",
                names[0]
            ));
        }
    }
    let policies = names.iter().map(|name| known(name)).collect::<Result<Vec<_>, _>>()?;
    let files = policies.iter().map(|policy| {
        let name = alias.as_deref().unwrap_or(policy.name);
        (directory.join(format!("{name}.wasm")), policy.wasm)
    });
    let files: Vec<_> = files.collect();
    // All of them or none.
    let is_other = |(file, wasm): &&(PathBuf, &[u8])| fs::read(file).is_ok_and(|there| there != *wasm);
    if let Some((file, _)) = files.iter().find(is_other).filter(|_| !may_replace) {
        return Err(format!(
            "{} is there and is another plugin: add --replace, or choose a name with --as",
            file.display()
        ));
    }
    fs::create_dir_all(directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    for (file, wasm) in files {
        replace(&file, wasm).map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        print(&format!(
            "{}\n  its settings: {}; `tidegate plugin inspect {}` tells what belongs there",
            file.display(),
            file.with_extension("toml").display(),
            file.display(),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
