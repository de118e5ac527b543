//! Lets policies see the bodies they asked for: whole ones before anything of them passes on, the others
//! chunk by chunk as they pass ([`super::filter`]).

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use tidegate_config::BodyOverflow;
use tidegate_message::Reply;
use tidegate_plugin_host::{BodyMode, Chunk, Exchange, Phase, Side, Slot, Verdict};

use super::filter::Filter;
use super::keeper::Keeper;
use super::{Chain, Place, Trail};
use crate::error::Error;
use tidegate_body::{Body, BoxError, Collected, Payer, collect};
use tidegate_message::representation;

/// What policies made of a body.
pub(crate) enum Passage {
    /// It passes on, as this.
    Body(Body),
    /// A policy answers instead.
    Reply(Reply),
}

/// Why a body does not pass.
pub(crate) enum Refusal {
    /// A policy, or the limit of what policies may see.
    Policy(Error),
    /// It could not be read.
    Source(BoxError),
}

impl Chain {
    /// Shows a body to the policies that asked for it: a request's in the order of the chain, a response's
    /// backwards. `limit` is `limits.policy-body`; what is held of a body is on the account of `payer`.
    ///
    /// Once a policy asked for chunks, its filter takes the exchange from `keeper` while the body passes.
    pub(crate) async fn on_body(
        self: &Rc<Self>,
        side: Side,
        keeper: &mut Keeper,
        mut body: Body,
        limit: usize,
        payer: &Payer,
        trail: &mut Trail,
    ) -> Result<Passage, Refusal> {
        trail.begin_phase();
        let mut order = trail.seen.clone();
        if side == Side::Response {
            order.reverse();
        }
        for index in order {
            let place = &self.places[index];
            match place.body_mode(keeper, side) {
                BodyMode::Skip => {}
                BodyMode::Chunks | BodyMode::StatefulChunks => {
                    forget_body(keeper, side);
                    let phase = match side {
                        Side::Request => Phase::RequestChunk,
                        Side::Response => Phase::ResponseChunk,
                    };
                    body =
                        Body::boxed(Filter::new(self.clone(), index, phase, keeper.custody(), payer, body));
                }
                BodyMode::Whole => {
                    // The filters of policies before this one need the exchange meanwhile.
                    let mut held = payer.hold();
                    let collected = keeper.lend_while(collect(&mut body, limit, &mut held)).await;
                    let (bytes, trailers) = match collected.map_err(Refusal::Source)? {
                        Collected::Whole(bytes, trailers) => (bytes, trailers),
                        Collected::UsedUp(used_up) => return Err(Refusal::Policy(Error::Memory(used_up))),
                        Collected::Larger(first) => match place.link.body_overflow {
                            BodyOverflow::Skip => {
                                body = Body::prefixed(first, held, body);
                                continue;
                            }
                            BodyOverflow::Deny => return Err(Refusal::Policy(place.overflow(side))),
                        },
                    };
                    let verdict;
                    (body, verdict) = self.show_whole(place, side, keeper, bytes, trailers, trail).await;
                    body = body.holding(held);
                    if let Verdict::Respond = verdict.map_err(Refusal::Policy)?
                        && let Some(reply) = keeper.reply.take()
                    {
                        return Ok(Passage::Reply(reply));
                    }
                }
            }
        }
        Ok(Passage::Body(body))
    }

    /// Shows a whole body and makes one of what the policy left of it.
    async fn show_whole(
        &self,
        place: &Place,
        side: Side,
        slot: &mut Slot,
        bytes: Bytes,
        mut trailers: Option<HeaderMap>,
        trail: &mut Trail,
    ) -> (Body, Result<Verdict, Error>) {
        let phase = match side {
            Side::Request => Phase::RequestBody,
            Side::Response => Phase::ResponseBody,
        };
        let mut chunk = Chunk::new(bytes, true);
        let judged = self.call_body(place, phase, slot, &mut chunk).await;
        trail.note(|us| place.step(phase, judged.noted, judged.error, us));
        let edited = chunk.is_edited();
        let (bytes, _) = chunk.into_parts();
        if edited {
            forget_body(slot, side);
            if let Some(trailers) = &mut trailers {
                representation::remove_digests(trailers);
            }
        }
        let length = bytes.len() as u64;
        match (side, &mut slot.response) {
            (Side::Request, _) => slot.request.content_length = trailers.is_none().then_some(length),
            (Side::Response, Some(head)) if edited => head.content_length = Some(length),
            (Side::Response, _) => {}
        }
        (Body::whole(bytes, trailers), judged.verdict)
    }
}

impl Place {
    pub(super) fn body_mode(&self, exchange: &Exchange, side: Side) -> BodyMode {
        let plugin = self.instances.as_ref().map(|instances| instances.plugin());
        plugin.map_or(BodyMode::Skip, |plugin| plugin.body_mode(exchange, side))
    }

    /// The body is larger than the policy may see at once, and the policy has to see it.
    fn overflow(&self, side: Side) -> Error {
        let policy = self.link.name.clone();
        match side {
            Side::Request => Error::RequestOverflow { policy },
            Side::Response => Error::ResponseOverflow { policy },
        }
    }
}

/// What the head says of a body that may be another one afterwards.
fn forget_body(exchange: &mut Exchange, side: Side) {
    match (side, &mut exchange.response) {
        (Side::Request, _) => {
            exchange.request.content_length = None;
            representation::remove_digests(&mut exchange.request.headers);
        }
        (Side::Response, Some(head)) => {
            head.content_length = None;
            representation::forget_body(&mut head.headers);
        }
        (Side::Response, None) => {}
    }
}
