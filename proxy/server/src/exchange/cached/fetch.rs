//! Asks an upstream for what is not stored, or not fresh, and has stored what may be.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use tidegate_body::RequestBody;
use tidegate_body::buffer::ReadAhead as _;
use tidegate_cache::Time;
use tidegate_cache::decide::{self, Aged, Asked, Forward, Refusal, Rules, Status};
use tidegate_cache::store::{Growing, Head, Lead, Object, Reader, Room, Writer};
use tidegate_io::wake;
use tidegate_message::RequestHead;
use tidegate_plugin_host::Caching;
use tidegate_upstream::{self as upstream, Answer, Attempts, Hop, Outgoing, ServerBody, Upstream};
use tokio::time::{Instant, timeout};

use crate::cache::Settings;
use crate::error::Error;
use crate::tasks::Tasks;

const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Who reads slower than the others is waited for so long, where a body cannot be stored.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request to the origin, whoever makes it.
pub(super) struct Fetch<'a> {
    pub(super) cache: &'a Settings,
    pub(super) upstream: &'a Rc<Upstream>,
    pub(super) tasks: &'a Tasks,
    pub(super) request: &'a RequestHead,
    pub(super) asked: Asked,
    pub(super) hop: &'a Hop,
    pub(super) hash_key: Option<&'a str>,
    /// What policies say of what comes.
    pub(super) caching: Option<&'a Caching>,
    pub(super) deadline: Option<Instant>,
    /// Why it is made.
    pub(super) why: Forward,
    /// What comes is stored although nobody may read it.
    pub(super) in_background: bool,
}

/// What came of it.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub(super) enum Fetched {
    /// This is stored: refreshed, or still stale as the origin failed.
    Stored(Arc<Object>, Status),
    /// This is being stored. Its beginning is there at least as long as the reader.
    Growing(Arc<Growing>, Option<Reader>, Status),
    /// This is not.
    Passed(Answer, Refusal),
}

