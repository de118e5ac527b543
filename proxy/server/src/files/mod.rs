//! File roots: directories whose files the proxy serves by itself. A destination like an upstream.
//!
//! ```text
//! path ─▶ look_up ─▶ (sibling) ─▶ conditional ─▶ range ─▶ send
//!          open
//! ```
//!
//! `path` says which file a request means, `open` opens that and nothing else, `look_up` finds what stands for
//! it, `sibling` in which form; `conditional` and `range` of the crate for messages say how much of it the client wants; `send` is the
//! body.
//!
//! A worker never waits for a disk. Files are opened and read on its thread as long as the kernel has in
//! memory what that takes; otherwise a thread that may wait does it.

mod look_up;
mod media;
mod memory;
mod open;
mod path;
pub(crate) mod ranges;
mod send;
mod sibling;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tidegate_config::{self as config, Config, Problem};
use tidegate_message::conditional::{Outcome, Validators};
use tidegate_message::fields::tokens;
use tidegate_message::range::Selection;
use tidegate_message::{RequestHead, ResponseHead};
use tidegate_plugin_host::PathPatterns;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use self::look_up::{Found, Representation, Trouble, look_up};
use self::media::MediaTypes;
use self::open::{Failure, Lookup};
use self::path::Refusal;
pub(crate) use self::send::{FileBody, Segment};
use self::sibling::Preferences;
use crate::error::Error;
use tidegate_body::Body;

/// How long a file system may take to open a file or to give the next piece of one. Disks take milliseconds;
/// a network file system whose server is gone takes for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory whose files are served. A clone has regex caches of its own: one for each worker.
#[derive(Clone)]
pub(crate) struct Root {
    /// In the configuration.
    pub(crate) name: Arc<str>,
    path: PathBuf,
    index: Vec<String>,
    fallback: Option<Vec<u8>>,
    fallback_for_all: bool,
    not_found: Option<Vec<u8>>,
    media_types: MediaTypes,
    caching: Option<Caching>,
    precompressed: bool,
    follow_symlinks: bool,
}

/// `cache-control` of a root: every glob, and the value that goes with it.
#[derive(Clone)]
struct Caching {
    patterns: PathPatterns,
    values: Vec<HeaderValue>,
}

/// By name.
pub(crate) type Roots = HashMap<Arc<str>, Arc<Root>>;

/// Every root of a configuration that can be served; adds what is wrong with the others to `problems`.
pub(crate) fn load(config: &Config, problems: &mut Vec<Problem>) -> Roots {
    let mut roots = Roots::new();
    for (name, files) in &config.files {
        match Root::new(name, files) {
            Ok(root) => drop(roots.insert(root.name.clone(), Arc::new(root))),
            Err((key, message)) => {
                problems.push(config.positions.problem(&format!("files.{name}.{key}"), message));
            }
        }
    }
    roots
}

/// Links in roots that are not followed, which look like files that are there, and pages that are not there.
pub(crate) fn warnings(config: &Config) -> Vec<Problem> {
    let unfollowed = |(name, files): (&String, &config::Files)| {
        let mut entries = std::fs::read_dir(&files.root).ok().filter(|_| !files.follow_symlinks)?.flatten();
        let link = entries.find(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()))?;
        let link = link.file_name();
        let message = format!("files.{name}: {} is a symbolic link, which is not followed", link.display());
        let problem = config.positions.problem(&format!("files.{name}.root"), message);
        Some(problem.with_help("add follow-symlinks = true, or put the files themselves there"))
    };
    let missing = |(name, files): (&String, &config::Files)| {
        let pages = [("fallback", files.fallback.clone()), ("not-found", files.not_found.clone())];
        let gone = pages.into_iter().filter_map(|(key, page)| {
            let page = page.filter(|page| !files.root.join(page).is_file())?;
            let message = format!("files.{name}.{key}: there is no file {page:?} in root");
            let help = "until there is one, what is not found gets a line of text";
            Some(config.positions.problem(&format!("files.{name}.{key}"), message).with_help(help))
        });
        gone.collect::<Vec<_>>()
    };
    let mut found: Vec<Problem> = config.files.iter().filter_map(unfollowed).collect();
    found.extend(config.files.iter().flat_map(missing));
    found
}

