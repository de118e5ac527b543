//! What the person at the terminal sees, and other programs that are asked something.

use std::io::Write;
use std::process::{Command, Stdio};

/// The error of every step: a sentence for the person at the terminal.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Writes one line of progress.
pub(crate) fn say(line: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes what the command is for.
pub(crate) fn print(text: &str) -> Result<()> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| format!("stdout: {error}"))
}

/// Runs quietly and returns what it wrote to stdout; `None` when it is missing or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
