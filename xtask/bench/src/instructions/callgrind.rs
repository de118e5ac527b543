//! A proxy within callgrind.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::files;
use crate::proxies::{Contender, Running};
use crate::terminal::{Result, output};

/// A program within callgrind, before it counts.
const SLOWER: u32 = 10;

pub(super) struct Callgrind {
    pub(super) running: Running,
    folder: PathBuf,
}

/// Whether it is here.
pub(super) fn find() -> Result<()> {
    match output(Command::new("callgrind_control").arg("--version")) {
        Some(_) => Ok(()),
        None => Err("callgrind is not here (Debian: valgrind)".to_owned()),
    }
}

impl Callgrind {
    /// Starts the proxy; nothing is counted yet.
    pub(super) fn start(contender: &Contender) -> Result<Self> {
        let folder = contender.folder().join("callgrind");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| files::of(&folder, &error))?;
        let mut callgrind = Command::new("valgrind");
        callgrind.args(["--tool=callgrind", "--instr-atstart=no", "--collect-jumps=no"]);
        callgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display()));
        Ok(Self { running: contender.start_within(callgrind, SLOWER)?, folder })
    }

    /// Counts from the first call on; returns the instructions since then.
    pub(super) fn count(&self) -> Result<u64> {
        self.control("--instr=on")?;
        self.control("--dump")?;
        dumped(&self.folder).map_err(|error| files::of(&self.folder, &error))
    }

    fn control(&self, what: &str) -> Result<()> {
        let mut control = Command::new("callgrind_control");
        match output(control.arg(what).arg(self.running.pid().to_string())) {
            Some(_) => Ok(()),
            None => Err(format!("callgrind_control {what} failed")),
        }
    }
}

/// All instructions that were dumped so far: each dump has those since the one before.
fn dumped(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let text = fs::read_to_string(entry?.path())?;
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        sum += totals.and_then(|totals| totals.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}
