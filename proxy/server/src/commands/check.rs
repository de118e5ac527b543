//! `tidegate check`: everything that `run` would stumble over, without running.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tidegate_config::{Config, Problem, Problems, Source};
use tidegate_plugin_host::{Host, HostError, Services};
use tokio::sync::mpsc;

use super::{names, print};
use crate::access_log;
use crate::compile_cache;
use crate::explain;
use crate::files;
use crate::policy::{self, Link, Policy};
use crate::reload::{self, Directory, Look, Scan};
use crate::sources::{self, Sources};
use crate::tls;
use crate::trace;
use crate::{acme, admin};
use tidegate_body::buffer;

/// Prints every problem, one a line, what works but will surprise, and a last line that counts the
/// problems.
pub(crate) fn run(file: &Path) -> Result<ExitCode, String> {
    let Findings { problems, warnings, names, costs } = look(file).map_err(|error| error.to_string())?;
    let mut lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    let warned = match warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        count => format!(", {count} warnings"),
    };
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    lines.extend(names);
    lines.extend(costs);
    lines.push(match problems.len() {
        0 => format!("{}: no problem found{warned}", file.display()),
        1 => format!("1 problem{warned}"),
        count => format!("{count} problems{warned}"),
    });
    print(&lines.join("\n"))?;
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the files with every key in effect.
pub(crate) fn explain_defaults(file: &Path) -> Result<ExitCode, String> {
    let shown = |problems| Problems(problems).to_string();
    let sources = Sources::read(file).map_err(shown)?;
    let config = sources.parse().map_err(shown)?;
    let mut text = sources.explain_defaults().map_err(shown)?;
    let directory = &config.plugin_directory;
    let settings = reload::settings(directory);
    for (file, settings) in settings.map_err(|error| format!("{}: {error}", directory.display()))? {
        let explained = tidegate_config::explain_plugin_defaults(Source { text: &settings, file: &file });
        let explained = explained.map_err(|problems| problems.to_string())?;
        text = format!("{text}\n# {}\n\n{explained}", file.display());
    }
    print(text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    /// How it stands with the names of certificates, a line each.
    names: Vec<String>,
    /// What each policy costs, a line each.
    costs: Vec<String>,
}

impl Findings {
    fn problems(problems: Vec<Problem>) -> Self {
        Self { problems, warnings: Vec::new(), names: Vec::new(), costs: Vec::new() }
    }
}

fn look(file: &Path) -> Result<Findings, HostError> {
    let config = match sources::config(file) {
        Ok(config) => config,
        // Where the plugins and certificates are is in the file.
        Err(problems) => return Ok(Findings::problems(problems)),
    };
    let obtained = acme::stored(&config);
    let (_, findings) = tls::Loader::new(Arc::default(), None).load(&config, &obtained);
    let mut problems = findings.problems;
    problems.extend(acme::check(&config).err());
    problems.extend(findings.warnings);
    tls::ClientLoader::new().load(&config, &mut problems);
    files::load(&config, &mut problems);
    explain::load(&config, &mut problems);
    admin::token(&config, &mut problems);
    problems.extend(trace::settings(&config).err());
    let temporary = match buffer::check(&config) {
        Ok(warning) => warning,
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    problems.extend(access_log::check(&config));
    let (host, no_cache) = compile_cache::host(&config, Services::default())?;
    problems.extend(no_cache);
    let mut costs = Vec::new();
    let mut warnings = match plugins(&config, host) {
        Ok(scan) => {
            costs.extend(scan.links.iter().filter_map(cost));
            problems.extend(scan.problems);
            let routes = policy::warnings(&scan.links, &config);
            let found =
                config.warnings(|destination| scan.links.iter().any(|link| link.may_reach(destination)));
            found.into_iter().chain(routes).collect()
        }
        Err(problem) => {
            problems.push(problem);
            config.warnings(|_| true)
        }
    };
    warnings.extend(temporary);
    warnings.extend(files::warnings(&config));
    let names = names::lines(&config, &obtained);
    Ok(Findings { problems, warnings, names, costs })
}

fn cost(link: &Link) -> Option<String> {
    let Policy::Serving(plugin) = &link.policy else { return None };
    let (time, memory) = (plugin.compile_time().as_millis(), plugin.memory() >> 10);
    Some(format!("policy {}: compiled in {time} ms, {memory} KiB for each instance", link.name))
}

/// Loads every plugin, for a command that asks them: what is wrong with one is among what it finds.
pub(super) fn scan(config: &Config) -> Result<Scan, String> {
    let (host, _) = compile_cache::host(config, Services::default()).map_err(|error| error.to_string())?;
    plugins(config, host).map_err(|problem| problem.to_string())
}

/// Loads every plugin.
fn plugins(config: &Config, host: Host) -> Result<Scan, Problem> {
    let (bad_version, _) = mpsc::channel(1);
    let (loaded, wait) = sync_channel(1);
    let mut directory = Directory::new(host, 0, bad_version, move || {
        // Full: it is to be looked at already.
        let _ = loaded.try_send(());
    });
    loop {
        match directory.scan(config, 1, Look::Final, |_| false) {
            // Each has its time, after which it is refused.
            Ok(scan) if scan.pending => drop(wait.recv_timeout(Duration::from_secs(1))),
            result => return result,
        }
    }
}
