//! Sends the request to the destination of its route, and makes a response of what comes back.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use http::Method;
use http::header::CONTENT_ENCODING;
use http_body::Body as _;
use tidegate_body::{Body, Progress, Replay, RequestBody, buffer};
use tidegate_io::wake;
use tidegate_message::{RequestHead, ResponseHead, media_type, representation};
use tidegate_plugin_host::Retry;
use tidegate_upstream::{self as upstream, Answer, Hop, Outgoing, Upstream};
use tokio::time::Instant;

use super::active::{ActiveExchange, Outcome};
use super::switch;
use crate::access_log::Record;
use crate::error::Error;
use crate::files;
use crate::snapshot::{Destination, Generation};

/// The request as policies left it.
struct Request<'a> {
    head: &'a RequestHead,
    route: Option<&'a Arc<str>>,
    timeout: Option<Duration>,
    hash_key: Option<&'a str>,
    /// Bytes of its body, as policies limit it.
    body_limit: Option<u64>,
    /// Of its body.
    progress: &'a Progress,
    /// Where what it takes to send it once more is kept; `None`: nobody may ask for it.
    again: Option<&'a mut Option<Replay>>,
}

/// Has the request answered. A failure is a response as well, which policies see as any other.
pub(super) async fn send(active: &mut ActiveExchange, body: RequestBody) -> Outcome {
    let ActiveExchange { generation, hop, exchange, record, opens_websocket, progress, again, .. } = active;
    // Once at most, and not for what switches protocols.
    let may_retry = generation.chain.may_retry() && again.is_none() && hop.upgrade.is_none();
    let again_here = may_retry.then_some(&mut *again);
    let mut answer = if exchange.has_filters() {
        // They have the exchange meanwhile, so what is sent is a copy.
        let (head, timeout) = (exchange.request.clone(), exchange.timeout);
        let (route, hash_key) = (exchange.route.clone(), exchange.hash_key.clone());
        let (route, hash_key, body_limit) = (route.as_ref(), hash_key.as_deref(), exchange.body_limit);
        let again = again_here;
        let request = Request { head: &head, route, timeout, hash_key, body_limit, progress, again };
        let sent = exchange.lend_while(reach(generation, request, hop, body, record));
        Box::pin(sent).await
    } else {
        let request = Request {
            head: &exchange.request,
            route: exchange.route.as_ref(),
            timeout: exchange.timeout,
            hash_key: exchange.hash_key.as_deref(),
            body_limit: exchange.body_limit,
            progress,
            again: again_here,
        };
        reach(generation, request, hop, body, record).await
    };
    if *opens_websocket {
        answer = answer.and_then(|answer| switch::agreed(answer, &exchange.request.headers, record));
    }
    active.record.failure = None;
    let exchange = &mut active.exchange;
    let is_whole = active.again.as_ref().is_some_and(Replay::is_whole);
    exchange.retry = if may_retry && is_whole { Retry::Possible } else { Retry::Impossible };
    let answered = active.record.server().filter(|_| answer.is_ok());
    exchange.tally.server = answered.cloned();
    exchange.tally.attempts = u32::try_from(active.record.attempts.iter().count()).unwrap_or(u32::MAX);
    match answer {
        Ok((mut head, mut outcome)) => {
            active.progress.answered();
            if active.exchange.request.method == Method::HEAD && active.method != Method::HEAD {
                // A policy asked for the head alone. Its client gets a whole response, the body of which is empty
                // and not what the head says of one.
                representation::forget_body(&mut head.headers);
                head.headers.remove(CONTENT_ENCODING);
                head.content_length = Some(0);
                outcome.body = Body::empty();
            }
            active.exchange.response = Some(head);
            outcome
        }
        Err(error) => match active.exchange.take_reply() {
            // No failure: what was sent is given up because a policy that saw a chunk of it answers itself.
            Some(reply) => active.reply(reply),
            None => active.fail(&error),
        },
    }
}

/// What is kept of the body of a request that fails before it is sent, bytes.
const SMALL_BODY: usize = 64 << 10;

async fn reach(
    generation: &Generation,
    mut request: Request<'_>,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<(ResponseHead, Outcome), Error> {
    if let Some(again) = &mut request.again {
        **again = Some(body.replay(SMALL_BODY));
    }
    match generation.destination(request.route.map(|route| &**route)).ok_or(Error::NoRoute)? {
        Destination::Upstream(upstream) => forward(generation, upstream, request, hop, body, record).await,
        Destination::Files(root) => {
            record.route = Some(root.name.clone());
            record.upstream = None;
            let (head, body) = files::serve(root, request.head).await?;
            Ok((head, body.into()))
        }
    }
}

/// Sends the request to an upstream and waits for the head of the response.
async fn forward(
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
    let client = hop.client.ip();
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
    let Answer { head: mut response, marks, is_stream, body, switched } = answer?;

    let payer = || generation.memory.payer(client);
    let is_unbuffered = marks.x_accel_buffering && media_type::take_unbuffered(&mut response.headers);
    let is_streaming = is_unbuffered || is_stream || switched.is_some();
    let body = match upstream.buffer() {
        Some(buffer) if !is_streaming => {
            let at_once = head.version == http::Version::HTTP_2;
            let waker = wake::waker().await;
            let task = &mut Context::from_waker(&waker);
            buffer::keep_ahead(body, buffer, &generation.temporary, payer, at_once, task)
        }
        _ => Body::boxed(body),
    };
    Ok((response, Outcome { body, switched, closes: false }))
}
