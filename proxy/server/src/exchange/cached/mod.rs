//! The cache between policies and an upstream: what a request gets without a server, and what is kept of what servers say.
//!
//! ```text
//! request ─▶ find ─▶ hit ───────────────────────────────▶ response
//!     │        └─▶ miss, stale ─▶ join ─▶ fetch ─▶ store ─▲
//!     ▼                             └─▶ wait for another ─┘
//!  forward: not for a cache
//! ```
//!
//! What may be stored and used is decided by the crate `cache`, which also has what is stored. `fetch` asks an upstream, `revalidate`
//! does so in the background, `answer` makes responses of what is stored, `body` their bodies while it grows. Policies see all of
//! them as any other response.

mod answer;
mod body;
mod fetch;
mod revalidate;

use std::rc::Rc;
use std::sync::Arc;

use http::{Method, StatusCode, Uri, header};
use http_body::Body as _;
use tidegate_body::{Body, RequestBody};
use tidegate_cache::Time;
use tidegate_cache::decide::{self, Asked, Forward, Selection, Status, Use, Why};
use tidegate_cache::store::{Found, Joined, Key, KeyParts, Landing, Object, Purge};
use tidegate_message::{RequestHead, ResponseHead};
use tidegate_plugin_host::{CacheChoice, Caching};
use tidegate_upstream::{Hop, Upstream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use self::fetch::{Fetch, Fetched};
use super::active::Outcome;
use super::forward::{Request, deliver, forward};
use crate::access_log::{Cached, Record};
use crate::cache::{Additions, Front, Settings};
use crate::error::Error;
use crate::snapshot::Generation;
use crate::worker::Worker;

/// What a request meets.
pub(super) struct Stage<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) generation: &'a Generation,
    pub(super) upstream: &'a Rc<Upstream>,
    pub(super) front: &'a Front,
}

/// What one request is answered with, and how that came.
type Response = (ResponseHead, Outcome);

/// Has the request answered: by what is stored, or by the upstream.
pub(super) async fn send(
    stage: Stage<'_>,
    request: Request<'_>,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<Response, Error> {
    if let Some((why, detail)) = bypasses(&request, hop, &body) {
        return pass(&stage, request, hop, body, record, why, detail).await;
    }
    let settings = &*stage.front.settings;
    let head = request.head;
    let key = key(settings, stage.upstream, head, additions(&request));
    let asked = match settings.rules.obeys_requests {
        true => Asked::of(&head.headers),
        false => Asked::default(),
    };
    let asked = Asked { no_cache: asked.no_cache || request.is_repeated, ..asked };
    record.route = Some(stage.upstream.name.clone());
    let mut search = Search { stage: &stage, request, asked, key, hop, record };
    // A file that cannot be used is not found the second time; then the request goes to the origin.
    for _ in 0..2 {
        match search.look_up().await {
            Step::Answer(response) => return Ok(response),
            Step::Again => {}
            Step::Forward(why) => {
                let Search { request, record, .. } = search;
                return pass(&stage, request, hop, body, record, why, None).await;
            }
            Step::Ask(stale, why, selection) => {
                if let Some(response) = search.ask(stale, why, selection).await? {
                    return Ok(response);
                }
            }
        }
    }
    let Search { request, record, .. } = search;
    pass(&stage, request, hop, body, record, Forward::UriMiss, None).await
}

