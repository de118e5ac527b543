//! One exchange: a request and its response (RFC 9110 §3.4), from the parsed head to the last byte.
//!
//! ```text
//! head ─▶ accept ─▶ policies ─▶ upstream ─▶ policies ─▶ compression ─▶ body ─▶ log line, policies
//!           │       (request)   or files   (response)                                  (log)
//!           ▼           ▼          ▼            ▲
//!        refusal      reply     failure ────────┘
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tidegate_io::wake;
use tidegate_message::{
    Coding, Connection, Reply, RequestHead, ResponseHead, fields, framing, media_type, representation,
};
use tidegate_plugin_host::{Exchange, Side};
use tokio::runtime::Handle;
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::access_log::Record;
use crate::body::{Body, End, Progress, RequestBody};
use crate::buffer;
use crate::error::Error;
use crate::files;
use crate::http::connection::{Arrival, Held};
use crate::http::forwarded::Introduction;
use crate::http::request::Accepted;
use crate::http::{forwarded, request, websocket};
use crate::policy::{Custody, Decision, Passage, Refusal, Trail};
use crate::snapshot::{Destination, Generation};
use crate::upstream::{self, Answer, Hop, Upstream};
use crate::worker::Worker;
use crate::{compression, response, tunnel};

/// The other end of a client connection.
pub(crate) struct Peer {
    connection: Arc<Connection>,
    introduction: Introduction,
}

impl Peer {
    pub(crate) fn new(connection: Connection) -> Self {
        let introduction = Introduction::new(connection.source.ip());
        Self { connection: Arc::new(connection), introduction }
    }
}

/// Answers one request. Dropping the future gives the exchange up on both sides: the client is gone.
///
/// What needs no waiting is done before there is a future: each of its variables would make that larger, and it is
/// moved with every request.
pub(crate) fn serve(
    worker: Rc<Worker>,
    peer: &Peer,
    incoming: Request<Incoming>,
    arrival: Arrival,
) -> impl Future<Output = Response<Body>> + use<> {
    let begun = begin(worker, peer, incoming, arrival);
    async move {
        match begun {
            Ok(begun) => answer(begun).await,
            Err(refusal) => *refusal,
        }
    }
}

/// An exchange before anybody was asked about it.
struct Begun {
    course: Box<Course>,
    exchange: Box<Exchange>,
    body: RequestBody,
}

/// What belongs to an exchange, beside the exchange itself, until the last byte of its response is on its way.
struct Course {
    worker: Rc<Worker>,
    generation: Rc<Generation>,
    version: Version,
    hop: Hop,
    /// `None` if the client does not want to switch protocols.
    client_side: Option<ClientSide>,
    /// The request opens a WebSocket over HTTP/2.
    opens_websocket: bool,
    /// The coding the client wishes for.
    wish: Option<Coding>,
    /// Policies see pieces of the bodies.
    custody: Option<Custody>,
    trail: Trail,
    record: Record,
    progress: Progress,
    /// Set at the end, unless it is in custody.
    exchange: Option<Box<Exchange>>,
}

/// Accepts a request and makes an exchange of it, or refuses it.
fn begin(
    worker: Rc<Worker>,
    peer: &Peer,
    mut incoming: Request<Incoming>,
    arrival: Arrival,
) -> Result<Begun, Box<Response<Body>>> {
    let generation = worker.generation();
    let mut record = worker.record(&generation, &peer.connection, &incoming);
    let version = incoming.version();

    // No policy sees a request that could be read in two ways.
    let Arrival { content_lengths, marks, .. } = arrival;
    let accepted = match request::accept(&incoming, content_lengths, marks, &generation.config.limits) {
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
        _held: arrival.hold(),
    });
    let trailers = marks.te && fields::accepts_trailers(incoming.headers());
    let wish = generation.compression.as_ref().and_then(|it| it.wish(incoming.headers(), version));
    let (mut parts, body) = incoming.into_parts();
    if opens_websocket {
        websocket::ask(&mut parts);
    }
    let config = &generation.config;
    let body = RequestBody::new(body, config.limits.request_body, config.timeouts.body_idle);
    let progress = body.progress();
    let trail = generation.chain.trail(record.is_kept());

    let exchange = introduce(&worker, &generation, peer, parts, accepted, &mut record);
    let client = SocketAddr::new(exchange.client, peer.connection.source.port());
    let hop = Hop { upgrade, trailers, client, destination: peer.connection.destination };
    let course = Course {
        worker,
        generation,
        version,
        hop,
        client_side,
        opens_websocket,
        wish,
        custody: None,
        trail,
        record,
        progress,
        exchange: None,
    };
    Ok(Begun { course: Box::new(course), exchange, body })
}

