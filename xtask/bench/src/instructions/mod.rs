//! Instructions per request outside the kernel, counted by callgrind: what is too small for a noisy clock.
//!
//! One client asks for one thing at a time, so many times, whatever the clock says: how many requests a proxy finds at
//! once when it looks would otherwise depend on how fast everybody is, and with it the count. With more clients the
//! count is nearer to that of a busy proxy, and less steady.

mod callgrind;
mod kept;
mod rows;

use self::callgrind::Callgrind;
use crate::arguments::Arguments;
use crate::load::{Extent, Plan};
use crate::proxies::Contender;
use crate::terminal::{Result, print, say};
use crate::{Bench, cases};

/// Requests until policies are compiled and remembered.
const WARM_UP: u64 = 1000;
/// Enough that what a proxy does by the clock is nothing beside them.
const COUNT: u64 = 2000;

/// What is done with the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    Print,
    /// It is put into the guide.
    Write,
    /// It is compared with the one in the guide.
    Check,
}

/// What a request takes of one proxy.
struct Count {
    kind: &'static str,
    name: String,
    is_baseline: bool,
    each: f64,
}

/// Counts the rows of the guide, or of the cases that are named.
pub(crate) fn run(bench: &Bench, arguments: &Arguments, then: Then) -> Result<()> {
    callgrind::find()?;
    let rows = match arguments.cases.is_empty() {
        true => rows::of_guide(),
        false => rows::of_cases(&cases::chosen(&arguments.cases)?)?,
    };
    let mut counts = Vec::new();
    let clients = arguments.clients as usize;
    if then != Then::Print && clients != 1 {
        return Err("the guide's table is of one client".to_owned());
    }
    for row in rows {
        let Some((contender, plan)) = row.ready(bench)? else { continue };
        let plan = Plan { connections: clients, clients, ..plan };
        let each = count(bench, &contender, &plan).map_err(|error| format!("{}: {error}", contender.name))?;
        say(&format!("{:<20} {:<45} {each:>8.0}", row.kind, contender.name));
        let Contender { name, is_baseline, .. } = contender;
        counts.push(Count { kind: row.kind, name, is_baseline, each });
    }
    match then {
        Then::Print => print(&kept::table(&counts)),
        Then::Write => kept::write(&counts, &arguments.profile),
        Then::Check => kept::check(&counts, &arguments.profile),
    }
}

fn count(bench: &Bench, contender: &Contender, plan: &Plan) -> Result<f64> {
    let within = Callgrind::start(contender)?;
    let extent = Extent::Count { warm_up: WARM_UP, count: COUNT };
    let outcome = bench.load.run(within.running.address(), plan, extent, || within.count())?;
    Ok(outcome.gauged as f64 / outcome.requests)
}
