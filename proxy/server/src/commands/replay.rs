//! `tidegate replay`: what another plugin directory would make of requests that were recorded.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use tidegate_config::Config;
use tidegate_plugin_host::{EditLimits, Exchange, Slot};

use super::{block_on, check, configuration, print, read};
use crate::explain::Recorded;
use crate::imagined::Imagined;
use crate::policy::Effects;
use crate::regular;
use crate::rehearsal::{End, Rehearsal};

/// What is to be compared.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// Lines of the access log, or of `/api/v1/requests`, which know all fields; `-`: from standard input.
    #[arg(value_name = "REQUESTS.jsonl")]
    requests: PathBuf,
    /// The other plugin directory.
    #[arg(long, value_name = "DIRECTORY")]
    plugins: PathBuf,
    /// The configuration, with the plugin directory that serves.
    #[arg(long, value_name = "FILE", default_value = "tidegate.toml")]
    config: PathBuf,
}

/// What was found, for the last line.
#[derive(Default)]
struct Count {
    requests: usize,
    differ: usize,
    /// Some values of their fields are not known.
    partly_hidden: usize,
    /// Lines of connections, of what was no request, and of what cannot be asked for.
    left_out: usize,
}

pub(crate) fn run(asked: &Asked) -> Result<ExitCode, String> {
    let config = configuration(&asked.config)?;
    let requests = read(&asked.requests, lines)?;
    if !asked.plugins.is_dir() {
        return Err(format!("--plugins: {} is no directory", asked.plugins.display()));
    }
    let other = Config { plugin_directory: asked.plugins.clone(), ..config.clone() };
    let [now, then] = [chain(&config)?, chain(&other)?];
    let (told, differ) = block_on(replay(&config, &requests, &now, &then))??;
    print(&told)?;
    Ok(if differ { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn lines(path: &Path) -> io::Result<String> {
    if path.as_os_str() != "-" {
        return regular::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// With problems, what serves would be another chain: so there must be none.
fn chain(config: &Config) -> Result<Rehearsal, String> {
    let scan = check::scan(config)?;
    match scan.problems.as_slice() {
        [] => Ok(Rehearsal::new(&scan.links)),
        problems => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

async fn replay(
    config: &Config,
    requests: &str,
    now: &Rehearsal,
    then: &Rehearsal,
) -> Result<(String, bool), String> {
    let destinations = super::destinations(config);
    let mut text = String::new();
    let mut count = Count::default();
    for (index, line) in requests.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let recorded: Recorded = match serde_json::from_str(line) {
            Ok(recorded) => recorded,
            // Cut while it was written.
            Err(error) if error.is_eof() && index > 0 => {
                count.left_out += 1;
                continue;
            }
            Err(error) => return Err(format!("line {}: {error}", index + 1)),
        };
        let imagined = Imagined {
            // A line without one is of no request: no method has this name.
            method: recorded.method.as_deref().unwrap_or_default(),
            url: &recorded.url(),
            headers: recorded.fields(),
            body_length: None,
            certificate: None,
            client: &recorded.client,
            listener: &recorded.listener,
        };
        let Ok(exchange) = imagined.exchange(Arc::clone(&destinations), EditLimits::default()) else {
            count.left_out += 1;
            continue;
        };
        count.requests += 1;
        count.partly_hidden += usize::from(recorded.is_partly_hidden());
        let (serving, other) = (effects(now, exchange.fork()).await, effects(then, exchange).await);
        let differences = serving.differences(&other, "the other");
        if !differences.is_empty() {
            count.differ += 1;
            let _ = writeln!(text, "{}  (id {})", recorded.line(), recorded.id);
            for difference in differences {
                let _ = writeln!(text, "    {difference}");
            }
        }
    }
    let Count { requests, differ, partly_hidden, left_out } = count;
    let _ = write!(text, "{requests} requests, {differ} of them would be treated otherwise");
    if partly_hidden > 0 {
        let _ =
            write!(text, "; {partly_hidden} had fields whose values were not recorded, or not to the end");
    }
    if left_out > 0 {
        let _ =
            write!(text, "; {left_out} lines were left out, as they are of no request, or not all of one");
    }
    Ok((text, differ > 0))
}

async fn effects(chain: &Rehearsal, exchange: Box<Exchange>) -> Effects {
    let mut slot = Slot::new(exchange);
    let verdict = match chain.on_request(&mut slot).await.0 {
        End::Forward => "forward",
        End::Reply => "respond",
        End::Denied(_) => "denied, as a policy decided nothing",
    };
    Effects::of(&slot, verdict)
}
