//! What is stored, where, and how it comes there.
//!
//! ```text
//! look up ─▶ index ─▶ object: head, body in memory or in a file
//!                       ▲
//! miss ─▶ flight ─▶ growing ─▶ disk
//! ```
//!
//! [`Cache`] is all of it, for all workers. The `index` finds objects by `key` without a lock; `room` says what has to leave
//! when there is no more. A `flight` is one request to the origin for all who want the same, `growing` the body it brings,
//! which others read while it comes; `markers` remember what could not be stored. `disk` keeps files, `purge` says what the
//! operator wants gone.

mod disk;
mod flight;
mod growing;
mod head;
mod index;
mod key;
mod markers;
mod object;
mod purge;
mod room;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::Bytes;
use http::HeaderMap;

pub use self::disk::{OnDisk, Unopened};
pub use self::growing::{Growing, Piece, Reader, Room, Writer};
pub use self::head::Head;
pub use self::index::Found;
pub use self::key::{Key, KeyParts};
pub use self::object::Object;
pub use self::purge::Purge;

use self::disk::Disk;
use self::flight::{Flight, Flights};
use self::index::Index;
use self::markers::Markers;
use self::object::InMemory;
use self::room::{Reserved, Tier};
use crate::decide::{Aged, Refusal, Rules, Selection, storable, updated};
use crate::time::Time;

/// A body up to this size is kept in memory, if that is no more than a sixteenth of it. What is larger is read from its file as
/// fast: the kernel has it in memory.
const SMALL: u64 = 128 << 10;
/// Purges that are remembered for responses that are on their way.
const RECENT: usize = 256;

/// What a cache may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes in memory: heads of all that is stored, small bodies, and what is on its way to the disk.
    pub memory: u64,
    /// Bytes on the disk.
    pub disk: u64,
    /// Bytes of the largest body.
    pub largest: u64,
    /// Responses for one URL.
    pub variants: usize,
}

/// A cache. Cheap to clone; all workers share it, and it outlives generations.
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

/// What a cache has, and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// URLs with something stored.
    pub urls: u64,
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on the disk.
    pub disk: u64,
    /// Responses that were stored.
    pub stored: u64,
    /// Bodies that had to leave the memory, and files that had to leave the disk.
    pub evicted: u64,
    /// Responses that were purged, or invalidated.
    pub purged: u64,
    /// Failures of the disk.
    pub disk_failures: u64,
}

#[derive(Debug)]
pub(crate) struct Inner {
    index: Index,
    memory: Arc<Tier>,
    on_disk: Arc<Tier>,
    disk: OnceLock<Arc<Disk>>,
    flights: Flights<Landing>,
    markers: Markers,
    largest: AtomicU64,
    variants: AtomicUsize,
    /// Something was stored whose key has an addition.
    has_additions: AtomicBool,
    /// How many purges there were.
    purges: AtomicU64,
    /// The last of them, each with its number.
    recent: Mutex<VecDeque<(u64, Meant)>>,
    stored: AtomicU64,
    purged: AtomicU64,
    disk_failures: AtomicU64,
}

/// What a purge was about.
#[derive(Debug)]
enum Meant {
    Key(Key),
    Purge(Purge),
}

/// Who asks the origin, and what follows for those who wait. Dropping it gives up.
#[derive(Debug)]
pub struct Lead {
    inner: Arc<Inner>,
    key: Key,
    flight: Option<Arc<Flight<Landing>>>,
    since: u64,
    requested: Time,
}

/// Whether to ask the origin, or to wait for another who does.
#[derive(Debug)]
pub enum Joined {
    /// To ask.
    Lead(Lead),
    /// To wait.
    Wait(Waiting),
}

/// What came of a request to the origin, for those who wait for it.
#[derive(Debug, Clone)]
pub enum Landing {
    /// A response that is being stored.
    Growing(Arc<Growing>),
    /// One that is stored.
    Object(Arc<Object>),
    /// One that is not for others.
    NotStored,
    /// None.
    Failed,
    /// It was given up before there was a response: somebody else may ask.
    GivenUp,
}

