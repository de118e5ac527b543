//! Reads whole files of the operator: regular ones only, up to a size, without ever waiting for someone to write them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// The code of a plugin is the largest there is; those of large languages' runtimes have tens of megabytes.
const LARGEST: u64 = 256 << 20;

/// The content of a regular file of at most 256 MiB; symbolic links are followed.
///
/// # Errors
/// It cannot be read, is larger, or is something else: opening a FIFO would wait for a writer, and a device may never
/// end.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Looked at first, as opening some devices has effects; and again afterwards, as it may be another file by then.
    check(&fs::metadata(path)?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    check(&file.metadata()?)?;
    take(file)
}

/// The same of a text.
///
/// # Errors
/// Those of [`read`], or it is no text.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    let bytes = read(path)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// A file, and the SHA-256 of its content; `None` where it cannot be read.
pub(crate) fn digested(file: PathBuf) -> (PathBuf, Option<[u8; 32]>) {
    let digest = read(&file).ok().map(|bytes| Sha256::digest(bytes).into());
    (file, digest)
}

/// Whether there is no file of that name, but at most something else: a folder, say, or a link that leads nowhere.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

fn check(metadata: &fs::Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let what = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, not a file")))
}

fn take(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 256 MiB"));
    }
    Ok(bytes)
}
