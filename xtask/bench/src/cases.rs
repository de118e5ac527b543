//! What is measured, by name.

use crate::load::work::{BODY, Work};
use crate::load::{Handshakes, Keep, Plan};
use crate::proxies::tidegate::Chain;
use crate::proxies::{Proxy, Setup};
use crate::scale::Scale;
use crate::terminal::{Result, print};

/// Open connections unless a case is about them; enough to keep one core busy, as few as one core's clients would have.
const CONNECTIONS: usize = 64;
/// Requests at a time on one connection of HTTP/2.
const STREAMS: usize = 10;
/// Connections whose memory is measured.
const IDLE: usize = 2000;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) measure: Measure,
}

pub(crate) enum Measure {
    /// CPU time and latency of requests.
    Requests { setup: Setup, plan: Plan, proxies: Vec<Proxy> },
    /// Memory of connections that do nothing.
    Idle { setup: Setup, plan: Plan },
    /// Memory of policies.
    Plugins,
    /// Time from the copy of a policy to its first decision.
    Reload,
    /// Much of one thing.
    Scale(Scale),
}

/// All of them, in the order in which they are measured.
fn all() -> Vec<Case> {
    let kept = |work| Plan::plain(work, CONNECTIONS);
    let small = || Work::forwarded(BODY);
    let secure = |plan| Plan { is_secure: true, ..plan };
    let closed = |handshakes, plan| Plan { keep: Keep::Closed(handshakes), ..plan };
    let streams = |plan: Plan| {
        let clients = plan.connections * STREAMS;
        Plan { is_secure: true, is_http2: true, clients, ..plan }
    };
    let waiting = |connections| Plan { connections, clients: CONNECTIONS, ..kept(small()) };
    let idle = || Plan::plain(small(), IDLE);
    let chains = [Chain::Empty, Chain::One, Chain::Three, Chain::Ten].map(Proxy::Tidegate);
    let three = [Proxy::NginxLua, Proxy::Tidegate(Chain::Three)];
    let requests = |name, about, setup, plan, proxies: &[Proxy]| {
        let proxies = proxies.to_vec();
        Case { name, about, measure: Measure::Requests { setup, plan, proxies } }
    };
    let other = |name, about, measure| Case { name, about, measure };
    let (plain, tls, plain_proxies) = (Setup::PLAIN, Setup::SECURE, &Proxy::PLAIN);
    vec![
        requests("http1", "HTTP/1.1, 1 KiB, 64 connections", plain, kept(small()), &Proxy::ALL),
        requests("http1-10", "the same over 10", plain, Plan::plain(small(), 10), plain_proxies),
        requests("http1-640", "the same over 640", plain, Plan::plain(small(), 640), plain_proxies),
        requests("http1-10000", "over 10,000, 64 of them at a time", plain, waiting(10_000), plain_proxies),
        requests("http1-log", "HTTP/1.1 with an access log", Setup::LOGGED, kept(small()), &Proxy::ALL),
        requests(
            "http1-connect",
            "a new connection for each request",
            plain,
            closed(Handshakes::Full, kept(small())),
            plain_proxies,
        ),
        requests("policies", "0, 1, 3 and 10 policies, remembered", plain, kept(small()), &chains),
        requests(
            "policies-called",
            "the same for paths that nothing remembers",
            plain,
            kept(Work::varied()),
            &chains,
        ),
        requests(
            "rules-called",
            "three rules for paths that nothing remembers",
            plain,
            kept(Work::varied()),
            &three,
        ),
        requests("body-64k", "responses of 64 KiB", plain, kept(Work::forwarded(64 << 10)), plain_proxies),
        requests("body-10m", "responses of 10 MiB", plain, kept(Work::forwarded(10 << 20)), plain_proxies),
        requests("upload-1k", "requests with 1 KiB", plain, kept(Work::upload(1 << 10)), plain_proxies),
        requests("upload-64k", "requests with 64 KiB", plain, kept(Work::upload(64 << 10)), plain_proxies),
        requests(
            "upload-10m",
            "requests with 10 MiB",
            plain,
            Plan::plain(Work::upload(10 << 20), 4),
            plain_proxies,
        ),
        requests("tls", "HTTP/1.1 over TLS, kept", tls, secure(kept(small())), &Proxy::ALL),
        requests(
            "tls-resumed",
            "a resumed handshake for each request",
            tls,
            closed(Handshakes::Resumed, secure(kept(small()))),
            plain_proxies,
        ),
        requests(
            "tls-full",
            "a full handshake for each request",
            tls,
            closed(Handshakes::Full, secure(kept(small()))),
            plain_proxies,
        ),
        requests(
            "http2",
            "HTTP/2 over TLS, 64 connections × 10 streams",
            tls,
            streams(kept(small())),
            &Proxy::ALL,
        ),
        requests(
            "grpc",
            "calls of gRPC, 1 KiB each way",
            Setup::GRPC,
            streams(kept(Work::grpc())),
            plain_proxies,
        ),
        requests("files-64k", "a file of 64 KiB", Setup::FILES, kept(Work::file(64 << 10)), &Proxy::OF_FILES),
        requests(
            "files-100m",
            "a file of 100 MiB",
            Setup::FILES,
            kept(Work::file(100 << 20)),
            &Proxy::OF_FILES,
        ),
        requests(
            "cache-1k",
            "a response of 1 KiB that is kept",
            Setup::CACHE,
            kept(Work::forwarded(1 << 10)),
            &Proxy::CACHES,
        ),
        requests(
            "cache-100k",
            "one of 100 KiB",
            Setup::CACHE,
            kept(Work::forwarded(100 << 10)),
            &Proxy::CACHES,
        ),
        other("idle-http1", "memory of an idle connection", Measure::Idle { setup: plain, plan: idle() }),
        other("idle-tls", "the same over TLS", Measure::Idle { setup: tls, plan: secure(idle()) }),
        other(
            "idle-http2",
            "the same in HTTP/2 over TLS",
            Measure::Idle { setup: tls, plan: Plan { is_http2: true, ..secure(idle()) } },
        ),
        other("plugins", "memory of policies", Measure::Plugins),
        other("reload", "from the copy of a policy to its first decision", Measure::Reload),
        other("scale-rules", "many rules of the router", Measure::Scale(Scale::Rules)),
        other("scale-servers", "many servers of one upstream", Measure::Scale(Scale::Servers)),
        other("scale-plugins", "many policies", Measure::Scale(Scale::Plugins)),
        other(
            "scale-certificates",
            "many certificates, full handshakes",
            Measure::Scale(Scale::Certificates),
        ),
    ]
}

/// Those named, by their names or how they begin; all if none is.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Case>> {
    let all = all();
    if let Some(name) = names.iter().find(|name| !all.iter().any(|case| is_meant(name, case.name))) {
        return Err(format!("bench has no case {name}; --list shows those that it has"));
    }
    Ok(all
        .into_iter()
        .filter(|case| names.is_empty() || names.iter().any(|name| is_meant(name, case.name)))
        .collect())
}

/// `tls` means the case of that name alone, `tls-` all that begin so.
fn is_meant(name: &str, case: &str) -> bool {
    name == case || name.ends_with('-') && (case.starts_with(name) || case == name.trim_end_matches('-'))
}

pub(crate) fn list() -> Result<()> {
    print(&all().iter().map(|case| format!("{:<20} {}\n", case.name, case.about)).collect::<String>())
}
