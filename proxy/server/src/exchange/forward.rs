//! Sends a request to an upstream, and makes a response of what a server answers.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::{HeaderName, Version};
use http_body::Body as _;
use tidegate_body::{Body, Progress, Replay, RequestBody, buffer};
use tidegate_io::wake;
use tidegate_message::{RequestHead, ResponseHead, media_type};
use tidegate_plugin_host::Caching;
use tidegate_upstream::{self as upstream, Answer, Hop, Outgoing, Upstream};
use tokio::time::Instant;

use super::active::Outcome;
use crate::access_log::Record;
use crate::error::Error;
use crate::snapshot::Generation;

/// The request as policies left it.
pub(super) struct Request<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) route: Option<&'a Arc<str>>,
    pub(super) timeout: Option<Duration>,
    pub(super) hash_key: Option<&'a str>,
    pub(super) caching: Option<&'a Caching>,
    /// Fields that policies set.
    pub(super) set_fields: &'a [HeaderName],
    /// Bytes of its body, as policies limit it.
    pub(super) body_limit: Option<u64>,
    /// Of its body.
    pub(super) progress: &'a Progress,
    /// Where what it takes to send it once more is kept; `None`: nobody may ask for it.
    pub(super) again: Option<&'a mut Option<Replay>>,
    /// A policy wants another response than it had.
    pub(super) is_repeated: bool,
}

/// Sends the request to an upstream, and its response to the client as it comes.
pub(super) async fn forward(
    generation: &Generation,
    upstream: &Rc<Upstream>,
    request: Request<'_>,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<(ResponseHead, Outcome), Error> {
    record.route = Some(upstream.name.clone());
    let Request { head, timeout, hash_key, body_limit, progress, again, .. } = request;
    if let Some(bounds) = progress.bounds() {
        let mut bounds = upstream.bounds(&generation.config, bounds);
        bounds.limit = bounds.limit.min(body_limit.unwrap_or(u64::MAX));
        // What was held back for policies, or to be sent once more, has a size as well.
        if head.content_length.unwrap_or_else(|| body.size_hint().lower()) > bounds.limit {
            return Err(Error::BodyTooLarge);
        }
        progress.bind(bounds);
    }
    let body = match upstream.buffer_requests() {
        // What is answered while it is being sent cannot be waited for.
        Some(buffer) if hop.upgrade.is_none() && !media_type::is_grpc(&head.headers) => {
            Box::pin(body.stored(buffer, &generation.temporary, &upstream.name)).await?
        }
        _ => body,
    };
    if let Some(again) = again {
        *again = Some(body.replay(upstream.retry_buffer()));
    }
    record.forwarded = Some(record.elapsed());
    let deadline = timeout.map(|allowed| Instant::now() + allowed);
    let outgoing = Outgoing { head, hop, hash_key, body, deadline };
    let answer = upstream::send(upstream, outgoing, &mut record.attempts).await;
    record.upstream = Some(record.elapsed());
    Ok(deliver(generation, upstream, answer?, head.version, hop.client.ip()).await)
}

/// Passes on what a server answers, with a buffer for a client that is slow. `version` is the client's.
pub(super) async fn deliver(
    generation: &Generation,
    upstream: &Upstream,
    answer: Answer,
    version: Version,
    client: IpAddr,
) -> (ResponseHead, Outcome) {
    let Answer { head: mut response, marks, is_stream, body, switched } = answer;
    let payer = || generation.memory.payer(client);
    let is_unbuffered = marks.x_accel_buffering && media_type::take_unbuffered(&mut response.headers);
    let is_streaming = is_unbuffered || is_stream || switched.is_some();
    let body = match upstream.buffer() {
        Some(buffer) if !is_streaming => {
            let at_once = version == Version::HTTP_2;
            let waker = wake::waker().await;
            let task = &mut Context::from_waker(&waker);
            buffer::keep_ahead(body, buffer, &generation.temporary, payer, at_once, task)
        }
        _ => Body::boxed(body),
    };
    (response, Outcome { body, switched, closes: false })
}
