//! Memory of connections that do nothing: new ones, and after one request.

use std::cell::Cell;

use crate::load::{Extent, Plan};
use crate::proxies::{Contender, Proxy, Setup};
use crate::report::{Figure, Row};
use crate::terminal::{Result, say};
use crate::{Bench, memory};

/// Requests that a proxy answers before, one by one: what it needs once is no part of a connection.
const BEFORE: u64 = 100;

pub(crate) fn measure(bench: &Bench, case: &'static str, setup: Setup, plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for proxy in Proxy::PLAIN {
        let Some(contender) = bench.programs.ready(proxy, setup, &bench.site)? else { continue };
        let (new, asked) =
            measure_one(bench, &contender, plan).map_err(|error| format!("{}: {error}", contender.name))?;
        say(&format!("{:<40} {new:6.1} KiB, {asked:6.1} KiB after a request", contender.name));
        let figures = vec![
            Figure::of("after a request", "KiB/connection", vec![asked]),
            Figure::of("new", "KiB/connection", vec![new]),
        ];
        rows.push(Row { case, proxy: contender.name, is_baseline: contender.is_baseline, figures });
    }
    Ok(rows)
}

fn measure_one(bench: &Bench, contender: &Contender, plan: &Plan) -> Result<(f64, f64)> {
    let running = bench.on_proxy_core(|| contender.start())?;
    let one = Plan { connections: 1, clients: 1, ..plan.clone() };
    bench.load.run(running.address(), &one, Extent::Count { warm_up: 0, count: BEFORE }, || Ok(0))?;
    let (before, new, asked) = (memory::of(running.pid())?, Cell::new(0.0), Cell::new(0.0));
    let each = |memory: f64| (memory - before) / plan.connections as f64;
    bench.load.hold(
        running.address(),
        plan,
        || memory::of(running.pid()).map(|memory| new.set(each(memory))),
        || memory::of(running.pid()).map(|memory| asked.set(each(memory))),
    )?;
    Ok((new.get(), asked.get()))
}