/// Fields that some servers take for another method, target or host than the request has, whatever a cache knows of them.
const OVERRIDES: [&str; 8] = [
    "x-host",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

/// Why a request is neither answered from the cache nor its response stored, and what else is to be said of that.
fn bypasses(request: &Request<'_>, hop: &Hop, body: &RequestBody) -> Option<(Forward, Option<&'static str>)> {
    if !is_for_caches(&request.head.method) {
        return Some((Forward::Method, None));
    }
    let detail = if hop.upgrade.is_some() {
        Some("upgrade")
    } else if !body.is_end_stream() {
        // Servers may answer by it, and it is in no key.
        Some("body")
    } else {
        bypasses_cache(request.head, request.caching)
    };
    detail.map(|detail| (Forward::Bypass, Some(detail)))
}

fn is_for_caches(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Why a request has nothing to do with a cache, as far as its head and policies say so.
pub(crate) fn bypasses_cache(head: &RequestHead, caching: Option<&Caching>) -> Option<&'static str> {
    let overrides = |name: &str| name.starts_with("x-") && OVERRIDES.contains(&name);
    if !is_for_caches(&head.method) {
        Some("method")
    } else if caching.is_some_and(|caching| caching.cache == CacheChoice::Bypassed) {
        Some("policy")
    } else if head.authority.is_empty() {
        Some("no-host")
    } else if decide::has_preconditions(&head.headers) {
        Some("precondition")
    } else if head.headers.keys().any(|name| overrides(name.as_str())) {
        Some("override")
    } else {
        None
    }
}

/// What policies add to the key.
pub(super) fn additions<'a>(request: &Request<'a>) -> Additions<'a> {
    let parts = request.caching.map_or(&[][..], |caching| &caching.key);
    Additions { parts, fields: request.set_fields }
}

fn key(settings: &Settings, upstream: &Upstream, head: &RequestHead, additions: Additions<'_>) -> Key {
    Key::new(&KeyParts {
        destination: &upstream.name,
        scheme: head.scheme,
        authority: &head.authority,
        target: head.target().as_str(),
        addition: &settings.addition(&head.headers, additions),
    })
}

/// Sends a request on as if there were no cache, and looks what that changes.
async fn pass(
    stage: &Stage<'_>,
    request: Request<'_>,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
    why: Forward,
    detail: Option<&'static str>,
) -> Result<Response, Error> {
    let settings = &*stage.front.settings;
    record.cache = Some(Cached { result: "bypass", reason: Some(detail.unwrap_or(why.as_str())) });
    let forwarded = forward(stage.generation, stage.upstream, request, hop, body, record);
    let (mut response, outcome) = Box::pin(forwarded).await?;
    answer::note(settings, &mut response.headers, Status { detail, ..Status::forwarded(why) });
    Ok((response, outcome))
}

/// What a request changed is of no use until it was validated (RFC 9111 §4.4): what is stored for its URL, and for those on the
/// same host that the response names; in every cache, as policies choose one for each request.
pub(super) fn invalidate(
    generation: &Generation,
    upstream: &Upstream,
    head: &RequestHead,
    additions: Additions<'_>,
    response: &ResponseHead,
) {
    let named = [header::LOCATION, header::CONTENT_LOCATION]
        .into_iter()
        .filter_map(|name| response.headers.get(name)?.to_str().ok()?.parse::<Uri>().ok())
        .filter(|uri| {
            let same = |of: Option<&str>, own: &str| of.is_none_or(|of| of.eq_ignore_ascii_case(own));
            same(uri.scheme_str(), head.scheme)
                && same(uri.authority().map(|authority| authority.as_str()), &head.authority)
        })
        .filter_map(|uri| uri.path_and_query().map(|target| target.as_str().to_owned()));
    let targets: Vec<_> = std::iter::once(head.target().as_str().to_owned()).chain(named).collect();
    for front in generation.caches.values() {
        let settings = &front.settings;
        let addition = settings.addition(&head.headers, additions);
        for target in &targets {
            settings.store.invalidate(&Key::new(&KeyParts {
                destination: &upstream.name,
                scheme: head.scheme,
                authority: &head.authority,
                target,
                addition: &addition,
            }));
            if settings.store.has_additions() {
                // Those of others are found by looking at all of them.
                let store = settings.store.clone();
                let (scheme, authority) = (Some(head.scheme.to_owned()), head.authority.clone());
                let purge = Purge::Url { scheme, authority, target: target.clone() };
                drop(spawn_blocking(move || store.purge(&purge, true, Time::now())));
            }
        }
    }
}

