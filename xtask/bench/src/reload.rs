//! The time from the copy of a policy to its first decision.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::Bench;
use crate::files;
use crate::load::work::HOST;
use crate::proxies::Setup;
use crate::report::{Figure, Row};
use crate::terminal::{Result, say};

/// After which a policy that decides nothing is an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(1);
/// What decides: nobody gets anything.
const REFUSES: &str = "[config]\nrules = [{ paths = [\"/**\"], deny = true }]\n";
const PLACE: &str = "50-refuses";
const FILE: &str = "file";

pub(crate) fn measure(bench: &Bench, case: &'static str) -> Result<Vec<Row>> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds {
        let (one, two) = measure_once(bench)?;
        say(&format!("compiled: {one:.0} ms, known: {two:.0} ms"));
        first.push(one);
        again.push(two);
    }
    let row = |proxy: &str, samples| Row {
        case,
        proxy: proxy.to_owned(),
        is_baseline: false,
        figures: vec![Figure::of("copy to decision", "ms", samples)],
    };
    Ok(vec![
        row("tidegate, a policy it does not know", first),
        row("tidegate, the same again, from the compile cache", again),
    ])
}

fn measure_once(bench: &Bench) -> Result<(f64, f64)> {
    let folder = bench.site.folder.join("reload");
    // Requests that the policy lets through get a file: the servers of the bench rest while this thread asks.
    files::write(&bench.site.www, FILE, "x")?;
    let more = format!(
        "[plugins]\ncompile-cache = \"compiled\"\n\n[files.app]\nroot = \"{}\"\n",
        bench.site.www.display()
    );
    let tidegate = &bench.programs.tidegate;
    let contender = tidegate.at(&folder, Setup::PLAIN, "", &more)?;
    // Not on the one core: what compiles is not what serves.
    let running = contender.start()?;
    let deploy = || {
        let begun = Instant::now();
        tidegate.add(&contender, PLACE, "access-control", REFUSES)?;
        wait_for(running.address(), 403)?;
        Ok::<_, String>(begun.elapsed().as_secs_f64() * 1e3)
    };
    let first = deploy()?;
    for ending in ["wasm", "toml"] {
        let file = folder.join("plugins").join(format!("{PLACE}.{ending}"));
        fs::remove_file(&file).map_err(|error| files::of(&file, &error))?;
    }
    wait_for(running.address(), 200)?;
    Ok((first, deploy()?))
}

/// Asks until the answer has this status.
fn wait_for(address: SocketAddr, status: u16) -> Result<()> {
    let begun = Instant::now();
    while asked(address).map_err(|error| format!("a request failed: {error}"))? != status {
        if begun.elapsed() > PATIENCE {
            return Err(format!("no answer has the status {status}"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}

/// The status of one answer.
fn asked(address: SocketAddr) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET /{FILE} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| std::io::Error::other("an answer without a status"))
}
