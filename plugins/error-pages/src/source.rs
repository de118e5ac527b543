//! Pages that are fetched, and kept for a while: errors come in masses, and when servers are down.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_plugin_sdk::callout::Outgoing;
use tidegate_plugin_sdk::prelude::*;

/// Pages kept at a time, each of [`MAX_KEPT_BYTES`] at most: a part of the 32 MiB that an instance has.
const MAX_KEPT: usize = 32;
const MAX_KEPT_BYTES: usize = 256 << 10;

/// Until a page that could not be fetched is asked for again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A page as it was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fetched {
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

/// Where pages are fetched from.
#[derive(Debug)]
pub(crate) struct Source {
    destination: String,
    keep: Duration,
    /// By path.
    kept: RefCell<BTreeMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    /// `None` = it was never there.
    page: Option<Fetched>,
    until: Duration,
}

impl Source {
    pub(crate) fn new(destination: String, keep: u32) -> Self {
        Self { destination, keep: Duration::from_secs(keep.into()), kept: RefCell::default() }
    }

    /// An old page rather than none; `None` if it was never there.
    pub(crate) fn fetch(&self, path: &str) -> Option<Fetched> {
        let now = environment::monotonic_clock();
        if let Some(kept) = self.kept.borrow().get(path).filter(|kept| now < kept.until) {
            return kept.page.clone();
        }
        let page = self.ask(path);
        let mut kept = self.kept.borrow_mut();
        let until = now + if page.is_some() { self.keep } else { AFTER_FAILURE };
        let page = page.or_else(|| kept.remove(path)?.page);
        if page.as_ref().is_some_and(|page| page.body.len() > MAX_KEPT_BYTES) {
            return page;
        }
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, kept| now < kept.until);
        }
        if kept.len() < MAX_KEPT {
            kept.insert(path.to_owned(), Kept { page: page.clone(), until });
        }
        page
    }

    fn ask(&self, path: &str) -> Option<Fetched> {
        let destination = &self.destination;
        match Outgoing::new(destination, "GET", path).header("accept", "text/html").send() {
            Ok(answer) if answer.status() == 200 && answer.header("content-encoding").is_none() => {
                let content_type = answer.header("content-type");
                let content_type = content_type.unwrap_or_else(|| "text/html; charset=utf-8".to_owned());
                Some(Fetched { content_type, body: answer.body() })
            }
            Ok(answer) => {
                log::warn!("`{path}` at `{destination}` is no page: status {}", answer.status());
                None
            }
            Err(error) => {
                log::warn!("`{path}` at `{destination}`: {error}");
                None
            }
        }
    }
}
