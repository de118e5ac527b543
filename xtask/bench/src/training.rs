//! The work of a binary that counts which of its code is used: what many requests ask of a proxy.

use std::path::Path;
use std::time::Duration;

use crate::load::work::{BODY, TEXT, Work};
use crate::load::{Extent, Plan};
use crate::proxies::tidegate::{Chain, upstreams};
use crate::proxies::{Contender, Running, Setup};
use crate::terminal::{Result, say};
use crate::{Bench, files};

/// How long each kind of request is sent. Only the relation of the counts matters, and the binary is slow while it
/// counts.
const TIME: Duration = Duration::from_secs(5);
const CONNECTIONS: usize = 64;
const STREAMS: usize = 10;

/// Sends requests to it. Its processes end by themselves, as they write down at the end what they counted.
pub(crate) fn train(bench: &Bench) -> Result<()> {
    files::write(&bench.site.www, "65536", &"x".repeat(64 << 10))?;
    files::write(&bench.site.www, TEXT, include_str!("../../../docs/configuration.md"))?;
    // With an access log, which the others do not have; clients talk to it, and other proxies do.
    let logged = Setup { has_log: true, ..Setup::SECURE };
    let folder = bench.site.folder.join("secure");
    let app = upstreams(&["app"], bench.site.server);
    let secure = bench
        .programs
        .tidegate
        .at(&folder, logged, &bench.site.certificate_table(logged), &app)?
        .named("TLS");
    let behind = secure.start()?;
    let forwarded = || Plan::plain(Work::forwarded(BODY), CONNECTIONS);
    let streams = Plan { is_secure: true, is_http2: true, clients: CONNECTIONS * STREAMS, ..forwarded() };
    ask(bench, "HTTP/2 of clients", &behind, &streams)?;
    for (contender, plan) in all(bench, &secure)? {
        let running = contender.start()?;
        ask(bench, &contender.name, &running, &plan)?;
        running.end()?;
    }
    behind.end()
}

/// Proxies that together do what many requests ask for.
fn all(bench: &Bench, secure: &Contender) -> Result<Vec<(Contender, Plan)>> {
    let site = &bench.site;
    let plan = |work| Plan::plain(work, CONNECTIONS);
    let folder = |name: &str| site.folder.join(name.replace([' ', ',', '/'], "-"));
    let mut trained = Vec::new();
    for (name, chain, work) in [
        ("no policy", Chain::Empty, Work::forwarded(BODY)),
        ("three policies", Chain::Three, Work::forwarded(BODY)),
        ("three policies that are called", Chain::Three, Work::varied()),
        ("request bodies", Chain::Three, Work::upload(BODY)),
    ] {
        let contender = bench.programs.tidegate.ready_in(&folder(name), chain, Setup::PLAIN, site)?;
        trained.push((contender.named(name), plan(work)));
    }
    let authority = bench.authority.write(&site.folder)?;
    let www = site.www.display();
    for (name, more, work) in [
        ("TLS to servers, HTTP/1.1", tls_server(secure, "http1", &authority), Work::forwarded(BODY)),
        ("TLS to servers, HTTP/2", tls_server(secure, "h2", &authority), Work::forwarded(BODY)),
        ("files", format!("[files.app]\nroot = \"{www}\"\n"), Work::file(64 << 10)),
        ("compression", format!("[files.app]\nroot = \"{www}\"\n\n[compression]\n"), Work::compressed()),
    ] {
        let contender = bench.programs.tidegate.at(&folder(name), Setup::PLAIN, "", &more)?.named(name);
        trained.push((contender, plan(work)));
    }
    Ok(trained)
}

/// An upstream that is the proxy with TLS.
fn tls_server(secure: &Contender, protocol: &str, authority: &Path) -> String {
    format!(
        "[upstream.app]\nservers = [\"{}\"]\nprotocol = \"{protocol}\"\n\
         tls = {{ ca = \"{}\", server-name = \"localhost\" }}\n",
        secure.address(),
        authority.display()
    )
}

fn ask(bench: &Bench, name: &str, running: &Running, plan: &Plan) -> Result<()> {
    say(&format!("training: {name}"));
    let extent = Extent::Time { warm_up: Duration::ZERO, time: TIME };
    bench
        .load
        .run(running.address(), plan, extent, || Ok(0))
        .map(|_| ())
        .map_err(|error| format!("{name}: {error}"))
}
