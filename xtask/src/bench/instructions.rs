//! Instructions per request outside the kernel, counted by callgrind: what is too small for a noisy clock.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::load::Load;
use super::proxies::{Contender, Running};
use crate::build;
use crate::command::{Result, output, say};

/// As many as keep the connections of both sides in use: more only wait for a program that is fifty times slower.
const CONNECTIONS: usize = 8;
/// Until policies are compiled and remembered, and connections open.
const WARM_UP: Duration = Duration::from_secs(4);
const TIME: Duration = Duration::from_secs(10);
/// A program within callgrind, before it counts.
const SLOWER: u32 = 10;

/// Prints a table, in Markdown.
pub(super) fn run() -> Result<()> {
    let built = build::everything(build::Profile::Release)?;
    if output(Command::new("callgrind_control").arg("--version")).is_none() {
        return Err("callgrind is not here (Debian: valgrind)".to_owned());
    }
    let load = Load::start(CONNECTIONS)?;
    let mut rows = Vec::new();
    for contender in Contender::to_count(&built, load.server())? {
        let folder = built.target.join("bench").join("callgrind");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut callgrind = Command::new("valgrind");
        callgrind.args(["--tool=callgrind", "--instr-atstart=no", "--collect-jumps=no"]);
        callgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
        let running = contender.start_within(callgrind, SLOWER)?;
        control(&running, "--instr=on")?;
        let counted = || {
            control(&running, "--dump")?;
            count(&folder)
        };
        let outcome = load.run(running.address(), contender.work(), WARM_UP, TIME, counted)?;
        let each = outcome.gauged as f64 / outcome.requests;
        say(&format!("{:<45} {each:>8.0} over {:.0} requests", contender.name(), outcome.requests));
        rows.push((contender.name().to_owned(), each, contender.is_baseline()));
    }
    let baseline = rows.iter().find(|(_, _, is_baseline)| *is_baseline).map(|(_, each, _)| *each);
    let mut table = "| proxy | instructions per request | × nginx |\n|---|---|---|\n".to_owned();
    for (name, each, _) in rows {
        let ratio = baseline.map_or_else(|| "–".to_owned(), |baseline| format!("{:.2}", each / baseline));
        table += &format!("| {name} | {each:.0} | {ratio} |\n");
    }
    std::io::stdout().write_all(table.as_bytes()).map_err(|error| format!("stdout: {error}"))
}

fn control(running: &Running, what: &str) -> Result<()> {
    let mut control = Command::new("callgrind_control");
    match output(control.arg(what).arg(running.pid().to_string())) {
        Some(_) => Ok(()),
        None => Err(format!("callgrind_control {what} failed")),
    }
}

/// All instructions that were dumped so far: each dump has those since the one before.
fn count(folder: &Path) -> Result<u64> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let text = std::fs::read_to_string(entry.map_err(unreadable)?.path()).map_err(unreadable)?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        sum += totals.and_then(|totals| totals.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}
