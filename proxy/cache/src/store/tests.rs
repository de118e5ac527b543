//! A whole cache, with a directory of its own where that matters.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode};
use tempfile::TempDir;

use super::*;
use crate::decide::Staleness;

const LIMITS: Limits = Limits { memory: 16 << 20, disk: 64 << 20, largest: 32 << 20, variants: 4 };

fn key(target: &str) -> Key {
    let (destination, scheme, authority) = ("app", "http", "example.com");
    Key::new(&KeyParts { destination, scheme, authority, target, addition: b"" })
}

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pairs = fields.iter().map(|(name, value)| (*name, *value));
    pairs.fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value.parse().expect("a value"));
        headers
    })
}

/// The head of a response to a request with these fields.
fn head(asked: &HeaderMap, response: &[(&'static str, &'static str)]) -> Head {
    let headers = fields(response);
    let now = Time::now();
    let shielded = storable(&Method::GET, asked, false, StatusCode::OK, &headers, &Rules::default(), now);
    let aged = Aged::of(&headers, now, now);
    Head::new(StatusCode::OK, headers, None, shielded.expect("it may be stored"), aged)
}

const HOUR: (&str, &str) = ("cache-control", "max-age=3600");

fn lead(cache: &Cache, target: &str) -> Lead {
    match cache.join(&key(target), &Selection::default(), Time::now()) {
        Joined::Lead(lead) => lead,
        Joined::Wait(_) => panic!("somebody asks already"),
    }
}

fn store(cache: &Cache, target: &str, body: &[u8]) -> Arc<Object> {
    let head = head(&HeaderMap::new(), &[HOUR, ("etag", "\"a\"")]);
    keep(lead(cache, target), head, Bytes::copy_from_slice(body));
    found(cache, target).expect("it is stored")
}

/// Stores a response whose body comes at once.
fn keep(lead: Lead, head: Head, body: Bytes) {
    let writer = lead.grow(head, Some(body.len() as u64)).expect("there is room");
    writer.push(body);
    writer.finish();
}

fn found(cache: &Cache, target: &str) -> Option<Arc<Object>> {
    match cache.find(&key(target), &HeaderMap::new()) {
        Found::Object(object) => Some(object),
        Found::Others(_) | Found::Nothing => None,
    }
}

/// Waits until the disk's thread has done all it was asked for.
fn settled(cache: &Cache) {
    let (done, waits) = mpsc::channel();
    cache.when_written(move || done.send(()).expect("somebody waits"));
    waits.recv().expect("the thread is there");
}

fn poll<T>(poll: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    poll(&mut Context::from_waker(Waker::noop()))
}

/// Everything a reader gets that is there.
fn take(reader: &mut Reader) -> (Vec<u8>, Option<Piece>) {
    use std::os::unix::fs::FileExt;
    let mut read = Vec::new();
    loop {
        match poll(|cx| reader.poll(cx)) {
            Poll::Ready(Piece::Bytes(bytes)) => read.extend_from_slice(&bytes),
            Poll::Ready(Piece::File(file, at, length)) => {
                let mut piece = vec![0; length as usize];
                file.read_exact_at(&mut piece, at).expect("it is written");
                read.extend_from_slice(&piece);
            }
            Poll::Ready(end) => return (read, Some(end)),
            Poll::Pending => return (read, None),
        }
    }
}

fn body(length: usize) -> Bytes {
    (0..length).map(|at| (at / 7 % 251) as u8).collect::<Vec<_>>().into()
}

/// Pushes a body piece by piece, as far as there is room.
fn push(growing: &Writer, body: &Bytes) {
    for at in (0..body.len()).step_by(50_000) {
        while poll(|cx| growing.poll_room(true, cx)).is_pending() {
            std::thread::yield_now();
        }
        growing.push(body.slice(at..body.len().min(at + 50_000)));
    }
}

/// One cache after another on the same directory: the lock goes with the thread of the one before.
fn reopen(cache: Cache, directory: &TempDir) -> Cache {
    settled(&cache);
    drop(cache);
    let cache = open(directory);
    let begun = Instant::now();
    while cache.inner.index.len() == 0 && cache.inner.disk_failures.load(Relaxed) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "what was stored is lost");
        settled(&cache);
        std::thread::yield_now();
    }
    cache
}

