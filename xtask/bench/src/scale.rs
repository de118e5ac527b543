//! Much of one thing: what it costs a request, and how long starting and reloading take.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::load::work::{BODY, Work};
use crate::load::{Extent, Handshakes, Keep, Plan};
use crate::proxies::tidegate::{configuration, upstreams};
use crate::proxies::{Contender, Running, Setup};
use crate::report::{Figure, Row};
use crate::terminal::{Result, say};
use crate::{Bench, WARM_UP, cpu, files, memory};

/// After which a reload is an error.
const PATIENCE: Duration = Duration::from_secs(120);
const QUIET: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_millis(2);
const CONNECTIONS: usize = 64;
/// Requests that differ: more than what the proxy remembers.
const TARGETS: usize = 20_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Of the router, each with a path of its own.
    Rules,
    /// Of one upstream.
    Servers,
    /// All of the same code, each with rules of its own.
    Plugins,
    /// Of one listener.
    Certificates,
}

/// A proxy with much of something, and what changes one of it.
pub(crate) struct Scaled {
    pub(crate) contender: Contender,
    pub(crate) plan: Plan,
    /// A file, and its text with one more, one less or another.
    file: PathBuf,
    changed: String,
}

impl Scale {
    /// What is compared.
    pub(crate) fn sizes(self) -> [usize; 2] {
        match self {
            Self::Rules => [10, 10_000],
            Self::Servers => [1, 1_000],
            Self::Plugins => [1, 100],
            Self::Certificates => [2, 5_000],
        }
    }

    pub(crate) fn name(self, size: usize) -> String {
        let what = match self {
            Self::Rules => "rules of the router",
            Self::Servers => "servers",
            Self::Plugins => "policies",
            Self::Certificates => "certificates",
        };
        format!("tidegate, {size} {what}")
    }

    pub(crate) fn ready(self, bench: &Bench, size: usize) -> Result<Scaled> {
        let folder = bench.site.folder.join(format!("scale-{self:?}-{size}").to_ascii_lowercase());
        match self {
            Self::Rules => rules(bench, &folder, size),
            Self::Servers => servers(bench, &folder, size),
            Self::Plugins => plugins(bench, &folder, size),
            Self::Certificates => certificates(bench, &folder, size),
        }
        .map(|scaled| Scaled { contender: scaled.contender.named(&self.name(size)), ..scaled })
    }
}

/// Fewest first.
pub(crate) fn measure(bench: &Bench, case: &'static str, what: Scale) -> Result<Vec<Row>> {
    what.sizes().into_iter().map(|size| measure_one(bench, case, what, size)).collect()
}

fn measure_one(bench: &Bench, case: &'static str, what: Scale, size: usize) -> Result<Row> {
    let scaled = what.ready(bench, size)?;
    // First without what was compiled before, then with it.
    let compiled = scaled.contender.start()?.start();
    let running = bench.on_proxy_core(|| scaled.contender.start())?;
    let start = running.start();
    rests(running.pid())?;
    let nanos = || Ok(u64::try_from(cpu::used_by(running.pid())?.as_nanos()).unwrap_or(u64::MAX));
    let extent = Extent::Time { warm_up: WARM_UP, time: bench.time };
    let outcome = bench.load.run(running.address(), &scaled.plan, extent, nanos)?;
    let micros = outcome.gauged as f64 / 1e3 / outcome.requests;
    let memory = memory::of(running.pid())? / 1024.0;
    let reload = reload(&scaled, &running)?;
    say(&format!(
        "{:<40} {micros:7.2} µs/request, start {compiled:?} / {start:?}, reload {reload:?}, {memory:.1} MiB",
        scaled.contender.name
    ));
    let millis = |what, time: Duration| Figure::of(what, "ms", vec![time.as_secs_f64() * 1e3]);
    let figures = vec![
        Figure::of("CPU", "µs/request", vec![micros]),
        millis("first start", compiled),
        millis("start", start),
        millis("reload of one", reload),
        Figure::of("memory", "MiB", vec![memory]),
    ];
    Ok(Row { case, proxy: scaled.contender.name, is_baseline: false, figures })
}

/// Waits until a proxy that has started does nothing any more, not even look at its files a second time.
fn rests(pid: u32) -> Result<()> {
    let begun = Instant::now();
    loop {
        let before = cpu::used_by(pid)?;
        std::thread::sleep(QUIET);
        if cpu::used_by(pid)?.saturating_sub(before) < QUIET / 10 || begun.elapsed() > PATIENCE {
            return Ok(());
        }
    }
}

