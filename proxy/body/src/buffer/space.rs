//! The disk space of all temporary files together, and where they are.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tidegate_config::{Config, Problem};

use tidegate_io::Millis;

/// The log tells of full or failing disks once in this time, however many bodies meet them.
const COMPLAINTS: Duration = Duration::from_secs(10);

/// Bytes of temporary files of the whole process. Outlives generations.
#[derive(Debug, Default)]
pub struct Space {
    held: AtomicU64,
    limit: AtomicU64,
    /// When the log told of it last; 0 = never.
    complained: AtomicU64,
}

impl Space {
    /// Changes `limits.temporary-space`. Files that are there stay.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }
}

/// Where temporary files are made, and the space they share.
#[derive(Debug, Clone)]
pub struct TemporaryFiles {
    pub(super) directory: Arc<Path>,
    space: Arc<Space>,
}

impl TemporaryFiles {
    /// Where the configuration says, within `space`.
    pub fn new(config: &Config, space: Arc<Space>) -> Self {
        Self { directory: directory(config).into(), space }
    }

    /// Takes `bytes` of the space, unless that would be over the limit.
    pub(super) fn reserve(&self, bytes: u64) -> Option<Reserved> {
        let mut reserved = Reserved { space: self.space.clone(), bytes: 0 };
        reserved.grow(bytes).then_some(reserved)
    }

    /// Tells the operator, now and then.
    pub(super) fn complain(&self, what: &str) {
        let (now, last) = (Millis::now(), self.space.complained.load(Relaxed));
        let quiet = last != 0 && now.time_since(Millis(last)) < COMPLAINTS;
        if !quiet && self.space.complained.compare_exchange(last, now.0, Relaxed, Relaxed).is_ok() {
            tracing::warn!(target: "buffer", directory = %self.directory.display(), "{what}");
        }
    }
}

/// A part of the space, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    space: Arc<Space>,
    bytes: u64,
}

impl Reserved {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more of it; false, and nothing is taken, if there is not so much.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.space.limit.load(Relaxed);
        let take = |held: u64| held.checked_add(bytes).filter(|held| *held <= limit);
        let taken = self.space.held.fetch_update(Relaxed, Relaxed, take).is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }

    /// Gives all of it back.
    pub(super) fn clear(&mut self) {
        self.space.held.fetch_sub(std::mem::take(&mut self.bytes), Relaxed);
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Whether files can be made where the configuration says, if it may come to that.
///
/// # Errors
/// `temporary-directory` cannot be used. `Ok` with a warning: it is not written, and the system's directory
/// cannot be; a proxy that only buffers what fits in memory has no need of it.
pub fn check(config: &Config) -> Result<Option<Problem>, Problem> {
    let buffers = config.upstreams.values().flat_map(|upstream| [upstream.buffer, upstream.buffer_requests]);
    let needed = buffers.flatten().any(|buffer| buffer.disk > 0);
    let written = config.temporary_directory.is_some();
    if !needed && !written {
        return Ok(None);
    }
    let directory = directory(config);
    let Err(error) = tempfile::tempfile_in(&directory) else { return Ok(None) };
    let message = format!("cannot make temporary files in {}: {error}", directory.display());
    let problem = config.positions.problem("temporary-directory", message);
    if written {
        return Err(problem.with_help("name a directory that exists and that this user may write to"));
    }
    Ok(Some(problem.with_help("set temporary-directory; until then bodies are kept in memory only")))
}

fn directory(config: &Config) -> std::path::PathBuf {
    config.temporary_directory.clone().unwrap_or_else(std::env::temp_dir)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A place with a limit, and a look at how much of it is taken.
    pub(in crate::buffer) fn place(limit: u64) -> (TemporaryFiles, impl Fn() -> u64) {
        let space = Arc::new(Space::default());
        space.set_limit(limit);
        let place = TemporaryFiles { directory: std::env::temp_dir().into(), space: space.clone() };
        (place, move || space.held.load(Relaxed))
    }

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let (place, held) = place(100);
        let mut first = place.reserve(60).expect("there is room");
        assert!(place.reserve(41).is_none());
        let second = place.reserve(40).expect("there is room");
        assert!(!first.grow(1) && !first.grow(u64::MAX));
        assert_eq!((held(), first.bytes()), (100, 60));
        drop(second);
        assert!(first.grow(40));
        first.clear();
        assert_eq!((held(), first.bytes()), (0, 0));
        assert!(first.grow(1));
        drop(first);
        assert_eq!(held(), 0);
    }

    #[test]
    fn what_is_over_a_lowered_limit_stays_until_it_is_given_back() {
        let (place, held) = place(100);
        let reserved = place.reserve(100).expect("there is room");
        place.space.set_limit(50);
        assert!(place.reserve(1).is_none());
        assert_eq!(held(), 100);
        drop(reserved);
        assert!(place.reserve(51).is_none());
        assert!(place.reserve(50).is_some());
    }
}