fn open(directory: &TempDir) -> Cache {
    Cache::open("test", Some(directory.path().join("cache")), &LIMITS).expect("a cache")
}

#[test]
fn what_is_stored_is_found_by_its_whole_key_and_for_its_requests() {
    let cache = Cache::open("test", None, &LIMITS).expect("a cache");
    store(&cache, "/a", b"body");
    assert_eq!(found(&cache, "/a").expect("it is stored").bytes().expect("in memory"), "body");
    assert!(found(&cache, "/b").is_none());
    for language in ["de", "en", "fr", "es", "it"] {
        let asked = fields(&[("accept-language", language)]);
        let head = head(&asked, &[HOUR, ("vary", "accept-language")]);
        keep(cache.ask_alone(&key("/v"), Time::now()), head, Bytes::from(language));
    }
    let body = |language| match cache.find(&key("/v"), &fields(&[("accept-language", language)])) {
        Found::Object(object) => object.bytes().cloned(),
        Found::Others(selection) => {
            assert!(selection.matches(&fields(&[("accept-language", language)])));
            None
        }
        Found::Nothing => panic!("there are others"),
    };
    assert_eq!(body("IT").as_deref(), Some(&b"it"[..]));
    assert_eq!(body("en").as_deref(), Some(&b"en"[..]));
    assert_eq!(body("de"), None, "there are four at most");
}

#[test]
fn room_is_bounded_and_what_leaves_the_memory_is_on_the_disk() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    for number in 0..200 {
        store(&cache, &format!("/{number}"), &body(120_000));
        settled(&cache);
        assert!(cache.figures().memory <= LIMITS.memory, "{:?}", cache.figures());
    }
    let object = found(&cache, "/0").expect("it is on the disk");
    assert!(object.bytes().is_none());
    let mut file = object.file().expect("a file").open(true).expect("it opens");
    let mut read = vec![0; 120_000];
    io::Read::read_exact(&mut file, &mut read).expect("it is whole");
    assert_eq!(read, body(120_000));
    cache.promote(&object, read.into());
    assert!(found(&cache, "/0").expect("it is there").bytes().is_some());

    for number in 0..1000 {
        store(&cache, &format!("/more{number}"), &body(120_000));
        settled(&cache);
        assert!(cache.figures().disk <= LIMITS.disk);
    }
    assert!(cache.figures().evicted > 600);
    settled(&cache);
    let files: u64 = size_of_files(&directory);
    assert!(files <= LIMITS.disk, "{files} bytes in files");
}

fn size_of_files(directory: &TempDir) -> u64 {
    let folders = std::fs::read_dir(directory.path().join("cache")).expect("a directory").flatten();
    let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
    files.map(|file| file.metadata().expect("a file").len()).sum()
}

#[test]
fn others_read_what_grows_and_nobody_asks_twice() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    let whole = body(10 << 20);
    let growing = {
        let leader = lead(&cache, "/big");
        let Joined::Wait(mut waiting) = cache.join(&key("/big"), &Selection::default(), Time::now()) else {
            panic!("somebody asks already");
        };
        assert!(poll(|cx| Pin::new(&mut waiting).poll(cx)).is_pending());
        let growing =
            leader.grow(head(&HeaderMap::new(), &[HOUR]), Some(whole.len() as u64)).expect("there is room");
        assert!(matches!(poll(|cx| Pin::new(&mut waiting).poll(cx)), Poll::Ready(Landing::Growing(_))));
        growing
    };
    let mut first = growing.growing().read(0, u64::MAX).expect("it is all there");
    push(&growing, &whole.slice(..5 << 20));
    let (beginning, end) = take(&mut first);
    assert!(beginning == whole[..5 << 20] && end.is_none());
    // One that comes late reads from the file what is not in memory any more; another wants a part alone.
    let mut late = growing.growing().read(0, u64::MAX).expect("it is all there");
    let mut part = growing.growing().read(3, 10).expect("it is all there");
    assert_eq!(part.left(), Some(7));
    let (read, end) = take(&mut part);
    assert!(read == whole[3..10] && matches!(end, Some(Piece::End)));
    push(&growing, &whole.slice(5 << 20..));
    growing.finish();
    let (read, end) = take(&mut late);
    assert!(read == whole && matches!(end, Some(Piece::End)));
    let (rest, end) = take(&mut first);
    assert!(rest == whole[5 << 20..] && matches!(end, Some(Piece::End)));
    settled(&cache);
    assert_eq!(found(&cache, "/big").expect("it is stored").size(), 10 << 20);
    assert!(cache.figures().memory < 1 << 20, "{:?}", cache.figures());
    drop((first, late, part));

    let cache = reopen(cache, &directory);
    let object = found(&cache, "/big").expect("it was found");
    let file = object.file().expect("a file");
    assert!(matches!(file.open(false), Err(Unopened::WouldWait)), "it is not verified yet");
    file.open(true).expect("it is as it was written");
}

