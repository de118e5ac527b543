//! One request of a connection, from its head to the end of its response.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;

use super::Arrival;
use super::state::{Next, State};
use crate::http::leftover::{ClientBody, Leftover};
use crate::http::stream::{Pieces, Turn};
use tidegate_body::{BoxError, ResponseBody, longer};
use tidegate_io::Millis;
use tidegate_message::fields::Marks;

/// Has one request answered.
pub(super) fn serve_request<H, F>(
    state: Rc<State>,
    request: Request<Incoming>,
    handle: &H,
) -> impl Future<Output = Result<Response<Watched>, Infallible>> + use<H, F>
where
    H: Fn(Request<ClientBody>, Arrival) -> F,
    F: Future<Output = Response<ResponseBody>>,
{
    let requests = state.requests.get() + 1;
    state.requests.set(requests);
    state.answered.set(false);
    let marks = Marks::of(request.headers());
    let content_lengths = if state.is_http2() { 0 } else { state.activity.begin_request(marks.framed()) };
    let mut leftover = None;
    let request = request.map(|incoming| {
        let (body, left) = ClientBody::new(incoming, &state.activity);
        leftover = left;
        body
    });
    let turn = state.is_http2().then(|| Rc::new(Turn::new(leftover.clone())));
    state.begun.set(turn.clone());
    let in_flight = InFlight::begin(state.clone());
    let arrival = Arrival { content_lengths, marks, state };
    // Boxed: hyper keeps room for what is returned with every connection, busy or idle.
    let answer = Box::pin(handle(request, arrival));
    async move {
        let mut response = answer.await;
        let state = &in_flight.state;
        if let Some(left) = leftover.as_ref().filter(|_| !state.is_http2())
            && !left.is_read(marks.expect, &state.activity).await
        {
            left.forget();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if requests >= state.bounds().limits.requests_per_connection || state.is_draining() {
            if state.is_http2() {
                state.order(Next::Close);
            } else {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if !state.is_http2()
            && response.status().canonical_reason().is_none()
            && response.extensions().get::<ReasonPhrase>().is_none()
        {
            // hyper would write `<none>`; the phrase may be empty, and says nothing to anybody (RFC 9112 §4).
            response.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        in_flight.answered.set(true);
        state.answered.set(!state.is_http2());
        in_flight.upgraded.set(response.status() == StatusCode::SWITCHING_PROTOCOLS);
        let pieces = turn.map(|turn| Pieces::new(turn, state.activity.clone()));
        Ok(response.map(|body| Watched { body, pieces, leftover, _in_flight: in_flight }))
    }
}

/// A response body that keeps its exchange counted as in flight until it is sent or given up.
pub(super) struct Watched {
    body: ResponseBody,
    /// Over HTTP/2.
    pieces: Option<Pieces>,
    /// Of its request.
    leftover: Option<Rc<Leftover>>,
    _in_flight: InFlight,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, pieces, .. } = &mut *self;
        match pieces {
            Some(pieces) => pieces.poll(body, cx),
            None => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest() == 0 && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        longer(self.body.size_hint(), self.rest())
    }
}

impl Watched {
    fn rest(&self) -> usize {
        self.pieces.as_ref().map_or(0, Pieces::rest)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let untaken = self.pieces.as_ref().map_or(0, Pieces::untaken);
        if untaken > 0 {
            self.body.break_off(untaken);
        }
        if let (Some(leftover), None) = (&self.leftover, &self.pieces) {
            leftover.forget();
        }
    }
}

/// One exchange of a connection, from its head to the end of its response.
pub(super) struct InFlight {
    state: Rc<State>,
    pub(super) answered: Cell<bool>,
    /// What follows are no more requests: nothing of it is kept.
    pub(super) upgraded: Cell<bool>,
}

impl InFlight {
    pub(super) fn begin(state: Rc<State>) -> Self {
        state.in_flight.set(state.in_flight.get() + 1);
        Self { state, answered: Cell::new(false), upgraded: Cell::new(false) }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let state = &self.state;
        state.in_flight.set(state.in_flight.get() - 1);
        if state.is_http2() {
            if !self.answered.get() {
                state.count_early_reset();
            }
        } else if !self.upgraded.get() {
            state.activity.end_request();
        }
        state.idle_since.set(Millis::now());
    }
}