/// Somebody else's request to the origin: ready when there is a response, or none.
pub type Waiting = flight::Waiting<Landing>;

impl Cache {
    /// An empty one; what is in `directory` is found in the background.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn open(name: &str, directory: Option<PathBuf>, limits: &Limits) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            index: Index::default(),
            memory: Tier::new(limits.memory),
            on_disk: Tier::new(limits.disk),
            disk: OnceLock::new(),
            flights: Flights::default(),
            markers: Markers::new(),
            largest: limits.largest.into(),
            variants: limits.variants.into(),
            has_additions: AtomicBool::new(false),
            purges: AtomicU64::new(0),
            recent: Mutex::default(),
            stored: AtomicU64::new(0),
            purged: AtomicU64::new(0),
            disk_failures: AtomicU64::new(0),
        });
        if let Some(directory) = directory {
            let (disk, jobs) = Disk::new(&directory);
            let _ = inner.disk.set(disk.clone());
            disk.start(name, Arc::downgrade(&inner), jobs)?;
        }
        Ok(Self { inner })
    }

    /// Changes what it may take. What is there stays until there is need.
    pub fn set_limits(&self, limits: &Limits) {
        let Limits { memory, disk, largest, variants } = limits;
        self.inner.memory.set_limit(*memory);
        self.inner.on_disk.set_limit(*disk);
        self.inner.largest.store(*largest, Relaxed);
        self.inner.variants.store(*variants, Relaxed);
    }

    /// Whether responses for one URL may have several keys.
    pub fn has_additions(&self) -> bool {
        self.inner.has_additions.load(Relaxed)
    }

    /// Its directory.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.inner.disk.get().map(|disk| disk.directory())
    }

    /// What is stored for a request with these fields.
    pub fn find(&self, key: &Key, asked: &HeaderMap) -> Found {
        let found = self.inner.index.find(key, asked);
        if let Found::Object(object) = &found {
            object.touch();
        }
        found
    }

    /// Who asks the origin for what is not stored, or not fresh. `selection` is what the request has in the fields that are
    /// known to count.
    pub fn join(&self, key: &Key, selection: &Selection, now: Time) -> Joined {
        let since = self.inner.purges.load(Relaxed);
        let lead =
            |flight| Lead { inner: self.inner.clone(), key: key.clone(), flight, since, requested: now };
        if self.inner.markers.is_set(key, now) {
            return Joined::Lead(lead(None));
        }
        match self.inner.flights.begin(key, selection) {
            Ok(flight) => Joined::Lead(lead(Some(flight))),
            Err(waiting) => Joined::Wait(waiting),
        }
    }

    /// To ask the origin, whoever else does; what comes is stored all the same.
    pub fn ask_alone(&self, key: &Key, now: Time) -> Lead {
        let since = self.inner.purges.load(Relaxed);
        Lead { inner: self.inner.clone(), key: key.clone(), flight: None, since, requested: now }
    }

    /// Something changed what is under this key: what is stored is of no use until it was validated.
    pub fn invalidate(&self, key: &Key) {
        self.inner.note_purge(Meant::Key(key.clone()));
        self.inner.flights.forget_key(key);
        for object in self.inner.index.variants(key).iter().flat_map(|variants| variants.iter()) {
            object.head.invalidate();
            self.inner.purged.fetch_add(1, Relaxed);
            self.inner.update(object);
        }
    }

    /// Makes what is meant stale, or with `hard` removes it; answers with how many that were. Looks at everything: it is for
    /// a thread that serves nobody.
    pub fn purge(&self, purge: &Purge, hard: bool, now: Time) -> u64 {
        self.inner.note_purge(Meant::Purge(purge.clone()));
        self.inner.flights.forget(|key| key.parts().is_some_and(|parts| purge.may_mean(&parts)));
        let mut meant = Vec::new();
        self.inner.index.for_each(|object| {
            if purge.means(object) {
                meant.push(object.clone());
            }
        });
        for object in &meant {
            if hard {
                self.inner.remove(object.key(), object.head());
            } else {
                object.head.soft_purge(now);
                self.inner.update(object);
            }
        }
        self.inner.purged.fetch_add(meant.len() as u64, Relaxed);
        meant.len() as u64
    }

    /// Puts the body of a stored response, which was read from its file, into memory, if there is room.
    pub fn promote(&self, object: &Arc<Object>, bytes: Bytes) {
        self.inner.promote(object, bytes);
    }

    /// Whether a body of this size is to be in memory when it is asked for.
    pub fn is_small(&self, size: u64) -> bool {
        size <= self.inner.in_memory()
    }

    /// The file of a stored response cannot be used.
    pub fn unusable(&self, object: &Arc<Object>) {
        self.inner.remove(object.key(), object.head());
    }

    /// Calls this when all that was to be written before is on the disk, or will never be.
    pub fn when_written(&self, done: impl FnOnce() + Send + 'static) {
        match self.inner.disk() {
            Some(disk) => disk.when_done(Box::new(done)),
            None => done(),
        }
    }

    /// What it has, and has done.
    pub fn figures(&self) -> Figures {
        let inner = &self.inner;
        Figures {
            urls: inner.index.len() as u64,
            memory: inner.memory.used(),
            disk: inner.on_disk.used(),
            stored: inner.stored.load(Relaxed),
            evicted: inner.memory.evicted() + inner.on_disk.evicted(),
            purged: inner.purged.load(Relaxed),
            disk_failures: inner.disk_failures.load(Relaxed),
        }
    }
}

