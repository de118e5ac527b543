//! Memory of policies.

use crate::load::work::{BODY, Work};
use crate::load::{Extent, Plan};
use crate::proxies::tidegate::Chain;
use crate::proxies::{Proxy, Setup};
use crate::report::{Figure, Row};
use crate::terminal::{Result, say};
use crate::{Bench, memory};

/// Requests until all policies were called and have their memory.
const REQUESTS: u64 = 2000;

pub(crate) fn measure(bench: &Bench, case: &'static str) -> Result<Vec<Row>> {
    let plan = Plan::plain(Work::forwarded(BODY), 16);
    let mut rows = Vec::new();
    let mut none = 0.0;
    for (chain, policies) in [(Chain::Empty, 0_u32), (Chain::One, 1), (Chain::Three, 3), (Chain::Ten, 10)] {
        let ready = bench.programs.ready(Proxy::Tidegate(chain), Setup::PLAIN, &bench.site)?;
        let Some(contender) = ready else { continue };
        let running = bench.on_proxy_core(|| contender.start())?;
        bench.load.run(running.address(), &plan, Extent::Count { warm_up: 0, count: REQUESTS }, || Ok(0))?;
        let all = memory::of(running.pid())? / 1024.0;
        say(&format!("{:<40} {all:6.1} MiB", contender.name));
        let mut figures = vec![Figure::of("memory", "MiB", vec![all])];
        match policies {
            0 => none = all,
            some => figures.push(Figure::of("each", "MiB/policy", vec![(all - none) / f64::from(some)])),
        }
        rows.push(Row { case, proxy: contender.name, is_baseline: false, figures });
    }
    Ok(rows)
}
