//! One exchange with an upstream: which server, which connection, how often.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};

use http::{HeaderMap, HeaderValue, Request, Response, Uri, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tidegate_plugin_host::Exchange;
use tokio::time::Instant;

use super::Upstream;
use super::pool::{ConnectError, Lease, Server};
use crate::body::{Progress, RequestBody};
use crate::error::Error;

/// What belongs to the connection with the next server and not to the request (RFC 9110 §7.6.1).
#[derive(Debug, Clone, Default)]
pub(crate) struct Hop {
    /// The protocol the client wants to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client accepts trailers.
    pub(crate) trailers: bool,
}

/// A response head, and the connection its body comes on.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// Sends the exchange's request and waits for the head of the response.
///
/// A failed attempt is repeated on another server, `retries` times, if nothing of the request was sent,
/// or if its method is idempotent and it has no body. An idle connection that the server has closed in
/// the meantime does not count as an attempt: it is repeated on a new connection. All of it ends at
/// `deadline`, if a policy set one. `server` is the one asked last.
pub(crate) async fn forward(
    upstream: &Upstream,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    deadline: Option<Instant>,
    server: &mut Option<Arc<str>>,
) -> Result<Answer, Error> {
    let progress = body.progress();
    let replay = exchange.request.method.is_idempotent().then(|| body.replay()).flatten();
    let mut body = Some(body);
    let mut tried = Vec::new();
    loop {
        // When every server was tried once, the next round begins.
        let index = upstream
            .balance
            .next(|index| !tried.contains(&index))
            .or_else(|| upstream.balance.next(|_| true))
            .ok_or(Error::NoRoute)?;
        tried.push(index);
        let chosen = &upstream.servers[index];
        *server = Some(chosen.address.clone());
        let mut fresh = false;
        let failed = loop {
            let Some(sending) = body.take() else { break Failed::of(Error::BodyBroken) };
            let failed =
                match attempt(upstream, chosen, fresh, exchange, hop, sending, &progress, deadline).await {
                    Ok(answer) => return Ok(answer),
                    Err(failed) => failed,
                };
            body = failed
                .unsent
                .or_else(|| replay.as_ref().filter(|_| failed.lost).and_then(RequestBody::replay));
            if !failed.stale || body.is_none() {
                break Failed { unsent: None, ..failed };
            }
            fresh = true;
        };
        if let Some(error) = progress.failure() {
            return Err(error);
        }
        if body.is_none() || tried.len() > upstream.retries as usize {
            return Err(failed.error);
        }
        tracing::debug!(target: "upstream", upstream = %upstream.name, error = %failed.error, "trying again");
    }
}

/// An attempt that brought no response.
struct Failed {
    error: Error,
    /// The body, if nothing of the request was sent.
    unsent: Option<RequestBody>,
    /// The connection broke after the request was sent: it may have been carried out.
    lost: bool,
    /// The connection was a kept one.
    stale: bool,
}

impl Failed {
    fn of(error: Error) -> Self {
        Self { error, unsent: None, lost: false, stale: false }
    }
}

async fn attempt(
    upstream: &Upstream,
    server: &Rc<Server>,
    fresh: bool,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    progress: &Progress,
    deadline: Option<Instant>,
) -> Result<Answer, Failed> {
    let connect = match deadline {
        Some(deadline) => upstream.timeouts.connect.min(deadline - Instant::now()),
        None => upstream.timeouts.connect,
    };
    let mut lease = match server.lease(connect, fresh).await {
        Ok(lease) => lease,
        Err(error) => {
            let server = server.address.clone();
            let error = match error {
                ConnectError::Timeout => Error::ConnectTimeout { server },
                ConnectError::Failed(cause) => Error::Connect { server, cause },
            };
            return Err(Failed { unsent: Some(body), ..Failed::of(error) });
        }
    };
    let allowed = upstream.timeouts.response;
    let mut due = deadline.unwrap_or_else(|| Instant::now() + allowed);
    // The server's time counts from the end of the request, however slow the client sends its body.
    let counts_from_end = deadline.is_none() && !body.is_end_stream();
    if hop.upgrade.is_some() || !body.is_end_stream() {
        lease.spawn_driver();
    }
    let mut response = pin!(lease.send(request(exchange, hop, server, body)));
    let result = poll_fn(|cx| {
        lease.poll_driver(cx);
        // What the driver made available is there already; otherwise a task of its own wakes this one.
        if let Poll::Ready(sent) = response.as_mut().poll(cx) {
            return Poll::Ready(Some(sent));
        }
        loop {
            ready!(lease.poll_due(due, cx));
            if counts_from_end {
                due = progress.ended().unwrap_or_else(Instant::now) + allowed;
            }
            if due <= Instant::now() {
                return Poll::Ready(None);
            }
        }
    });
    let Some(result) = result.await else {
        return Err(Failed::of(Error::ResponseTimeout { server: server.address.clone() }));
    };
    match result {
        Ok(response) => Ok(Answer { response, lease }),
        Err(mut failure) => {
            let unsent = failure.take_message().map(Request::into_body);
            let error = failure.into_error();
            // A server that answers with something else than HTTP got the request; asking again
            // would not help.
            let lost = unsent.is_none() && !error.is_parse();
            let stale = lease.reused && (unsent.is_some() || lost);
            let error = Error::BadResponse { server: server.address.clone(), cause: cause(&error) };
            Err(Failed { error, unsent, lost, stale })
        }
    }
}

fn request(exchange: &Exchange, hop: &Hop, server: &Server, body: RequestBody) -> Request<RequestBody> {
    let head = &exchange.request;
    // Cloned, since the response and log phases still see the request.
    let mut headers: HeaderMap = head.headers.clone();
    // Only an HTTP/1.0 client may leave the host out.
    let host = if head.authority.is_empty() { &*server.address } else { &*head.authority };
    let kept = headers.get(header::HOST).is_some_and(|kept| kept.as_bytes() == host.as_bytes());
    if !kept && let Ok(host) = HeaderValue::from_str(host) {
        headers.insert(header::HOST, host);
    }
    if let Some(length) = head.content_length {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    match &hop.upgrade {
        Some(protocol) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        None if hop.trailers => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = Uri::from(head.target().clone());
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// hyper's message and what caused it: "connection closed before message completed", "invalid HTTP
/// header parsed", …
fn cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