impl Lead {
    /// Whether others may wait for it.
    pub fn is_shared(&self) -> bool {
        self.flight.is_some()
    }

    /// When it began.
    pub fn requested(&self) -> Time {
        self.requested
    }

    /// Stores a response whose body comes; `size` is what its head says of that.
    ///
    /// # Errors
    /// There is no room; those who wait are told.
    pub fn grow(mut self, head: Head, size: Option<u64>) -> Result<Writer, Refusal> {
        let inner = self.inner.clone();
        if size.is_some_and(|size| size > inner.largest()) {
            self.refuse(Refusal::TooLarge);
            return Err(Refusal::TooLarge);
        }
        let Some(head) = inner.with_room(&self.key, head) else {
            self.refuse(Refusal::NoRoom);
            return Err(Refusal::NoRoom);
        };
        let flight = self.flight.take();
        let held = inner.memory.claim(0);
        let known = flight.as_ref().map_or_else(Weak::new, Arc::downgrade);
        let growing = Growing::new(inner, self.key.clone(), head, size, held, self.since, known);
        let growing = Arc::new(growing);
        if let Some(flight) = flight {
            flight.land(Landing::Growing(growing.clone()));
        }
        Ok(Writer::new(growing))
    }

    /// The origin says that a stored response is good: it is fresh again, with the fields of the 304 in `news`.
    pub fn refresh(
        mut self,
        object: &Arc<Object>,
        news: &HeaderMap,
        asked: &HeaderMap,
        rules: &Rules,
    ) -> Arc<Object> {
        let refreshed = self.inner.refresh(object, news, asked, rules, self.requested, self.since);
        self.land(Landing::Object(refreshed.clone()));
        refreshed
    }

    /// The response is not to be stored. Those who wait ask themselves, and so do those who come next for a while.
    pub fn refuse(&mut self, refusal: Refusal) {
        self.inner.refused(&self.key, refusal);
        self.land(Landing::NotStored);
    }

    /// There was no response.
    pub fn fail(mut self) {
        self.land(Landing::Failed);
    }

    fn land(&mut self, landing: Landing) {
        if let Some(flight) = self.flight.take() {
            // First, so that who comes now finds what is stored.
            self.inner.flights.end(&flight);
            flight.land(landing);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.land(Landing::GivenUp);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(disk) = self.disk.get() {
            disk.end();
        }
    }
}

impl Inner {
    /// Bytes of the largest body.
    fn largest(&self) -> u64 {
        self.largest.load(Relaxed)
    }

