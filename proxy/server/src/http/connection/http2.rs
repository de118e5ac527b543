//! Drives a connection of HTTP/2.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use h2::Reason;
use http::{Request, Response, StatusCode, Version};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tidegate_body::ResponseBody;
use tidegate_io::wake::Beside;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::Arrival;
use super::answer::serve_request;
use super::state::{Next, State};
use crate::error::Unparsed;
use crate::http::frames::Refused;
use crate::http::io::Io;
use crate::http::leftover::ClientBody;
use crate::http::stream::Patience;

/// RFC 9113 §6.9.2: 64 KiB is the protocol's default and slows uploads over long links.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
/// The largest there is.
const HTTP2_WINDOW: u32 = (1 << 31) - 1;

/// Serves the streams of a connection until it ends.
pub(super) async fn serve<S, H, F, U>(
    io: Box<Io<S>>,
    state: &Rc<State>,
    drain: &mut watch::Receiver<bool>,
    handle: &H,
    unparsed: &U,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
    U: Fn(Unparsed),
{
    let bounds = state.bounds();
    let limits = &bounds.limits;
    // Room for all streams: uploads that a server does not take must not hold up those beside them.
    let window = HTTP2_STREAM_WINDOW.saturating_mul(limits.http2_streams).min(HTTP2_WINDOW);
    let patience = Patience { idle: bounds.timeouts.body_idle, rate: limits.min_rate };
    let service = service_fn(|request| serve_request(state.clone(), request, handle));
    let mut connection = pin!(
        http2::Builder::new(Streams { state: state.clone(), patience })
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(window)
            .max_concurrent_streams(limits.http2_streams)
            .enable_connect_protocol()
            .max_header_list_size(u32::try_from(limits.request_headers).unwrap_or(u32::MAX))
            .serve_connection(TokioIo::new(io), service)
    );
    let mut floods = false;
    loop {
        let next = pin!(state.next(drain));
        let served = poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            // Whatever came before has been handed on by now.
            let refused = state.activity.refused(state.requests.get());
            refused.into_iter().map(of_stream).for_each(unparsed);
            polled
        });
        tokio::select! {
            biased;
            ended = served => {
                let refusal = ended.err().as_ref().and_then(|error| of_connection(error, state));
                refusal.filter(|refusal| !floods || refusal.failure != FLOOD).into_iter().for_each(unparsed);
                return;
            }
            next = Beside::new(next) => match next {
                Next::Check | Next::Rest => {}
                Next::Close => {
                    if state.begins_to_flood() {
                        floods = true;
                        unparsed(refusal(StatusCode::TOO_MANY_REQUESTS, FLOOD));
                    }
                    connection.as_mut().graceful_shutdown();
                }
                Next::Cut => return,
                Next::RequestTimeout => {
                    unparsed(refusal(StatusCode::REQUEST_TIMEOUT, "request-timeout"));
                    return;
                }
            },
        }
    }
}

/// More resets, empty frames or pieces of a head than anybody needs.
const FLOOD: &str = "http2-flood";

fn refusal(status: StatusCode, failure: &'static str) -> Unparsed {
    Unparsed { version: Version::HTTP_2, status, failure }
}

/// What became of a head that hyper did not hand on.
fn of_stream(refused: Refused) -> Unparsed {
    match refused {
        Refused::Malformed => refusal(StatusCode::BAD_REQUEST, "bad-request"),
        Refused::TooLarge => refusal(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large"),
        Refused::TooMany => refusal(StatusCode::TOO_MANY_REQUESTS, "http2-streams"),
    }
}

/// Why the proxy gave a connection up, if it is the client's fault (RFC 9113 §5.4.1, §7).
fn of_connection(error: &hyper::Error, state: &State) -> Option<Unparsed> {
    let error = error.source()?.downcast_ref::<h2::Error>().filter(|error| error.is_library())?;
    let (status, failure) = match error.reason()? {
        _ if !state.activity.is_http2() => (StatusCode::BAD_REQUEST, "http2-preface"),
        Reason::FRAME_SIZE_ERROR => (StatusCode::BAD_REQUEST, "http2-frame-size"),
        Reason::FLOW_CONTROL_ERROR => (StatusCode::BAD_REQUEST, "http2-flow-control"),
        // Of a head that goes on beyond what is ignored of it; HPACK that cannot be read is PROTOCOL_ERROR for h2.
        Reason::COMPRESSION_ERROR => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large"),
        Reason::ENHANCE_YOUR_CALM => (StatusCode::TOO_MANY_REQUESTS, FLOOD),
        _ => (StatusCode::BAD_REQUEST, "http2-protocol"),
    };
    Some(refusal(status, failure))
}

/// Runs HTTP/2 streams on the worker's own thread.
#[derive(Clone)]
struct Streams {
    state: Rc<State>,
    patience: Patience,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Streams {
    fn execute(&self, future: F) {
        // hyper hands over the rest of a stream right after it has called the service with its request.
        match self.state.begun.take() {
            // Boxed: tokio moves what it is given three times.
            Some(turn) => {
                let stream = Box::pin(future);
                spawn_local(self.patience.serve(stream, turn, self.state.activity.clone()))
            }
            None => spawn_local(future),
        };
    }
}
