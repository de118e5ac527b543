//! What the operator wants gone from caches.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_cache::Time;
use tidegate_cache::store::Purge;

use super::Caches;

/// For the disk.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is to go. Exactly one of the first five says what.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Wanted {
    url: Option<String>,
    prefix: Option<String>,
    host: Option<String>,
    tag: Option<String>,
    all: bool,
    /// Of this cache alone.
    cache: Option<String>,
    /// It is removed, and not only stale.
    hard: bool,
}

/// Purges, and says how much that was. It looks at all that is stored: not for a thread that serves.
///
/// # Errors
/// What is wrong with what is wanted.
pub(crate) fn purge(caches: &Caches, wanted: &Wanted) -> Result<u64, String> {
    let purge = wanted.purge()?;
    if let Some(name) = &wanted.cache
        && !caches.contains_key(&**name)
    {
        return Err(format!("there is no cache {name:?}"));
    }
    let meant =
        caches.iter().filter(|(name, _)| wanted.cache.as_ref().is_none_or(|wanted| **wanted == ***name));
    let meant: Vec<_> = meant.map(|(_, settings)| settings).collect();
    let purged = meant.iter().map(|settings| settings.store.purge(&purge, wanted.hard, Time::now())).sum();
    // On the disk as well: the process may end at once.
    for settings in meant {
        let (done, written) = sync_channel(1);
        settings.store.when_written(move || {
            let _ = done.try_send(());
        });
        if written.recv_timeout(PATIENCE).is_err() {
            tracing::warn!(target: "cache", cache = %settings.name, "the disk is slow: what was purged may be there after a restart");
        }
    }
    tracing::info!(target: "audit", ?purge, hard = wanted.hard, purged, "purge of caches");
    Ok(purged)
}

impl Wanted {
    /// Whatever there is, of all caches; nothing is removed.
    pub(super) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    fn purge(&self) -> Result<Purge, String> {
        let url = self.url.as_deref().map(|url| {
            place(url).map(|(scheme, authority, target)| Purge::Url { scheme, authority, target })
        });
        let prefix = self.prefix.as_deref().map(|url| {
            place(url).map(|(scheme, authority, target)| Purge::Prefix { scheme, authority, target })
        });
        let host = self.host.clone().map(|host| Ok(Purge::Host(host)));
        let tag = self.tag.clone().map(|tag| Ok(Purge::Tag(tag)));
        let all = self.all.then_some(Ok(Purge::All));
        let mut said = [url, prefix, host, tag, all].into_iter().flatten();
        match (said.next(), said.next()) {
            (Some(purge), None) => purge,
            _ => Err("say one of url, prefix, host, tag and all".to_owned()),
        }
    }
}

/// Scheme, authority and target of what begins a URL, with or without its scheme.
fn place(url: &str) -> Result<(Option<String>, String, String), String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) if matches!(scheme, "http" | "https") => (Some(scheme.to_owned()), rest),
        Some((scheme, _)) => return Err(format!("{scheme:?} is neither http nor https")),
        None => (None, url),
    };
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(at);
    if authority.is_empty() {
        return Err(format!("{url:?} names no host: write it as in https://example.com/path"));
    }
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    Ok((scheme, authority.to_owned(), target))
}