    /// Bytes of the largest body that is kept in memory beside its file.
    fn in_memory(&self) -> u64 {
        SMALL.min(self.memory.limit() / 16)
    }

    /// The same where there is no disk.
    fn without_disk(&self) -> u64 {
        self.memory.limit() / 4
    }

    fn disk(&self) -> Option<Arc<Disk>> {
        self.disk.get().filter(|_| self.on_disk.limit() > 0).cloned()
    }

    fn write(&self, growing: &Arc<Growing>) {
        if let Some(disk) = self.disk.get() {
            disk.write(growing.clone());
        }
    }

    fn refused(&self, key: &Key, refusal: Refusal) {
        // What broke off says nothing of the next.
        if refusal != Refusal::BrokenOff {
            self.markers.set(key, Time::now());
        }
    }

    /// A head on the account of the memory.
    fn with_room(&self, key: &Key, head: Head) -> Option<Arc<Head>> {
        if !self.has_additions.load(Relaxed) && key.parts().is_some_and(|parts| !parts.addition.is_empty()) {
            self.has_additions.store(true, Relaxed);
        }
        let room = self.reserve_in_memory(head.cost(key))?;
        Some(Arc::new(head.with_room(room)))
    }

    fn reserve_in_memory(&self, bytes: u64) -> Option<Reserved> {
        let mut reserved = self.memory.claim(0);
        self.grow_in_memory(&mut reserved, bytes).then_some(reserved)
    }

    fn grow_in_memory(&self, reserved: &mut Reserved, bytes: u64) -> bool {
        // Without bodies, it is heads that take the memory: those of files.
        let evict = || self.evict_from_memory() || self.evict_from_disk(1) > 0;
        grow(&self.memory, reserved, bytes, evict)
    }

    fn reserve_on_disk(&self, bytes: u64) -> Option<Reserved> {
        let mut reserved = self.on_disk.claim(0);
        self.grow_on_disk(&mut reserved, bytes).then_some(reserved)
    }

    fn grow_on_disk(&self, reserved: &mut Reserved, bytes: u64) -> bool {
        grow(&self.on_disk, reserved, bytes, || self.evict_from_disk(1) > 0)
    }

    /// Lets go of one body in memory; false if there is none. Where it has a file it is found there.
    fn evict_from_memory(&self) -> bool {
        let Some((key, room)) = self.memory.evict() else { return false };
        let variants = self.index.variants(&key);
        let victim = variants
            .iter()
            .flat_map(|variants| variants.iter())
            .find(|object| object.memory.as_ref().is_some_and(|memory| Arc::ptr_eq(&memory.room, &room)));
        if let Some(victim) = victim {
            let without = |object: &Arc<Object>| {
                object.file.as_ref()?;
                Some(Arc::new(Object { memory: None, ..object.copy() }))
            };
            self.settle(self.index.replace(&key, &victim.head, without), &key);
        }
        true
    }

    /// Removes so many files and what is known of them; answers with how many there were.
    fn evict_from_disk(&self, most: usize) -> usize {
        let mut evicted = 0;
        while evicted < most
            && let Some((key, room)) = self.on_disk.evict()
        {
            evicted += 1;
            let variants = self.index.variants(&key);
            let victim = variants
                .iter()
                .flat_map(|variants| variants.iter())
                .find(|object| object.file.as_ref().is_some_and(|file| Arc::ptr_eq(&file.room, &room)));
            if let Some(victim) = victim {
                self.remove(&key, &victim.head);
            }
        }
        evicted
    }

    fn disk_failed(&self) {
        self.disk_failures.fetch_add(1, Relaxed);
    }

    /// It is not found any more.
    fn remove(&self, key: &Key, head: &Arc<Head>) {
        self.settle(self.index.replace(key, head, |_| None), key);
    }

