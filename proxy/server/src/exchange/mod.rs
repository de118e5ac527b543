//! One exchange: a request and its response (RFC 9110 §3.4), from the parsed head to the last byte.
//!
//! ```text
//! head ─▶ begin ─▶ policies ─▶ destination ─▶ policies ─▶ compress ─▶ finish ─▶ body ─▶ log line, policies
//!           │     (request)    │             (response)                                   (log)
//!           ▼         └─ reply ┴─ failure ───────▲
//!        refusal
//! ```
//!
//! `begin` makes an exchange of a request, `challenge` answers those who sign certificates, `active` is what belongs to
//! it until its end, `policies` shows it and its bodies to the policies, `destination` sends it on, by `forward`
//! to a server, and by `cached` where responses are kept; `switch` carries a connection that changes its protocol, and in `log_phases` it waits for the last word of policies.

mod active;
mod begin;
mod cached;
mod challenge;
mod destination;
mod forward;
mod log_phases;
mod policies;
mod switch;

use std::rc::Rc;

use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tidegate_body::{Body, RequestBody, ResponseBody};
use tidegate_message::framing;

use self::active::{ActiveExchange, Outcome};
pub(crate) use self::begin::{Peer, unparsed};
pub(crate) use self::cached::bypasses_cache;
pub(crate) use self::log_phases::LogPhases;
use self::policies::{Judgement, Settled};
use crate::access_log::id_text;
use crate::explain;
use crate::http::connection::Arrival;
use crate::http::leftover::ClientBody;
use crate::response;
use crate::worker::Worker;

/// Answers one request. Dropping the future gives the exchange up on both sides: the client is gone.
///
/// What needs no waiting is done before there is a future: each of its variables would make that larger, and it is
/// moved with every request.
pub(crate) fn serve(
    worker: Rc<Worker>,
    peer: &Peer,
    incoming: Request<ClientBody>,
    arrival: Arrival,
) -> impl Future<Output = Response<ResponseBody>> + use<> {
    let begun = begin::begin(worker, peer, incoming, arrival);
    async move {
        match begun {
            Ok((active, body)) => answer(active, body).await,
            Err(refusal) => *refusal,
        }
    }
}

/// Takes the request through the policies, has it answered, and takes the response back through them.
async fn answer(mut active: Box<ActiveExchange>, body: RequestBody) -> Response<ResponseBody> {
    if let Some(token) = challenge::asked(&active)
        && let Some(reply) = Box::pin(challenge::answer(&active, token)).await
    {
        let outcome = active.reply(reply);
        return finish(active, outcome);
    }
    let mut outcome = match policies::on_request(&mut active, body).await {
        Ok(Judgement::Forward(body)) => destination::send(&mut active, body).await,
        Ok(Judgement::Reply(reply)) => active.reply(reply),
        Err(error) => active.fail(&error),
    };
    let outcome = loop {
        match policies::on_response(&mut active, outcome).await {
            Settled::Answer(outcome) => break outcome,
            // Once at most.
            Settled::Again(body) => outcome = Box::pin(destination::send(&mut active, body)).await,
        }
    };
    let outcome = switch::confirm(&mut active, outcome);
    let outcome = compress(&mut active, outcome);
    finish(active, outcome)
}

/// Compresses the response if the client wishes for it and the configuration allows it: the last step, on
/// what policies have made of head and body.
fn compress(active: &mut ActiveExchange, outcome: Outcome) -> Outcome {
    let ActiveExchange { generation, exchange, wish, method, .. } = active;
    let exchange = &mut ***exchange;
    let (Some(compression), Some(head)) = (&generation.compression, &mut exchange.response) else {
        return outcome;
    };
    let Outcome { body, switched: None, closes: false } = outcome else {
        // Not HTTP any more, or the last word on a connection.
        return outcome;
    };
    let length = head.content_length.or_else(|| body.size_hint().exact().filter(|length| *length > 0));
    let request = &exchange.request;
    match compression.apply(*wish, &request.headers, head, length) {
        // The body of a response to HEAD is empty.
        Some(encoding) if *method != Method::HEAD => encoding.apply(body).into(),
        _ => body.into(),
    }
}

/// Puts head and body together for the client.
fn finish(mut active: Box<ActiveExchange>, outcome: Outcome) -> Response<ResponseBody> {
    let Outcome { body, switched, closes } = outcome;
    let (mut response, length) = active.take_response();
    let status = response.status();
    let head_only = active.method == Method::HEAD;
    let bodyless = framing::is_bodyless(status, &active.method);
    active.record.status = Some(status);
    if active.names_explained
        && let Ok(id) = HeaderValue::try_from(id_text(active.record.id()))
    {
        response.headers_mut().insert(explain::FIELD, id);
    }
    if closes {
        response::close_after(response.headers_mut(), active.version);
    }
    // What follows may last as long as the client likes. Without filters nobody is called before its end.
    if !active.exchange.has_filters() {
        active.exchange.release_instances();
    }
    // Filters of the bodies may want the exchange until these have passed.
    active.exchange.lend();
    if let Some(server) = switched.filter(|_| status == StatusCode::SWITCHING_PROTOCOLS) {
        return switch::begin(active, response, body, server);
    }
    if head_only && let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    } else if bodyless && status != StatusCode::NOT_MODIFIED {
        // RFC 9110 §8.6: such a response has no length.
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    let body = if bodyless && !body.is_end_stream() { Body::empty() } else { body };
    response.map(|()| ResponseBody::new(body, move |end| active.end(end)))
}
