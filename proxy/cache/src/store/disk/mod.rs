//! The part of a cache that is on a disk: one file for each response, in a directory of its own.
//!
//! A thread writes (`thread`), so that no worker waits for the disk, and finds what a process before this one left there; how a
//! file looks is in `record`. What is written is written beside, and gets its name when it is whole. Workers open what they read.

mod record;
mod thread;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, MutexGuard, Weak};

use bytes::Bytes;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use xxhash_rust::xxh3::Xxh3;

use self::thread::Job;
use super::Inner;
use super::head::Head;
use super::key::Key;
use super::room::Room;
use crate::time::Time;

/// Bytes of small bodies that may wait to be written. What is more stays in memory alone.
const PENDING: usize = 64 << 20;

/// A directory, and the thread that writes to it.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    jobs: Sender<Job>,
    pending: Arc<AtomicUsize>,
    next: AtomicU64,
}

/// The file of a stored response.
#[derive(Debug)]
pub struct OnDisk {
    id: u64,
    size: u64,
    checksum: u64,
    /// Its body was compared with its checksum, or written by this process.
    verified: AtomicBool,
    discarded: AtomicBool,
    pub(super) room: Arc<Room>,
    disk: Arc<Disk>,
}

/// A body that is written while it comes.
pub(super) trait Source: Send + Sync + std::fmt::Debug {
    fn key(&self) -> &Key;
    fn head(&self) -> &Head;
    /// The file it goes to; `None` if it goes to none.
    fn part(&self) -> MutexGuard<'_, Option<Part>>;
    /// What is to be written, where, and whether it is the last of it; `None`: nothing now.
    fn unwritten(&self) -> Option<(u64, Vec<Bytes>, bool)>;
    /// So many bytes more are in the file now.
    fn wrote(&self, file: &Arc<File>, bytes: u64);
    /// The disk failed: what is not in the file is for those who read it already.
    fn lost(&self);
    /// All of it is in a file that has its name.
    fn stored(&self, file: Stored);
}

/// A file that has its name.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: u64,
    /// Of the body.
    pub(super) size: u64,
    /// In all.
    pub(super) length: u64,
    pub(super) checksum: u64,
    pub(super) disk: Arc<Disk>,
}

/// Why a file was not opened.
#[derive(Debug)]
pub enum Unopened {
    /// That may take a disk: it is for a thread that may wait.
    WouldWait,
    /// It is not there, or not what it was.
    Unusable(io::Error),
}

/// A file that is being written.
pub(super) struct Part {
    disk: Arc<Disk>,
    id: u64,
    file: Option<Arc<File>>,
    checksum: Xxh3,
}

/// What the thread of a disk is to do.
pub(super) struct Jobs(mpsc::Receiver<Job>);

impl Disk {
    /// The disk, and what its thread [is to do](Self::start).
    pub(super) fn new(directory: &Path) -> (Arc<Self>, Jobs) {
        let (jobs, received) = mpsc::channel();
        // Later ones are greater, those of later processes as well.
        let next = (Time::now().0 << 16).into();
        let disk = Self { directory: directory.to_owned(), jobs, pending: Arc::default(), next };
        (Arc::new(disk), Jobs(received))
    }

    /// Starts its thread, which serves `inner` until that is gone. `inner` has to have the disk by then: what the thread finds in the
    /// directory, and has no place for, it removes.
    pub(super) fn start(&self, name: &str, inner: Weak<Inner>, jobs: Jobs) -> io::Result<()> {
        let writer = thread::Writer::new(name, &self.directory, inner, self.pending.clone());
        let name = format!("cache {}", &name[..name.len().min(9)]);
        std::thread::Builder::new().name(name).spawn(move || writer.run(&jobs.0))?;
        Ok(())
    }

    /// Where.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Has the next piece of a body written.
    pub(super) fn write(&self, source: Arc<dyn Source>) {
        self.send(Job::Write(source));
    }

