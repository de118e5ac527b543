//! A body on its way from a fast sender to a slow taker: first in, first out, through memory and then a file.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_config::Buffer;
use tokio::task::{JoinHandle, spawn_blocking};

use super::chunks::Chunks;
use super::file::{Target, TemporaryFile};
use super::space::{Purpose, TemporaryFiles};
use crate::memory::{Held, Payer};

/// What is between the sender and the taker.
///
/// ```text
/// push ─▶ front ─▶ pop                        as long as it fits in memory
/// push ─▶ tail ─▶ file ─▶ front ─▶ pop        from then on, until the file is drained
/// ```
///
/// While bytes pass through the file, half of the memory is for what is written at once, and a quarter for what
/// is read ahead: a taker that slow needs no more, and there may be many. The file is a ring of `disk` bytes, so that what was
/// taken makes room, however much passes in all. One job is under way on the disk at a time: what
/// waits for blocking threads is bounded by the number of bodies.
///
/// There are never more than `memory` bytes and one chunk in memory.
#[derive(Debug)]
pub(super) struct Spool {
    memory: usize,
    disk: u64,
    files: TemporaryFiles,
    front: Chunks,
    tail: Chunks,
    file: Disk,
    /// Positions in all that passes through the file; modulo `disk` they are places in it. What is being
    /// read or written counts as done.
    read: u64,
    written: u64,
    /// Bytes of the work that is under way.
    reading: usize,
    writing: usize,
    /// There was no room on the disk: nothing is written until something was taken.
    held_back: bool,
    /// What of it is in memory, on the client's account.
    held: Held,
    /// The account had no room for all of it: nothing is accepted until something was taken.
    is_denied: bool,
}

/// What is to be put on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spill {
    /// Bytes may begin to pass through the file: the memory is full, and the taker had its time.
    Begin,
    /// If they do already, what comes after them.
    GoOn,
    /// The same, and nothing comes any more: none of it waits in memory for its turn.
    Finish,
}

#[derive(Debug)]
enum Disk {
    /// No file yet.
    None,
    Idle(TemporaryFile),
    Busy(JoinHandle<Done>),
    /// No file can be made.
    Failed,
}

/// What a blocking thread has done; the file is back unless it could not be made.
#[derive(Debug)]
struct Done(Option<TemporaryFile>, Outcome);

#[derive(Debug)]
enum Outcome {
    Written,
    NotWritten(Chunks, io::Error),
    Read(Vec<Bytes>),
    NotRead(io::Error),
}

