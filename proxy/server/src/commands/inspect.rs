//! `tidegate plugin inspect`: what a plugin file is, before it is dropped in.

use std::path::Path;
use std::process::ExitCode;

use tidegate_plugin_host::{Host, Services};

use super::{print, read};
use crate::regular;

pub(crate) fn run(file: &Path) -> Result<ExitCode, String> {
    let name = file.display();
    let bytes = read(file, regular::read)?;
    let host = Host::new(Services::default()).map_err(|error| error.to_string())?;
    let code = host.compile(&bytes).map_err(|error| format!("{name}: {error}"))?;
    let (description, memory) = code.describe().map_err(|error| format!("{name}: {error}"))?;

    let phases: Vec<&str> = code.phases().iter().map(|phase| phase.as_str()).collect();
    let mut facts = vec![
        ("size", format!("{} bytes", bytes.len())),
        ("compile time", format!("{:.1?}", code.compile_time())),
        ("memory", format!("{} KiB for each instance, before it is configured", memory >> 10)),
        ("phases", phases.join(", ")),
        ("wants", code.capabilities().join("\n")),
    ];
    facts.extend(description.iter().map(|(key, value)| (key.as_str(), value.clone())));
    let lines = facts
        .iter()
        .map(|(key, value)| format!("\n  {key:<13} {}", value.replace('\n', "\n                ")));
    print(&format!("{name}{}", lines.collect::<String>()))?;
    Ok(ExitCode::SUCCESS)
}
