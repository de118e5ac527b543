//! A body that is being stored: one writes, any number read behind it, and a file takes over what is too much for memory.
//!
//! ```text
//! keeping ──too much──▶ spilling ──▶ whole, in the file
//!    │ └────────────────────┤
//!    │                 no room, or the disk fails
//!    ▼                      ▼
//!  whole, in memory      passing: for those who read it already, and then it is gone
//! ```

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};

use super::disk::{Part, Source, Stored};
use super::flight::Flight;
use super::head::Head;
use super::key::Key;
use super::room::Reserved;
use super::{Inner, Landing};
use crate::decide::Refusal;

/// What may wait to be written to the disk, or for the slowest reader, before who writes has to wait.
const AHEAD: u64 = 1 << 20;
/// What is written to the disk at once, at least.
const BATCH: u64 = 128 << 10;

/// A response of which the head is known, and a part of the body.
#[derive(Debug)]
pub struct Growing {
    key: Key,
    head: Arc<Head>,
    /// Bytes of the body, where the head says it.
    declared: Option<u64>,
    shared: Mutex<Shared>,
    /// What is in the file is read from there.
    file: OnceLock<Arc<File>>,
    /// Of the disk's thread.
    part: Mutex<Option<Part>>,
    inner: Arc<Inner>,
    /// How many purges there were when its request began.
    since: u64,
    /// Whoever waits for the same. It has this as what came of it.
    flight: Weak<Flight<Landing>>,
}

#[derive(Debug)]
struct Shared {
    /// From `base` on.
    chunks: VecDeque<Bytes>,
    base: u64,
    length: u64,
    end: Option<End>,
    mode: Mode,
    readers: Vec<Place>,
    next_reader: u64,
    writer: Option<Waker>,
    /// Of the memory.
    held: Reserved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Broken,
}

#[derive(Debug)]
enum Mode {
    /// All of it is in memory.
    Keeping,
    /// What is before `written` is in the file; `queued`: the disk's thread will look at it.
    Spilling { written: u64, queued: bool, room: Reserved },
    /// It is not stored.
    Passing,
}

/// Where a reader is, and how to wake it.
#[derive(Debug)]
struct Place {
    id: u64,
    position: u64,
    waker: Option<Waker>,
    /// It held up the others.
    cut: bool,
}

/// The one who writes. Dropped before the end, it breaks off.
#[derive(Debug)]
pub struct Writer {
    growing: Arc<Growing>,
    is_done: bool,
}

/// One who reads; dropping it is to leave.
#[derive(Debug)]
pub struct Reader {
    growing: Arc<Growing>,
    id: u64,
    position: u64,
    /// Where it stops.
    end: u64,
}

/// What a reader gets next.
#[derive(Debug)]
pub enum Piece {
    /// From memory.
    Bytes(Bytes),
    /// From the file: so many bytes from there on.
    File(Arc<File>, u64, u64),
    /// That was all.
    End,
    /// There is no more although there should be.
    Broken,
}

/// Whether there is room for who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Go on.
    Free,
    /// Nobody wants it, and it is not stored.
    Unwanted,
}

impl Growing {
    pub(super) fn new(
        inner: Arc<Inner>,
        key: Key,
        head: Arc<Head>,
        declared: Option<u64>,
        held: Reserved,
        since: u64,
        flight: Weak<Flight<Landing>>,
    ) -> Self {
        let shared = Shared {
            chunks: VecDeque::new(),
            base: 0,
            length: 0,
            end: None,
            mode: Mode::Keeping,
            readers: Vec::new(),
            next_reader: 0,
            writer: None,
            held,
        };
        Self {
            key,
            head,
            declared,
            shared: Mutex::new(shared),
            file: OnceLock::new(),
            part: Mutex::default(),
            inner,
            since,
            flight,
        }
    }

    /// The head.
    pub fn head(&self) -> &Arc<Head> {
        &self.head
    }

    /// Bytes of the body, where the head says it, or all of it is there.
    pub fn size(&self) -> Option<u64> {
        let whole = || {
            let shared = self.shared();
            (shared.end == Some(End::Whole)).then_some(shared.length)
        };
        self.declared.or_else(whole)
    }

