//! `tidegate plugin inspect`: what a plugin file is, before it is dropped in.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use tidegate_plugin_host::Host;

#[expect(clippy::print_stdout, reason = "printing is what the command is for")]
pub(crate) fn run(file: &Path) -> Result<ExitCode, String> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("{name}: cannot read it: {error}"))?;
    let host = Host::new().map_err(|error| error.to_string())?;
    let begun = Instant::now();
    let code = host.compile(&bytes).map_err(|error| format!("{name}: {error}"))?;
    let compiled = begun.elapsed();
    let description = code.describe().map_err(|error| format!("{name}: {error}"))?;

    println!("{name}");
    println!("  size          {} bytes", bytes.len());
    println!("  compile time  {compiled:.1?}");
    let phases: Vec<&str> = code.phases().iter().map(|phase| phase.as_str()).collect();
    println!("  phases        {}", phases.join(", "));
    println!("  wants         {}", code.capabilities().join("\n                "));
    for (key, value) in &description {
        println!("  {key:<13} {}", value.replace('\n', "\n                "));
    }
    Ok(ExitCode::SUCCESS)
}
