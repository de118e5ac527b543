//! CPU time of requests, and how long their answers take at half of what the proxy can do.

use std::time::Duration;

use crate::cpu;
use crate::load::{Extent, Handshakes, Keep, Plan};
use crate::proxies::{Contender, Proxy, Setup};
use crate::report::{Figure, Row};
use crate::terminal::{Result, say};
use crate::{Bench, WARM_UP, files};

/// Open files beside those of clients, for servers and for what a program has open itself.
const SPARE: u64 = 500;

/// What one round measured.
struct Sample {
    /// CPU time of the proxy per request.
    micros: f64,
    per_second: f64,
    /// At half load, in microseconds.
    middle: f64,
    slow: f64,
}

pub(crate) fn measure(
    bench: &Bench,
    case: &'static str,
    setup: Setup,
    plan: &Plan,
    proxies: &[Proxy],
) -> Result<Vec<Row>> {
    prepare(bench, plan)?;
    if plan.connections as u64 + SPARE > bench.site.descriptors {
        say(&format!("left out: a process may have {} files open", bench.site.descriptors));
        return Ok(Vec::new());
    }
    let mut contenders: Vec<(Contender, Vec<Sample>)> = Vec::new();
    for proxy in proxies {
        let ready = bench.programs.ready(*proxy, setup, &bench.site)?;
        contenders.extend(ready.map(|contender| (contender, Vec::new())));
    }
    for round in 1..=bench.rounds {
        for (contender, samples) in &mut contenders {
            let sample = measure_once(bench, contender, plan)
                .map_err(|error| format!("{}: {error}", contender.name))?;
            say(&format!("round {round}: {:<40} {:8.2} µs/request", contender.name, sample.micros));
            samples.push(sample);
        }
    }
    Ok(contenders.iter().map(|(contender, samples)| row(case, contender, samples)).collect())
}

/// Writes the file that is asked for.
fn prepare(bench: &Bench, plan: &Plan) -> Result<()> {
    match plan.work.answer.filter(|_| !plan.work.is_forwarded) {
        Some(bytes) => files::write(&bench.site.www, &bytes.to_string(), &"x".repeat(bytes)).map(|_| ()),
        None => Ok(()),
    }
}

fn measure_once(bench: &Bench, contender: &Contender, plan: &Plan) -> Result<Sample> {
    let running = bench.on_proxy_core(|| contender.start())?;
    let nanos = || Ok(u64::try_from(cpu::used_by(running.pid())?.as_nanos()).unwrap_or(u64::MAX));
    let extent = Extent::Time { warm_up: WARM_UP, time: bench.time };
    let outcome = bench.load.run(running.address(), plan, extent, nanos)?;
    if plan.keep == Keep::Closed(Handshakes::Resumed) && outcome.resumed < 0.9 {
        return Err(format!("only {:.0} % of the handshakes were resumed", outcome.resumed * 100.0));
    }
    let per_second = outcome.requests / outcome.elapsed.as_secs_f64();
    let times = bench.load.pace(running.address(), plan, per_second / 2.0, bench.time)?;
    Ok(Sample {
        micros: outcome.gauged as f64 / 1e3 / outcome.requests,
        per_second,
        middle: micros(quantile(&times, 0.5)),
        slow: micros(quantile(&times, 0.99)),
    })
}

fn row(case: &'static str, contender: &Contender, samples: &[Sample]) -> Row {
    let of = |what, unit, of: fn(&Sample) -> f64| Figure::of(what, unit, samples.iter().map(of).collect());
    let figures = vec![
        of("CPU", "µs/request", |sample| sample.micros),
        of("rate", "1/s", |sample| sample.per_second),
        // Well under 100 % means that the load was slower than the proxy.
        of("of its core", "%", |sample| sample.micros * sample.per_second / 1e4),
        of("p50 at half load", "µs", |sample| sample.middle),
        of("p99 at half load", "µs", |sample| sample.slow),
    ];
    Row { case, proxy: contender.name.clone(), is_baseline: contender.is_baseline, figures }
}

/// Of sorted times.
fn quantile(times: &[Duration], share: f64) -> Duration {
    let at = ((times.len() as f64 - 1.0) * share).max(0.0).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
