//! Makes an exchange of a request, or refuses it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body::Body as _;
use tidegate_body::{Body, Bounds, Held, MemoryUsedUp, Payer, RequestBody, ResponseBody};
use tidegate_config::Listener;
use tidegate_message::fields::Marks;
use tidegate_message::{Connection, Reply, RequestHead, fields, media_type};
use tidegate_plugin_host::{Exchange, Slot};
use tidegate_upstream::{Hop, Servers};

use super::active::{ActiveExchange, ClientSide};
use super::log_phases::LogPhases;
use crate::access_log::Record;
use crate::error::{Error, Unparsed};
use crate::explain::Because;
use crate::http::connection::{Arrival, HTTP2_STREAM_WINDOW};
use crate::http::forwarded::Introduction;
use crate::http::leftover::ClientBody;
use crate::http::request::Accepted;
use crate::http::{forwarded, request, websocket};
use crate::policy::Keeper;
use crate::response;
use crate::snapshot::Generation;
use crate::worker::Worker;

/// The other end of a client connection.
pub(crate) struct Peer {
    connection: Arc<Connection>,
    /// Among those of its worker.
    number: u64,
    servers: Rc<Servers>,
    introduction: Introduction,
    /// Where trusted proxies say who the client is.
    client_field: Option<HeaderName>,
    log_phases: LogPhases,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.servers.forget(self.number);
    }
}

impl Peer {
    pub(crate) fn new(
        worker: &Worker,
        connection: Connection,
        listener: &Listener,
        log_phases: LogPhases,
    ) -> Self {
        let (number, servers) = (worker.next_id(), worker.servers.clone());
        let introduction = Introduction::new(connection.source.ip());
        let client_field = listener.client_field.as_ref().and_then(|name| HeaderName::try_from(name).ok());
        Self { connection: Arc::new(connection), number, servers, introduction, client_field, log_phases }
    }
}

/// Notes what the parser refused: it did not become a request.
pub(crate) fn unparsed(worker: &Worker, peer: &Peer, refusal: Unparsed) {
    drop(worker.unparsed(&worker.generation(), &peer.connection, refusal));
}

/// The exchange before any policy was asked about it, and the body of its request; or the refusal.
pub(super) fn begin(
    worker: Rc<Worker>,
    peer: &Peer,
    mut incoming: Request<ClientBody>,
    arrival: Arrival,
) -> Result<(Box<ActiveExchange>, RequestBody), Box<Response<ResponseBody>>> {
    let generation = worker.generation();
    let explained = generation.explain.as_ref();
    let explained = explained.and_then(|explain| Some((explain, explain.chooses(&mut incoming)?)));
    let mut record = worker.record(&generation, &peer.connection, &incoming, explained.is_some());
    let version = incoming.version();

    // No policy sees a request that could be read in two ways.
    let Arrival { content_lengths, marks, .. } = arrival;
    let accepted = match request::accept(
        &incoming,
        content_lengths,
        marks,
        &generation.config.limits,
        generation.largest_body,
    ) {
        Ok(accepted) => accepted,
        Err(error) => return Err(Box::new(refuse(&error, version, record))),
    };
    let opens_websocket = websocket::is_opening(&incoming);
    let upgrade = match version {
        Version::HTTP_11 if marks.upgrade => fields::upgrade(incoming.headers()),
        Version::HTTP_11 => None,
        _ => opens_websocket.then(|| HeaderValue::from_static(websocket::PROTOCOL)),
    };
    let client_side = upgrade.is_some().then(|| ClientSide {
        stream: hyper::upgrade::on(&mut incoming),
        over_http2: opens_websocket,
        held: arrival.hold(),
    });
    let trailers = marks.te && fields::accepts_trailers(incoming.headers());
    let wish = generation.compression.as_ref().and_then(|it| it.wish(incoming.headers(), version));
    let (mut parts, body) = incoming.into_parts();
    if opens_websocket {
        websocket::ask(&mut parts);
    }
    let config = &generation.config;
    let bounds = Bounds {
        // Until it is known where it goes.
        limit: generation.largest_body,
        idle: config.timeouts.body_idle,
        stream_idle: config.timeouts.stream_idle,
        // A stream of messages is as fast as there are any.
        min_rate: if media_type::is_grpc(&parts.headers) { 0 } else { config.limits.min_rate.request },
        min_rate_after: config.limits.min_rate.request_after,
        window: if version == Version::HTTP_2 { HTTP2_STREAM_WINDOW as usize } else { 0 },
    };
    let method = parts.method.clone();
    let size = size(&parts.headers);
    let mut exchange = describe(&worker, &generation, peer, parts, accepted, marks, &mut record);
    let trail = generation.chain.trail(record.is_kept());
    if let Some((explain, _)) = explained {
        exchange.witness = Some(explain.witness());
        record.explained = Some(Box::new(explain.begin(&exchange.request.headers)));
    }
    let names_explained = explained.is_some_and(|(_, because)| because == Because::Asked);
    let client = SocketAddr::new(exchange.client, peer.connection.source.port());
    let payer = || generation.memory.payer(client.ip());
    let held = hold_head(size, payer).and_then(|head| Ok((head, RequestBody::new(body, bounds, payer)?)));
    let (head, body) = match held {
        Ok(held) => held,
        Err(error) => return Err(Box::new(refuse(&Error::Memory(error), version, record))),
    };
    let progress = body.progress();
    exchange.has_body = !body.is_end_stream();
    let active = ActiveExchange {
        hop: Hop {
            upgrade,
            trailers,
            connection: peer.number,
            client,
            destination: peer.connection.destination,
        },
        worker,
        names_explained,
        version,
        method,
        client_side,
        opens_websocket,
        wish,
        exchange: Keeper::new(Slot::new(exchange)),
        trail,
        record,
        generation,
        progress,
        again: None,
        _head: head,
        log_phases: peer.log_phases.clone(),
    };
    Ok((Box::new(active), body))
}

