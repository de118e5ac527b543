//! Purges that proxies with one `[state]` tell each other.
//!
//! They are kept there by number, for who is away for a while: once a second each proxy looks how many there have been, and does to each
//! of its caches those that this does not know. How far that is stands beside what a cache keeps on the disk. Numbers count within an
//! epoch, which ends when the state is lost. Of what is not known the worst is taken: everything is stale then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_state::{State, Store, StoreError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Caches, Settings, Wanted, purge};

/// No plugin has this name: it is none of a file.
const NAME: &str = "tidegate/cache";
/// How many there have been in this epoch.
const COUNT: &str = "purges";
const EPOCH: &str = "epoch";
/// Who is away for longer does not learn what they were.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// What is counted already is written within this time, or never.
const PATIENCE: Duration = Duration::from_secs(10);
/// Further ones are not done one by one.
const MOST: i64 = 1000;
/// In the directory of a cache: the last purge that was done there.
const FILE: &str = "purges";

/// What proxies tell each other.
pub(crate) struct Purges {
    /// `None` where the state is this process's own.
    store: Option<Store>,
    /// Those that this process told of itself, with the caches to which it has done them.
    own: Mutex<BTreeMap<Place, BTreeSet<Arc<str>>>>,
}

/// A purge: the epoch, and its number there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    epoch: String,
    number: i64,
}

/// A cache while it is followed.
struct Followed {
    directory: Option<PathBuf>,
    /// The last purge that was done.
    done: Place,
    /// It stands beside what is kept, where that is on a disk.
    is_kept: bool,
    /// Since when the next one is counted and not there.
    missing: Option<Instant>,
}

impl Purges {
    pub(crate) fn of(state: &State) -> Arc<Self> {
        let store = state.is_remote().then(|| state.store(NAME));
        Arc::new(Self { store, own: Mutex::default() })
    }

    /// Tells the others of a purge that was done to these caches; false if there are none that could be told.
    ///
    /// # Errors
    /// The state cannot be reached.
    pub(crate) async fn tell(&self, wanted: &Wanted, caches: &Caches) -> Result<bool, StoreError> {
        let Some(store) = &self.store else { return Ok(false) };
        let epoch = epoch(store).await?;
        let number = store.increment(COUNT, 1, None).wait().await?;
        let place = Place { epoch, number };
        self.own
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(place, caches.keys().cloned().collect());
        let text = serde_json::to_vec(wanted).unwrap_or_default();
        store.set(&key(number), &text, Some(KEPT)).wait().await?;
        Ok(true)
    }

    /// Does what the others tell, as long as it is polled.
    pub(crate) async fn follow(self: Arc<Self>, caches: impl Fn() -> Caches) {
        let Some(store) = self.store.clone() else { return };
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut followed: BTreeMap<Arc<str>, Followed> = BTreeMap::new();
        let mut is_troubled = false;
        loop {
            ticks.tick().await;
            let caches = caches();
            // One that is opened again begins anew.
            followed.retain(|name, known| {
                caches.get(name).is_some_and(|cache| cache.store.directory() == known.directory.as_deref())
            });
            if caches.is_empty() {
                continue;
            }
            let last = match last(&store).await {
                Ok(last) => last,
                Err(StoreError::Unavailable) => continue,
                Err(error) => {
                    if !is_troubled {
                        warn!(target: "cache", "purges of other proxies cannot be read: {error}");
                    }
                    is_troubled = true;
                    continue;
                }
            };
            is_troubled = false;
            for (name, settings) in &caches {
                let directory = settings.store.directory();
                let before = followed.remove(name);
                let known = match &before {
                    Some(known) => Some(known.done.clone()),
                    None => directory.and_then(read),
                };
                let missing = before.as_ref().and_then(|known| known.missing);
                let (done, missing) = self.catch_up(&store, settings, known, &last, missing).await;
                let is_kept = before.is_some_and(|known| known.is_kept && known.done == done);
                // The directory may not be there yet.
                let is_kept = is_kept || directory.is_none_or(|directory| write(directory, &done).is_ok());
                let directory = directory.map(Path::to_owned);
                followed.insert(name.clone(), Followed { directory, done, is_kept, missing });
            }
            let oldest = followed.values().map(|known| &known.done).min().cloned();
            self.own.lock().unwrap_or_else(PoisonError::into_inner).retain(|place, _| {
                oldest.as_ref().is_none_or(|oldest| place.epoch != oldest.epoch || place > oldest)
            });
        }
    }

