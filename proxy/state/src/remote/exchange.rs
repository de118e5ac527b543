//! How proxies tell each other, through the shared store, what they let pass.

use std::sync::Arc;
use std::time::Duration;

use redis::pipe;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::calls::Calls;
use super::link::Link;
use crate::buckets::Change;
use crate::plugins::{Plugin, Plugins};

/// Between two rounds: what a proxy does not know of the others is at most that old.
const EVERY: Duration = Duration::from_millis(100);

/// Keys in one round trip. The server does nothing else meanwhile, at a microsecond or two for each.
const TOGETHER: usize = 500;

/// For one round trip.
const DEADLINE: Duration = Duration::from_millis(200);

pub(super) async fn run(link: Arc<Link>, calls: Arc<Calls>, plugins: Arc<Plugins>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    loop {
        let now = ticks.tick().await;
        round(&link, &calls, &plugins, now.saturating_duration_since(last)).await;
        last = now;
    }
}

/// Sends what passed since the last round, `span` ago, and learns what passed everywhere.
///
/// What cannot be sent is forgotten by the others, not kept: most of it is paid off when the store comes
/// back.
async fn round(link: &Link, calls: &Calls, plugins: &Plugins, span: Duration) {
    for plugin in plugins.all() {
        let changes = plugin.buckets.take_changes();
        for some in changes.chunks(TOGETHER) {
            if link.is_down() || !tell(link, calls, plugins, &plugin, some, span).await {
                break;
            }
        }
    }
}

/// Whether there was an answer.
async fn tell(
    link: &Link,
    calls: &Calls,
    plugins: &Plugins,
    plugin: &Plugin,
    changes: &[(u64, Change)],
    span: Duration,
) -> bool {
    let mut pipeline = pipe();
    for (_, change) in changes {
        pipeline.add_command(calls.merge(&change.name, change.debt, span));
    }
    let Ok(debts) = link.all::<Vec<u64>>(pipeline, DEADLINE).await else { return false };
    let now = plugins.clock.now();
    for ((hash, _), debt) in changes.iter().zip(debts) {
        plugin.buckets.learn(*hash, debt, now);
    }
    true
}
