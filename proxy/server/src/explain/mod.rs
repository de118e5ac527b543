//! Requests of which it is told what policies asked and did: which ones (`[explain]`), and what is kept of them.
//!
//! `signature` is how an operator asks for a request of their own, `recent` keeps what there is to tell for the admin interface,
//! `recorded` is one request as it is kept, and as it is read again, `text` puts it into words.

mod recent;
mod recorded;
pub(crate) mod signature;
pub(crate) mod text;

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::{HOST, HeaderMap, HeaderName};
use tidegate_config::{self as config, Config, Problem};
use tidegate_plugin_host::Witness;
use tokio::time::Instant;

pub(crate) use self::recent::Recent;
pub(crate) use self::recorded::Recorded;
use self::signature::Key;
use crate::regular;
use crate::sample::Sample;

/// How a client asks, and the field of the response that names what was kept.
pub(crate) const FIELD: HeaderName = HeaderName::from_static("x-tidegate-explain");

/// Requests of `share` that each worker explains in a second.
const PER_SECOND: u32 = 20;

/// What `[explain]` says, with its key.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    share: u8,
    key: Option<Key>,
    keep: usize,
    hidden: Arc<[HeaderName]>,
}

/// Reads the key, if there is to be one.
pub(crate) fn load(config: &Config, problems: &mut Vec<Problem>) -> Option<Settings> {
    let config::Explain { share, key_file, keep, hide } = config.explain.as_ref()?;
    let read = |path: &PathBuf| {
        let key = regular::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
        key.and_then(|key| Key::new(key).map_err(|error| format!("{}: {error}", path.display())))
    };
    let key = match key_file.as_ref().map(read).transpose() {
        Ok(key) => key,
        Err(message) => {
            problems.push(config.positions.problem("explain.key-file", message));
            None
        }
    };
    let hidden = hide.iter().filter_map(|name| HeaderName::try_from(name.as_str()).ok()).collect();
    Some(Settings { share: *share, key, keep: *keep, hidden })
}

/// Files that it was read from.
pub(crate) fn files(config: &Config) -> impl Iterator<Item = PathBuf> {
    config.explain.iter().filter_map(|explain| explain.key_file.clone())
}

/// Which requests one worker explains.
pub(crate) struct Explain {
    settings: Settings,
    recent: Arc<Recent>,
    sample: Sample,
    /// When this second began, and how many of `share` were explained in it.
    second: Cell<(Instant, u32)>,
}

/// Why a request is explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// It asks for it, signed.
    Asked,
    /// It is one of `share`.
    Share,
}

impl Explain {
    pub(crate) fn new(settings: Settings, recent: Arc<Recent>) -> Self {
        let sample = Sample::new(settings.share);
        Self { settings, recent, sample, second: Cell::new((Instant::now(), 0)) }
    }

    /// Whether this request is to be explained. No policy and no server sees that it was asked for.
    pub(crate) fn chooses<B>(&self, request: &mut Request<B>) -> Option<Because> {
        if let (Some(asked), Some(key)) = (request.headers_mut().remove(FIELD), &self.settings.key) {
            let (method, uri, headers) = (request.method(), request.uri(), request.headers());
            let authority = uri.authority().map(|authority| authority.as_str().as_bytes());
            let host =
                authority.or_else(|| headers.get(HOST).map(|host| host.as_bytes())).unwrap_or_default();
            let target = uri.path_and_query().map_or("/", |target| target.as_str());
            if key.signed(asked.as_bytes(), method.as_str(), host, target) {
                return Some(Because::Asked);
            }
        }
        (self.sample.takes() && self.is_one_more()).then_some(Because::Share)
    }

    fn is_one_more(&self) -> bool {
        let (mut began, mut count) = self.second.get();
        if began.elapsed() >= Duration::from_secs(1) {
            (began, count) = (Instant::now(), 0);
        }
        self.second.set((began, count + 1));
        count < PER_SECOND
    }

    /// For an exchange that is to be explained.
    pub(crate) fn witness(&self) -> Box<Witness> {
        Witness::new(self.settings.hidden.clone())
    }

    /// What will be kept of a request whose fields are these.
    pub(crate) fn begin(&self, headers: &HeaderMap) -> Explained {
        Explained {
            recent: self.recent.clone(),
            keep: self.settings.keep,
            headers: recorded::fields(headers, &self.settings.hidden),
            calls: Vec::new(),
        }
    }
}

/// One request that is explained, until its line is written.
pub(crate) struct Explained {
    recent: Arc<Recent>,
    keep: usize,
    headers: recorded::Fields,
    pub(crate) calls: Vec<tidegate_plugin_host::Account>,
}

impl Explained {
    /// `line` is that of the access log, in JSON.
    pub(crate) fn finish(&self, id: String, line: &[u8]) {
        if let Some(json) = recorded::kept(line, &self.headers, &self.calls) {
            self.recent.push(id, json, self.keep);
        }
    }
}
