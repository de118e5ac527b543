//! CPU time per request of tidegate beside nginx and Envoy, on this machine: forwarded, and files.
//!
//! One proxy at a time has a core to itself; the load and the servers behind it share another. All have
//! one worker, no access log, kept connections on both sides, and the same rules where they have rules.
//! The table compares the CPU time of the proxies' processes, which does not depend on how fast the load
//! generator is. Rounds are interleaved, so that other work of the machine disturbs all proxies alike.

mod cpu;
mod instructions;
mod load;
mod proxies;
mod training;

use std::io::Write;
use std::time::Duration;

pub(crate) use self::training::train;
use crate::command::{Result, say};
use crate::{build, pgo};

use self::cpu::Cores;
use self::load::{Load, Work};
use self::proxies::Contender;

/// Open connections; enough to keep one core busy, as few as one core's clients would have.
const CONNECTIONS: usize = 64;
/// Until connections are open on both sides and everything hot is in its caches.
const WARM_UP: Duration = Duration::from_secs(1);

/// `cargo xtask bench [--pgo] [--rounds N] [--seconds N]`, or `cargo xtask bench --instructions`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments == ["--instructions"] {
        return instructions::run();
    }
    let options = Options::parse(arguments)?;
    let cores = Cores::choose()?;
    let built = match options.pgo {
        true => pgo::build()?,
        false => build::everything(build::Profile::Release)?,
    };
    // Everything this process does from here on is load.
    cores.take_load_core()?;
    let load = Load::start(CONNECTIONS)?;
    let contenders = Contender::find(&built, load.server())?;
    let time =
        (WARM_UP + options.time) * options.rounds * u32::try_from(contenders.len()).unwrap_or(u32::MAX);
    say(&format!(
        "{} rounds of {:?} for each proxy, about {} s in all",
        options.rounds,
        options.time,
        time.as_secs()
    ));

    let mut samples: Vec<Vec<Sample>> = contenders.iter().map(|_| Vec::new()).collect();
    for round in 1..=options.rounds {
        for (contender, samples) in contenders.iter().zip(&mut samples) {
            let running = cores.on_proxy_core(|| contender.start())?;
            let sample = measure(&running, &load, contender.work(), options.time)
                .map_err(|error| format!("{}: {error}", contender.name()))?;
            say(&format!("round {round}: {:<40} {:6.2} µs/request", contender.name(), sample.micros));
            samples.push(sample);
        }
    }
    report(&contenders, &samples)
}

struct Options {
    /// Measures what `cargo xtask build --pgo` makes.
    pgo: bool,
    rounds: u32,
    time: Duration,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self { pgo: false, rounds: 5, time: Duration::from_secs(4) };
        let arguments = match arguments {
            [first, rest @ ..] if first == "--pgo" => {
                options.pgo = true;
                rest
            }
            all => all,
        };
        for pair in arguments.chunks(2) {
            let number =
                pair.get(1).and_then(|value| value.parse().ok()).filter(|number| (1..=1000).contains(number));
            match (pair[0].as_str(), number) {
                ("--rounds", Some(number)) => options.rounds = number,
                ("--seconds", Some(number)) => options.time = Duration::from_secs(number.into()),
                ("--rounds" | "--seconds", None) => {
                    return Err(format!("{} wants a number from 1 to 1000", pair[0]));
                }
                (other, _) => {
                    return Err(format!("bench takes --pgo, then --rounds and --seconds, not {other}"));
                }
            }
        }
        Ok(options)
    }
}

/// One measurement of one proxy.
struct Sample {
    /// CPU time of the proxy per request.
    micros: f64,
    per_second: f64,
}

fn measure(running: &proxies::Running, load: &Load, work: Work, time: Duration) -> Result<Sample> {
    let nanos = || Ok(u64::try_from(cpu::used_by(running.pid())?.as_nanos()).unwrap_or(u64::MAX));
    let outcome = load.run(running.address(), work, WARM_UP, time, nanos)?;
    let requests = outcome.requests;
    Ok(Sample {
        micros: outcome.gauged as f64 / 1e3 / requests,
        per_second: requests / outcome.elapsed.as_secs_f64(),
    })
}

/// The table, in Markdown, on stdout: it is what the command is for.
fn report(contenders: &[Contender], all: &[Vec<Sample>]) -> Result<()> {
    let baseline_of = |work: Work| {
        let found = contenders.iter().position(|other| other.is_baseline() && other.work() == work)?;
        Some(median(&all[found], micros))
    };
    let mut table = String::from(
        "| proxy | CPU µs/request, median | min–max | × nginx | requests/s, median | of its core |\n\
         |---|---|---|---|---|---|\n",
    );
    for (contender, samples) in contenders.iter().zip(all) {
        let middle = median(samples, micros);
        let (low, high) = samples
            .iter()
            .map(micros)
            .fold((f64::MAX, 0_f64), |(low, high), next| (low.min(next), high.max(next)));
        let ratio = baseline_of(contender.work())
            .map_or_else(|| "–".to_owned(), |baseline| format!("{:.2}", middle / baseline));
        let rate = median(samples, |sample| sample.per_second);
        // Well under 100 % means that the load was slower than the proxy.
        let busy = median(samples, |sample| sample.micros * sample.per_second / 1e4);
        table += &format!(
            "| {} | {middle:.2} | {low:.2}–{high:.2} | {ratio} | {rate:.0} | {busy:.0} % |\n",
            contender.name()
        );
    }
    std::io::stdout().write_all(table.as_bytes()).map_err(|error| format!("stdout: {error}"))
}

fn micros(sample: &Sample) -> f64 {
    sample.micros
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}
