//! One exchange with an upstream: which server, which connection, how often.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tidegate_plugin_host::Exchange;
use tokio::time::{Instant, sleep};

use super::Upstream;
use super::pool::{ConnectError, InUse, Lease, Sending, Sent, Server};
use crate::body::{Progress, RequestBody};
use crate::error::Error;
use tidegate_io::proxy_protocol::Header;

/// Before the n-th retry the proxy waits 25 ms × 2ⁿ⁻¹ at most, and half of it at least, so that a server
/// that stumbled is not met by all retries at once; never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// What belongs to the connections and not to the request (RFC 9110 §7.6.1).
#[derive(Debug, Clone)]
pub(crate) struct Hop {
    /// The protocol the client wants to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The client accepts trailers.
    pub(crate) trailers: bool,
    /// The client, for the PROXY header and for `balance = "hash"`.
    pub(crate) client: SocketAddr,
    /// The address it connected to.
    pub(crate) destination: SocketAddr,
}

/// A response head, and the connection its body comes on.
pub(crate) struct Answer {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// Sends the exchange's request and waits for the head of the response.
///
/// A failed attempt is repeated on another server, within the upstream's `retries` and its budget: if
/// nothing of the request was sent, or if its method is idempotent and its body is still there. An idle
/// connection that the server has closed in the meantime does not count as an attempt: it is repeated
/// on a new connection. All of it ends at `deadline`, if a policy set one. `server` is the one asked
/// last.
pub(crate) async fn forward(
    upstream: &Upstream,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    deadline: Option<Instant>,
    server: &mut Option<Arc<str>>,
) -> Result<Answer, Error> {
    let permit = upstream.enter(deadline).await?;
    let view = upstream.view();
    let key = upstream.hash_key(exchange.hash_key.as_deref(), hop.client);
    let progress = body.progress();
    let idempotent = exchange.request.method.is_idempotent();
    let replay = body.replay(upstream.cluster.config.retries.buffer);
    let mut body = Some(body);
    let mut tried = Vec::new();
    loop {
        let index = view.choose(&key, &tried).ok_or_else(|| upstream.no_server())?;
        let chosen = &view.servers[index];
        *server = Some(chosen.target.name.clone());
        let mut fresh = false;
        let outcome = loop {
            let Some(sending) = body.take() else { break Err(Failed::of(Error::BodyBroken)) };
            let in_use = view.use_server(index);
            let attempted =
                attempt(upstream, chosen, fresh, in_use, exchange, hop, sending, &progress, deadline).await;
            let failed = match attempted {
                Ok(answer) => break Ok(answer),
                Err(failed) => failed,
            };
            body = failed.unsent.or_else(|| replay.body().filter(|_| idempotent || failed.unprocessed));
            if !failed.stale || body.is_none() {
                break Err(Failed { unsent: None, ..failed });
            }
            fresh = true;
        };
        // What went wrong on the client's side tells nothing of the server.
        if let Some(error) = progress.failure() {
            return Err(error);
        }
        let error = match outcome {
            Ok(mut answer) if !tells_against(answer.response.status()) => {
                upstream.cluster.succeeded(&view.members, index);
                answer.lease.permit = Some(permit);
                return Ok(answer);
            }
            Ok(mut answer) => {
                upstream.cluster.failed(&view.members, index);
                let others = tried.len() + 1 < view.servers.len();
                body = if others && idempotent { replay.body() } else { None };
                if body.is_none() || !upstream.may_retry(tried.len() + 1) {
                    answer.lease.permit = Some(permit);
                    return Ok(answer);
                }
                None
            }
            Err(failed) => {
                upstream.cluster.failed(&view.members, index);
                // A server that was waited for in vain is not waited for once more.
                let hopeless = failed.is_final
                    || matches!(failed.error, Error::ResponseTimeout { .. })
                        && tried.len() + 1 >= view.servers.len();
                if body.is_none() || hopeless || !upstream.may_retry(tried.len() + 1) {
                    return Err(failed.error);
                }
                Some(failed.error)
            }
        };
        tried.push(index);
        let pause = FIRST_PAUSE.saturating_mul(1 << (tried.len() - 1).min(8)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(rand::random_range(0.5..1.0));
        if let Some(deadline) = deadline
            && Instant::now() + pause >= deadline
        {
            return Err(error.unwrap_or(Error::ResponseTimeout { server: chosen.target.name.clone() }));
        }
        let error = error
            .map_or_else(|| "a status that tells against the server".to_owned(), |error| error.to_string());
        tracing::debug!(target: "upstream", upstream = %upstream.name, server = %chosen.target.name, "{error}; trying again");
        sleep(pause).await;
    }
}

/// A server that answers so cannot do its work, whatever it is asked (RFC 9110 §15.6).
fn tells_against(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// An attempt that brought no response.
struct Failed {
    error: Error,
    /// The body, if nothing of the request was sent.
    unsent: Option<RequestBody>,
    /// The server said that it did nothing with the request (RFC 9113 §8.7).
    unprocessed: bool,
    /// The connection was a kept one, and broke: the server may have closed it before.
    stale: bool,
    /// Asking again would not help.
    is_final: bool,
}

impl Failed {
    fn of(error: Error) -> Self {
        Self { error, unsent: None, unprocessed: false, stale: false, is_final: false }
    }
}

async fn attempt(
    upstream: &Upstream,
    server: &Rc<Server>,
    fresh: bool,
    in_use: InUse,
    exchange: &Exchange,
    hop: &Hop,
    body: RequestBody,
    progress: &Progress,
    deadline: Option<Instant>,
) -> Result<Answer, Failed> {
    let timeouts = &upstream.cluster.config.timeouts;
    let name = || server.target.name.clone();
    let connect = match deadline {
        Some(deadline) => timeouts.connect.min(deadline - Instant::now()),
        None => timeouts.connect,
    };
    let upgrade = hop.upgrade.as_ref().filter(|_| upstream.can_upgrade());
    let client = Header::Proxied { source: hop.client, destination: hop.destination };
    let kept = if fresh { Err(in_use) } else { server.lend(upgrade.is_some(), in_use) };
    let leased = match kept {
        Ok(lease) => Ok(lease),
        // Boxed: every request would have room for this future, and is moved more than once.
        Err(in_use) => Box::pin(server.lease(client, connect, fresh, upgrade.is_some(), in_use)).await,
    };
    let mut lease = match leased {
        Ok(lease) => lease,
        Err(error) => {
            let error = match error {
                ConnectError::Timeout => Error::ConnectTimeout { server: name() },
                ConnectError::Failed(cause) => Error::Connect { server: name(), cause },
            };
            return Err(Failed { unsent: Some(body), ..Failed::of(error) });
        }
    };
    let allowed = timeouts.response;
    let due = deadline.unwrap_or_else(|| Instant::now() + allowed);
    // The server's time counts from the end of the request, however slow the client sends its body.
    let counts_from_end = (deadline.is_none() && !body.is_end_stream()).then_some((progress, allowed));
    if upgrade.is_some() || !body.is_end_stream() {
        lease.spawn_driver();
    }
    let request = request(exchange, hop, upgrade, server, body, lease.is_http2());
    let result = match lease.send(request) {
        Sending::Http1(sent) => wait(&mut lease, pin!(sent), due, counts_from_end).await,
        Sending::Http2(sent) => wait(&mut lease, Box::pin(sent).as_mut(), due, counts_from_end).await,
    };
    match result {
        Some(Ok(response)) => Ok(Answer { response, lease }),
        None => {
            lease.suspect();
            Err(Failed::of(Error::ResponseTimeout { server: name() }))
        }
        Some(Err(mut failure)) => {
            let unsent = failure.take_message().map(Request::into_body);
            let error = failure.into_error();
            // A server that answers with something else than HTTP got the request; asking it or another
            // again would not help.
            let is_final = unsent.is_none() && error.is_parse();
            let unprocessed = is_unprocessed(&error);
            let stale = lease.reused && !is_final && !unprocessed;
            let error = Error::BadResponse { server: name(), cause: cause(&error) };
            Err(Failed { unsent, unprocessed, stale, is_final, ..Failed::of(error) })
        }
    }
}

/// Waits for the head of the response, driving the connection; `None` when it is `due`. With
/// `counts_from_end` that is so long after the end of the request.
async fn wait(
    lease: &mut Lease,
    mut sent: Pin<&mut impl Future<Output = Sent>>,
    mut due: Instant,
    counts_from_end: Option<(&Progress, Duration)>,
) -> Option<Sent> {
    poll_fn(|cx| {
        lease.poll_driver(cx);
        // What the driver made available is there already; otherwise a task of its own wakes this one.
        if let Poll::Ready(sent) = sent.as_mut().poll(cx) {
            return Poll::Ready(Some(sent));
        }
        loop {
            ready!(lease.poll_due(due, cx));
            if let Some((progress, allowed)) = counts_from_end {
                due = progress.ended().unwrap_or_else(Instant::now) + allowed;
            }
            if due <= Instant::now() {
                return Poll::Ready(None);
            }
        }
    })
    .await
}

fn request(
    exchange: &Exchange,
    hop: &Hop,
    upgrade: Option<&HeaderValue>,
    server: &Server,
    body: RequestBody,
    http2: bool,
) -> Request<RequestBody> {
    let head = &exchange.request;
    // Cloned, since the response and log phases still see the request.
    let mut headers: HeaderMap = head.headers.clone();
    // Only an HTTP/1.0 client may leave the host out.
    let host = if head.authority.is_empty() { &*server.target.host } else { &*head.authority };
    // A stored body says its length itself.
    if let Some(length) = head.content_length.filter(|_| !body.has_trailers()) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let uri = if http2 {
        // In `:authority` (RFC 9113 §8.3.1); hyper takes it from the URI.
        headers.remove(header::HOST);
        let scheme = if server.target.tls.is_some() { "https" } else { "http" };
        let parts = Uri::builder().scheme(scheme).authority(host).path_and_query(head.target().clone());
        parts.build().unwrap_or_else(|_| Uri::from(head.target().clone()))
    } else {
        let kept = headers.get(header::HOST).is_some_and(|kept| kept.as_bytes() == host.as_bytes());
        if !kept && let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(header::HOST, host);
        }
        Uri::from(head.target().clone())
    };
    match upgrade {
        Some(protocol) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        None if hop.trailers => {
            if !http2 {
                headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
            }
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        None => {}
    }
    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.version_mut() = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    request
}

/// Whether the server refused the stream, or was going away before it came to it (RFC 9113 §6.8, §8.7).
fn is_unprocessed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// hyper's message and what caused it: "connection closed before message completed", "invalid HTTP
/// header parsed", …
fn cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
