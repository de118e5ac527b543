//! Sends the request to the destination of its route, and makes a response of what comes back.

use std::rc::Rc;

use http::Method;
use http::header::CONTENT_ENCODING;
use tidegate_body::{Body, Replay, RequestBody};
use tidegate_message::{ResponseHead, representation};
use tidegate_plugin_host::{CacheChoice, Retry};
use tidegate_upstream::Hop;

use super::active::{ActiveExchange, Outcome};
use super::forward::{Request, forward};
use super::{cached, switch};
use crate::access_log::Record;
use crate::error::Error;
use crate::files;
use crate::snapshot::{Destination, Generation};
use crate::worker::Worker;

/// Has the request answered. A failure is a response as well, which policies see as any other.
pub(super) async fn send(active: &mut ActiveExchange, body: RequestBody) -> Outcome {
    let ActiveExchange {
        worker, generation, hop, exchange, record, opens_websocket, progress, again, ..
    } = active;
    // Once at most, and not for what switches protocols.
    let is_repeated = again.is_some();
    let may_retry = generation.chain.may_retry() && !is_repeated && hop.upgrade.is_none();
    let again_here = may_retry.then_some(&mut *again);
    let mut answer = if exchange.has_filters() {
        // They have the exchange meanwhile, so what is sent is a copy.
        let (head, timeout) = (exchange.request.clone(), exchange.timeout);
        let (route, hash_key) = (exchange.route.clone(), exchange.hash_key.clone());
        let (caching, set_fields) = (exchange.caching.clone(), exchange.set_fields.clone());
        let request = Request {
            head: &head,
            route: route.as_ref(),
            timeout,
            hash_key: hash_key.as_deref(),
            caching: caching.as_deref(),
            set_fields: &set_fields,
            body_limit: exchange.body_limit,
            progress,
            again: again_here,
            is_repeated,
        };
        let sent = exchange.lend_while(reach(worker, generation, request, hop, body, record));
        Box::pin(sent).await
    } else {
        let request = Request {
            head: &exchange.request,
            route: exchange.route.as_ref(),
            timeout: exchange.timeout,
            hash_key: exchange.hash_key.as_deref(),
            caching: exchange.caching.as_deref(),
            set_fields: &exchange.set_fields,
            body_limit: exchange.body_limit,
            progress,
            again: again_here,
            is_repeated,
        };
        reach(worker, generation, request, hop, body, record).await
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
    worker: &Rc<Worker>,
    generation: &Generation,
    mut request: Request<'_>,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<(ResponseHead, Outcome), Error> {
    if let Some(again) = &mut request.again {
        **again = Some(body.replay(SMALL_BODY));
    }
    let destination = generation.destination(request.route.map(|route| &**route)).ok_or(Error::NoRoute)?;
    let (upstream, configured) = match destination {
        Destination::Upstream(upstream) => (upstream, None),
        Destination::Cached(upstream, front) => (upstream, Some(front)),
        Destination::Files(root) => {
            record.route = Some(root.name.clone());
            record.upstream = None;
            let (head, body) = files::serve(root, request.head).await?;
            return Ok((head, body.into()));
        }
    };
    let front = match request.caching.map(|caching| &caching.cache) {
        Some(CacheChoice::Named(name)) => generation.caches.get(name),
        _ => configured,
    };
    let (head, additions) = (request.head, cached::additions(&request));
    let answer = match front {
        None => forward(generation, upstream, request, hop, body, record).await?,
        Some(front) => {
            let stage = cached::Stage { worker, generation, upstream, front };
            Box::pin(cached::send(stage, request, hop, body, record)).await?
        }
    };
    let succeeded = answer.0.status.is_success() || answer.0.status.is_redirection();
    if succeeded && !head.method.is_safe() && !generation.caches.is_empty() {
        cached::invalidate(generation, upstream, head, additions, &answer.0);
    }
    Ok(answer)
}
