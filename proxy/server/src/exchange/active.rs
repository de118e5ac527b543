//! What belongs to an exchange beside what policies see of it, until the last byte of its response is on its way.

use std::rc::Rc;

use http::{Method, Response, Version};
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use tidegate_body::{Body, End, Progress, Replay};
use tidegate_message::{Coding, Reply};
use tidegate_upstream::Hop;

use super::log_phases::LogPhases;
use crate::access_log::Record;
use crate::error::{Error, Fault};
use crate::http::connection::Held;
use crate::policy::{Keeper, Trail};
use crate::response;
use crate::snapshot::Generation;
use crate::worker::Worker;

pub(crate) struct ActiveExchange {
    pub(super) worker: Rc<Worker>,
    pub(super) generation: Rc<Generation>,
    /// The response says under which name it is explained.
    pub(super) names_explained: bool,
    pub(super) version: Version,
    /// As the client asked. Policies may ask the server otherwise, but it is the client's own method that says
    /// whether its response has a body (RFC 9110 §6.4.1).
    pub(super) method: Method,
    pub(super) hop: Hop,
    /// `None` if the client does not want to switch protocols.
    pub(super) client_side: Option<ClientSide>,
    /// The request opens a WebSocket over HTTP/2.
    pub(super) opens_websocket: bool,
    /// The coding the client wishes for.
    pub(super) wish: Option<Coding>,
    pub(super) exchange: Keeper,
    pub(super) trail: Trail,
    pub(super) record: Record,
    pub(super) progress: Progress,
    /// The request's body, should a policy want it to be sent once more.
    pub(super) again: Option<Replay>,
    /// The request's head, on the client's account.
    pub(super) _head: Option<tidegate_body::Held>,
    /// Where its log phase waits.
    pub(super) log_phases: LogPhases,
}

/// The client's end of a tunnel, should the server switch protocols.
pub(super) struct ClientSide {
    pub(super) stream: OnUpgrade,
    /// A WebSocket on one stream of several.
    pub(super) over_http2: bool,
    /// The connection is in use until the tunnel ends.
    pub(super) held: Held,
}

/// What belongs to a response beside its head, which is in the exchange, where policies see it.
pub(super) struct Outcome {
    pub(super) body: Body,
    /// The connection to a server that switches protocols.
    pub(super) switched: Option<OnUpgrade>,
    /// The client's connection must not be used again.
    pub(super) closes: bool,
}

impl From<Body> for Outcome {
    fn from(body: Body) -> Self {
        Self { body, switched: None, closes: false }
    }
}

impl ActiveExchange {
    /// Answers with what a policy made, in place of any response there was.
    pub(super) fn reply(&mut self, reply: Reply) -> Outcome {
        let (head, body) = response::of_reply(reply);
        self.exchange.response = Some(head);
        Body::full(body).into()
    }

    /// Answers that the exchange failed, in place of any response there was.
    pub(super) fn fail(&mut self, error: &Error) -> Outcome {
        let consequences = error.consequences();
        if consequences.fault == Fault::Ours && self.worker.failures.allow(consequences.name) {
            tracing::warn!(target: "exchange", id = self.record.id(), failure = consequences.name, "{error}");
        }
        self.record.failure = Some(consequences.name);
        let outcome = self.reply(response::of_error(error));
        if let Some(head) = &mut self.exchange.response {
            head.failure = Some(consequences.name);
        }
        Outcome { closes: consequences.closes, ..outcome }
    }

    /// The head for the client, and the length it declares.
    pub(super) fn take_response(&mut self) -> (Response<()>, Option<u64>) {
        // The log phase and the filters of bodies still see the fields.
        let seen_later = self.exchange.has_filters() || self.generation.chain.wants_log(&self.trail);
        let mut response = Response::new(());
        let mut length = None;
        if let Some(head) = &mut self.exchange.response {
            *response.status_mut() = head.status;
            length = head.content_length;
            if let Some((status, reason)) = head.reason.take()
                && status == head.status
                && let Ok(reason) = ReasonPhrase::try_from(reason)
            {
                response.extensions_mut().insert(reason);
            }
            *response.headers_mut() =
                if seen_later { head.headers.clone() } else { std::mem::take(&mut head.headers) };
        }
        (response, length)
    }

    /// The body of the response is through, or given up.
    pub(super) fn end(mut self: Box<Self>, end: End) {
        let record = &mut self.record;
        record.bytes_in += self.progress.bytes();
        record.bytes_out = end.bytes;
        if !end.complete {
            record.failure = record.failure.or(Some("broken-off"));
        }
        if self.exchange.try_reclaim() {
            return self.complete();
        }
        // A filter of the request's body has it for a moment yet.
        let tasks = self.worker.tasks().clone();
        tasks.spawn(async move {
            self.exchange.reclaim().await;
            self.complete();
        });
    }

    fn complete(mut self: Box<Self>) {
        let tally = &mut self.exchange.tally;
        (tally.bytes_received, tally.bytes_sent) = (self.record.bytes_in, self.record.bytes_out);
        let notes = self.exchange.take_notes();
        if let Some(failure) = notes.failure {
            self.record.failure = Some(failure.as_str());
        }
        self.exchange.tally.failure = self.record.failure;
        self.trail.append(notes.steps);
        if !self.generation.chain.wants_log(&self.trail) {
            return self.write();
        }
        let log_phases = self.log_phases.clone();
        match log_phases.reserve() {
            Some(reserved) => {
                // A worker that ends waits for it.
                let open = self.worker.open();
                reserved.queue(async {
                    self.log().await;
                    drop(open);
                });
            }
            None => self.write(),
        }
    }

    /// The log phase, and then the log line.
    async fn log(mut self: Box<Self>) {
        let Self { generation, exchange, trail, .. } = &mut *self;
        generation.chain.on_log(exchange, trail).await;
        self.write();
    }

    /// The log line alone, which is written when the record is dropped.
    fn write(mut self: Box<Self>) {
        self.record.attributes = std::mem::take(&mut self.exchange.attributes);
        self.record.policies = self.trail.take_steps();
        if let (Some(explained), Some(witness)) = (&mut self.record.explained, self.exchange.witness.take()) {
            explained.calls = witness.calls;
        }
    }
}
