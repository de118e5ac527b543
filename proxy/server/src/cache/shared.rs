//! Purges that proxies with one `[state]` tell each other.
//!
//! They are kept there by number, for who is away for a while: each proxy looks once a second how many there have been, and does
//! those that it does not know. Of one that cannot be read the worst is taken: everything is stale then.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_state::{State, Store, StoreError};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use super::{Caches, Wanted, purge};

/// No plugin has this name: it is none of a file.
const NAME: &str = "tidegate/cache";
/// How many there have been.
const COUNT: &str = "purges";
/// Who is away for longer does not learn of them.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// From one look to the next.
const PERIOD: Duration = Duration::from_secs(1);
/// What is counted already is written within this time, or never.
const PATIENCE: Duration = Duration::from_secs(10);
/// Further ones are not done one by one.
const MOST: i64 = 1000;

/// What proxies tell each other.
pub(crate) struct Purges {
    /// `None` where the state is this process's own.
    store: Option<Store>,
    /// Numbers of those that this process told of itself, and has done.
    own: Mutex<BTreeSet<i64>>,
}

/// What a look brought.
enum Told {
    One(Wanted),
    /// It is not there, or nothing that is understood.
    Unknown,
}

impl Purges {
    pub(crate) fn of(state: &State) -> Arc<Self> {
        let store = state.is_remote().then(|| state.store(NAME));
        Arc::new(Self { store, own: Mutex::default() })
    }

    /// Tells the others; false if there are none that could be told.
    ///
    /// # Errors
    /// The state cannot be reached.
    pub(crate) async fn tell(&self, wanted: &Wanted) -> Result<bool, StoreError> {
        let Some(store) = &self.store else { return Ok(false) };
        let number = store.increment(COUNT, 1, None).wait().await?;
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        let text = serde_json::to_vec(wanted).unwrap_or_default();
        store.set(&key(number), &text, Some(KEPT)).wait().await?;
        Ok(true)
    }

    /// Does what the others tell, as long as it is polled.
    pub(crate) async fn follow(self: Arc<Self>, caches: impl Fn() -> Caches) {
        let Some(store) = self.store.clone() else { return };
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: Option<i64> = None;
        let mut missing: Option<Instant> = None;
        loop {
            ticks.tick().await;
            let caches = caches();
            if caches.is_empty() {
                continue;
            }
            let Ok(count) = count(&store).await else { continue };
            let is_on_disk = || caches.values().any(|settings| settings.store.directory().is_some());
            let from = match known {
                // What is on the disk may be of before.
                None if is_on_disk() => (count - MOST).max(0),
                None => count,
                Some(known) => known,
            };
            if from > count || count - from > MOST {
                warn!(target: "cache", "it is not known what other proxies purged: everything is stale");
                apply(&caches, Wanted::everything()).await;
                known = Some(count);
                continue;
            }
            let is_first = known.is_none();
            let mut done = from;
            for number in from + 1..=count {
                let is_own = self.own.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                if !is_own {
                    match told(&store, number).await {
                        Err(_) => break,
                        Ok(Told::One(wanted)) => {
                            info!(target: "audit", ?wanted, "another proxy purges");
                            apply(&caches, wanted).await;
                        }
                        // Of what was before this process, it is older than what is kept.
                        Ok(Told::Unknown) if is_first => {}
                        Ok(Told::Unknown) => {
                            if missing.get_or_insert_with(Instant::now).elapsed() < PATIENCE {
                                break;
                            }
                            warn!(target: "cache", "a purge of another proxy cannot be read: everything is stale");
                            apply(&caches, Wanted::everything()).await;
                        }
                    }
                }
                missing = None;
                done = number;
            }
            known = Some(done);
        }
    }
}

fn key(number: i64) -> String {
    format!("purge:{number}")
}

async fn count(store: &Store) -> Result<i64, StoreError> {
    let count = store.get(COUNT).wait().await?;
    Ok(count.and_then(|count| String::from_utf8(count).ok()?.parse().ok()).unwrap_or(0))
}

async fn told(store: &Store, number: i64) -> Result<Told, StoreError> {
    let text = store.get(&key(number)).wait().await?;
    let wanted = text.and_then(|text| serde_json::from_slice(&text).ok());
    Ok(wanted.map_or(Told::Unknown, Told::One))
}

async fn apply(caches: &Caches, wanted: Wanted) {
    let caches = caches.clone();
    // A cache that the other has and this one has not is no mistake.
    drop(spawn_blocking(move || purge(&caches, &wanted)).await);
}
