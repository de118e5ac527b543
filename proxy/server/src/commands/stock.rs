//! The stock policies: from this binary, or from a directory.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::Value;
use tidegate_plugin_host::{Host, Services};
use tidegate_stock::{POLICIES, Policy};

use super::{configuration, print, replace};
use crate::regular;

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
    /// The configuration, which names the plugin directory.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
    /// The plugin directory; without it that of the configuration, or `plugins` where there is none.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// Its name there, by which it has its place in the chain: `10-router`. For one policy alone.
    #[arg(long = "as", value_name = "NAME")]
    alias: Option<String>,
    /// Replace what is there already, as after an upgrade of the proxy.
    #[arg(long)]
    replace: bool,
}

/// Writes stock policies to a directory, or lists them.
pub(crate) fn install(wanted: &Wanted) -> Result<ExitCode, String> {
    let Wanted { names, alias, replace: may_replace, .. } = wanted;
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
        let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if alias.is_empty() || !alias.chars().all(is_of_name) {
            return Err(format!(
                "--as {alias}: write a name as \"10-{}\", of letters, digits, - and _",
                names[0]
            ));
        }
    }
    let directory = &wanted.directory()?;
    let policies = names.iter().map(|name| known(name)).collect::<Result<Vec<_>, _>>()?;
    let files = policies.iter().map(|policy| {
        let name = alias.as_deref().unwrap_or(policy.name);
        (directory.join(format!("{name}.wasm")), policy.wasm)
    });
    let files: Vec<_> = files.collect();
    // All of them or none.
    let is_other = |(file, wasm): &&(PathBuf, &[u8])| {
        file.exists() && !regular::read(file).is_ok_and(|there| there == *wasm)
    };
    if let Some((file, _)) = files.iter().find(is_other).filter(|_| !may_replace) {
        return Err(format!(
            "{} is there and is another plugin: add --replace, or choose a name with --as",
            file.display()
        ));
    }
    if !directory.is_dir() {
        fs::create_dir_all(directory)
            .map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
        print(&format!("made {}", directory.display()))?;
    }
    for (file, wasm) in files {
        let cannot = |error: &dyn std::fmt::Display| format!("cannot write {}: {error}", file.display());
        let settings = file.with_extension("toml");
        // A proxy that runs takes it up at once, and refuses requests where it does not know what to do.
        let waits =
            settings.symlink_metadata().is_err() && needs_settings(wasm).map_err(|error| cannot(&error))?;
        if waits {
            let text = format!(
                "# It is off until this line is gone. `tidegate plugin inspect {}` tells what belongs below.\nenabled = false\n\n[config]\n",
                file.display()
            );
            replace(&settings, text.as_bytes()).map_err(|error| cannot(&error))?;
        }
        replace(&file, wasm).map_err(|error| cannot(&error))?;
        let state = if waits { ", which has it off until you write them" } else { "" };
        print(&format!(
            "{}\n  its settings: {}{state}; `tidegate plugin inspect {}` tells what belongs there",
            file.display(),
            settings.display(),
            file.display(),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Wanted {
    fn directory(&self) -> Result<PathBuf, String> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        if !self.config.exists() {
            return Ok(PathBuf::from("plugins"));
        }
        let config = configuration(&self.config).map_err(|problems| {
            format!("{problems}\nname the plugin directory with --directory, or mend the configuration")
        })?;
        Ok(config.plugin_directory)
    }
}

/// Whether there are keys that it cannot do without.
fn needs_settings(wasm: &[u8]) -> Result<bool, String> {
    let host = Host::new(Services::default()).map_err(|error| error.to_string())?;
    let described = host.compile(wasm).and_then(|code| code.describe());
    let (description, _) = described.map_err(|error| error.to_string())?;
    let schema = description.iter().find(|(key, _)| key == "config-schema");
    let schema: Value = schema.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default();
    Ok(schema["required"].as_array().is_some_and(|keys| !keys.is_empty()))
}