    /// Has a response written whose body is in memory, unless there is too much to be written already.
    pub(super) fn store(&self, key: &Key, head: &Arc<Head>, body: &Bytes) {
        let size = body.len();
        if self.pending.fetch_add(size, Relaxed) + size > PENDING {
            self.pending.fetch_sub(size, Relaxed);
            return;
        }
        self.send(Job::Store { key: key.clone(), head: head.clone(), body: body.clone() });
    }

    /// Has written anew what is known of a response.
    pub(super) fn update(&self, key: &Key, head: &Arc<Head>, file: &Arc<OnDisk>) {
        self.send(Job::Update { key: key.clone(), head: head.clone(), file: file.clone() });
    }

    /// A file that this process wrote.
    pub(super) fn written(
        self: &Arc<Self>,
        id: u64,
        size: u64,
        checksum: u64,
        room: Arc<Room>,
    ) -> Arc<OnDisk> {
        let (verified, discarded) = (true.into(), false.into());
        Arc::new(OnDisk { id, size, checksum, verified, discarded, room, disk: self.clone() })
    }

    /// Calls this when all that was asked for before is done.
    pub(super) fn when_done(&self, done: Box<dyn FnOnce() + Send>) {
        self.send(Job::Done(done));
    }

    /// The cache is gone: its thread does what was asked for before, and lets go of the directory.
    pub(super) fn end(&self) {
        self.send(Job::End);
    }

    fn send(&self, job: Job) {
        // Whoever still reads after the end of the thread removes what is to be removed.
        if let Err(mpsc::SendError(Job::Remove { id, is_part })) = self.jobs.send(job) {
            drop(std::fs::remove_file(path(&self.directory, id, suffix(is_part))));
        }
    }

    fn new_id(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }
}

/// The file of a number; `suffix` for one that is being written.
fn path(directory: &Path, id: u64, suffix: &str) -> PathBuf {
    directory.join(format!("{:02x}", id & 0xff)).join(format!("{id:016x}{suffix}"))
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Of a file that `is_part` of what it is to be.
fn suffix(is_part: bool) -> &'static str {
    if is_part { ".part" } else { "" }
}

impl Part {
    pub(super) fn new(disk: Arc<Disk>) -> Self {
        let id = disk.new_id();
        Self { disk, id, file: None, checksum: Xxh3::new() }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // One that has its name has no file here any more.
        if self.file.is_some() {
            self.disk.send(Job::Remove { id: self.id, is_part: true });
        }
    }
}

impl OnDisk {
    /// Opens it, `patient` on a thread that may wait. A file that a process before this one wrote is compared with its
    /// checksum the first time.
    ///
    /// # Errors
    /// It may take a disk, or cannot be used: then whoever asked discards it.
    pub fn open(&self, patient: bool) -> Result<File, Unopened> {
        let path = path(&self.disk.directory, self.id, "");
        let verified = self.verified.load(Relaxed);
        let file = if patient {
            OpenOptions::new().read(true).open(path).map_err(Unopened::Unusable)?
        } else {
            if !verified {
                return Err(Unopened::WouldWait);
            }
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            // Whatever is wrong, the patient way finds out.
            let opened = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::CACHED);
            File::from(opened.map_err(|_| Unopened::WouldWait)?)
        };
        let is_whole = file.metadata().map_err(Unopened::Unusable)?.len() >= self.size;
        if !is_whole
            || !verified && record::checksum(&file, self.size).map_err(Unopened::Unusable)? != self.checksum
        {
            return Err(Unopened::Unusable(io::ErrorKind::InvalidData.into()));
        }
        self.verified.store(true, Relaxed);
        Ok(file)
    }

    /// Bytes of the body, which is what the file begins with.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Nobody finds it any more. Who has it open reads on; who was about to open it finds that it is gone.
    pub(super) fn discard(&self) {
        self.room.give_back();
        if !self.discarded.swap(true, Relaxed) {
            self.disk.send(Job::Remove { id: self.id, is_part: false });
        }
    }
}
