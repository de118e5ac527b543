//! Sends a request: which server, which connection, how often.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::upgrade::OnUpgrade;
use tidegate_body::{Progress, Replay, RequestBody};
use tidegate_io::proxy_protocol::Header;
use tidegate_io::wake;
use tidegate_message::fields::ResponseMarks;
use tidegate_message::{RequestHead, ResponseHead, fields, framing, media_type};
use tokio::time::{Instant, sleep};

use crate::attempts::{AttemptEnd, Attempts, OtherSpan};
use crate::error::Error;
use crate::outgoing::{Hop, Outgoing, Wording, word};
use crate::pool::{ConnectError, InUse, Lease, Sending, Sent, Server};
use crate::response::ServerBody;
use crate::upstream::Upstream;

/// Before the n-th retry the proxy waits 25 ms × 2ⁿ⁻¹ at most, and half of it at least, so that a server
/// that stumbled is not met by all retries at once; never longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// The response to a request.
pub struct Answer {
    /// Without the fields of the server's connection, but with those that switch protocols.
    pub head: ResponseHead,
    /// Which fields it came with.
    pub marks: ResponseMarks,
    /// It is one of messages ([`media_type::is_stream`]).
    pub is_stream: bool,
    /// Where the server switches protocols it is empty and holds the connection.
    pub body: ServerBody,
    /// The connection to a server that switches protocols.
    pub switched: Option<OnUpgrade>,
}

/// Sends a request and waits for the head of the response.
///
/// A failed attempt is repeated on another server, within the upstream's `retries` and its budget: if nothing of
/// the request was sent, or if its method is idempotent and its body is still there. An idle connection that the
/// server has closed in the meantime does not count as an attempt: it is repeated on a new connection. All of it
/// ends at the deadline. `attempts` notes each as it begins.
///
/// Dropping the future gives the request up; a connection it is on is closed.
///
/// # Errors
/// The last attempt failed, or there was none, or the request's body could not be passed on.
pub async fn send(
    upstream: &Upstream,
    outgoing: Outgoing<'_>,
    attempts: &mut Attempts,
) -> Result<Answer, Error> {
    let Outgoing { head, hop, hash_key, mut body, deadline } = outgoing;
    let may_switch = hop.upgrade.is_some() && upstream.can_upgrade();
    let tunnel = may_switch.then(|| upstream.enter_tunnel()).transpose()?;
    let permit = upstream.enter(deadline).await?;
    let view = upstream.view();
    let key = upstream.hash_key(hash_key, hop.client);
    let replay = body.replay(upstream.cluster.config.retries.buffer);
    let request = Request { upstream, head, hop, deadline, progress: body.progress(), replay };
    let mut tried = Vec::new();
    loop {
        let owned = || view.servers.iter().position(|server| server.has_owned(hop.owner()));
        let owned = if upstream.servers.have_owned.get() && tried.is_empty() { owned() } else { None };
        let index = owned.or_else(|| view.choose(&key, &tried)).ok_or_else(|| upstream.no_server())?;
        let server = &view.servers[index];
        let span = attempts.begin(server.target.name.clone());
        let mut fresh = false;
        let result = loop {
            match request.attempt(server, fresh, view.use_server(index), body, span).await {
                Ok(received) => break Ok(received),
                Err(failed) => match request.body_again(failed.reach) {
                    Some(again) if failed.stale => (body, fresh) = (again, true),
                    again => break Err((failed.error, again)),
                },
            }
        };
        // What went wrong on the client's side tells nothing of the server.
        if let Some(error) = request.progress.failure() {
            return Err(error.into());
        }
        attempts.end(match &result {
            Ok(received) => AttemptEnd::Answered(received.response.status()),
            Err((error, _)) => AttemptEnd::Failed(error.as_str()),
        });
        match &result {
            Ok(received) if !is_gateway_error(received.response.status()) => {
                upstream.cluster.succeeded(&view.members, index);
            }
            _ => upstream.cluster.failed(&view.members, index),
        }
        tried.push(index);
        let error = match request.next(result, &tried, view.servers.len()) {
            Next::Answer(mut received) => {
                let switches = received.response.status() == StatusCode::SWITCHING_PROTOCOLS;
                received.lease.permit = tunnel.filter(|_| switches).or(Some(permit));
                return request.answer(received);
            }
            Next::Fail(error) => return Err(error),
            Next::Again(again, error) => {
                body = again;
                error
            }
        };
        let pause = FIRST_PAUSE.saturating_mul(1 << (tried.len() - 1).min(8)).min(LONGEST_PAUSE);
        let pause = pause.mul_f64(rand::random_range(0.5..1.0));
        if let Some(deadline) = deadline
            && Instant::now() + pause >= deadline
        {
            return Err(error.unwrap_or(Error::ResponseTimeout { server: server.target.name.clone() }));
        }
        let error =
            error.map_or_else(|| "it answered with a gateway error".to_owned(), |error| error.to_string());
        tracing::debug!(target: "upstream", upstream = %upstream.name, server = %server.target.name, "{error}; trying again");
        sleep(pause).await;
    }
}

