//! `tidegate fmt`: files of the operator in one layout.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tidegate_config::Source;

use super::{print, read, replace};
use crate::regular;
use crate::sources::Sources;

/// What is laid out without being named.
const CONFIGURATION: &str = "tidegate.toml";

/// Lays the files out in place, or lists those that are not.
pub(crate) fn run(files: Vec<PathBuf>, check: bool) -> Result<ExitCode, String> {
    let files = match files.as_slice() {
        [] => with_included(Path::new(CONFIGURATION))?,
        [only] if only == Path::new("-") => return stdin(check),
        _ => files,
    };
    let mut problems = Vec::new();
    let mut others = Vec::new();
    for file in files {
        match lay_out(&file, check) {
            Ok(true) => others.push(file.display().to_string()),
            Ok(false) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !others.is_empty() {
        print(&others.join("\n"))?;
    }
    match problems.as_slice() {
        [] if check && !others.is_empty() => Ok(ExitCode::FAILURE),
        [] => Ok(ExitCode::SUCCESS),
        _ => Err(problems.join("\n")),
    }
}

/// The file itself and those that it includes.
fn with_included(file: &Path) -> Result<Vec<PathBuf>, String> {
    let sources = Sources::read(file);
    let sources = sources.map_err(|problems| tidegate_config::Problems(problems).to_string())?;
    Ok(sources.into_files())
}

fn stdin(check: bool) -> Result<ExitCode, String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| format!("cannot read stdin: {error}"))?;
    let laid_out = tidegate_config::lay_out(Source { text: &text, file: Path::new("-") });
    let laid_out = laid_out.map_err(|problems| problems.to_string())?;
    if check {
        return Ok(if laid_out == text { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let written = io::stdout().lock().write_all(laid_out.as_bytes());
    written.map_err(|error| format!("cannot write: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the file was not laid out; it is now, but for `check`.
fn lay_out(file: &Path, check: bool) -> Result<bool, String> {
    let text = read(file, regular::read_to_string)?;
    let laid_out = tidegate_config::lay_out(Source { text: &text, file });
    let laid_out = laid_out.map_err(|problems| problems.to_string())?;
    if laid_out == text {
        return Ok(false);
    }
    if !check {
        replace(file, laid_out.as_bytes())
            .map_err(|error| format!("{}: cannot write it: {error}", file.display()))?;
    }
    Ok(true)
}