/// Takes the request through the policies, has it answered, and takes the response back through them.
async fn answer(begun: Begun) -> Response<Body> {
    let Begun { mut course, exchange, mut body } = begun;
    let Course { generation, hop, opens_websocket, wish, custody, trail, record, .. } = &mut *course;
    let (opens_websocket, wish) = (*opens_websocket, *wish);
    let (mut exchange, mut decision) = generation.chain.on_request(exchange, trail).await;
    if let Ok(Decision::Forward) = decision
        && (exchange.wants_bodies(Side::Request) || exchange.decodes_body(Side::Request))
    {
        let shown = show_request(generation, exchange, body, custody, trail);
        (exchange, body, decision) = Box::pin(shown).await;
    }
    let (head, mut source) = match decision {
        Ok(Decision::Forward) => {
            let answer = match &custody {
                None => send_on(generation, &exchange, hop, body, record).await,
                Some(custody) => {
                    let sent = exchange.to_send();
                    custody.give(exchange);
                    let answer = Box::pin(send_on(generation, &sent, hop, body, record)).await;
                    exchange = custody.take().await;
                    answer
                }
            };
            let answer = match opens_websocket {
                true => answer.and_then(|answer| agreed(answer, &exchange.request.headers, record)),
                false => answer,
            };
            match (answer, &custody) {
                (Ok(answer), _) => answer,
                (Err(Error::Replied), Some(custody)) => {
                    custody.notes().reply.take().map_or_else(|| failed(&Error::Replied, record), replied)
                }
                (Err(error), _) => failed(&error, record),
            }
        }
        Ok(Decision::Reply(reply)) => replied(reply),
        Err(error) => failed(&error, record),
    };
    exchange.response = Some(head);
    let (mut exchange, outcome) = generation.chain.on_response(exchange, trail).await;
    match outcome {
        Ok(None) if exchange.wants_bodies(Side::Response) || exchange.decodes_body(Side::Response) => {
            let shown = show_response(generation, exchange, source, custody, record, trail);
            (exchange, source) = Box::pin(shown).await;
        }
        Ok(None) => {}
        Ok(Some(reply)) => source = put(&mut exchange, replied(reply)),
        Err(error) => source = put(&mut exchange, failed(&error, record)),
    }
    // To the client any success is the switch.
    if opens_websocket
        && let Some(status) = exchange.response.as_ref().map(|head| head.status)
        && status.is_success()
    {
        source = put(&mut exchange, failed(&Error::NoSwitch(status), record));
    }
    let source = compress(generation, wish, &mut exchange, source);
    finish(course, exchange, source)
}

/// The client's end of a tunnel, should the server switch protocols.
struct ClientSide {
    stream: OnUpgrade,
    /// A WebSocket on one stream of several.
    over_http2: bool,
    _held: Held,
}

/// Refuses a request before it becomes an exchange.
fn refuse(error: &Error, version: Version, mut record: Record) -> Response<Body> {
    record.status = Some(error.status());
    record.failure = Some(error.as_str());
    let mut response = response::of_reply(response::of_error(error));
    if error.poisons_connection() {
        response::close_after(response.headers_mut(), version);
    }
    response.body_mut().on_end(move |end| record.sent(end.bytes));
    response
}

/// The exchange as policies see it: the fields of the client's hop are gone, and what it says of the
/// client is true.
fn introduce(
    worker: &Worker,
    generation: &Generation,
    peer: &Peer,
    parts: http::request::Parts,
    accepted: Accepted,
    record: &mut Record,
) -> Box<Exchange> {
    let Peer { connection, introduction } = peer;
    let source = connection.source.ip();
    let mut headers = parts.headers;
    // Host stays although it is the authority: as a rule it is sent on as it is. The client is told to
    // continue when the upstream begins to take the body.
    fields::remove_of_request(&mut headers);
    if parts.version == Version::HTTP_2 {
        fields::join_cookies(&mut headers);
    }
    let client = forwarded::client(source, record.scheme, &headers, &generation.config.trusted_proxies);
    introduction.set(&mut headers, &client, &accepted.authority, parts.version);
    record.client = client.address;
    record.scheme = client.scheme;
    record.request_id = Some(forwarded::request_id(&mut headers, worker.process(), record.id()));
    let Accepted { authority, target, content_length } = accepted;
    let mut head = RequestHead::new(parts.method, parts.version, client.scheme, authority, target, headers);
    head.content_length = content_length;
    let destinations = generation.destinations.clone();
    let (connection, limits) = (connection.clone(), generation.edit_limits);
    Exchange::new(record.id(), record.begun(), connection, client.address, head, destinations, limits)
}