#[test]
fn what_cannot_be_stored_reaches_who_reads_it_and_keeps_nobody_waiting() {
    let limits = Limits { memory: 8 << 20, disk: 0, ..LIMITS };
    let cache = Cache::open("test", None, &limits).expect("a cache");
    let whole = body(6 << 20);
    let growing = lead(&cache, "/big").grow(head(&HeaderMap::new(), &[HOUR]), None).expect("there is room");
    let mut reader = growing.growing().read(0, u64::MAX).expect("it is all there");
    let mut slow = growing.growing().read(0, u64::MAX).expect("it is all there");
    push(&growing, &whole.slice(..1 << 20));
    let (mut read, _) = take(&mut reader);
    growing.push(whole.slice(1 << 20..4 << 20));
    let (more, _) = take(&mut reader);
    read.extend_from_slice(&more);
    assert_eq!(read.len(), 4 << 20);
    // It is too much now. What the slow one has not read holds the writer up, until it is let go.
    assert!(poll(|cx| growing.poll_room(false, cx)).is_pending());
    assert!(growing.cut_slowest() && poll(|cx| growing.poll_room(false, cx)).is_ready());
    assert!(matches!(take(&mut slow).1, Some(Piece::Broken)));
    growing.push(whole.slice(4 << 20..));
    let (more, _) = take(&mut reader);
    drop((reader, slow));
    assert_eq!(poll(|cx| growing.poll_room(false, cx)), Poll::Ready(Room::Unwanted));
    growing.finish();
    read.extend_from_slice(&more);
    assert!(read == whole);
    assert!(found(&cache, "/big").is_none());
    assert!(cache.figures().memory < 4096, "{:?}", cache.figures());
    // The next ones do not wait for each other.
    let (one, other) = (lead(&cache, "/big"), lead(&cache, "/big"));
    assert!(!one.is_shared() && !other.is_shared());
}

#[test]
fn who_gives_up_leaves_it_to_the_next_and_a_body_that_breaks_off_is_not_stored() {
    let cache = Cache::open("test", None, &LIMITS).expect("a cache");
    let leader = lead(&cache, "/a");
    let Joined::Wait(mut waiting) = cache.join(&key("/a"), &Selection::default(), Time::now()) else {
        panic!("somebody asks already");
    };
    drop(leader);
    assert!(matches!(poll(|cx| Pin::new(&mut waiting).poll(cx)), Poll::Ready(Landing::GivenUp)));
    let growing = lead(&cache, "/a").grow(head(&HeaderMap::new(), &[HOUR]), Some(9)).expect("there is room");
    let mut reader = growing.growing().read(0, u64::MAX).expect("it is all there");
    growing.push(Bytes::from_static(b"half"));
    growing.finish();
    let (read, end) = take(&mut reader);
    assert!(read == b"half" && matches!(end, Some(Piece::Broken)));
    assert!(found(&cache, "/a").is_none());
    assert!(lead(&cache, "/a").is_shared(), "the next one may be whole");
}