/// A request that looks for its response.
struct Search<'a> {
    stage: &'a Stage<'a>,
    request: Request<'a>,
    asked: Asked,
    key: Key,
    hop: &'a Hop,
    record: &'a mut Record,
}

/// What follows from a look at what is stored.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Step {
    Answer(Response),
    /// What was found is not there after all.
    Again,
    /// The request is not one to store a response to.
    Forward(Forward),
    /// The origin is to be asked, for this if there is something, for this reason; and what of the request is known to count.
    Ask(Option<Arc<Object>>, Forward, Selection),
}

impl Search<'_> {
    fn settings(&self) -> &Settings {
        &self.stage.front.settings
    }

    async fn look_up(&mut self) -> Step {
        let head = self.request.head;
        let now = Time::now();
        let (stale, why, selection) = match self.settings().store.find(&self.key, &head.headers) {
            Found::Nothing => (None, Forward::UriMiss, Selection::default()),
            Found::Others(selection) => (None, Forward::VaryMiss, selection),
            Found::Object(object) => {
                let stored = object.head();
                // What was for everybody may be another thing for somebody who says who they are (RFC 9111 §3.5).
                if head.headers.contains_key(header::AUTHORIZATION) && !decide::shielded(&stored.directives) {
                    return Step::Forward(Forward::Request);
                }
                let (age, staleness) = (stored.age(now), stored.staleness(now));
                match decide::reuse(&stored.directives, &self.asked, staleness, age, &self.settings().rules) {
                    Use::Hit => return self.hit(&object, now).await,
                    Use::WhileRevalidating => {
                        revalidate::begin(self.stage, &self.request, self.hop, &object);
                        return self.hit(&object, now).await;
                    }
                    Use::Validate(why) => {
                        let why = if why == Why::Asked { Forward::Request } else { Forward::Stale };
                        let selection = stored.selection.clone();
                        (Some(object), why, selection)
                    }
                }
            }
        };
        if self.asked.only_if_cached {
            return Step::Answer(self.not_cached(why));
        }
        // What HEAD and most parts bring is nothing to be stored, and the whole may be much more.
        let is_part = head.headers.contains_key(header::RANGE) && !decide::asks_for_beginning(&head.headers);
        if head.method == Method::HEAD || is_part && stale.is_none() {
            return Step::Forward(why);
        }
        Step::Ask(stale, why, selection)
    }

    async fn hit(&mut self, object: &Arc<Object>, now: Time) -> Step {
        let ttl = object.head().ttl(now);
        self.record.cache = Some(Cached { result: if ttl > 0 { "hit" } else { "stale" }, reason: None });
        match answer::of_object(self.settings(), self.request.head, object, Status::hit(ttl)).await {
            Some((head, body)) => Step::Answer((head, body.into())),
            None => Step::Again,
        }
    }

    /// The client wants nothing but what is stored (RFC 9111 §5.2.1.7).
    fn not_cached(&mut self, why: Forward) -> Response {
        self.record.cache = Some(Cached { result: "bypass", reason: Some("only-if-cached") });
        let mut head = ResponseHead::new(StatusCode::GATEWAY_TIMEOUT, http::HeaderMap::new());
        let status = Status { detail: Some("only-if-cached"), ..Status::forwarded(why) };
        answer::note(self.settings(), &mut head.headers, status);
        head.headers.insert(header::CONTENT_LENGTH, 0.into());
        head.content_length = Some(0);
        (head, Body::empty().into())
    }

    /// Asks the origin, or waits for another who does. `None`: what came cannot be used after all.
    async fn ask(
        &mut self,
        stale: Option<Arc<Object>>,
        why: Forward,
        mut selection: Selection,
    ) -> Result<Option<Response>, Error> {
        let patience = Instant::now() + self.settings().max_wait;
        let lead = loop {
            let now = Time::now();
            let waiting = match self.settings().store.join(&self.key, &selection, now) {
                Joined::Lead(lead) => break lead,
                Joined::Wait(waiting) => waiting,
            };
            let asked = &self.request.head.headers;
            let left = patience.saturating_duration_since(Instant::now());
            match timeout(left, waiting).await {
                Ok(Landing::Object(object)) if object.head().selection.matches(asked) => {
                    return Ok(self.shared(&object, why).await);
                }
                Ok(Landing::Growing(growing)) if growing.head().selection.matches(asked) => {
                    let ttl = Some(growing.head().ttl(now));
                    let status = Status { collapsed: true, ttl, ..Status::forwarded(why) };
                    if let Some((head, body)) =
                        answer::of_growing(self.settings(), self.request.head, &growing, status)
                    {
                        self.record.cache = Some(Cached { result: "collapsed", reason: Some(why.as_str()) });
                        return Ok(Some((head, body.into())));
                    }
                    break self.settings().store.ask_alone(&self.key, now);
                }
                // It is for others than was known when this one joined.
                Ok(Landing::Object(object)) => selection = object.head().selection.again(asked),
                Ok(Landing::Growing(growing)) => selection = growing.head().selection.again(asked),
                Ok(Landing::GivenUp) => {}
                Ok(Landing::NotStored | Landing::Failed) | Err(_) => {
                    break self.settings().store.ask_alone(&self.key, now);
                }
            }
        };
        self.record.forwarded = Some(self.record.elapsed());
        let deadline = self.request.timeout.map(|allowed| Instant::now() + allowed);
        let fetch = Fetch {
            cache: &self.stage.front.settings,
            upstream: self.stage.upstream,
            tasks: self.stage.worker.tasks(),
            request: self.request.head,
            asked: self.asked,
            hop: self.hop,
            hash_key: self.request.hash_key,
            caching: self.request.caching,
            deadline,
            why,
            in_background: false,
        };
        let fetched = fetch.run(lead, stale.as_ref(), &mut self.record.attempts).await;
        self.record.upstream = Some(self.record.elapsed());
        let reason = Some(why.as_str());
        match fetched? {
            Fetched::Stored(object, status) => {
                let refreshed = status.forward_status == Some(StatusCode::NOT_MODIFIED);
                let result = if refreshed { "revalidated" } else { "stale" };
                self.record.cache = Some(Cached { result, reason: status.detail.or(reason) });
                let answer = answer::of_object(self.settings(), self.request.head, &object, status).await;
                Ok(answer.map(|(head, body)| (head, body.into())))
            }
            Fetched::Growing(growing, _beginning, status) => {
                self.record.cache = Some(Cached { result: "miss", reason });
                let answer = answer::of_growing(self.settings(), self.request.head, &growing, status);
                Ok(answer.map(|(mut head, body)| {
                    // It comes from the server, which others read behind this one.
                    head.origin = Some(self.stage.upstream.name.clone());
                    (head, body.into())
                }))
            }
            Fetched::Passed(answer, refusal) => {
                self.record.cache = Some(Cached { result: "pass", reason: Some(refusal.as_str()) });
                let (version, client) = (self.request.head.version, self.hop.client.ip());
                let delivered = deliver(self.stage.generation, self.stage.upstream, answer, version, client);
                let (mut head, outcome) = delivered.await;
                answer::note(self.settings(), &mut head.headers, Status::refused(why, refusal));
                Ok(Some((head, outcome)))
            }
        }
    }

    /// Answers with what another's request brought.
    async fn shared(&mut self, object: &Arc<Object>, why: Forward) -> Option<Response> {
        self.record.cache = Some(Cached { result: "collapsed", reason: Some(why.as_str()) });
        let ttl = Some(object.head().ttl(Time::now()));
        let status = Status { collapsed: true, ttl, ..Status::forwarded(why) };
        let (head, body) = answer::of_object(self.settings(), self.request.head, object, status).await?;
        Some((head, body.into()))
    }
}
