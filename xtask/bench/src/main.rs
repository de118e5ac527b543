//! What tidegate costs beside other proxies, on this machine; `cargo xtask bench` builds everything and runs this.
//!
//! One proxy at a time has a core to itself; the load and the servers behind it share another. All have
//! one worker, kept connections on both sides, and the same rules where they have rules. What is compared is
//! the CPU time of the proxies' processes, which does not depend on how fast the load generator is. Rounds are
//! interleaved, so that other work of the machine disturbs all proxies alike.

mod arguments;
mod cases;
mod certificates;
mod cpu;
mod files;
mod idle;
mod instructions;
mod load;
mod memory;
mod plugins;
mod proxies;
mod reload;
mod report;
mod requests;
mod scale;
mod terminal;
mod training;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use self::arguments::{Arguments, What};
use self::cases::{Case, Measure};
use self::certificates::Authority;
use self::cpu::Cores;
use self::load::Load;
use self::load::work::HOST;
use self::proxies::{Programs, Site};
use self::report::Row;
use self::terminal::{Result, say};

/// Until connections are open on both sides and everything hot is in its caches.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            say(&message);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let arguments = Arguments::parse(arguments)?;
    let chosen = cases::chosen(&arguments.cases)?;
    if arguments.what == What::List {
        return cases::list();
    }
    let bench = Bench::prepare(&arguments)?;
    match arguments.what {
        What::List => Ok(()),
        What::Train => training::train(&bench),
        What::Instructions(then) => instructions::run(&bench, &arguments, then),
        What::Cases => {
            let mut rows = Vec::new();
            for case in chosen {
                say(&format!("{}: {}", case.name, case.about));
                rows.extend(bench.measure(&case).map_err(|error| format!("{}: {error}", case.name))?);
            }
            report::write(&rows, &arguments)
        }
    }
}

/// Everything that measuring needs.
struct Bench {
    programs: Programs,
    site: Site,
    authority: Authority,
    load: Load,
    cores: Option<Cores>,
    rounds: u32,
    time: Duration,
}

impl Bench {
    fn prepare(arguments: &Arguments) -> Result<Self> {
        let folder = arguments.folder.join("bench");
        let _ = fs::remove_dir_all(&folder);
        let authority = Authority::new()?;
        let load = Load::start(authority.roots()?)?;
        let site = Site {
            server: load.server(),
            grpc_server: load.grpc_server(),
            certificate: authority.sign(&folder, "site", &[HOST, "localhost"])?,
            www: folder.join("www"),
            descriptors: cpu::allow_descriptors()?,
            folder,
        };
        // Counting and training do not ask the clock.
        let cores = (arguments.what == What::Cases).then(Cores::choose).transpose()?;
        // Everything this process does from here on is load.
        cores.as_ref().map_or(Ok(()), Cores::take_load_core)?;
        let programs = Programs::find(arguments.tidegate.clone())?;
        Ok(Self { programs, site, authority, load, cores, rounds: arguments.rounds, time: arguments.time })
    }

    fn measure(&self, case: &Case) -> Result<Vec<Row>> {
        match &case.measure {
            Measure::Requests { setup, plan, proxies } => {
                requests::measure(self, case.name, *setup, plan, proxies)
            }
            Measure::Idle { setup, plan } => idle::measure(self, case.name, *setup, plan),
            Measure::Plugins => plugins::measure(self, case.name),
            Measure::Reload => reload::measure(self, case.name),
            Measure::Scale(what) => scale::measure(self, case.name, *what),
        }
    }

    /// Processes that `start` starts stay on the core of the proxy.
    fn on_proxy_core<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        match &self.cores {
            Some(cores) => cores.on_proxy_core(start),
            None => start(),
        }
    }
}
