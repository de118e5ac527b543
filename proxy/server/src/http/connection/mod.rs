//! Serves the requests of one client connection and ends it when a limit or a wait says so.

mod answer;
mod http1;
mod http2;
mod state;

use std::any::Any;
use std::future::Future;
use std::rc::Rc;

use http::{Request, Response, Version};
use tidegate_config::{HttpVersions, Limits, Timeouts};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use self::answer::InFlight;
pub(crate) use self::http2::HTTP2_STREAM_WINDOW;
use self::state::State;
use super::io::Io;
use super::leftover::ClientBody;
use crate::error::Unparsed;
use tidegate_body::ResponseBody;
use tidegate_message::fields::Marks;

/// What bounds a connection. It keeps those of the generation it was accepted under.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) limits: Limits,
    pub(crate) timeouts: Timeouts,
    pub(crate) versions: HttpVersions,
    /// The client is a trusted proxy: its connection carries the requests of many.
    pub(crate) many_clients: bool,
    /// Names of fields in title case, for clients of HTTP/1.1 that compare them byte by byte.
    pub(crate) title_case: bool,
}

/// What the driver tells the handler of a request, beside the request.
pub(crate) struct Arrival {
    /// `Content-Length` lines in the head of an HTTP/1 request that has a body; the parser hides
    /// repeated ones and those beside `Transfer-Encoding` (RFC 9112 §6.1, §6.3).
    pub(crate) content_lengths: usize,
    pub(crate) marks: Marks,
    state: Rc<State>,
}

impl Arrival {
    /// Keeps the connection in use until this is dropped, for what goes on after the response: hyper drops
    /// the body of the one that begins a tunnel on a stream of HTTP/2, and the connection would be idle.
    pub(crate) fn hold(&self) -> Held {
        let in_flight = InFlight::begin(self.state.clone());
        in_flight.answered.set(true);
        in_flight.upgraded.set(true);
        Held { _in_flight: in_flight }
    }
}

/// See [`Arrival::hold`].
pub(crate) struct Held {
    _in_flight: InFlight,
}

/// Serves `stream` until it ends; `negotiated` is the version ALPN chose, if any.
///
/// `counted` is dropped when the connection has ended, and a tunnel that it became.
///
/// `handle` answers one request and is dropped, with the exchange, when the client goes away; `unparsed` learns what
/// was answered to what is no request. When
/// `drain` becomes true the connection finishes what is in flight, or what comes of a client that is busy, and closes (HTTP/2:
/// GOAWAY).
///
/// What is known is put into boxes before there is a future, which would have room for it twice.
pub(crate) fn serve<S, H, F, U>(
    stream: S,
    negotiated: Option<Version>,
    bounds: Bounds,
    mut drain: watch::Receiver<bool>,
    handle: H,
    unparsed: U,
    counted: Box<dyn Any>,
) -> impl Future<Output = ()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
    U: Fn(Unparsed),
{
    let state = Rc::new(State::new(bounds, counted));
    let mut io = Box::new(Io::new(stream, state.activity.clone()));
    async move {
        let HttpVersions { http1, http2, .. } = state.bounds().versions;
        let http2 = match negotiated {
            Some(version) => version == Version::HTTP_2,
            None if !http1 => true,
            None if !http2 => false,
            None => tokio::select! {
                biased;
                recognised = timeout(state.bounds().timeouts.request_headers, io.starts_http2()) => {
                    match recognised {
                        Ok(Ok(http2)) => http2,
                        // Broken, or silent for too long: no client is there to be told.
                        Ok(Err(_)) | Err(_) => return,
                    }
                }
                // Nothing was asked yet, so nothing is lost.
                () = state.last_call(&mut drain) => return,
            },
        };
        if http2 {
            state.expect_http2();
            Box::pin(http2::serve(io, &state, &mut drain, &handle, &unparsed)).await;
        } else {
            http1::serve(io, &state, &mut drain, &handle, &unparsed).await;
        }
    }
}
