//! What is counted.

use crate::Bench;
use crate::cases::{Case, Measure};
use crate::load::Plan;
use crate::load::work::{BODY, Work};
use crate::proxies::tidegate::Chain;
use crate::proxies::{Contender, Proxy, Setup};
use crate::scale::Scale;
use crate::terminal::Result;

/// One line of the table.
pub(super) struct Row {
    pub(super) kind: &'static str,
    name: Option<&'static str>,
    what: What,
}

enum What {
    Proxy { proxy: Proxy, setup: Setup, plan: Plan },
    Scale(Scale, usize),
}

/// The rows of the guide.
pub(super) fn of_guide() -> Vec<Row> {
    let (empty, three) = (Proxy::Tidegate(Chain::Empty), Proxy::Tidegate(Chain::Three));
    let plain = || Plan::plain(Work::forwarded(BODY), 1);
    let tls = || Plan { is_secure: true, ..plain() };
    let http2 = || Plan { is_http2: true, ..tls() };
    let called = Plan::plain(Work::varied(), 1);
    let row = |kind, name, proxy, setup, plan| Row { kind, name, what: What::Proxy { proxy, setup, plan } };
    let mut rows = Vec::new();
    for proxy in [Proxy::Nginx, Proxy::Floor, empty] {
        rows.push(row("HTTP/1.1", None, proxy, Setup::PLAIN, plain()));
    }
    rows.extend([
        row("HTTP/1.1", Some("tidegate, three policies, remembered"), three, Setup::PLAIN, plain()),
        row("HTTP/1.1", Some("tidegate, three policies, called"), three, Setup::PLAIN, called),
    ]);
    for proxy in [Proxy::Nginx, empty] {
        rows.push(row("with an access log", None, proxy, Setup::LOGGED, plain()));
    }
    for (kind, plan) in [("TLS", tls()), ("HTTP/2 over TLS", http2())] {
        for proxy in [Proxy::Nginx, Proxy::Floor, empty] {
            rows.push(row(kind, None, proxy, Setup::SECURE, plan.clone()));
        }
    }
    rows
}

/// The rows of these cases. What does not depend on how much there is of something needs no clock to be seen.
pub(super) fn of_cases(cases: &[Case]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in cases {
        match case.measure {
            Measure::Scale(scale) => {
                let row = |size| Row { kind: case.name, name: None, what: What::Scale(scale, size) };
                rows.extend(scale.sizes().map(row));
            }
            _ => {
                return Err(format!(
                    "{}: instructions are counted of scale-* only, or of the guide's table",
                    case.name
                ));
            }
        }
    }
    Ok(rows)
}

impl Row {
    /// Its proxy, ready to be started; `None` if that is not here.
    pub(super) fn ready(&self, bench: &Bench) -> Result<Option<(Contender, Plan)>> {
        let ready = match &self.what {
            What::Proxy { proxy, setup, plan } => {
                let ready = bench.programs.ready(*proxy, *setup, &bench.site)?;
                ready.map(|contender| (contender, plan.clone()))
            }
            What::Scale(scale, size) => {
                let scaled = scale.ready(bench, *size)?;
                Some((scaled.contender, Plan { connections: 1, clients: 1, ..scaled.plan }))
            }
        };
        Ok(ready.map(|(contender, plan)| match self.name {
            Some(name) => (contender.named(name), plan),
            None => (contender, plan),
        }))
    }
}