impl Spool {
    pub(super) fn new(buffer: Buffer, files: TemporaryFiles, payer: &Payer) -> Self {
        Self {
            memory: buffer.memory,
            disk: buffer.disk,
            files,
            front: Chunks::default(),
            tail: Chunks::default(),
            file: Disk::None,
            read: 0,
            written: 0,
            reading: 0,
            writing: 0,
            held_back: false,
            held: payer.hold(),
            is_denied: false,
        }
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> u64 {
        (self.front.len() + self.reading + self.tail.len()) as u64 + self.on_disk()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is room for another chunk.
    pub(super) fn accepts(&self) -> bool {
        if self.is_denied && !self.front.is_empty() {
            false
        } else if self.spills() {
            self.tail.len() + self.writing < self.half()
        } else {
            self.front.len() < self.memory
        }
    }

    /// Whether bytes pass through the file.
    pub(super) fn spills(&self) -> bool {
        self.on_disk() > 0 || self.reading > 0 || !self.tail.is_empty()
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.spills() {
            self.tail.push(chunk);
        } else {
            self.front.push(chunk);
        }
        self.account();
    }

    /// The next chunk, if it is in memory.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let chunk = self.front.pop()?;
        self.held_back = false;
        self.account();
        Some(chunk)
    }

    /// Whether a chunk is at hand.
    pub(super) fn has_piece(&self) -> bool {
        !self.front.is_empty()
    }

    /// Whether so much was taken that more should come: by [`Spool::push`] or by [`Spool::poll_work`].
    pub(super) fn runs_low(&self) -> bool {
        self.front.len() <= if self.spills() { self.quarter() / 2 } else { self.half() }
    }

    /// Moves bytes between memory and the file. Ready when some have been moved, and then there may be more
    /// to do. `spill` is how eagerly.
    ///
    /// # Errors
    /// What is in the file cannot be read; all that is left are the chunks at hand. A file that cannot be
    /// written to is no error: the sender waits for the taker.
    pub(super) fn poll_work(&mut self, spill: Spill, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.start_read();
        self.start_write(spill);
        let Disk::Busy(work) = &mut self.file else { return Poll::Pending };
        let Done(file, outcome) = match ready!(Pin::new(work).poll(cx)) {
            Ok(done) => done,
            // The runtime ends.
            Err(error) => Done(None, Outcome::NotRead(io::Error::other(error))),
        };
        self.file = file.map_or(Disk::Failed, Disk::Idle);
        (self.reading, self.writing) = (0, 0);
        match outcome {
            Outcome::Written => {}
            Outcome::Read(chunks) => chunks.into_iter().for_each(|chunk| self.front.push(chunk)),
            Outcome::NotWritten(mut chunks, error) => {
                self.files.complain(&format!("responses wait for their clients: {error}"));
                self.written -= chunks.len() as u64;
                chunks.append(&mut self.tail);
                self.tail = chunks;
                self.held_back = true;
            }
            Outcome::NotRead(error) => {
                self.files.complain(&format!("a response is broken off: {error}"));
                self.tail = Chunks::default();
                self.read = self.written;
                return Poll::Ready(Err(error));
            }
        }
        if self.on_disk() == 0 {
            self.front.append(&mut self.tail);
        }
        self.account();
        Poll::Ready(Ok(()))
    }

    /// Sets the client's account right. What is over it is here already; the sender waits until it was taken.
    fn account(&mut self) {
        let held = self.front.len() + self.tail.len() + self.reading + self.writing;
        self.is_denied = self.held.set(held).is_err();
    }

    fn half(&self) -> usize {
        self.memory / 2
    }

    fn quarter(&self) -> usize {
        self.memory / 4
    }

    fn on_disk(&self) -> u64 {
        self.written - self.read
    }

    fn start_read(&mut self) {
        let room = self.quarter().saturating_sub(self.front.len());
        if self.on_disk() == 0 || !self.runs_low() || room == 0 {
            return;
        }
        let at = self.read % self.disk;
        let there = self.on_disk().min(self.disk - at);
        let length = usize::try_from(there).map_or(room, |there| there.min(room));
        let Disk::Idle(mut file) = self.take_file() else { return };
        self.read += length as u64;
        self.reading = length;
        let drained = self.on_disk() == 0;
        if drained {
            (self.read, self.written) = (0, 0);
        }
        self.file = Disk::Busy(spawn_blocking(move || match file.read(at, length) {
            Ok(chunks) => {
                // Should it fail, the room is given back with the file; the bytes are here.
                let _ = if drained { file.clear() } else { Ok(()) };
                Done(Some(file), Outcome::Read(chunks))
            }
            Err(error) => Done(Some(file), Outcome::NotRead(error)),
        }));
    }

    fn start_write(&mut self, spill: Spill) {
        let waiting = match (spill, self.spills()) {
            (_, true) => self.tail.len(),
            (Spill::Begin, false) if !self.accepts() => self.front.len().saturating_sub(self.quarter()),
            _ => 0,
        };
        // Much at once, even when the file is full: it would be written to in scraps otherwise.
        let least = match spill {
            Spill::Finish => 1,
            Spill::Begin | Spill::GoOn => self.half(),
        };
        let free = self.disk - self.on_disk();
        if self.held_back || free == 0 || free < self.disk.min(least as u64) || waiting < least {
            return;
        }
        let at = self.written % self.disk;
        let most = free.min(self.disk - at);
        let length = usize::try_from(most).map_or(waiting, |most| most.min(waiting));
        let room = at + length as u64;
        let target = match self.take_file() {
            Disk::None => self
                .files
                .reserve(Purpose::Response, self.held.client(), room)
                .map(|reserved| Target::New(self.files.clone(), reserved)),
            Disk::Idle(mut file) => {
                if file.make_room(room) {
                    Some(Target::Open(file))
                } else {
                    self.file = Disk::Idle(file);
                    None
                }
            }
            Disk::Busy(_) | Disk::Failed => return,
        };
        let Some(target) = target else {
            self.files.complain("limits.temporary-space is used up: responses wait for their clients");
            self.held_back = true;
            return;
        };
        if !self.spills() {
            self.tail = self.front.split_off(self.quarter());
        }
        let rest = self.tail.split_off(length);
        let chunks = std::mem::replace(&mut self.tail, rest);
        self.written += length as u64;
        self.writing = length;
        self.file = Disk::Busy(spawn_blocking(move || {
            let file = match target.open() {
                Ok(file) => file,
                Err(error) => return Done(None, Outcome::NotWritten(chunks, error)),
            };
            match file.write(at, &chunks) {
                Ok(()) => Done(Some(file), Outcome::Written),
                Err(error) => Done(Some(file), Outcome::NotWritten(chunks, error)),
            }
        }));
    }

    /// The state of the disk, to be replaced by the next one; it stays where nothing can be begun.
    fn take_file(&mut self) -> Disk {
        match self.file {
            Disk::None => Disk::None,
            Disk::Idle(_) => std::mem::replace(&mut self.file, Disk::None),
            Disk::Busy(_) | Disk::Failed => Disk::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::space::tests::{CLIENT, files};
    use super::*;

    const KIB: usize = 1 << 10;

    fn spool(memory: usize, disk: u64, limit: u64) -> (Spool, impl Fn() -> u64) {
        let (files, held) = files(limit);
        (Spool::new(Buffer { memory, disk }, files, &Payer::rich()), held)
    }

    /// Bytes that tell where they are in a body.
    fn bytes(from: usize, length: usize) -> Bytes {
        (from..from + length).map(|at| (at % 251) as u8).collect()
    }

    /// Pushes until nothing is accepted any more and the disk rests; returns where the sender stands.
    async fn fill(spool: &mut Spool, mut sent: usize, end: usize) -> usize {
        loop {
            while sent < end && spool.accepts() {
                let length = (end - sent).min(10_000);
                spool.push(bytes(sent, length));
                sent += length;
            }
            if !settle(spool).await || sent == end {
                return sent;
            }
        }
    }

    /// Lets the disk work until there is nothing to do; whether there was anything.
    async fn settle(spool: &mut Spool) -> bool {
        let mut moved = false;
        loop {
            let worked = poll_fn(|cx| match spool.poll_work(Spill::Begin, cx) {
                Poll::Pending if matches!(spool.file, Disk::Busy(_)) => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
                Poll::Ready(result) => Poll::Ready(Some(result)),
            });
            match worked.await {
                None => return moved,
                Some(result) => result.expect("the disk works"),
            }
            moved = true;
            let in_memory = spool.front.len() + spool.tail.len();
            assert!(in_memory <= spool.memory + 10_000, "{in_memory}");
        }
    }

    /// Takes up to `length` bytes and checks that they are the ones after `taken`.
    async fn take(spool: &mut Spool, taken: usize, length: usize) -> usize {
        let mut now = taken;
        while now - taken < length {
            let Some(chunk) = spool.pop() else {
                if settle(spool).await {
                    continue;
                }
                break;
            };
            assert!(chunk == bytes(now, chunk.len()), "at {now}");
            now += chunk.len();
        }
        now
    }

    #[tokio::test]
    async fn what_fits_in_memory_needs_no_file() {
        let (mut spool, held) = spool(64 * KIB, 1 << 20, 1 << 20);
        assert_eq!(fill(&mut spool, 0, 60 * KIB).await, 60 * KIB);
        assert_eq!((spool.len(), held()), (60 * KIB as u64, 0));
        assert_eq!(take(&mut spool, 0, 60 * KIB).await, 60 * KIB);
        assert!(spool.is_empty() && spool.pop().is_none());
    }

    #[tokio::test]
    async fn the_order_stays_through_memory_file_and_memory_again() {
        let (mut spool, held) = spool(64 * KIB, 1 << 20, 1 << 20);
        let end = 900 * KIB;
        assert_eq!(fill(&mut spool, 0, end).await, end);
        assert_eq!(spool.len(), end as u64);
        assert!(held() > 800 * KIB as u64, "{}", held());
        assert_eq!(take(&mut spool, 0, end).await, end);
        assert_eq!((spool.len(), held(), spool.spills()), (0, 0, false));
        // Memory first once more.
        assert_eq!(fill(&mut spool, end, end + 50 * KIB).await, end + 50 * KIB);
        assert_eq!(held(), 0);
        assert_eq!(take(&mut spool, end, 50 * KIB).await, end + 50 * KIB);
    }

    #[tokio::test]
    async fn the_sender_is_held_back_at_both_bounds_and_goes_on_as_bytes_are_taken() {
        let (mut spool, held) = spool(64 * KIB, 200 * KIB as u64, 1 << 30);
        let (mut sent, mut taken) = (0, 0);
        let mut most = 0;
        // Round the ring several times, without ever draining it.
        while sent < 3 << 20 {
            sent = fill(&mut spool, sent, usize::MAX).await;
            assert_eq!(spool.len(), (sent - taken) as u64);
            most = most.max(held());
            let chunk = sent - taken;
            assert!(chunk > 200 * KIB && chunk < 290 * KIB, "{chunk}");
            taken = take(&mut spool, taken, 100 * KIB).await;
        }
        assert_eq!(most, 200 * KIB as u64);
        taken = take(&mut spool, taken, usize::MAX).await;
        assert_eq!((taken, held()), (sent, 0));
    }

    #[tokio::test]
    async fn without_a_disk_or_without_space_the_memory_is_the_bound() {
        for (disk, limit) in [(0, 1 << 30), (1 << 30, 0), (1 << 30, 10 * KIB as u64)] {
            let (mut spool, held) = spool(64 * KIB, disk, limit);
            let sent = fill(&mut spool, 0, usize::MAX).await;
            assert!((64 * KIB..=64 * KIB + 10_000).contains(&sent), "{sent}");
            let taken = take(&mut spool, 0, 30 * KIB).await;
            let sent = fill(&mut spool, sent, usize::MAX).await;
            assert_eq!((take(&mut spool, taken, usize::MAX).await, held()), (sent, 0));
        }
    }

    #[tokio::test]
    async fn space_that_others_give_back_is_used_when_bytes_are_taken() {
        let (mut spool, held) = spool(64 * KIB, 1 << 20, 100 * KIB as u64);
        let other = spool.files.reserve(Purpose::Response, CLIENT, 100 * KIB as u64);
        let sent = fill(&mut spool, 0, usize::MAX).await;
        assert!(sent < 80 * KIB);
        drop(other);
        let taken = take(&mut spool, 0, 10 * KIB).await;
        let sent = fill(&mut spool, sent, usize::MAX).await;
        assert!(sent > 100 * KIB && held() > 0, "{sent}");
        // A ring does not grow beyond what could be had.
        assert!(held() <= 100 * KIB as u64);
        assert_eq!(take(&mut spool, taken, usize::MAX).await, sent);
    }

    #[tokio::test]
    async fn a_directory_that_is_gone_holds_the_sender_back_and_loses_nothing() {
        let (mut spool, held) = spool(64 * KIB, 1 << 20, 1 << 20);
        spool.files.directory = std::path::Path::new("/nowhere").into();
        let sent = fill(&mut spool, 0, usize::MAX).await;
        assert!(sent < 80 * KIB);
        assert_eq!((take(&mut spool, 0, usize::MAX).await, held()), (sent, 0));
    }

    #[tokio::test]
    async fn a_spool_that_is_dropped_gives_its_space_back() {
        let (mut idle, held) = spool(64 * KIB, 1 << 20, 1 << 20);
        fill(&mut idle, 0, 500 * KIB).await;
        assert!(held() > 0);
        drop(idle);
        while held() > 0 {
            tokio::task::yield_now().await;
        }
        let (mut busy, held) = spool(64 * KIB, 1 << 20, 1 << 20);
        while busy.accepts() {
            busy.push(bytes(0, 10_000));
        }
        // Begun, and perhaps already done.
        let _ = busy.poll_work(Spill::Begin, &mut Context::from_waker(std::task::Waker::noop()));
        assert!(held() > 0);
        drop(busy);
        while held() > 0 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_the_account_has_no_room_for_waits_for_its_taker() {
        let (files, _) = files(0);
        // A client's tenth of it is 40 KiB.
        let payer = Payer::with(400 * KIB as u64);
        let mut spool = Spool::new(Buffer { memory: 256 * KIB, disk: 0 }, files, &payer);
        let mut pushed = 0;
        while spool.accepts() {
            spool.push(bytes(pushed, 10_000));
            pushed += 10_000;
        }
        assert!(pushed <= 50_000, "one chunk beyond the share: {pushed}");
        assert!(payer.held() <= 40 * KIB as u64);
        while spool.pop().is_some() {}
        assert!(spool.accepts());
        assert_eq!(payer.held(), 0);
    }
}