impl Root {
    /// The error is a key and what is wrong with it.
    fn new(name: &str, files: &config::Files) -> Result<Self, (&'static str, String)> {
        if let Err(failure) = open::root(&files.root, Lookup::Patient) {
            let cause = match failure {
                Failure::Io(error) => error.to_string(),
                Failure::Missing | Failure::Forbidden | Failure::WouldWait => "it is not there".to_owned(),
            };
            return Err(("root", format!("cannot open the directory {}: {cause}", files.root.display())));
        }
        let caching = Caching::new(&files.cache_control).map_err(|message| ("cache-control", message))?;
        Ok(Self {
            name: name.into(),
            path: files.root.clone(),
            index: files.index.clone(),
            fallback: files.fallback.clone().map(String::into_bytes),
            fallback_for_all: files.fallback_for_all,
            not_found: files.not_found.clone().map(String::into_bytes),
            media_types: MediaTypes {
                known: files
                    .media_types
                    .iter()
                    .filter_map(|(ending, kind)| Some((ending.clone(), kind.parse().ok()?)))
                    .collect(),
                charset: files.charset.clone(),
            },
            caching,
            precompressed: files.precompressed,
            follow_symlinks: files.follow_symlinks,
        })
    }
}

impl Caching {
    fn new(entries: &[config::CacheControl]) -> Result<Option<Self>, String> {
        if entries.is_empty() {
            return Ok(None);
        }
        let mut globs = Vec::new();
        let mut values = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let value = HeaderValue::from_str(&entry.value);
            let value = value.map_err(|_| format!("[{index}].value is not the value of a field"))?;
            globs.extend_from_slice(&entry.paths);
            values.extend(entry.paths.iter().map(|_| value.clone()));
        }
        Ok(Some(Self { patterns: PathPatterns::new(&globs)?, values }))
    }

    /// What caches are told of the file at `path`.
    fn of(&self, path: &[u8]) -> Option<&HeaderValue> {
        let path = format!("/{}", String::from_utf8_lossy(path));
        self.values.get(self.patterns.first_match(&path)?)
    }
}

/// Answers a request from a root: with a file, or with why there is none, which is no failure.
///
/// # Errors
/// The file system failed, or did not answer within [`PATIENCE`].
pub(crate) async fn serve(root: &Arc<Root>, request: &RequestHead) -> Result<(ResponseHead, Body), Error> {
    let (mut head, body) = answer(root, request).await?;
    head.origin = Some(root.name.clone());
    Ok((head, body))
}

async fn answer(root: &Arc<Root>, request: &RequestHead) -> Result<(ResponseHead, Body), Error> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        let allow = (header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(status(StatusCode::METHOD_NOT_ALLOWED, Some(allow)));
    }
    let wanted = match path::read(request.path(), request.normalized_path()) {
        Ok(wanted) => wanted,
        Err(Refusal::Malformed) => return Ok(status(StatusCode::BAD_REQUEST, None)),
        Err(Refusal::NotServed) => return Ok(status(StatusCode::NOT_FOUND, None)),
    };
    let accepted = Preferences::of(&request.headers);
    let is_page = is_page(request);
    let found = match look_up(root, &wanted, accepted, is_page, Lookup::Cached) {
        Err(Trouble::WouldWait) => {
            let patient = {
                let root = root.clone();
                spawn_blocking(move || look_up(&root, &wanted, accepted, is_page, Lookup::Patient))
            };
            match timeout(PATIENCE, patient).await {
                Ok(Ok(found)) => found,
                Ok(Err(panicked)) => Err(Trouble::Io(std::io::Error::other(panicked))),
                Err(_) => Err(Trouble::Io(std::io::ErrorKind::TimedOut.into())),
            }
        }
        found => found,
    };
    match found {
        Ok(Found::File(file)) => Ok(respond(root, request, file)),
        Ok(Found::Instead(file)) => Ok(respond_missing(root, request, file)),
        Ok(Found::Directory) => {
            // The client knows nothing of what policies made of its path.
            let received = request.received();
            let path = tidegate_message::path::normalize(received.path());
            let there = path::with_slash(path.as_deref().unwrap_or(received.path()), received.query());
            // Its parts came in a request target, so they are visible ASCII.
            let there = HeaderValue::try_from(there).ok().map(|there| (header::LOCATION, there));
            Ok(status(StatusCode::PERMANENT_REDIRECT, there))
        }
        Ok(Found::Missing) => Ok(status(StatusCode::NOT_FOUND, None)),
        Ok(Found::Forbidden) => Ok(status(StatusCode::FORBIDDEN, None)),
        Err(trouble) => {
            let cause = match trouble {
                Trouble::Io(error) => error.to_string(),
                Trouble::WouldWait => "the file system would wait for ever".to_owned(),
            };
            Err(Error::File { root: root.name.clone(), cause })
        }
    }
}