/// What is the same in all attempts at a request.
struct Request<'a> {
    upstream: &'a Upstream,
    head: &'a RequestHead,
    hop: &'a Hop,
    deadline: Option<Instant>,
    progress: Progress,
    replay: Replay,
}

/// The head of a response, and the connection its body comes on.
struct Received {
    response: Response<Incoming>,
    lease: Lease,
}

/// An attempt that brought no response.
struct Failed {
    error: Error,
    reach: Reach,
    /// The connection was a kept one, and broke: the server may have closed it before it saw the request.
    stale: bool,
}

/// How far a request came that has no response.
enum Reach {
    /// Nothing of it was sent: here is its body.
    NotSent(RequestBody),
    /// The server said that it did nothing with it (RFC 9113 §8.7).
    NotProcessed,
    /// The server may have acted on it.
    Unknown,
    /// The server got it and answered with something else than HTTP: asking it or another again would not help.
    Garbled,
}

/// What follows an attempt.
enum Next {
    /// This is the response.
    Answer(Received),
    Fail(Error),
    /// Another attempt with this body, after this error; none if the server answered with a gateway error.
    Again(RequestBody, Option<Error>),
}

/// A server that answers so cannot do its work, whatever it is asked (RFC 9110 §15.6).
fn is_gateway_error(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

impl Request<'_> {
    /// What may be sent once more of a request that came so far.
    fn body_again(&self, reach: Reach) -> Option<RequestBody> {
        match reach {
            Reach::NotSent(body) => Some(body),
            Reach::NotProcessed => self.replay.body(),
            Reach::Unknown if self.head.method.is_idempotent() => self.replay.body(),
            Reach::Unknown | Reach::Garbled => None,
        }
    }

    /// Decides what follows an attempt; the last of `tried` is its server, out of `servers`.
    fn next(
        &self,
        result: Result<Received, (Error, Option<RequestBody>)>,
        tried: &[usize],
        servers: usize,
    ) -> Next {
        let others = tried.len() < servers;
        let may_retry = || self.upstream.may_retry(tried.len());
        match result {
            Ok(received) => {
                let again = is_gateway_error(received.response.status())
                    && others
                    && self.head.method.is_idempotent();
                let body = if again { self.replay.body() } else { None };
                match body.filter(|_| may_retry()) {
                    Some(body) => Next::Again(body, None),
                    None => Next::Answer(received),
                }
            }
            // A server that was waited for in vain is not waited for once more.
            Err((error @ Error::ResponseTimeout { .. }, _)) if !others => Next::Fail(error),
            Err((error, again)) => match again.filter(|_| may_retry()) {
                Some(body) => Next::Again(body, Some(error)),
                None => Next::Fail(error),
            },
        }
    }

    /// One attempt on one server, with `fresh` on a new connection.
    async fn attempt(
        &self,
        server: &Rc<Server>,
        fresh: bool,
        in_use: InUse,
        body: RequestBody,
        span: Option<OtherSpan>,
    ) -> Result<Received, Failed> {
        let timeouts = &self.upstream.cluster.config.timeouts;
        let name = || server.target.name.clone();
        let connect = match self.deadline {
            Some(deadline) => timeouts.connect.min(deadline - Instant::now()),
            None => timeouts.connect,
        };
        let upgrade = self.hop.upgrade.as_ref().filter(|_| self.upstream.can_upgrade());
        let client = Header::Proxied { source: self.hop.client, destination: self.hop.destination };
        let kept = if fresh { Err(in_use) } else { server.lend(self.hop.owner(), upgrade.is_some(), in_use) };
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
                return Err(Failed { error, reach: Reach::NotSent(body), stale: false });
            }
        };
        let allowed = timeouts.response;
        let due = self.deadline.unwrap_or_else(|| Instant::now() + allowed);
        // The server's time counts from the end of the request, however slow the client sends its body.
        let counts_from_end =
            (self.deadline.is_none() && !body.is_end_stream()).then_some((&self.progress, allowed));
        if upgrade.is_some() || !body.is_end_stream() {
            lease.spawn_driver();
        }
        if !lease.is_http2() && !body.is_end_stream() && self.head.content_length.is_none() {
            let waker = wake::waker().await;
            body.look_ahead(&mut Context::from_waker(&waker));
        }
        let wording = Wording {
            http2: lease.is_http2(),
            upgrade,
            trailers: self.hop.trailers,
            // With trailers it goes in chunks, without a length.
            length: self.head.content_length.filter(|_| !body.has_trailers()),
            via: self.upstream.cluster.config.via,
        };
        let mut request = word(self.head, &server.target, wording, body);
        if let Some(span) = span {
            span.tell(request.headers_mut());
        }
        let result = match lease.send(request) {
            Sending::Http1(sent) => wait(&mut lease, pin!(sent), due, counts_from_end).await,
            Sending::Http2(sent) => wait(&mut lease, Box::pin(sent).as_mut(), due, counts_from_end).await,
        };
        match result {
            Some(Ok(response)) => {
                if authenticates_connection(&self.head.headers, &response) {
                    lease.belong_to(self.hop.owner());
                    self.upstream.servers.have_owned.set(true);
                }
                Ok(Received { response, lease })
            }
            None => {
                lease.suspect();
                let error = Error::ResponseTimeout { server: name() };
                Err(Failed { error, reach: Reach::Unknown, stale: false })
            }
            Some(Err(mut failure)) => {
                let unsent = failure.take_message().map(http::Request::into_body);
                let error = failure.into_error();
                let not_processed = is_not_processed(&error);
                let reach = match unsent {
                    Some(body) => Reach::NotSent(body),
                    None if error.is_parse() => Reach::Garbled,
                    None if not_processed => Reach::NotProcessed,
                    None => Reach::Unknown,
                };
                let stale = lease.reused && !not_processed && !matches!(reach, Reach::Garbled);
                let error = Error::BadResponse { server: name(), cause: cause(&error) };
                Err(Failed { error, reach, stale })
            }
        }
    }

    /// The response without what belongs to the server's connection, refused if it could be read in two ways.
    fn answer(&self, received: Received) -> Result<Answer, Error> {
        let Received { mut response, lease } = received;
        let marks = ResponseMarks::of(response.headers());
        let length =
            framing::check_response(&response, marks, self.hop.upgrade.is_some()).map_err(|cause| {
                Error::BadResponse { server: lease.server().clone(), cause: cause.to_owned() }
            })?;
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let switched = switches.then(|| hyper::upgrade::on(&mut response));
        let (parts, incoming) = response.into_parts();
        let mut head = ResponseHead::new(parts.status, parts.headers);
        let protocol = if switches { head.headers.get(header::UPGRADE).cloned() } else { None };
        if marks.connection {
            fields::remove_hop_by_hop(&mut head.headers);
        }
        if let Some(protocol) = protocol {
            head.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            head.headers.insert(header::UPGRADE, protocol);
        }
        head.reason = parts
            .extensions
            .get::<ReasonPhrase>()
            .map(|reason| (parts.status, Bytes::copy_from_slice(reason.as_bytes())));
        head.content_length = length;
        head.origin = Some(self.upstream.name.clone());
        // Where both sides speak when they have something to say, silence is no fault.
        let is_stream = marks.content_type && media_type::is_stream(&head.headers);
        let idle = match is_stream || self.progress.goes_on() {
            true => self.upstream.stream_idle,
            false => self.upstream.cluster.config.timeouts.idle,
        };
        let body = ServerBody::new(incoming, lease, idle, self.deadline);
        Ok(Answer { head, marks, is_stream, body, switched })
    }
}

/// Whether the server takes who authenticates for the one who sends all that follows on the connection (RFC 4559 §6,
/// MS-NTHT): then it must not be another client's.
fn authenticates_connection(request: &HeaderMap, response: &Response<Incoming>) -> bool {
    let is_such = |value: &HeaderValue| {
        let mut words = value.as_bytes().split(|byte| matches!(byte, b' ' | b'\t' | b','));
        let scheme = words.next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    };
    request.get_all(header::AUTHORIZATION).iter().any(is_such)
        || response.status() == StatusCode::UNAUTHORIZED
            && response.headers().get_all(header::WWW_AUTHENTICATE).iter().any(is_such)
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

/// Whether the server refused the stream, or was going away before it came to it (RFC 9113 §6.8, §8.7).
fn is_not_processed(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|error| {
        error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// hyper's message and what caused it: "connection closed before message completed", "invalid HTTP
/// header parsed", …
fn cause(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        return format!("{error} for limits.response-headers or limits.response-header-count");
    }
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
