//! The thread that writes to the directory, and that finds what is there when it begins.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};
use xxhash_rust::xxh3::xxh3_64;

use super::record::{self, Kept};
use super::{OnDisk, Source, Stored, path, suffix};
use crate::store::Inner;
use crate::store::head::Head;
use crate::store::key::Key;

/// What there is to do.
pub(super) enum Job {
    Write(Arc<dyn Source>),
    Store {
        key: Key,
        head: Arc<Head>,
        body: Bytes,
    },
    Update {
        key: Key,
        head: Arc<Head>,
        file: Arc<OnDisk>,
    },
    Remove {
        id: u64,
        is_part: bool,
    },
    /// All that was asked for before is done.
    Done(Box<dyn FnOnce() + Send>),
    End,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Write(_) => "Write",
            Self::Store { .. } => "Store",
            Self::Update { .. } => "Update",
            Self::Remove { .. } => "Remove",
            Self::Done(_) => "Done",
            Self::End => "End",
        })
    }
}

/// A directory belongs to one process; the next one waits so long before it looks again.
const LOOKS_AGAIN: Duration = Duration::from_secs(1);
/// The log tells of a failing disk once in so long.
const COMPLAINS: Duration = Duration::from_secs(10);
/// What leaves when the file system is full before the limit is reached.
const WHEN_FULL: usize = 16;

pub(super) struct Writer {
    name: String,
    directory: PathBuf,
    inner: Weak<Inner>,
    pending: Arc<AtomicUsize>,
    /// Held while the directory is used.
    lock: Option<File>,
    complained: Option<Instant>,
    /// Files found, not looked at yet; the newest last.
    found: Vec<u64>,
}

