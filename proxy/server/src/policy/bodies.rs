//! Lets policies see the bodies they asked for: whole ones before anything of them passes on, the others
//! piece by piece as they pass ([`super::filter`]).

use std::pin::Pin;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use tidegate_config::BodyOverflow;
use tidegate_message::Reply;
use tidegate_plugin_host::{BodyMode, Exchange, Phase, Piece, Side, Verdict};

use super::custody::Custody;
use super::filter::Filter;
use super::{Chain, Place, Trail};
use crate::body::{Body, BoxError};
use crate::error::Error;
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

/// A body that was taken in.
enum Collected {
    Whole(Bytes, Option<HeaderMap>),
    /// More than was to be taken, and what was taken of it.
    Larger(Vec<Bytes>),
}

impl Chain {
    /// Shows a body to the policies that asked for it: a request's in the order of the chain, a response's
    /// backwards.
    ///
    /// `custody` is that of the exchange's other body. Where there is one afterwards the filters of the body
    /// wait for the exchange to be given to it. `limit` is `limits.policy-body`.
    pub(crate) async fn on_body(
        self: &Rc<Self>,
        side: Side,
        mut exchange: Box<Exchange>,
        mut body: Body,
        custody: &mut Option<Custody>,
        limit: usize,
        trail: &mut Trail,
    ) -> (Box<Exchange>, Result<Passage, Refusal>) {
        trail.begin_phase();
        let mut order = trail.seen.clone();
        if side == Side::Response {
            order.reverse();
        }
        for index in order {
            let place = &self.places[index];
            match place.body_mode(&exchange, side) {
                BodyMode::Skip => {}
                BodyMode::Chunks => {
                    forget_body(&mut exchange, side);
                    let phase = match side {
                        Side::Request => Phase::RequestChunk,
                        Side::Response => Phase::ResponseChunk,
                    };
                    let custody = custody.get_or_insert_with(Custody::new).clone();
                    body = Body::staged(Filter::new(self.clone(), index, phase, custody, body));
                }
                BodyMode::Whole => {
                    // The filters of policies before this one need the exchange meanwhile.
                    let collected;
                    (exchange, collected) = match custody {
                        None => (exchange, collect(&mut body, limit).await),
                        Some(custody) => {
                            custody.give(exchange);
                            let collected = collect(&mut body, limit).await;
                            (custody.take().await, collected)
                        }
                    };
                    let (bytes, trailers) = match collected {
                        Ok(Collected::Whole(bytes, trailers)) => (bytes, trailers),
                        Ok(Collected::Larger(first)) => match place.link.body_overflow {
                            BodyOverflow::Skip => {
                                body = Body::prefixed(first, body);
                                continue;
                            }
                            BodyOverflow::Deny => {
                                let policy = place.link.name.clone();
                                let error = match side {
                                    Side::Request => Error::RequestOverflow { policy },
                                    Side::Response => Error::ResponseOverflow { policy },
                                };
                                return (exchange, Err(Refusal::Policy(error)));
                            }
                        },
                        Err(error) => return (exchange, Err(Refusal::Source(error))),
                    };
                    let verdict;
                    (exchange, body, verdict) =
                        place.show_whole(side, exchange, bytes, trailers, trail).await;
                    match verdict {
                        Ok(Verdict::Respond) => {
                            if let Some(reply) = exchange.reply.take() {
                                return (exchange, Ok(Passage::Reply(reply)));
                            }
                        }
                        Ok(Verdict::Next | Verdict::Finish | Verdict::Fail) => {}
                        Err(error) => return (exchange, Err(Refusal::Policy(error))),
                    }
                }
            }
        }
        (exchange, Ok(Passage::Body(body)))
    }
}

impl Place {
    fn body_mode(&self, exchange: &Exchange, side: Side) -> BodyMode {
        let plugin = self.instances.as_ref().map(|instances| instances.plugin());
        plugin.map_or(BodyMode::Skip, |plugin| exchange.body_mode(plugin, side))
    }

    /// Shows a whole body and makes one of what the policy left of it.
    async fn show_whole(
        &self,
        side: Side,
        exchange: Box<Exchange>,
        bytes: Bytes,
        mut trailers: Option<HeaderMap>,
        trail: &mut Trail,
    ) -> (Box<Exchange>, Body, Result<Verdict, Error>) {
        let phase = match side {
            Side::Request => Phase::RequestBody,
            Side::Response => Phase::ResponseBody,
        };
        let piece = Piece::new(bytes, true);
        let (mut exchange, piece, judged) = self.call_body(phase, exchange, piece).await;
        trail.note(|us| self.step(phase, judged.noted, judged.error, us));
        let edited = piece.is_edited();
        let (bytes, _) = piece.into_parts();
        if edited {
            forget_body(&mut exchange, side);
            if let Some(trailers) = &mut trailers {
                representation::remove_digests(trailers);
            }
        }
        let length = bytes.len() as u64;
        match (side, &mut exchange.response) {
            (Side::Request, _) => exchange.request.content_length = trailers.is_none().then_some(length),
            (Side::Response, Some(head)) if edited => head.content_length = Some(length),
            (Side::Response, _) => {}
        }
        (exchange, Body::whole(bytes, trailers), judged.verdict)
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

/// Takes a body in, up to `limit` bytes.
async fn collect(body: &mut Body, limit: usize) -> Result<Collected, BoxError> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut size = 0;
    let mut trailers = None;
    if body.size_hint().lower() > limit as u64 {
        return Ok(Collected::Larger(pieces));
    }
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
        match frame?.into_data() {
            Ok(data) => {
                size += data.len();
                pieces.push(data);
                if size > limit {
                    return Ok(Collected::Larger(pieces));
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let bytes = match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => {
            let mut whole = BytesMut::with_capacity(size);
            for piece in pieces {
                whole.extend_from_slice(&piece);
            }
            whole.freeze()
        }
    };
    Ok(Collected::Whole(bytes, trailers))
}