impl Fetch<'_> {
    /// Asks; with `stale`, whether that is still good.
    pub(super) async fn run(
        &self,
        lead: Lead,
        stale: Option<&Arc<Object>>,
        attempts: &mut Attempts,
    ) -> Result<Fetched, Error> {
        let Self { cache, request, asked, hop, .. } = *self;
        let rules = &*self.rules();
        let mut head = request.clone();
        head.method = Method::GET;
        decide::normalize(&mut head.headers);
        let validates = match stale {
            Some(stale) => decide::validate(&mut head.headers, &stale.head().headers),
            None => {
                // What was not for others just now is asked for as the client does.
                if lead.is_shared() || self.in_background {
                    decide::ask_for_whole(&mut head.headers);
                }
                false
            }
        };
        let outgoing = Outgoing {
            head: &head,
            hop,
            hash_key: self.hash_key,
            body: RequestBody::empty(),
            deadline: self.deadline,
        };
        let answer = upstream::send(self.upstream, outgoing, attempts).await;
        let now = Time::now();
        let instead = |status: Option<StatusCode>| {
            let stale = stale?;
            let stored = stale.head();
            let staleness = stored.staleness(now);
            let serves = decide::serves_stale_on_error(&stored.directives, &asked, staleness, status, rules);
            let detail = Some("origin-failed");
            let status = Status { forward_status: status, detail, ..Status::forwarded(self.why) };
            serves.then(|| Fetched::Stored(stale.clone(), Status { ttl: Some(stored.ttl(now)), ..status }))
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                lead.fail();
                return instead(None).ok_or(error.into());
            }
        };
        let status = answer.head.status;
        if let Some(stale) = stale.filter(|_| validates && status == StatusCode::NOT_MODIFIED) {
            if decide::validates(&answer.head.headers, &stale.head().headers) {
                let news = self.tagged(&answer.head.headers, Some(&stale.head().headers));
                let fresh = lead.refresh(stale, &news, &request.headers, rules);
                let ttl = Some(fresh.head().ttl(now));
                let status = Status { forward_status: Some(status), ttl, ..Status::forwarded(self.why) };
                return Ok(Fetched::Stored(fresh, status));
            }
            // It is about another one than there is.
            cache.store.unusable(stale);
            let alone = cache.store.ask_alone(stale.key(), now);
            drop((lead, answer));
            return Box::pin(self.run(alone, None, attempts)).await;
        }
        if status.is_server_error()
            && let Some(instead) = instead(Some(status))
        {
            lead.fail();
            return Ok(instead);
        }
        Ok(match self.keep(lead, answer, now).await {
            Ok(fetched) => fetched,
            Err((answer, refusal)) => {
                // What is stored is not what there is.
                if let Some(stale) = stale.filter(|_| !status.is_server_error()) {
                    cache.store.unusable(stale);
                }
                Fetched::Passed(answer, refusal)
            }
        })
    }

    /// Those of the cache, with what policies say of the response.
    fn rules(&self) -> Cow<'_, Rules> {
        match self.caching.and_then(|caching| caching.lifetime) {
            Some(seconds) => Cow::Owned(Rules { lifetime: Some(seconds.into()), ..self.cache.rules.clone() }),
            None => Cow::Borrowed(&self.cache.rules),
        }
    }

    /// The fields of a response with the tags that policies give it. Those of a 304 take the place of what is stored, so that they
    /// have what is `known` as well.
    fn tagged<'h>(&self, headers: &'h HeaderMap, known: Option<&HeaderMap>) -> Cow<'h, HeaderMap> {
        let given = self.caching.map_or(&[][..], |caching| &caching.tags);
        if given.is_empty() && known.is_none_or(|known| !known.contains_key(CACHE_TAG)) {
            return Cow::Borrowed(headers);
        }
        let mut tagged = headers.clone();
        let known = known.into_iter().flat_map(|known| known.get_all(CACHE_TAG)).cloned();
        // Policies name no others than visible ones.
        let given = given.iter().filter_map(|tag| HeaderValue::try_from(tag).ok());
        for tag in known.chain(given) {
            if !tagged.get_all(CACHE_TAG).iter().any(|there| *there == tag) {
                tagged.append(CACHE_TAG, tag);
            }
        }
        Cow::Owned(tagged)
    }

    /// Stores a response, if it may be.
    async fn keep(&self, mut lead: Lead, answer: Answer, now: Time) -> Result<Fetched, (Answer, Refusal)> {
        let Answer { head, is_stream, .. } = &answer;
        let (rules, asked) = (&*self.rules(), &self.request.headers);
        let no_store = self.asked.no_store;
        let shielded =
            match decide::storable(&Method::GET, asked, no_store, head.status, &head.headers, rules, now) {
                Ok(_) if *is_stream => Err(Refusal::Stream),
                shielded => shielded,
            };
        let shielded = match shielded {
            Ok(shielded) => shielded,
            Err(refusal) => {
                lead.refuse(refusal);
                return Err((answer, refusal));
            }
        };
        let aged = Aged::of(&head.headers, lead.requested(), now);
        let reason = head.reason.as_ref().map(|(_, reason)| reason.clone());
        let prepared = decide::prepare(&head.headers, now);
        let fields = self.tagged(&prepared, None);
        let stored = Head::new(head.status, fields.into_owned(), reason, shielded, aged);
        let length = if answer.body.is_end_stream() { Some(0) } else { head.content_length };
        let writer = match lead.grow(stored, length) {
            Ok(writer) => writer,
            Err(refusal) => return Err((answer, refusal)),
        };
        let growing = writer.growing().clone();
        // What is kept nowhere goes when nobody reads it, and whoever asked has not begun to.
        let beginning = if self.in_background { None } else { growing.read(0, u64::MAX) };
        let ttl = Some(growing.head().ttl(now));
        let status = Status { ttl, stored: true, ..Status::forwarded(self.why) };
        let waker = wake::waker().await;
        // Often all of it is there already.
        let task = &mut Context::from_waker(&waker);
        if let Some((source, writer)) = fill_at_once(answer.body, writer, task) {
            self.tasks.spawn(fill(source, writer, self.in_background));
        }
        Ok(Fetched::Growing(growing, beginning, status))
    }
}

/// Takes what is there of a body; `None` if that was all, or it broke off.
fn fill_at_once(
    mut source: ServerBody,
    writer: Writer,
    cx: &mut Context<'_>,
) -> Option<(ServerBody, Writer)> {
    loop {
        if source.is_end_stream() {
            writer.finish();
            return None;
        }
        if writer.poll_room(true, cx).is_pending() {
            return Some((source, writer));
        }
        match Pin::new(&mut source).poll_frame(cx) {
            Poll::Pending => return Some((source, writer)),
            Poll::Ready(None) => {
                writer.finish();
                return None;
            }
            Poll::Ready(Some(Err(_))) => return None,
            // Trailers are not stored.
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    writer.push(data);
                }
            }
        }
    }
}

/// Takes a body as fast as its server sends it, as far as there is room for it. Dropped, it breaks off.
async fn fill(mut source: ServerBody, writer: Writer, wanted: bool) {
    loop {
        let begun = Instant::now();
        let room = loop {
            match timeout(PATIENCE, poll_fn(|cx| writer.poll_room(wanted, cx))).await {
                Ok(room) => break room,
                Err(_) => drop(writer.cut_slowest()),
            }
        };
        if room == Room::Unwanted {
            return;
        }
        // Time that it waits for readers does not count as the server's.
        source.extend(begun.elapsed());
        let frame = if source.is_end_stream() {
            None
        } else {
            poll_fn(|cx| Pin::new(&mut source).poll_frame(cx)).await
        };
        match frame {
            None => return writer.finish(),
            Some(Err(_)) => return,
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    writer.push(data);
                }
            }
        }
    }
}
