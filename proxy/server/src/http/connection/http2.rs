//! Drives a connection of HTTP/2.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use http::{Request, Response};
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
use crate::http::io::Io;
use crate::http::leftover::ClientBody;
use crate::http::stream::Patience;

/// RFC 9113 §6.9.2: 64 KiB is the protocol's default and slows uploads over long links.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;
/// The largest there is.
const HTTP2_WINDOW: u32 = (1 << 31) - 1;

/// Serves the streams of a connection until it ends.
pub(super) async fn serve<S, H, F>(
    io: Box<Io<S>>,
    state: &Rc<State>,
    drain: &mut watch::Receiver<bool>,
    handle: &H,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<ClientBody>, Arrival) -> F + 'static,
    F: Future<Output = Response<ResponseBody>> + 'static,
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
    loop {
        let next = pin!(state.next(drain));
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            next = Beside::new(next) => match next {
                Next::Check | Next::Rest => {}
                Next::Close => connection.as_mut().graceful_shutdown(),
                Next::Cut | Next::RequestTimeout => return,
            },
        }
    }
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