/// Heads up to this size are not on the client's account: they are small beside the buffers of its connection.
const SMALL_HEAD: usize = 8 << 10;

/// Bytes of a head in memory, about.
fn size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + size_of::<HeaderValue>()).sum()
}

fn hold_head(size: usize, payer: impl FnOnce() -> Payer) -> Result<Option<Held>, MemoryUsedUp> {
    if size <= SMALL_HEAD {
        return Ok(None);
    }
    let mut held = payer().hold();
    held.set(size)?;
    Ok(Some(held))
}

/// Refuses a request before it becomes an exchange.
fn refuse(error: &Error, version: Version, mut record: Record) -> Response<ResponseBody> {
    let consequences = error.consequences();
    record.status = Some(consequences.status);
    record.failure = Some(consequences.name);
    let Reply { status, headers, body } = response::of_error(error);
    let mut response = Response::new(ResponseBody::new(Body::full(body), move |end| record.sent(end.bytes)));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    if consequences.closes {
        response::close_after(response.headers_mut(), version);
    }
    response
}

/// The exchange as policies see it: the fields of the client's hop are gone, and what it says of the
/// client is true.
fn describe(
    worker: &Worker,
    generation: &Generation,
    peer: &Peer,
    parts: http::request::Parts,
    accepted: Accepted,
    marks: Marks,
    record: &mut Record,
) -> Box<Exchange> {
    let Peer { connection, introduction, client_field, .. } = peer;
    let source = connection.source.ip();
    let mut headers = parts.headers;
    // Before anything is removed: `Connection` has no say in who the client is.
    let trusted = &generation.config.trusted_proxies;
    let client = forwarded::client(source, record.scheme, &headers, trusted, client_field.as_ref());
    if !client.source_trusted
        && let Some(field) = client_field
    {
        headers.remove(field);
    }
    if marks.claims || !generation.identity.is_empty() {
        fields::remove_claims(&mut headers, client.source_trusted, &generation.identity);
    }
    // Host stays although it is the authority: as a rule it is sent on as it is. The client is told to
    // continue when the upstream begins to take the body.
    if marks.of_connection() {
        fields::remove_of_request(&mut headers);
    }
    if parts.version == Version::HTTP_2 {
        fields::join_cookies(&mut headers);
    }
    introduction.set(&mut headers, &client, &accepted.authority, parts.version);
    record.client = client.address;
    record.scheme = client.scheme;
    record.request_id =
        Some(forwarded::request_id(&mut headers, marks.request_id, worker.process(), record.id()));
    if let Some(traces) = &generation.traces
        && let Some(trace) = traces.begin(&mut headers, client.source_trusted)
    {
        record.attempts = trace.attempts();
        record.trace = Some((trace, traces.clone()));
    }
    let Accepted { authority, target, content_length } = accepted;
    let mut head = RequestHead::new(parts.method, parts.version, client.scheme, authority, target, headers);
    head.content_length = content_length;
    let destinations = generation.destinations.clone();
    let (connection, limits) = (connection.clone(), generation.edit_limits);
    let mut exchange =
        Exchange::new(record.id(), record.begun(), connection, client.address, head, destinations, limits);
    exchange.trace = record.trace.as_ref().map(|(trace, _)| trace.context());
    exchange
}
