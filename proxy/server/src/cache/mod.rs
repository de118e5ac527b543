//! The caches of a configuration: each is opened once, and stays as long as a configuration names it.

mod purge;
mod shared;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use tidegate_cache::decide::Rules;
use tidegate_cache::store::{Cache, Limits};
use tidegate_config::{self as config, Config, Problem};

pub(crate) use self::purge::{Wanted, purge};
pub(crate) use self::shared::Purges;

/// A cache as a generation has it. What is stored is the same in all of them.
#[derive(Debug)]
pub(crate) struct Settings {
    /// In the configuration.
    pub(crate) name: Arc<str>,
    pub(crate) store: Cache,
    pub(crate) rules: Rules,
    /// How long a request waits for another.
    pub(crate) max_wait: Duration,
    /// In the background, of one worker.
    pub(crate) max_revalidations: usize,
    /// Responses have `Cache-Status`.
    pub(crate) status_field: bool,
    key_headers: Vec<HeaderName>,
    key_cookies: Vec<String>,
    key_without: Vec<HeaderName>,
    limits: Limits,
}

/// What policies add to the key of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Additions<'a> {
    /// Texts of their own.
    pub(crate) parts: &'a [String],
    /// Fields that they set: servers may answer by them without saying so, as they do not come from clients.
    pub(crate) fields: &'a [HeaderName],
}

/// By name.
pub(crate) type Caches = BTreeMap<Arc<str>, Arc<Settings>>;

/// Every cache of a configuration; those that the generation `before` has in the same place are the same.
///
/// # Errors
/// The system has no thread for one.
pub(crate) fn load(config: &Config, before: Option<&Caches>) -> Result<Caches, Problem> {
    let open = |(name, cache): (&String, &config::Cache)| {
        let directory = cache.disk.as_ref().map(|disk| &*disk.path);
        let limits = limits(cache);
        let known = before.into_iter().flatten().find(|(known, settings)| match directory {
            Some(directory) => settings.store.directory() == Some(directory),
            None => ***known == **name && settings.store.directory().is_none(),
        });
        let store = match known {
            Some((_, settings)) => settings.store.clone(),
            None => Cache::open(name, directory.map(Path::to_owned), &limits).map_err(|error| {
                let message = format!("cache.{name}: no thread for it: {error}");
                config.positions.problem(&format!("cache.{name}"), message)
            })?,
        };
        let settings = Settings {
            name: name.as_str().into(),
            store,
            rules: Rules {
                lifetime: None,
                default_lifetime: cache.default_lifetime.as_secs(),
                heuristic: cache.heuristic_lifetime.as_secs(),
                stale_while_revalidate: cache.stale_while_revalidate.as_secs(),
                stale_if_error: cache.stale_if_error.as_secs(),
                set_cookie: cache.set_cookie,
                obeys_requests: cache.client_directives,
            },
            max_wait: cache.max_wait,
            max_revalidations: cache.max_revalidations,
            status_field: cache.status_field,
            key_headers: names(&cache.key_headers),
            key_cookies: cache.key_cookies.clone(),
            key_without: names(&cache.key_without),
            limits,
        };
        Ok((settings.name.clone(), Arc::new(settings)))
    };
    config.caches.iter().map(open).collect()
}

fn names(names: &[String]) -> Vec<HeaderName> {
    names.iter().filter_map(|name| HeaderName::try_from(name).ok()).collect()
}

/// The caches have from now on what this generation gives them.
pub(crate) fn adopt(caches: &Caches) {
    caches.values().for_each(|settings| settings.store.set_limits(&settings.limits));
}

fn limits(cache: &config::Cache) -> Limits {
    Limits {
        memory: cache.memory,
        disk: cache.disk.as_ref().map_or(0, |disk| disk.space),
        largest: cache.max_object,
        variants: cache.max_variants,
    }
}

impl Settings {
    /// What the operator adds to the key of a request with these fields, and what policies do.
    pub(crate) fn addition(
        &self,
        headers: &HeaderMap,
        Additions { parts, fields }: Additions<'_>,
    ) -> Vec<u8> {
        let mut addition = Vec::new();
        // Each part with its length, so that none can pass for two.
        let mut add = |part: Option<&[u8]>| match part {
            None => addition.extend_from_slice(b"-\n"),
            Some(part) => {
                addition.extend_from_slice(format!("{}:", part.len()).as_bytes());
                addition.extend_from_slice(part);
                addition.push(b'\n');
            }
        };
        for name in &self.key_headers {
            add(Some(name.as_str().as_bytes()));
            for value in headers.get_all(name) {
                add(Some(value.as_bytes()));
            }
            add(None);
        }
        for name in &self.key_cookies {
            add(Some(name.as_bytes()));
            // As they are written, and all of a name: a server may take any of them.
            let lines = headers.get_all(header::COOKIE).iter();
            for pair in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')) {
                let (found, value) = match pair.iter().position(|byte| *byte == b'=') {
                    Some(at) => (&pair[..at], &pair[at + 1..]),
                    None => (pair, &[][..]),
                };
                if found.trim_ascii() == name.as_bytes() {
                    add(Some(value));
                }
            }
            add(None);
        }
        let mut fields: Vec<_> = fields.iter().filter(|name| !self.key_without.contains(name)).collect();
        // Whichever policy set which of them first.
        fields.sort_unstable_by_key(|name| name.as_str());
        for name in &fields {
            add(Some(name.as_str().as_bytes()));
            headers.get_all(*name).iter().for_each(|value| add(Some(value.as_bytes())));
            add(None);
        }
        parts.iter().for_each(|part| add(Some(part.as_bytes())));
        addition
    }
}

/// A cache in front of an upstream, as one worker has it.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) settings: Arc<Settings>,
    /// One for each revalidation in the background.
    revalidations: Rc<()>,
}

/// Allows one revalidation, until it is dropped.
pub(crate) struct Permit(#[expect(dead_code, reason = "it is counted")] Rc<()>);

impl Front {
    pub(crate) fn new(settings: Arc<Settings>) -> Self {
        Self { settings, revalidations: Rc::default() }
    }

    /// `None` while there are as many as there may be.
    pub(crate) fn permit(&self) -> Option<Permit> {
        let permit = self.revalidations.clone();
        (Rc::strong_count(&self.revalidations) - 1 <= self.settings.max_revalidations)
            .then_some(Permit(permit))
    }
}
