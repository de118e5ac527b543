//! What an upgrade starts: this program, as its file is by then.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How this process was started.
pub(crate) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// To be called before the file can have been replaced; `None` if nobody knows where it is.
    pub(crate) fn of_this_process() -> Option<Self> {
        let mut arguments = env::args_os();
        let named = arguments.next().and_then(|name| named(&name));
        let running = env::current_exe().ok().filter(|path| path.exists());
        // The name that it was called by may be a link, which will lead to the next version. Anybody may call a program by any
        // name: it counts if it leads here now, or if the file has been replaced already.
        let path = match named {
            Some(named) if running.is_none() || is_running(&named) => Some(named),
            _ => running,
        }?;
        Some(Self { path, arguments: arguments.collect() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        command
    }
}

/// The path that a shell took.
fn named(name: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 || path.is_absolute() {
        return std::path::absolute(path).ok();
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(path)).find(|path| is_running(path))
}

fn is_running(path: &Path) -> bool {
    let file = |metadata: Metadata| (metadata.dev(), metadata.ino());
    let running = Path::new("/proc/self/exe").metadata().map(file);
    path.metadata().map(file).ok().is_some_and(|named| running.is_ok_and(|running| running == named))
}