/// Where the body of a response comes from.
struct Source {
    body: Body,
    /// Of a server that switches protocols.
    server_side: Option<OnUpgrade>,
    /// The client's connection must not be used again.
    close: bool,
}

impl From<Body> for Source {
    fn from(body: Body) -> Self {
        Self { body, server_side: None, close: false }
    }
}

/// Has the request answered by the destination of its route.
async fn send_on(
    generation: &Generation,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<(ResponseHead, Source), Error> {
    match generation.destination(exchange.route.as_deref()).ok_or(Error::NoRoute)? {
        Destination::Upstream(upstream) => forward(generation, upstream, exchange, hop, body, record).await,
        Destination::Files(root) => {
            record.route = Some(root.name.clone());
            let (head, body) = files::serve(root, &exchange.request).await?;
            Ok((head, body.into()))
        }
    }
}

/// Sends the request to an upstream and waits for the head of the response.
async fn forward(
    generation: &Generation,
    upstream: &Rc<Upstream>,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    record: &mut Record,
) -> Result<(ResponseHead, Source), Error> {
    record.route = Some(upstream.name.clone());
    let body = match upstream.buffer_requests() {
        // What is answered while it is being sent cannot be waited for.
        Some(buffer) if hop.upgrade.is_none() && !media_type::is_grpc(&exchange.request.headers) => {
            Box::pin(body.stored(buffer, &generation.temporary, &upstream.name)).await?
        }
        _ => body,
    };
    let deadline = exchange.timeout.map(|allowed| Instant::now() + allowed);
    let answer = upstream::forward(upstream, exchange, hop, body, deadline, &mut record.server).await;
    record.upstream = Some(record.elapsed());
    let Answer { mut response, lease } = answer?;
    let content_length = framing::check_response(&response, hop.upgrade.is_some())
        .map_err(|cause| Error::BadResponse { server: lease.server().clone(), cause: cause.to_owned() })?;

    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let server_side = switching.then(|| hyper::upgrade::on(&mut response));
    let (parts, incoming) = response.into_parts();
    let mut head = ResponseHead::new(parts.status, parts.headers);
    let protocol = if switching { head.headers.get(header::UPGRADE).cloned() } else { None };
    fields::remove_hop_by_hop(&mut head.headers);
    if let Some(protocol) = protocol {
        head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        head.headers.insert(header::UPGRADE, protocol);
    }
    head.content_length = content_length;
    head.origin = Some(upstream.name.clone());
    let body = Body::upstream(incoming, lease, upstream.idle(), deadline);
    let is_streaming = media_type::is_streaming(&mut head.headers) || switching;
    let body = match upstream.buffer() {
        Some(buffer) if !is_streaming => {
            let at_once = exchange.request.version == Version::HTTP_2;
            let waker = wake::waker().await;
            let task = &mut Context::from_waker(&waker);
            buffer::keep_ahead(body, buffer, &generation.temporary, at_once, task)
        }
        _ => body,
    };
    Ok((head, Source { body, server_side, close: false }))
}

/// Shows the request's body to the policies that asked for it, and answers with what they made of it.
async fn show_request(
    generation: &Generation,
    mut exchange: Box<Exchange>,
    body: RequestBody,
    custody: &mut Option<Custody>,
    trail: &mut Trail,
) -> (Box<Exchange>, RequestBody, Result<Decision, Error>) {
    if body.is_end_stream() || exchange.request.content_length == Some(0) {
        return (exchange, body, Ok(Decision::Forward));
    }
    let mut body = Body::staged(body);
    if exchange.decodes_body(Side::Request) {
        body = decoded(body, &mut exchange.request.headers);
        exchange.request.content_length = None;
        representation::remove_digests(&mut exchange.request.headers);
    }
    let limit = generation.config.limits.policy_body;
    let (exchange, passage) =
        generation.chain.on_body(Side::Request, exchange, body, custody, limit, trail).await;
    match passage {
        Ok(Passage::Body(body)) => (exchange, RequestBody::staged(body), Ok(Decision::Forward)),
        Ok(Passage::Reply(reply)) => {
            (exchange, RequestBody::staged(Body::empty()), Ok(Decision::Reply(reply)))
        }
        Err(Refusal::Policy(error)) => (exchange, RequestBody::staged(Body::empty()), Err(error)),
        Err(Refusal::Source(error)) => {
            (exchange, RequestBody::staged(Body::empty()), Err(Error::of_request_body(error)))
        }
    }
}

/// Shows the response's body to the policies that asked for it, and answers with what they made of it.
async fn show_response(
    generation: &Generation,
    mut exchange: Box<Exchange>,
    source: Source,
    custody: &mut Option<Custody>,
    record: &mut Record,
    trail: &mut Trail,
) -> (Box<Exchange>, Source) {
    let decodes = exchange.decodes_body(Side::Response);
    let Some(head) = &mut exchange.response else { return (exchange, source) };
    if source.server_side.is_some() {
        return (exchange, source);
    }
    if head.content_length == Some(0) {
        return (exchange, source);
    }
    if framing::is_bodyless(head.status, &exchange.request.method) {
        // What a body would be like cannot be told without one.
        head.content_length = None;
        representation::forget_body(&mut head.headers);
        if decodes {
            head.headers.remove(header::CONTENT_ENCODING);
        }
        return (exchange, source);
    }
    let Source { mut body, close, .. } = source;
    if decodes {
        body = decoded(body, &mut head.headers);
        head.content_length = None;
        representation::forget_body(&mut head.headers);
    }
    let limit = generation.config.limits.policy_body;
    let passage;
    (exchange, passage) =
        generation.chain.on_body(Side::Response, exchange, body, custody, limit, trail).await;
    let source = match passage {
        Ok(Passage::Body(body)) => Source { body, server_side: None, close },
        Ok(Passage::Reply(reply)) => put(&mut exchange, replied(reply)),
        Err(Refusal::Policy(error)) => put(&mut exchange, failed(&error, record)),
        Err(Refusal::Source(cause)) => {
            let server = record.server.clone().unwrap_or_default();
            let error = Error::BadResponse { server, cause: cause.to_string() };
            put(&mut exchange, failed(&error, record))
        }
    };
    (exchange, source)
}

/// Undoes the codings of a body, as `decode-body` of the contract promised a policy.
fn decoded(body: Body, headers: &mut HeaderMap) -> Body {
    let codings = Coding::of(headers).unwrap_or_default();
    headers.remove(header::CONTENT_ENCODING);
    Body::staged(compression::decode(body, codings))
}

/// Puts a response in place of the one there was.
fn put(exchange: &mut Exchange, (head, source): (ResponseHead, Source)) -> Source {
    exchange.response = Some(head);
    source
}

/// Of a server that switches protocols, whether it does what a WebSocket over HTTP/2 was put to it as: over
/// HTTP/1.1 the client sees for itself.
fn agreed(
    (head, source): (ResponseHead, Source),
    asked: &HeaderMap,
    record: &Record,
) -> Result<(ResponseHead, Source), Error> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        websocket::check(asked, &head.headers).map_err(|cause| Error::BadResponse {
            server: record.server.clone().unwrap_or_default(),
            cause: cause.to_owned(),
        })?;
    }
    Ok((head, source))
}

