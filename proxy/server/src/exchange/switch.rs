//! An exchange whose connection switches protocols: asked for, agreed, carried (RFC 9110 §7.8; RFC 8441).

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tidegate_body::{Body, End, ResponseBody};
use tidegate_message::ResponseHead;

use super::active::{ActiveExchange, ClientSide, Outcome};
use crate::access_log::Record;
use crate::error::Error;
use crate::http::websocket;
use crate::tunnel;

/// Checks that a server that switches protocols agrees to the WebSocket handshake which the proxy made for a client
/// of HTTP/2. Over HTTP/1.1 the client sees for itself.
pub(super) fn agreed(
    (head, outcome): (ResponseHead, Outcome),
    asked: &HeaderMap,
    record: &Record,
) -> Result<(ResponseHead, Outcome), Error> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        websocket::check(asked, &head.headers)
            .map_err(|cause| Error::BadResponse { server: record.server_name(), cause: cause.to_owned() })?;
    }
    Ok((head, outcome))
}

/// Refuses a success that is no switch where the request opens a WebSocket over HTTP/2: to its client any success
/// is the switch.
pub(super) fn confirm(active: &mut ActiveExchange, outcome: Outcome) -> Outcome {
    if active.opens_websocket
        && let Some(status) = active.exchange.response.as_ref().map(|head| head.status)
        && status.is_success()
    {
        return active.fail(&Error::NoSwitch(status));
    }
    outcome
}

/// Answers that the protocol is switched, and carries what follows. `body` is empty and holds the connection to the
/// server.
pub(super) fn begin(
    mut active: Box<ActiveExchange>,
    response: Response<()>,
    body: Body,
    server: OnUpgrade,
) -> Response<ResponseBody> {
    let mut response = response.map(|()| ResponseBody::from(Body::empty()));
    if let Some(client) = active.client_side.take() {
        if client.over_http2 {
            websocket::answer(&mut response);
            active.record.status = Some(response.status());
        }
        let tasks = active.worker.tasks().clone();
        tasks.spawn(carry(active, body, client, server));
    }
    response
}

/// Carries an upgraded connection until it ends; the exchange lasts as long.
async fn carry(mut active: Box<ActiveExchange>, body: Body, client: ClientSide, server: OnUpgrade) {
    let idle = active.generation.config.timeouts.tunnel_idle;
    let _in_use = active.worker.open();
    let stop = active.worker.no_more_tunnels();
    let ClientSide { stream, held: _held, .. } = client;
    let (bytes_in, bytes, failure) = match tokio::try_join!(stream, server) {
        Ok((client, server)) => {
            let (client, server) = (TokioIo::new(client), TokioIo::new(server));
            // What hyper read too much of is in its streams.
            let carried = tunnel::carry(client, Bytes::new(), server, idle, stop).await;
            (carried.from_client, carried.to_client, carried.end.failure())
        }
        // One side went away between the response and the switch.
        Err(_) => (0, 0, Some("broken-off")),
    };
    drop(body);
    active.record.bytes_in = bytes_in;
    active.record.failure = failure;
    active.end(End { bytes, complete: failure.is_none() });
}