impl Writer {
    pub(super) fn new(name: &str, directory: &Path, inner: Weak<Inner>, pending: Arc<AtomicUsize>) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            inner,
            pending,
            lock: None,
            complained: None,
            found: Vec::new(),
        }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        let mut restored = 0_u64;
        loop {
            if self.lock.is_none() && self.begin() {
                tracing::debug!(target: "cache", cache = self.name, files = self.found.len(), "reading the directory");
            }
            // What was found is read while there is nothing else to do.
            let job = match (&self.lock, self.found.pop()) {
                (Some(_), Some(id)) => {
                    restored += u64::from(self.restore(id));
                    if self.found.is_empty() {
                        tracing::info!(target: "cache", cache = self.name, responses = restored, "read the directory");
                        self.found.shrink_to_fit();
                    }
                    jobs.try_recv().map_err(|error| error == TryRecvError::Disconnected)
                }
                (Some(_), None) => jobs.recv().map_err(|_| true),
                (None, _) => {
                    jobs.recv_timeout(LOOKS_AGAIN).map_err(|error| error == RecvTimeoutError::Disconnected)
                }
            };
            match job {
                Ok(Job::End) | Err(true) => return,
                Ok(job) => self.perform(job),
                Err(false) => {}
            }
        }
    }

    /// Takes the directory, and looks at which files there are.
    fn begin(&mut self) -> bool {
        let taken = self.take();
        if let Err(error) = &taken {
            let text = match error.kind() {
                io::ErrorKind::WouldBlock => "another process uses it".to_owned(),
                _ => error.to_string(),
            };
            self.complain(&format!("nothing is kept on the disk: {text}"));
        }
        taken.is_ok()
    }

    fn take(&mut self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut options = OpenOptions::new();
        let lock =
            options.create(true).truncate(false).write(true).mode(0o600).open(self.directory.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        let mut found = Vec::new();
        for shard in 0..=0xff_u64 {
            let folder = self.directory.join(format!("{shard:02x}"));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => {
                    created?;
                    continue;
                }
            }
            for entry in fs::read_dir(&folder)?.flatten() {
                let name = entry.file_name();
                let id = name.to_str().filter(|name| name.len() == 16);
                match id.and_then(|name| u64::from_str_radix(name, 16).ok()) {
                    Some(id) => found.push(id),
                    // What was being written when its process ended.
                    None if name.to_str().is_some_and(|name| name.ends_with(".part")) => {
                        drop(fs::remove_file(entry.path()));
                    }
                    None => {}
                }
            }
        }
        found.sort_unstable();
        self.found = found;
        self.lock = Some(lock);
        Ok(())
    }

    /// Takes up what an earlier process has stored; false if it is of no use.
    fn restore(&mut self, id: u64) -> bool {
        let path = path(&self.directory, id, "");
        let Some(inner) = self.inner.upgrade() else { return false };
        let kept = File::open(&path).and_then(|file| record::read(&file));
        let restored = match kept {
            Ok(Some(Kept { key, head, size, checksum })) => inner.restore(key, head, size, |room, disk| {
                OnDisk { id, size, checksum, verified: false.into(), discarded: false.into(), room, disk }
            }),
            _ => false,
        };
        if !restored {
            self.remove(&path);
        }
        restored
    }

    fn perform(&mut self, job: Job) {
        let has_lock = self.lock.is_some();
        match job {
            Job::Write(source) if has_lock => self.write(&*source),
            Job::Write(source) => source.lost(),
            Job::Store { key, head, body } => {
                self.pending.fetch_sub(body.len(), Relaxed);
                if has_lock {
                    self.store(&key, &head, &body);
                }
            }
            Job::Update { key, head, file } if has_lock => self.update(&key, &head, &file),
            Job::Remove { id, is_part } => {
                self.remove(&path(&self.directory, id, suffix(is_part)));
            }
            Job::Done(done) => done(),
            Job::Update { .. } | Job::End => {}
        }
    }

    /// Writes what of a body is not written yet; when that is the last of it, it is stored.
    fn write(&mut self, source: &dyn Source) {
        while let Some((at, chunks, is_last)) = source.unwritten() {
            let mut part = source.part();
            let Some(open) = &mut *part else { return };
            let written = match &open.file {
                Some(file) => Ok(file.clone()),
                None => self.create(open.id).map(Arc::new),
            };
            let written = written.and_then(|file| {
                open.file = Some(file.clone());
                let mut to = at;
                for chunk in &chunks {
                    file.write_all_at(chunk, to)?;
                    open.checksum.update(chunk);
                    to += chunk.len() as u64;
                }
                Ok((file, to))
            });
            drop(part);
            match written {
                Err(error) => {
                    self.failed(&error);
                    return source.lost();
                }
                Ok((file, to)) => {
                    source.wrote(&file, to - at);
                    if is_last {
                        return self.complete(source, to);
                    }
                }
            }
        }
    }

    /// Gives a body that is written whole its name, and has it found.
    fn complete(&mut self, source: &dyn Source, size: u64) {
        let Some(mut part) = source.part().take() else { return };
        let checksum = part.checksum.digest();
        let tail = record::tail(source.key(), source.head(), size, checksum);
        let whole = path(&self.directory, part.id, "");
        let named = part.file.as_ref().ok_or(io::ErrorKind::NotFound.into()).and_then(|file| {
            file.write_all_at(&tail, size)?;
            fs::rename(path(&self.directory, part.id, ".part"), &whole)
        });
        if let Err(error) = named {
            self.failed(&error);
            return source.lost();
        }
        part.file = None;
        let length = size + tail.len() as u64;
        source.stored(Stored { id: part.id, size, length, checksum, disk: part.disk.clone() });
    }

    /// Writes a small response, which is found in memory already.
    fn store(&mut self, key: &Key, head: &Arc<Head>, body: &Bytes) {
        let Some(inner) = self.inner.upgrade() else { return };
        let Some(disk) = inner.disk() else { return };
        let (size, checksum) = (body.len() as u64, xxh3_64(body));
        let tail = record::tail(key, head, size, checksum);
        let Some(reserved) = inner.reserve_on_disk(size + tail.len() as u64) else { return };
        let id = disk.new_id();
        let (part, whole) = (path(&self.directory, id, ".part"), path(&self.directory, id, ""));
        let written = self.create(id).and_then(|file| {
            file.write_all_at(body, 0)?;
            file.write_all_at(&tail, size)?;
            fs::rename(&part, &whole)
        });
        match written {
            Err(error) => {
                self.remove(&part);
                self.failed(&error);
            }
            Ok(()) => inner.add_file(key, head, &disk.written(id, size, checksum, reserved.store(key))),
        }
    }

    /// Writes anew what is known of a response. Ended in between, it is not there any more.
    fn update(&mut self, key: &Key, head: &Arc<Head>, file: &Arc<OnDisk>) {
        let tail = record::tail(key, head, file.size, file.checksum);
        let path = path(&self.directory, file.id, "");
        let updated = OpenOptions::new().write(true).open(path).and_then(|open| {
            open.set_len(file.size)?;
            open.write_all_at(&tail, file.size)
        });
        if let Err(error) = updated {
            self.failed(&error);
            if let Some(inner) = self.inner.upgrade() {
                inner.remove(key, head);
            }
        }
    }

    fn create(&self, id: u64) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600).open(path(&self.directory, id, ".part"))
    }

    fn remove(&self, path: &Path) {
        // Nobody looks for it, and what is left is found when the next process begins.
        drop(fs::remove_file(path));
    }

    fn failed(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::StorageFull
            && let Some(inner) = self.inner.upgrade()
        {
            inner.evict_from_disk(WHEN_FULL);
        }
        if let Some(inner) = self.inner.upgrade() {
            inner.disk_failed();
        }
        self.complain(&format!("a response is not kept on the disk: {error}"));
    }

    fn complain(&mut self, what: &str) {
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINS) {
            self.complained = Some(Instant::now());
            tracing::warn!(target: "cache", cache = self.name, directory = %self.directory.display(), "{what}");
        }
    }
}