#[test]
fn a_file_that_is_not_what_it_was_is_not_there() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    for target in ["/good", "/short", "/long", "/flipped", "/body"] {
        store(&cache, target, target.repeat(1000).as_bytes());
        settled(&cache);
    }
    let folders = std::fs::read_dir(directory.path().join("cache")).expect("a directory").flatten();
    let files = folders.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten();
    let paths: Vec<_> = files.map(|file| file.path()).collect();
    assert_eq!(paths.len(), 5);
    for path in paths {
        let mut content = std::fs::read(&path).expect("a file");
        let last = content.len() - 50;
        match &content[..6] {
            b"/short" => content.truncate(last),
            b"/long/" => content.push(0),
            b"/flipp" => content[last] ^= 1,
            b"/body/" => content[100] ^= 1,
            _ => {}
        }
        std::fs::write(&path, content).expect("a file");
    }
    std::fs::write(directory.path().join("cache/00/0000000000000000.part"), "x").expect("a file");
    let cache = reopen(cache, &directory);
    settled(&cache);
    while found(&cache, "/good").is_none() || found(&cache, "/body").is_none() {
        settled(&cache);
    }
    settled(&cache);
    for target in ["/short", "/long", "/flipped"] {
        assert!(found(&cache, target).is_none(), "{target}");
    }
    found(&cache, "/good").expect("it is there").file().expect("a file").open(true).expect("it is whole");
    // The body is looked at when it is asked for.
    let object = found(&cache, "/body").expect("its end is as it was");
    assert!(matches!(object.file().expect("a file").open(true), Err(Unopened::Unusable(_))));
    cache.unusable(&object);
    drop(object);
    assert!(found(&cache, "/body").is_none());
    settled(&cache);
    let left = std::fs::read_dir(directory.path().join("cache")).expect("a directory").flatten();
    let left = left.filter_map(|folder| std::fs::read_dir(folder.path()).ok()).flatten().flatten().count();
    assert_eq!(left, 1);
}

#[test]
fn a_disk_that_fails_costs_hits_alone() {
    let directory = TempDir::new().expect("a directory");
    std::fs::write(directory.path().join("cache"), "a file where the directory should be").expect("a file");
    let cache = Cache::open("test", Some(directory.path().join("cache")), &LIMITS).expect("a cache");
    store(&cache, "/small", b"body");
    settled(&cache);
    assert!(found(&cache, "/small").is_some(), "it is in memory");
    let whole = body(5 << 20);
    let growing = lead(&cache, "/big").grow(head(&HeaderMap::new(), &[HOUR]), None).expect("there is room");
    let mut reader = growing.growing().read(0, u64::MAX).expect("it is all there");
    let mut read = Vec::new();
    for at in (0..whole.len()).step_by(100_000) {
        while poll(|cx| growing.poll_room(false, cx)).is_pending() {
            read.extend_from_slice(&take(&mut reader).0);
        }
        growing.push(whole.slice(at..whole.len().min(at + 100_000)));
    }
    growing.finish();
    settled(&cache);
    read.extend_from_slice(&take(&mut reader).0);
    assert!(read == whole);
    assert!(found(&cache, "/big").is_none());
}

