//! The disk space of all temporary files together, and where they are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_config::{Config, Problem};

use crate::complaints::Complaints;

/// One client may have half of the space; responses together three quarters, so that what slow clients leave on the disk
/// does not keep requests out.
const CLIENT: (u64, u64) = (1, 2);
const RESPONSES: (u64, u64) = (3, 4);

/// Bytes of temporary files of the whole process. Outlives generations.
#[derive(Debug, Default)]
pub struct Space {
    limit: AtomicU64,
    /// Locked when a body begins to need the disk, needs more of it, or leaves it.
    taken: Mutex<Taken>,
    /// Of full or failing disks.
    complaints: Complaints,
}

#[derive(Debug, Default)]
struct Taken {
    all: u64,
    by_responses: u64,
    by_client: HashMap<IpAddr, u64>,
}

/// What a temporary file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Request,
    Response,
}

impl Space {
    /// Changes `limits.temporary-space`. Files that are there stay.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// What `limits.temporary-space` is.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Bytes of all temporary files there are.
    pub fn used(&self) -> u64 {
        self.taken().all
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Takes `bytes` of the space for `client`, unless there are not so many.
    pub(super) fn reserve(&self, purpose: Purpose, client: IpAddr, bytes: u64) -> Option<Reserved> {
        let mut reserved = Reserved { space: self.space.clone(), purpose, client, bytes: 0 };
        reserved.grow(bytes).then_some(reserved)
    }

    /// Tells the operator, now and then.
    pub(super) fn complain(&self, what: &str) {
        if self.space.complaints.allow() {
            tracing::warn!(target: "buffer", directory = %self.directory.display(), "{what}");
        }
    }
}

/// A part of the space, until it is dropped.
#[derive(Debug)]
pub(super) struct Reserved {
    space: Arc<Space>,
    purpose: Purpose,
    client: IpAddr,
    bytes: u64,
}

impl Reserved {
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more of it; false, and nothing is taken, if there is not so much.
    pub(super) fn grow(&mut self, bytes: u64) -> bool {
        let limit = self.space.limit.load(Relaxed);
        let part = |(of, parts): (u64, u64)| limit / parts * of;
        let mut taken = self.space.taken();
        let of_client = taken.by_client.get(&self.client).copied().unwrap_or(0);
        let of_responses = if self.purpose == Purpose::Response { taken.by_responses } else { 0 };
        let fits = |before: u64, most: u64| before.checked_add(bytes).is_some_and(|after| after <= most);
        let room =
            fits(taken.all, limit) && fits(of_client, part(CLIENT)) && fits(of_responses, part(RESPONSES));
        if room && bytes > 0 {
            taken.all += bytes;
            taken.by_client.insert(self.client, of_client + bytes);
            if self.purpose == Purpose::Response {
                taken.by_responses += bytes;
            }
            self.bytes += bytes;
        }
        room
    }

    /// Gives all of it back.
    pub(super) fn clear(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if bytes == 0 {
            return;
        }
        let mut taken = self.space.taken();
        taken.all -= bytes;
        if self.purpose == Purpose::Response {
            taken.by_responses -= bytes;
        }
        if let Some(of_client) = taken.by_client.get_mut(&self.client) {
            *of_client -= bytes;
            if *of_client == 0 {
                taken.by_client.remove(&self.client);
            }
        }
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

    /// Who takes space in tests.
    pub(in crate::buffer) const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    /// Temporary files of which one client's responses may have `limit` bytes, and a look at how much is taken.
    pub(in crate::buffer) fn files(limit: u64) -> (TemporaryFiles, impl Fn() -> u64) {
        let space = Arc::new(Space::default());
        space.set_limit(limit.saturating_mul(2));
        let files = TemporaryFiles { directory: std::env::temp_dir().into(), space: space.clone() };
        (files, move || space.taken().all)
    }

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let (files, held) = files(100);
        let reserve = |bytes| files.reserve(Purpose::Request, CLIENT, bytes);
        let mut first = reserve(60).expect("there is room");
        assert!(reserve(41).is_none());
        let second = reserve(40).expect("there is room");
        assert!(!first.grow(1) && !first.grow(u64::MAX));
        assert_eq!(held(), 100);
        assert_eq!(first.bytes(), 60);
        drop(second);
        assert!(first.grow(40));
        first.clear();
        assert_eq!(held(), 0);
        assert_eq!(first.bytes(), 0);
        assert!(first.grow(1));
        drop(first);
        assert_eq!(held(), 0);
        assert!(files.space.taken().by_client.is_empty());
    }

    #[test]
    fn responses_leave_room_for_requests_and_clients_for_each_other() {
        let (files, _) = files(100);
        let [one, two, three] = [1, 2, 3].map(|last| IpAddr::from([192, 0, 2, last]));
        let _downloads = [one, two].map(|client| {
            let most = if client == one { 100 } else { 50 };
            assert!(files.reserve(Purpose::Response, client, most + 1).is_none(), "{client}");
            files.reserve(Purpose::Response, client, most).expect("there is room")
        });
        assert!(files.reserve(Purpose::Response, three, 1).is_none());
        assert!(files.reserve(Purpose::Request, one, 1).is_none(), "it has its share");
        assert!(files.reserve(Purpose::Request, three, 50).is_some());
    }

    #[test]
    fn what_is_over_a_lowered_limit_stays_until_it_is_given_back() {
        let (files, held) = files(100);
        let reserve = |bytes| files.reserve(Purpose::Request, CLIENT, bytes);
        let reserved = reserve(100).expect("there is room");
        files.space.set_limit(100);
        assert!(reserve(1).is_none());
        assert_eq!(held(), 100);
        drop(reserved);
        assert!(reserve(51).is_none());
        assert!(reserve(50).is_some());
    }
}