    /// One who reads from `first` up to `end`; `None` if what it wants is not there any more.
    pub fn read(self: &Arc<Self>, first: u64, end: u64) -> Option<Reader> {
        let mut shared = self.shared();
        if matches!(shared.mode, Mode::Passing) && first < shared.base || shared.end == Some(End::Broken) {
            return None;
        }
        let id = shared.next_reader;
        shared.next_reader += 1;
        shared.readers.push(Place { id, position: first, waker: None, cut: false });
        Some(Reader { growing: self.clone(), id, position: first, end })
    }

    fn poll_room(&self, wanted: bool, cx: &mut Context<'_>) -> Poll<Room> {
        let mut shared = self.shared();
        let waits = match shared.mode {
            Mode::Keeping => false,
            Mode::Spilling { written, .. } => shared.length - written >= AHEAD,
            Mode::Passing if shared.readers.is_empty() => return Poll::Ready(Room::Unwanted),
            Mode::Passing => shared.length - shared.base >= AHEAD,
        };
        // What nobody reads is fetched to its end only if that costs no more than what came of it already.
        let left = self.declared.map_or(u64::MAX, |size| size.saturating_sub(shared.length));
        if !wanted && shared.readers.is_empty() && left > shared.length.max(AHEAD) {
            return Poll::Ready(Room::Unwanted);
        }
        if !waits {
            return Poll::Ready(Room::Free);
        }
        shared.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn push(self: &Arc<Self>, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut shared = self.shared();
        shared.length += chunk.len() as u64;
        shared.chunks.push_back(chunk);
        self.settle(&mut shared);
        let wakers = shared.wake_readers();
        drop(shared);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn finish(self: &Arc<Self>) {
        let mut shared = self.shared();
        if self.declared.is_some_and(|size| size != shared.length) {
            drop(shared);
            return self.fail(Refusal::BrokenOff);
        }
        shared.end = Some(End::Whole);
        let whole = match &mut shared.mode {
            Mode::Keeping => Some(shared.join()),
            Mode::Spilling { queued, .. } => {
                if !std::mem::replace(queued, true) {
                    self.inner.write(self);
                }
                None
            }
            Mode::Passing => None,
        };
        let held = whole.as_ref().map(|_| shared.held.take_all());
        let wakers = shared.wake_readers();
        drop(shared);
        if let (Some(bytes), Some(held)) = (whole, held) {
            self.inner.store_in_memory(&self.key, self.head.clone(), bytes, held, self.since);
            self.land();
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn fail(self: &Arc<Self>, refusal: Refusal) {
        let mut shared = self.shared();
        shared.end.get_or_insert(End::Broken);
        self.pass(&mut shared, refusal);
        let wakers = shared.wake_readers();
        drop(shared);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn cut_slowest(&self) -> bool {
        let mut shared = self.shared();
        let length = shared.length;
        let starves = shared.readers.iter().any(|place| place.position == length);
        let slowest = shared.readers.iter().filter(|place| !place.cut).map(|place| place.position).min();
        let Some(slowest) =
            slowest.filter(|at| matches!(shared.mode, Mode::Passing) && starves && *at < length)
        else {
            return false;
        };
        shared
            .readers
            .iter_mut()
            .filter(|place| place.position == slowest)
            .for_each(|place| place.cut = true);
        shared.trim();
        let wakers = shared.wake_readers();
        let writer = shared.writer.take();
        drop(shared);
        wakers.into_iter().chain(writer).for_each(Waker::wake);
        true
    }

    /// The flight is over.
    fn land(&self) {
        if let Some(flight) = self.flight.upgrade() {
            self.inner.flights.end(&flight);
        }
    }

    /// Goes on to the next mode if that is due.
    fn settle(self: &Arc<Self>, shared: &mut Shared) {
        if let Mode::Keeping = shared.mode {
            self.keep_or_spill(shared);
        }
        match &mut shared.mode {
            Mode::Keeping => {}
            Mode::Passing => shared.trim(),
            Mode::Spilling { written, queued, room } => {
                let more = shared.length.saturating_sub(room.bytes());
                if shared.length > self.inner.largest() {
                    return self.pass(shared, Refusal::TooLarge);
                }
                if more > 0 && !self.inner.grow_on_disk(room, more.max(AHEAD)) {
                    return self.pass(shared, Refusal::NoRoom);
                }
                if shared.length - *written >= BATCH && !std::mem::replace(queued, true) {
                    self.inner.write(self);
                }
            }
        }
    }

    fn keep_or_spill(self: &Arc<Self>, shared: &mut Shared) {
        let (length, limit) = (shared.length, self.inner.in_memory());
        let size = self.declared.unwrap_or(length).max(length);
        let disk = self.inner.disk();
        let fits = size <= limit || disk.is_none() && size <= self.inner.without_disk();
        if fits {
            let more = size.saturating_sub(shared.held.bytes());
            if more == 0 || self.inner.grow_in_memory(&mut shared.held, more) {
                return;
            }
        }
        let room = if size <= self.inner.largest() { Ok(()) } else { Err(Refusal::TooLarge) };
        let disk = room.and_then(|()| disk.ok_or(if fits { Refusal::NoRoom } else { Refusal::TooLarge }));
        let spills = disk.and_then(|disk| {
            let room = self.inner.reserve_on_disk(size.max(AHEAD)).ok_or(Refusal::NoRoom)?;
            // What waits to be written is in memory.
            let more = AHEAD.saturating_sub(shared.held.bytes());
            let holds = more == 0 || self.inner.grow_in_memory(&mut shared.held, more);
            shared.held.shrink(AHEAD);
            holds.then_some((disk, room)).ok_or(Refusal::NoRoom)
        });
        match spills {
            Err(refusal) => self.pass(shared, refusal),
            Ok((disk, room)) => {
                *self.part() = Some(Part::new(disk));
                shared.mode = Mode::Spilling { written: 0, queued: false, room };
            }
        }
    }

    /// It is for those who read it alone from now on.
    fn pass(&self, shared: &mut Shared, refusal: Refusal) {
        if matches!(shared.mode, Mode::Passing) {
            return;
        }
        shared.mode = Mode::Passing;
        shared.held.shrink(0);
        shared.trim();
        self.inner.refused(&self.key, refusal);
        self.land();
        if let Some(writer) = shared.writer.take() {
            writer.wake();
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Growing {
    fn key(&self) -> &Key {
        &self.key
    }

    fn head(&self) -> &Head {
        &self.head
    }

    fn part(&self) -> MutexGuard<'_, Option<Part>> {
        self.part.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritten(&self) -> Option<(u64, Vec<Bytes>, bool)> {
        let mut shared = self.shared();
        let (length, is_last) = (shared.length, shared.end == Some(End::Whole));
        let Mode::Spilling { written, queued, .. } = &mut shared.mode else { return None };
        let at = *written;
        if at == length && !is_last {
            *queued = false;
            return None;
        }
        // What is before is not in memory.
        Some((at, shared.chunks.iter().cloned().collect(), is_last))
    }

    fn wrote(&self, file: &Arc<File>, bytes: u64) {
        let _ = self.file.set(file.clone());
        let mut shared = self.shared();
        let Mode::Spilling { written, .. } = &mut shared.mode else { return };
        *written += bytes;
        let written = *written;
        while shared.base < written
            && let Some(chunk) = shared.chunks.pop_front()
        {
            shared.base += chunk.len() as u64;
        }
        if let Some(writer) = shared.writer.take() {
            drop(shared);
            writer.wake();
        }
    }

    fn lost(&self) {
        let mut shared = self.shared();
        self.pass(&mut shared, Refusal::NoRoom);
    }

    fn stored(&self, file: Stored) {
        let Stored { id, size, length, checksum, disk } = file;
        let mut room = {
            let mut shared = self.shared();
            shared.held.shrink(0);
            match &mut shared.mode {
                Mode::Spilling { room, .. } => room.take_all(),
                Mode::Keeping | Mode::Passing => return,
            }
        };
        room.shrink(length);
        let file = disk.written(id, size, checksum, room.store(&self.key));
        self.inner.store_on_disk(&self.key, self.head.clone(), file, self.since);
        self.land();
    }
}

impl Shared {
    /// All of it as one.
    fn join(&mut self) -> Bytes {
        if self.chunks.len() == 1 {
            // A chunk may be a part of a larger buffer, which it would keep.
            return Bytes::copy_from_slice(&self.chunks[0]);
        }
        let mut all = BytesMut::with_capacity(usize::try_from(self.length).unwrap_or_default());
        self.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        let all = all.freeze();
        self.chunks = VecDeque::from([all.clone()]);
        all
    }

    /// Lets go of what every reader has.
    fn trim(&mut self) {
        let slowest = self.readers.iter().filter(|place| !place.cut).map(|place| place.position).min();
        let needed = slowest.unwrap_or(self.length);
        while let Some(chunk) = self.chunks.front() {
            let after = self.base + chunk.len() as u64;
            if after > needed {
                break;
            }
            self.base = after;
            self.chunks.pop_front();
        }
    }

    fn wake_readers(&mut self) -> Vec<Waker> {
        self.readers.iter_mut().filter_map(|place| place.waker.take()).collect()
    }
}

impl Writer {
    pub(super) fn new(growing: Arc<Growing>) -> Self {
        Self { growing, is_done: false }
    }

    /// What grows.
    pub fn growing(&self) -> &Arc<Growing> {
        &self.growing
    }

    /// Ready when more can be taken. What is `wanted` although nobody reads it is fetched to its end.
    pub fn poll_room(&self, wanted: bool, cx: &mut Context<'_>) -> Poll<Room> {
        self.growing.poll_room(wanted, cx)
    }

    /// Takes what came next.
    pub fn push(&self, chunk: Bytes) {
        self.growing.push(chunk);
    }

    /// That was all: it is stored, or will be in a moment.
    pub fn finish(mut self) {
        self.is_done = true;
        self.growing.finish();
    }

    /// Lets go of the slowest readers if others have nothing left to read because of them: whether there were such.
    pub fn cut_slowest(&self) -> bool {
        self.growing.cut_slowest()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.is_done {
            self.growing.fail(Refusal::BrokenOff);
        }
    }
}

impl Reader {
    /// Bytes that it will get, where that is known.
    pub fn left(&self) -> Option<u64> {
        let end = if self.end == u64::MAX { self.growing.size()? } else { self.end };
        Some(end.saturating_sub(self.position))
    }

    /// What is next.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Piece> {
        let mut shared = self.growing.shared();
        let at = self.position;
        if at >= self.end || shared.end == Some(End::Whole) && at >= shared.length {
            return Poll::Ready(Piece::End);
        }
        let Some(index) = shared.readers.iter().position(|place| place.id == self.id) else {
            return Poll::Ready(Piece::Broken);
        };
        if shared.readers[index].cut {
            return Poll::Ready(Piece::Broken);
        }
        if at >= shared.length {
            if shared.end == Some(End::Broken) {
                return Poll::Ready(Piece::Broken);
            }
            shared.readers[index].waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let piece = if at < shared.base {
            let Some(file) = self.growing.file.get() else { return Poll::Ready(Piece::Broken) };
            let length = shared.base.min(self.end) - at;
            self.position += length;
            Piece::File(file.clone(), at, length)
        } else {
            let mut start = shared.base;
            let Some(chunk) = shared.chunks.iter().find(|chunk| {
                start += chunk.len() as u64;
                at < start
            }) else {
                return Poll::Ready(Piece::Broken);
            };
            let from = chunk.len() - usize::try_from(start - at).unwrap_or_default();
            let length = (start - at).min(self.end - at);
            let piece = chunk.slice(from..from + usize::try_from(length).unwrap_or_default());
            self.position += length;
            Piece::Bytes(piece)
        };
        shared.readers[index].position = self.position;
        self.growing.moved(shared);
        Poll::Ready(piece)
    }
}

impl Growing {
    /// A reader went on, or left.
    fn moved(&self, mut shared: MutexGuard<'_, Shared>) {
        if !matches!(shared.mode, Mode::Passing) {
            // Nobody may be left, which who writes wants to know.
            let writer = if shared.readers.is_empty() { shared.writer.take() } else { None };
            drop(shared);
            return writer.into_iter().for_each(Waker::wake);
        }
        shared.trim();
        let free = shared.readers.is_empty() || shared.length - shared.base < AHEAD;
        let writer = if free { shared.writer.take() } else { None };
        drop(shared);
        writer.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = self.growing.shared();
        shared.readers.retain(|place| place.id != self.id);
        self.growing.moved(shared);
    }
}