    /// Does to a cache what it does not know, as far as that can be read now; where it is then, and since when the next one is
    /// missing.
    async fn catch_up(
        &self,
        store: &Store,
        cache: &Arc<Settings>,
        known: Option<Place>,
        last: &Place,
        missing: Option<Instant>,
    ) -> (Place, Option<Instant>) {
        let name = &*cache.name;
        let lost = async |why: &str| {
            match apply(cache, Wanted::everything()).await {
                // What is being read from the disk is stale as well.
                0 => info!(target: "cache", cache = name, "{why}: everything on its disk is stale"),
                _ => warn!(target: "cache", cache = name, "{why}: everything in it is stale"),
            }
            (last.clone(), None)
        };
        let Some(mut done) = known.filter(|known| known.epoch == last.epoch && known.number <= last.number)
        else {
            // A cache that has just been made has nothing that could be stale.
            if cache.store.figures().stored == 0 && cache.store.directory().is_none() {
                return (last.clone(), None);
            }
            return lost("what other proxies purged before is not known").await;
        };
        if last.number - done.number > MOST {
            return lost("other proxies purged very much").await;
        }
        let mut missing = missing;
        while done.number < last.number {
            let next = Place { number: done.number + 1, ..done.clone() };
            if !self.is_own(&next, name) {
                let Ok(text) = store.get(&key(next.number)).wait().await else { return (done, missing) };
                match text.and_then(|text| serde_json::from_slice::<Wanted>(&text).ok()) {
                    Some(wanted) => {
                        info!(target: "audit", cache = name, ?wanted, "another proxy purges");
                        apply(cache, wanted).await;
                    }
                    None if missing.is_some_and(|since| since.elapsed() >= PATIENCE) => {
                        return lost("a purge of another proxy cannot be read").await;
                    }
                    // It may be on its way yet.
                    None => return (done, missing.or_else(|| Some(Instant::now()))),
                }
            }
            (done, missing) = (next, None);
        }
        (done, None)
    }

    /// Whether this process told of it, and has done it to this cache.
    fn is_own(&self, place: &Place, cache: &str) -> bool {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(place).is_some_and(|names| names.contains(cache))
    }
}

fn key(number: i64) -> String {
    format!("purge:{number}")
}

/// That of the state, which gets one if it has none.
async fn epoch(store: &Store) -> Result<String, StoreError> {
    let new = format!("{:032x}", rand::random::<u128>());
    for _ in 0..3 {
        if let Some(epoch) = store.get(EPOCH).wait().await? {
            return Ok(String::from_utf8_lossy(&epoch).into_owned());
        }
        if store.compare_and_set(EPOCH, None, new.as_bytes(), None).wait().await? {
            return Ok(new);
        }
    }
    Err(StoreError::Unavailable)
}

/// The last purge that there was.
async fn last(store: &Store) -> Result<Place, StoreError> {
    let epoch = epoch(store).await?;
    let count = store.get(COUNT).wait().await?;
    let number = match count {
        None => 0,
        Some(count) => {
            str::from_utf8(&count).ok().and_then(|count| count.parse().ok()).ok_or(StoreError::NotANumber)?
        }
    };
    Ok(Place { epoch, number })
}

/// What stands beside what is kept.
fn read(directory: &Path) -> Option<Place> {
    let text = fs::read_to_string(directory.join(FILE)).ok()?;
    let (epoch, number) = text.trim().split_once(' ')?;
    Some(Place { epoch: epoch.to_owned(), number: number.parse().ok()? })
}

/// One that is not there costs what is kept its freshness, and nothing else.
fn write(directory: &Path, place: &Place) -> io::Result<()> {
    let beside = directory.join(format!("{FILE}.new"));
    fs::write(&beside, format!("{} {}\n", place.epoch, place.number))?;
    fs::rename(&beside, directory.join(FILE))
}

/// How many responses were meant.
async fn apply(cache: &Arc<Settings>, wanted: Wanted) -> u64 {
    let cache = Caches::from([(cache.name.clone(), cache.clone())]);
    // One that is about another cache is no mistake.
    let purged = spawn_blocking(move || purge(&cache, &wanted)).await;
    purged.ok().and_then(Result::ok).unwrap_or(0)
}