/// The response a policy made.
fn replied(reply: Reply) -> (ResponseHead, Source) {
    let Reply { status, headers, body } = reply;
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(body.len() as u64);
    (head, Body::full(body).into())
}

/// The response the proxy makes when there is no other.
fn failed(error: &Error, record: &mut Record) -> (ResponseHead, Source) {
    if !error.is_clients() {
        tracing::warn!(target: "exchange", id = record.id(), failure = error.as_str(), "{error}");
    }
    record.failure = Some(error.as_str());
    let Reply { status, headers, body } = response::of_error(error);
    let mut head = ResponseHead::new(status, headers);
    head.content_length = Some(body.len() as u64);
    head.failure = Some(error.as_str());
    (head, Source { body: Body::full(body), server_side: None, close: error.poisons_connection() })
}

/// Compresses the response if the client wishes for it and the configuration allows it: the last step, on
/// what policies have made of head and body.
fn compress(
    generation: &Generation,
    wish: Option<Coding>,
    exchange: &mut Exchange,
    source: Source,
) -> Source {
    let (Some(compression), Some(head)) = (&generation.compression, &mut exchange.response) else {
        return source;
    };
    let Source { body, server_side: None, close: false } = source else {
        // Not HTTP any more, or the last word on a connection.
        return source;
    };
    let length = head.content_length.or_else(|| body.size_hint().exact().filter(|length| *length > 0));
    let request = &exchange.request;
    match compression.apply(wish, &request.headers, head, length) {
        // The body of a response to HEAD is empty.
        Some(compressor) if request.method != http::Method::HEAD => {
            Body::staged(compressor.compress(body)).into()
        }
        _ => body.into(),
    }
}