    /// Has written what is known of it.
    fn update(&self, object: &Arc<Object>) {
        if let (Some(disk), Some(file)) = (self.disk.get(), &object.file) {
            disk.update(&object.key, &object.head, file);
        }
    }

    /// Gives back what objects had that are not found any more, but for what others under the key have taken over.
    fn settle(&self, displaced: Vec<Arc<Object>>, key: &Key) {
        if displaced.is_empty() {
            return;
        }
        let variants = self.index.variants(key);
        let kept = |is_same: &dyn Fn(&Object) -> bool| {
            variants.iter().flat_map(|variants| variants.iter()).any(|object| is_same(object))
        };
        for old in displaced {
            let same_memory = |other: &Object| match (&old.memory, &other.memory) {
                (Some(one), Some(other)) => Arc::ptr_eq(&one.room, &other.room),
                _ => false,
            };
            let same_file = |other: &Object| match (&old.file, &other.file) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                _ => false,
            };
            if let Some(memory) = old.memory.as_ref().filter(|_| !kept(&same_memory)) {
                memory.room.give_back();
            }
            if let Some(file) = old.file.as_ref().filter(|_| !kept(&same_file)) {
                file.discard();
            }
        }
    }

    fn store_in_memory(
        &self,
        key: &Key,
        head: Arc<Head>,
        bytes: Bytes,
        held: Reserved,
        since: u64,
    ) -> Arc<Object> {
        let room = held.store(key);
        let size = bytes.len() as u64;
        let memory = Some(InMemory { bytes, room });
        let object = Arc::new(Object { key: key.clone(), head, size, memory, file: None });
        self.insert(&object, since);
        if let Some(disk) = self.disk()
            && let Some(bytes) = object.bytes()
        {
            disk.store(key, &object.head, bytes);
        }
        object
    }

    fn store_on_disk(&self, key: &Key, head: Arc<Head>, file: Arc<OnDisk>, since: u64) {
        let size = file.size();
        self.insert(
            &Arc::new(Object { key: key.clone(), head, size, memory: None, file: Some(file) }),
            since,
        );
    }

    fn insert(&self, object: &Arc<Object>, since: u64) {
        if self.was_purged(object, since) {
            object.head.invalidate();
        }
        self.markers.clear(&object.key);
        self.stored.fetch_add(1, Relaxed);
        let displaced = self.index.insert(object, self.variants.load(Relaxed).max(1));
        self.settle(displaced, &object.key);
    }

    /// A small response is on the disk as well.
    fn add_file(&self, key: &Key, head: &Arc<Head>, file: &Arc<OnDisk>) {
        let taken = AtomicBool::new(false);
        let with_file = |known: &Arc<Object>| {
            let is_free = known.file.is_none();
            taken.store(is_free, Relaxed);
            let file = if is_free { Some(file.clone()) } else { known.file.clone() };
            Some(Arc::new(Object { file, ..known.copy() }))
        };
        // The head may be a newer one by now: then what is written is not what is known of it.
        self.settle(self.index.replace(key, head, with_file), key);
        if !taken.load(Relaxed) {
            file.discard();
        }
    }

    fn promote(&self, object: &Arc<Object>, bytes: Bytes) {
        if object.memory.is_some() || bytes.len() as u64 > self.in_memory() {
            return;
        }
        let Some(held) = self.reserve_in_memory(bytes.len() as u64) else { return };
        let memory = InMemory { bytes, room: held.store(&object.key) };
        let taken = AtomicBool::new(false);
        let with_memory = |known: &Arc<Object>| {
            let is_free = known.memory.is_none();
            taken.store(is_free, Relaxed);
            let memory = if is_free { Some(memory.clone()) } else { known.memory.clone() };
            Some(Arc::new(Object { memory, ..known.copy() }))
        };
        self.settle(self.index.replace(&object.key, &object.head, with_memory), &object.key);
        if !taken.load(Relaxed) {
            memory.room.give_back();
        }
    }

