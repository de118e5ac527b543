//! Shows the exchange to the policies of the chain: heads, and the bodies they asked for.

use http::HeaderMap;
use http::header::CONTENT_ENCODING;
use http_body::Body as _;
use tidegate_body::codec::{self, DecodeBounds};
use tidegate_body::{Body, MemoryUsedUp, Replay, RequestBody, RequestBodyError};
use tidegate_message::{Coding, Reply, framing, representation};
use tidegate_plugin_host::Side;

use super::active::{ActiveExchange, Outcome};
use crate::error::Error;
use crate::policy::{Decision, Passage, Reaction, Refusal};

/// What the policies decided about a request and its body.
pub(super) enum Judgement {
    /// It is to be sent on, with this body.
    Forward(RequestBody),
    /// It is to be answered with this.
    Reply(Reply),
}

/// Asks the policies about the request, and shows its body to those that want to see it.
pub(super) async fn on_request(active: &mut ActiveExchange, body: RequestBody) -> Result<Judgement, Error> {
    let ActiveExchange { generation, exchange, trail, .. } = active;
    match generation.chain.on_request(exchange, trail).await? {
        Decision::Reply(reply) => Ok(Judgement::Reply(reply)),
        Decision::Forward if exchange.sees_body(Side::Request) => Box::pin(show_request(active, body)).await,
        Decision::Forward => Ok(Judgement::Forward(body)),
    }
}

/// What the policies decided about a response.
pub(super) enum Settled {
    /// This goes to the client.
    Answer(Outcome),
    /// The request is to be sent once more, with this body.
    Again(RequestBody),
}

/// Asks the policies about the response, and shows its body to those that want to see it.
pub(super) async fn on_response(active: &mut ActiveExchange, outcome: Outcome) -> Settled {
    let ActiveExchange { generation, exchange, trail, again, .. } = active;
    let outcome = match generation.chain.on_response(exchange, trail).await {
        Ok(Reaction::Keep) => outcome,
        Ok(Reaction::Replaced(body)) => Body::full(body).into(),
        Ok(Reaction::Again) => match again.as_ref().and_then(Replay::body) {
            Some(body) => {
                exchange.begin_again();
                return Settled::Again(body);
            }
            // More of it came meanwhile than is kept.
            None => outcome,
        },
        Err(error) => return Settled::Answer(active.fail(&error)),
    };
    Settled::Answer(match active.exchange.sees_body(Side::Response) {
        true => Box::pin(show_response(active, outcome)).await,
        false => outcome,
    })
}

/// Shows the request's body to the policies that asked for it.
async fn show_request(active: &mut ActiveExchange, body: RequestBody) -> Result<Judgement, Error> {
    let ActiveExchange { generation, exchange, trail, progress, .. } = active;
    if body.is_end_stream() || exchange.request.content_length == Some(0) {
        return Ok(Judgement::Forward(body));
    }
    let payer = generation.memory.payer(exchange.client);
    // The operator's limit is that of the destination, which may still change.
    if let (Some(limit), Some(mut bounds)) = (exchange.body_limit, progress.bounds()) {
        bounds.limit = bounds.limit.min(limit);
        if exchange.request.content_length.is_some_and(|length| length > bounds.limit) {
            return Err(Error::BodyTooLarge);
        }
        progress.bind(bounds);
    }
    let mut body = Body::boxed(body);
    if exchange.decodes_body(Side::Request) {
        let bounds = DecodeBounds { limit: generation.config.limits.decoded_body, payer: payer.clone() };
        body = decoded(body, &mut exchange.request.headers, bounds);
        exchange.request.content_length = None;
        representation::remove_digests(&mut exchange.request.headers);
    }
    let limit = generation.config.limits.policy_body;
    match generation.chain.on_body(Side::Request, exchange, body, limit, &payer, trail).await {
        Ok(Passage::Body(body)) => Ok(Judgement::Forward(RequestBody::of(body, payer))),
        Ok(Passage::Reply(reply)) => Ok(Judgement::Reply(reply)),
        Err(Refusal::Policy(error)) => Err(error),
        Err(Refusal::Source(error)) => Err(RequestBodyError::of(error).into()),
    }
}

/// Shows the response's body to the policies that asked for it, and answers with what they made of it.
async fn show_response(active: &mut ActiveExchange, outcome: Outcome) -> Outcome {
    let ActiveExchange { generation, exchange, trail, record, .. } = active;
    let decodes = exchange.decodes_body(Side::Response);
    let slot = &mut ***exchange;
    let Some(head) = &mut slot.response else { return outcome };
    if outcome.switched.is_some() || head.content_length == Some(0) {
        return outcome;
    }
    if framing::is_bodyless(head.status, &slot.request.method) {
        // What a body would be like cannot be told without one.
        head.content_length = None;
        representation::forget_body(&mut head.headers);
        if decodes {
            head.headers.remove(CONTENT_ENCODING);
        }
        return outcome;
    }
    let Outcome { mut body, closes, .. } = outcome;
    let payer = generation.memory.payer(slot.client);
    if decodes {
        let bounds = DecodeBounds { limit: generation.config.limits.decoded_body, payer: payer.clone() };
        body = decoded(body, &mut head.headers, bounds);
        head.content_length = None;
        representation::forget_body(&mut head.headers);
    }
    let limit = generation.config.limits.policy_body;
    match generation.chain.on_body(Side::Response, exchange, body, limit, &payer, trail).await {
        Ok(Passage::Body(body)) => Outcome { body, switched: None, closes },
        Ok(Passage::Reply(reply)) => active.reply(reply),
        Err(Refusal::Policy(error)) => active.fail(&error),
        Err(Refusal::Source(cause)) => {
            if let Some(used_up) = cause.downcast_ref::<MemoryUsedUp>() {
                return active.fail(&Error::Memory(*used_up));
            }
            let error = Error::BadResponse { server: record.server_name(), cause: cause.to_string() };
            active.fail(&error)
        }
    }
}

/// Undoes the codings of a body, as `decode-body` of the contract promised a policy.
fn decoded(body: Body, headers: &mut HeaderMap, bounds: DecodeBounds) -> Body {
    let codings = Coding::of(headers).unwrap_or_default();
    headers.remove(CONTENT_ENCODING);
    Body::boxed(codec::decode(body, codings, bounds))
}