/// Changes one; returns when the proxy serves so.
fn reload(scaled: &Scaled, running: &Running) -> Result<Duration> {
    let generations = || scaled.contender.log().matches(" serving").count();
    let (before, begun) = (generations(), Instant::now());
    fs::write(&scaled.file, &scaled.changed).map_err(|error| files::of(&scaled.file, &error))?;
    running.reload()?;
    while generations() == before {
        if begun.elapsed() > PATIENCE {
            return Err(format!("no reload came to its end:\n{}", scaled.contender.log()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(begun.elapsed())
}

fn rules(bench: &Bench, folder: &Path, size: usize) -> Result<Scaled> {
    let rules = |size: usize| {
        let rule = |number| format!("  {{ paths = [\"/service-{number}/**\"], to = \"app\" }},\n");
        format!("[config]\nrules = [\n{}]\n", (0..size).map(rule).collect::<String>())
    };
    let contender = bench.programs.tidegate.at(folder, Setup::PLAIN, "", &app(bench))?;
    bench.programs.tidegate.add(&contender, "10-router", "router", &rules(size))?;
    let targets = (0..TARGETS).map(|number| format!("/service-{}/orders/{number}", number * 7919 % size));
    Ok(Scaled {
        file: folder.join("plugins/10-router.toml"),
        changed: rules(size - 1),
        plan: Plan::plain(Work::paths(targets), CONNECTIONS),
        contender,
    })
}

fn servers(bench: &Bench, folder: &Path, size: usize) -> Result<Scaled> {
    // One more, for the reload.
    let addresses = bench.load.more_servers(size + 1)?;
    let table = |size: usize| {
        let servers: Vec<_> = addresses.iter().take(size).map(|address| format!("\"{address}\"")).collect();
        format!("{CACHE}[upstream.app]\nservers = [{}]\n", servers.join(", "))
    };
    let contender = bench.programs.tidegate.at(folder, Setup::PLAIN, "", &table(size))?;
    Ok(Scaled {
        file: folder.join("tidegate.toml"),
        changed: configuration(contender.address(), Setup::PLAIN, "", &table(size + 1))?,
        plan: Plan::plain(Work::forwarded(BODY), CONNECTIONS),
        contender,
    })
}

fn plugins(bench: &Bench, folder: &Path, size: usize) -> Result<Scaled> {
    let rules = |number: usize| {
        format!("[config]\nrules = [{{ paths = [\"/admin-{number}/**\"], allow = [\"10.0.0.0/8\"] }}]\n")
    };
    let contender = bench.programs.tidegate.at(folder, Setup::PLAIN, "", &app(bench))?;
    for number in 0..size {
        bench.programs.tidegate.add(&contender, &place(number), "access-control", &rules(number))?;
    }
    Ok(Scaled {
        file: folder.join("plugins").join(place(0)).with_extension("toml"),
        changed: rules(size),
        plan: Plan::plain(Work::forwarded(BODY), CONNECTIONS),
        contender,
    })
}

fn place(number: usize) -> String {
    format!("{number:03}-access")
}

fn certificates(bench: &Bench, folder: &Path, size: usize) -> Result<Scaled> {
    let host = |number: usize| format!("site-{number}.example.com");
    let of = folder.with_extension("certificates");
    let mut entries = Vec::new();
    for number in 0..size {
        let certificate = bench.authority.sign(&of, &number.to_string(), &[&host(number)])?;
        let (chain, key) = (certificate.chain.display(), certificate.key.display());
        entries.push(format!("{{ chain = \"{chain}\", key = \"{key}\" }}"));
    }
    // A line for each: places in a line of a megabyte take a while to find.
    let table = |size: usize| {
        format!("[listener.web.tls]\ncertificates = [\n  {},\n]", entries[..size].join(",\n  "))
    };
    let contender = bench.programs.tidegate.at(folder, Setup::SECURE, &table(size), &app(bench))?;
    let plan = Plan::plain(Work::hosts((0..size - 1).map(host)), CONNECTIONS);
    Ok(Scaled {
        file: folder.join("tidegate.toml"),
        changed: configuration(contender.address(), Setup::SECURE, &table(size - 1), &app(bench))?,
        plan: Plan { is_secure: true, keep: Keep::Closed(Handshakes::Full), ..plan },
        contender,
    })
}

/// What is compiled is kept beside the proxy, so that its first start has nothing.
const CACHE: &str = "[plugins]\ncompile-cache = \"compiled\"\n\n";

fn app(bench: &Bench) -> String {
    CACHE.to_owned() + &upstreams(&["app"], bench.site.server)
}
