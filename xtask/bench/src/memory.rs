//! How much memory a process has for itself.

use std::fs;
use std::time::{Duration, Instant};

use crate::files;
use crate::terminal::Result;

/// Between two looks; a process that is done does not grow meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// After which it is taken as it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// KiB of `pid`, when they do not change any more. Anonymous pages: neither its program nor files in the page cache.
pub(crate) fn of(pid: u32) -> Result<f64> {
    let begun = Instant::now();
    let mut before = read(pid)?;
    loop {
        std::thread::sleep(LOOK);
        let now = read(pid)?;
        if now == before || begun.elapsed() > PATIENCE {
            return Ok(now as f64);
        }
        before = now;
    }
}

fn read(pid: u32) -> Result<u64> {
    let file = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&file).map_err(|error| files::of(file.as_ref(), &error))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("{file} is not as proc(5) says"))
}
