//! The work of a binary that counts which of its code is used: what many requests ask of a proxy.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::CONNECTIONS;
use super::load::Load;
use super::proxies::Contender;
use crate::build::Built;
use crate::command::{Result, say};

/// How long each kind of request is sent. Only the relation of the counts matters, and the binary is slow while it
/// counts.
const TIME: Duration = Duration::from_secs(5);

/// Sends requests to `built`. Its processes end by themselves, as they write down at the end what they counted.
pub(crate) fn train(built: &Built) -> Result<()> {
    let folder = built.target.join("pgo/training");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    take_certificate(built, &folder)?;
    let load = Load::start(CONNECTIONS)?;
    let (secure, contenders) = Contender::to_train(built, load.server(), &folder, &folder)?;
    let behind = secure.start()?;
    for contender in contenders {
        say(&format!("training: {}", contender.name()));
        let running = contender.start()?;
        load.run(running.address(), contender.work(), Duration::ZERO, TIME, || Ok(0))
            .map_err(|error| format!("{}: {error}", contender.name()))?;
        running.end()?;
    }
    behind.end()
}

/// Puts the certificate that the demo makes for itself, and its key, into `folder`.
fn take_certificate(built: &Built, folder: &Path) -> Result<()> {
    let mut demo = Command::new(&built.binary)
        .args(["demo", "--port", "0", "--plugins"])
        .arg(&built.plugins)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", built.binary.display()))?;
    let taken = certificate_of(&mut demo, folder);
    let ended = kill_process(Pid::from_child(&demo), Signal::TERM).map_err(std::io::Error::from);
    ended.and_then(|()| demo.wait()).map_err(|error| format!("the demo did not end: {error}"))?;
    taken
}

/// The demo says first where its plugins are; its files are in the folder above.
fn certificate_of(demo: &mut Child, folder: &Path) -> Result<()> {
    let lines = demo.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines());
    let plugins = lines.map_while(std::io::Result::ok).find(|line| line.ends_with("/plugins"));
    let plugins = plugins.ok_or("the demo did not start")?;
    let root = Path::new(plugins.trim()).parent().ok_or("the demo did not say where its files are")?;
    for name in ["certificate.pem", "certificate.key"] {
        fs::copy(root.join(name), folder.join(name)).map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}
