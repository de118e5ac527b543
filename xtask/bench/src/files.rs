//! Files that are written for the proxies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::terminal::Result;

/// Writes a file, and its folder if that is not there.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let file = folder.join(name);
    fs::create_dir_all(folder).and_then(|()| fs::write(&file, text)).map_err(|error| of(&file, &error))?;
    Ok(file)
}

/// Puts a copy into a folder, in one step, as whoever deploys would.
pub(crate) fn copy(from: &Path, folder: &Path, name: &str) -> Result<()> {
    let (to, aside) = (folder.join(name), folder.join(format!(".{name}.new")));
    fs::create_dir_all(folder).map_err(|error| of(folder, &error))?;
    fs::copy(from, &aside).and_then(|_| fs::rename(&aside, &to)).map_err(|error| of(from, &error))
}

pub(crate) fn of(file: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", file.display())
}