#[test]
fn what_is_purged_is_stale_and_what_is_invalidated_of_no_use() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    let tagged = |target: &str, tag: &'static str| {
        let head = head(&HeaderMap::new(), &[HOUR, ("etag", "\"a\""), ("cache-tag", tag)]);
        keep(lead(&cache, target), head, Bytes::from_static(b"body"));
    };
    tagged("/a/1", "red, blue");
    tagged("/a/2", "blue");
    tagged("/b/1", "green");
    settled(&cache);
    let now = Time::now();
    let staleness = |cache: &Cache, target| found(cache, target).map(|object| object.head().staleness(now));
    assert_eq!(cache.purge(&Purge::Tag("red".to_owned()), false, now), 1);
    assert_eq!(staleness(&cache, "/a/1"), Some(Staleness::Stale(0)));
    assert!(matches!(staleness(&cache, "/a/2"), Some(Staleness::Fresh(_))));
    let prefix = Purge::Prefix { scheme: None, authority: "EXAMPLE.com".to_owned(), target: "/b".to_owned() };
    assert_eq!(cache.purge(&prefix, true, now), 1);
    assert_eq!(staleness(&cache, "/b/1"), None);
    cache.invalidate(&key("/a/2"));
    assert_eq!(staleness(&cache, "/a/2"), Some(Staleness::Invalid));
    // It stays so, whoever reads the files.
    let cache = reopen(cache, &directory);
    while found(&cache, "/a/1").is_none() || found(&cache, "/a/2").is_none() {
        settled(&cache);
    }
    assert_eq!(staleness(&cache, "/a/1"), Some(Staleness::Stale(0)));
    assert_eq!(staleness(&cache, "/a/2"), Some(Staleness::Invalid));
    assert_eq!(cache.purge(&Purge::Host("example.com".to_owned()), true, now), 2);
    assert_eq!(cache.figures().urls, 0);
}

#[test]
fn a_purge_counts_for_what_is_on_its_way() {
    let cache = Cache::open("test", None, &LIMITS).expect("a cache");
    let (before, other) = (lead(&cache, "/a"), lead(&cache, "/b"));
    let url = Purge::Url { scheme: None, authority: "example.com".to_owned(), target: "/a".to_owned() };
    assert_eq!(cache.purge(&url, false, Time::now()), 0);
    // Nobody joins what was asked for before.
    let after = lead(&cache, "/a");
    let head = || head(&HeaderMap::new(), &[HOUR]);
    for lead in [before, other] {
        keep(lead, head(), Bytes::from_static(b"old"));
    }
    let staleness = |target| found(&cache, target).expect("it is stored").head().staleness(Time::now());
    assert_eq!(staleness("/a"), Staleness::Invalid);
    assert!(matches!(staleness("/b"), Staleness::Fresh(_)));
    keep(after, head(), Bytes::from_static(b"new"));
    assert!(matches!(staleness("/a"), Staleness::Fresh(_)));
}

#[test]
fn a_304_makes_it_fresh_again_in_its_place() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    let object = store(&cache, "/a", b"body");
    settled(&cache);
    cache.invalidate(&key("/a"));
    let object = found(&cache, "/a").unwrap_or(object);
    let news = fields(&[("cache-control", "max-age=7200"), ("x-new", "1")]);
    let refreshed = lead(&cache, "/a").refresh(&object, &news, &HeaderMap::new(), &Rules::default());
    assert!(matches!(refreshed.head().staleness(Time::now()), Staleness::Fresh(7199 | 7200)));
    settled(&cache);
    let cache = reopen(cache, &directory);
    let object = found(&cache, "/a").expect("it was found");
    assert_eq!(object.head().headers["x-new"], "1");
    assert_eq!(object.head().headers["etag"], "\"a\"");
    assert!(matches!(object.head().staleness(Time::now()), Staleness::Fresh(_)));
    object.file().expect("a file").open(true).expect("its body is as it was");
}

#[test]
fn a_purge_counts_for_what_is_not_read_from_the_disk_yet() {
    let directory = TempDir::new().expect("a directory");
    let cache = open(&directory);
    let targets: Vec<_> = (0..200).map(|number| format!("/{number}")).collect();
    targets.iter().for_each(|target| drop(store(&cache, target, b"body")));
    let cache = reopen(cache, &directory);
    cache.purge(&Purge::All, false, Time::now());
    settled(&cache);
    for target in &targets {
        let fresh = found(&cache, target).map(|object| object.head().staleness(Time::now()));
        assert!(!matches!(fresh, Some(Staleness::Fresh(_))), "{target} {fresh:?}");
    }
}

/// Its thread is as fast as it likes.
#[test]
fn what_is_on_the_disk_is_found_however_often_it_is_opened() {
    let directory = TempDir::new().expect("a directory");
    let mut cache = open(&directory);
    store(&cache, "/a", b"body");
    for _ in 0..100 {
        cache = reopen(cache, &directory);
    }
    assert!(found(&cache, "/a").is_some());
}
