//! Notices that a file the running generation was made of has changed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tidegate_config::Config;

/// What the files look like from outside. Two that are equal hold the same, as far as `stat` can tell;
/// symbolic links are followed, so that swapping one (as Kubernetes does) is a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(Vec<(PathBuf, Option<Stat>)>);

/// The same of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Fingerprint {
    /// Of the configuration file and, as it names them, the plugins and certificates.
    pub(crate) fn take(file: &Path, config: Option<&Config>, others: impl Iterator<Item = PathBuf>) -> Self {
        let mut paths = BTreeSet::from([file.to_owned()]);
        paths.extend(others);
        if let Some(config) = config {
            // The directory itself as well: a file that came and went may have been loaded meanwhile.
            paths.insert(config.plugin_directory.clone());
            let entries = fs::read_dir(&config.plugin_directory).into_iter().flatten().flatten();
            let plugins = entries.map(|entry| entry.path());
            paths.extend(
                plugins.filter(|path| path.extension().is_some_and(|end| end == "wasm" || end == "toml")),
            );
        }
        Self(paths.into_iter().map(|path| (stat(&path), path)).map(|(stat, path)| (path, stat)).collect())
    }
}

impl Stat {
    /// Whether the file was left alone for so long.
    pub(super) fn is_older_than(&self, time: Duration) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let (Ok(seconds), Ok(nanoseconds)) = (u64::try_from(seconds), u32::try_from(nanoseconds)) else {
            return false;
        };
        let changed = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanoseconds);
        changed.elapsed().is_ok_and(|age| age >= time)
    }
}

/// `None` if there is no such file, or it cannot be looked at.
pub(super) fn stat(path: &Path) -> Option<Stat> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stat {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// A program that has not written for this long is not waited for, though it may have the file open yet.
const WRITER: Duration = Duration::from_secs(2);

/// Files that were written to and not closed since, with the last time. Empty where the system gives no events.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<HashMap<PathBuf, Instant>>>);

impl Written {
    /// Whether some program is writing to this file, or the one that it links to.
    pub(crate) fn is_written(&self, path: &Path) -> bool {
        let written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if written.is_empty() {
            return false;
        }
        let real = fs::canonicalize(path).ok();
        let last = |path: &Path| written.get(path).is_some_and(|last| last.elapsed() < WRITER);
        // What is watched of a name without a directory is `.`.
        last(path) || last(&Path::new(".").join(path)) || real.is_some_and(|real| last(&real))
    }

    fn note(&self, event: &Event) {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => {
                written.retain(|_, last| last.elapsed() < WRITER);
                written.extend(event.paths.iter().map(|path| (path.clone(), Instant::now())));
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_) => written.retain(|path, _| !event.paths.contains(path)),
            _ => {}
        }
    }
}

/// Wakes the control thread when something happens in a directory of interest. Only a hint: where the
/// system gives no events (network file systems), looking once a second finds changes as well.
pub(crate) struct Watcher {
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl Watcher {
    /// `wake` must not block.
    pub(crate) fn new(written: Written, wake: impl Fn() + Send + 'static) -> Self {
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Our own reading opens files; waking for that would never end.
            if let Ok(event) = event
                && !is_read(event.kind)
            {
                written.note(&event);
                wake();
            }
        });
        let watcher = watcher
            .inspect_err(
                |error| tracing::warn!(target: "reload", "no file events ({error}): looking once a second"),
            )
            .ok();
        Self { watcher, watched: BTreeSet::new() }
    }

    /// Watches the directories of these files, and those that their links lead to: a file that is
    /// replaced takes a watch on itself with it.
    pub(crate) fn follow(&mut self, files: impl Iterator<Item = PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        let mut wanted = BTreeSet::new();
        for file in files {
            let real = fs::canonicalize(&file).ok();
            wanted.extend(
                [Some(file), real].into_iter().flatten().filter_map(|path| path.parent().map(Path::to_owned)),
            );
        }
        for gone in self.watched.difference(&wanted) {
            // Fails if the directory is gone, which is as good.
            let _ = watcher.unwatch(gone);
        }
        self.watched = wanted
            .into_iter()
            .filter(|directory| self.watched.contains(directory) || watch(watcher, directory))
            .collect();
    }
}

fn watch(watcher: &mut RecommendedWatcher, directory: &Path) -> bool {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    watcher.watch(directory, RecursiveMode::NonRecursive).is_ok()
}

fn is_read(kind: EventKind) -> bool {
    matches!(kind, EventKind::Access(access) if access != AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_came_and_went_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "[listener.web]\naddress = \"127.0.0.1:0\"\n[plugins]\ndirectory = \".\"";
        let file = folder.path().join("tidegate.toml");
        fs::write(&file, text).expect("a file");
        let config = tidegate_config::parse(text, &file).expect("a configuration");
        let look = || Fingerprint::take(&file, Some(&config), std::iter::empty());
        let before = look();
        assert!(look() == before, "nothing happened");
        let begun = Instant::now();
        // Clocks of file systems are coarse.
        while look() == before {
            assert!(begun.elapsed() < Duration::from_secs(10), "it is not seen");
            fs::write(folder.path().join("a.wasm"), "").expect("a file");
            fs::remove_file(folder.path().join("a.wasm")).expect("it was there");
        }
    }
}