/// Puts head and body together for the client.
fn finish(mut course: Box<Course>, mut exchange: Box<Exchange>, source: Source) -> Response<Body> {
    let Source { body, server_side, close } = source;
    let client_side = course.client_side.take();
    // The log phase and the filters of bodies still see the fields.
    let seen_later = course.custody.is_some() || course.generation.chain.wants_log(&course.trail);
    let mut response = Response::new(body);
    let mut length = None;
    if let Some(head) = &mut exchange.response {
        *response.status_mut() = head.status;
        length = head.content_length;
        *response.headers_mut() =
            if seen_later { head.headers.clone() } else { std::mem::take(&mut head.headers) };
    }
    let status = response.status();
    course.record.status = Some(status);
    if close {
        response::close_after(response.headers_mut(), course.version);
    }
    let head_only = exchange.request.method == http::Method::HEAD;
    let bodyless = framing::is_bodyless(status, &exchange.request.method);
    match &course.custody {
        Some(custody) => custody.give(exchange),
        None => course.exchange = Some(exchange),
    }
    if let Some(server) = server_side.filter(|_| status == StatusCode::SWITCHING_PROTOCOLS) {
        let body = std::mem::replace(response.body_mut(), Body::empty());
        if let Some(client) = client_side {
            if client.over_http2 {
                websocket::answer(&mut response);
                course.record.status = Some(response.status());
            }
            spawn_local(carry(course, body, client, server));
        }
        return response;
    }
    if head_only && let Some(length) = length {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    } else if bodyless && status != StatusCode::NOT_MODIFIED {
        // RFC 9110 §8.6: such a response has no length.
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if bodyless && !response.body().is_end_stream() {
        *response.body_mut() = Body::empty();
    }
    response.body_mut().on_end(move |end| course.end(end));
    response
}

/// Carries an upgraded connection until it ends; the exchange lasts as long.
/// `body` is empty and holds the connection.
async fn carry(mut course: Box<Course>, body: Body, client: ClientSide, server: OnUpgrade) {
    let idle = course.generation.config.timeouts.tunnel_idle;
    let _in_use = course.worker.open();
    let ClientSide { stream, _held, .. } = client;
    let (bytes_in, bytes, failure) = match tokio::try_join!(stream, server) {
        Ok((client, server)) => {
            let (client, server) = (TokioIo::new(client), TokioIo::new(server));
            // What hyper read too much of is in its streams.
            let carried = tunnel::carry(client, Bytes::new(), server, idle).await;
            (carried.from_client, carried.to_client, carried.end.failure())
        }
        // One side went away between the response and the switch.
        Err(_) => (0, 0, Some("broken-off")),
    };
    drop(body);
    course.record.bytes_in = bytes_in;
    course.record.failure = failure;
    course.end(End { bytes, complete: failure.is_none() });
}

impl Course {
    fn end(mut self: Box<Self>, end: End) {
        let record = &mut self.record;
        record.bytes_in += self.progress.bytes();
        record.bytes_out = end.bytes;
        if !end.complete {
            record.failure = record.failure.or(Some("broken-off"));
        }
        let Some(custody) = self.custody.take() else { return self.complete() };
        if let Some(exchange) = custody.try_take() {
            return self.redeem(exchange, &custody);
        }
        // A filter of the request's body has it for a moment yet. In a worker that ends nobody gives it back.
        if Handle::try_current().is_ok() {
            spawn_local(async move { self.redeem(custody.take().await, &custody) });
        }
    }

    /// Ends with an exchange that was in custody.
    fn redeem(mut self: Box<Self>, exchange: Box<Exchange>, custody: &Custody) {
        let notes = std::mem::take(&mut *custody.notes());
        if let Some(failure) = notes.failure {
            self.record.failure = Some(failure.as_str());
        }
        self.trail.append(notes.steps);
        self.exchange = Some(exchange);
        self.complete();
    }

    fn complete(self: Box<Self>) {
        if self.generation.chain.wants_log(&self.trail) {
            let worker = self.worker.clone();
            worker.log_phase(Finished(self));
        } else {
            Finished(self).write();
        }
    }
}

/// An exchange whose response is complete.
pub(crate) struct Finished(Box<Course>);

impl Finished {
    /// The log phase, off the latency path, and then the log line.
    pub(crate) async fn log(mut self) {
        let Course { generation, exchange, trail, .. } = &mut *self.0;
        if let Some(ended) = exchange.take() {
            *exchange = Some(generation.chain.on_log(ended, trail).await);
        }
        self.write();
    }

    /// The log line alone.
    pub(crate) fn write(mut self) {
        let Course { record, exchange, trail, .. } = &mut *self.0;
        if let Some(exchange) = exchange.take() {
            record.attributes = exchange.attributes;
        }
        record.policies = trail.take_steps();
    }
}