    fn refresh(
        &self,
        object: &Arc<Object>,
        news: &HeaderMap,
        asked: &HeaderMap,
        rules: &Rules,
        requested: Time,
        since: u64,
    ) -> Arc<Object> {
        let now = Time::now();
        let mut news_stored = news.clone();
        if !rules.set_cookie {
            news_stored.remove(http::header::SET_COOKIE);
        }
        let headers = updated(&object.head.headers, &news_stored, now);
        let aged = Aged::of(news, requested, now);
        let status = object.head.status;
        let shielded = storable(&http::Method::GET, asked, false, status, &headers, rules, now);
        let Ok(mut shielded) = shielded else {
            // It says now that it is not to be stored; whoever asked gets it once more.
            self.remove(&object.key, &object.head);
            return object.clone();
        };
        if shielded.selection != object.head.selection {
            // A 304 seldom says what the whole response did; it is for the same requests.
            shielded.selection = object.head.selection.clone();
        }
        let head = Head::new(status, headers, object.head.reason.clone(), shielded, aged);
        let Some(head) = self.with_room(&object.key, head) else {
            self.remove(&object.key, &object.head);
            return object.clone();
        };
        let made = OnceLock::new();
        let with_head = |known: &Arc<Object>| {
            let refreshed = Arc::new(Object { head: head.clone(), ..known.copy() });
            let _ = made.set(refreshed.clone());
            Some(refreshed)
        };
        self.settle(self.index.replace(&object.key, &object.head, with_head), &object.key);
        let refreshed = made.into_inner().unwrap_or_else(|| Arc::new(Object { head, ..object.copy() }));
        if self.was_purged(&refreshed, since) {
            refreshed.head.invalidate();
        }
        self.update(&refreshed);
        refreshed
    }

    /// Takes up what is in a file; false if it is of no use.
    fn restore(
        &self,
        key: Key,
        head: Head,
        size: u64,
        open: impl FnOnce(Arc<room::Room>, Arc<Disk>) -> OnDisk,
    ) -> bool {
        if size > self.largest() || !head.is_of_use(Time::now()) {
            return false;
        }
        let Some(disk) = self.disk() else { return false };
        let cost = head.cost(&key);
        let Some(reserved) = self.reserve_on_disk(size + cost) else { return false };
        let Some(head) = self.with_room(&key, head) else { return false };
        let file = Arc::new(open(reserved.store(&key), disk));
        let object = Arc::new(Object { key, head, size, memory: None, file: Some(file) });
        // Since this process began.
        if self.was_purged(&object, 0) {
            object.head.invalidate();
        }
        // What is stored since then is newer. What is not taken discards its file by itself.
        let displaced = self.index.insert_old(&object, self.variants.load(Relaxed).max(1));
        self.settle(displaced, &object.key);
        true
    }

    fn note_purge(&self, meant: Meant) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.purges.fetch_add(1, Relaxed);
        if recent.len() == RECENT {
            recent.pop_front();
        }
        recent.push_back((number, meant));
    }

    /// Whether what was asked for when there had been `since` purges is meant by one of those that came after.
    fn was_purged(&self, object: &Object, since: u64) -> bool {
        if self.purges.load(Relaxed) == since {
            return false;
        }
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let all_known = recent.front().is_some_and(|(first, _)| *first <= since);
        !all_known
            || recent.iter().filter(|(number, _)| *number >= since).any(|(_, meant)| match meant {
                Meant::Key(key) => *key == object.key,
                Meant::Purge(purge) => purge.means(object),
            })
    }
}

/// Takes so many bytes more of a tier, where what is in the way is evicted as long as that helps; whether it did.
fn grow(tier: &Tier, reserved: &mut Reserved, bytes: u64, evict: impl Fn() -> bool) -> bool {
    if bytes > tier.limit() {
        return false;
    }
    while !reserved.grow(bytes) {
        if !evict() {
            return false;
        }
    }
    true
}