/// Whether a request may be for a page: browsers say so, and names of pages have no dot as a rule.
fn is_page(request: &RequestHead) -> bool {
    let last = request.path().rsplit('/').next().unwrap_or_default();
    let accepts = || tokens(&request.headers, &header::ACCEPT).any(|range| range.starts_with("text/html"));
    !last.contains('.') || accepts()
}

/// A response that only names its status, as those to failures do.
fn status(status: StatusCode, field: Option<(header::HeaderName, HeaderValue)>) -> (ResponseHead, Body) {
    let text = Bytes::from(format!("{status}\n"));
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    headers.extend(field);
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(text.len() as u64);
    (head, Body::full(text))
}

/// The page for what is not there.
fn respond_missing(root: &Root, request: &RequestHead, page: Representation) -> (ResponseHead, Body) {
    let mut plain = request.clone();
    for condition in [
        header::RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        plain.headers.remove(condition);
    }
    let (mut found, body) = respond(root, &plain, page);
    for of_the_page in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES, header::CACHE_CONTROL] {
        found.headers.remove(of_the_page);
    }
    found.status = StatusCode::NOT_FOUND;
    (found, body)
}

/// The response with a file that was found: all of it, some of it, or that the client has it.
fn respond(root: &Root, request: &RequestHead, found: Representation) -> (ResponseHead, Body) {
    let Representation { file, size, modified, touched, path, coding, varies } = found;
    let asked = &request.headers;
    let validators = Validators::new(modified, touched, size, coding, SystemTime::now());
    let mut headers = HeaderMap::with_capacity(12);
    headers.insert(header::ETAG, validators.etag());
    if varies {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(value) = root.caching.as_ref().and_then(|caching| caching.of(&path)) {
        headers.insert(header::CACHE_CONTROL, value.clone());
    }
    match validators.check(asked) {
        Outcome::Proceed => {}
        Outcome::NotModified => {
            return (ResponseHead::new(StatusCode::NOT_MODIFIED, headers), Body::empty());
        }
        Outcome::Failed => return status(StatusCode::PRECONDITION_FAILED, None),
    }
    if let Some(date) = validators.last_modified() {
        headers.insert(header::LAST_MODIFIED, date);
    }
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, coding.value());
    }
    let kind = root.media_types.of(&path);
    // Ranges are defined for GET alone (RFC 9110 §14.2).
    let selection = match request.method == Method::GET && validators.allow_range(asked) {
        true => Selection::of(asked, size),
        false => Selection::Whole,
    };
    headers.insert(header::CONTENT_TYPE, kind);
    let Some((status, segments)) = ranges::select(selection, size, &mut headers) else {
        let range = (header::CONTENT_RANGE, ranges::unsatisfied(size));
        return status(StatusCode::RANGE_NOT_SATISFIABLE, Some(range));
    };
    let length: u64 = segments.iter().map(Segment::len).sum();
    headers.insert(header::CONTENT_LENGTH, length.into());
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(length);
    let body = match request.method == Method::HEAD {
        true => Body::empty(),
        false => Body::boxed(FileBody::new(root.name.clone(), Arc::new(file), segments)),
    };
    (head, body)
}
