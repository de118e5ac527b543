//! One request to one server over a connection of its own.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_config::Protocol;
use tidegate_io::proxy_protocol::Header;
use tidegate_message::RequestHead;
use tokio::task::AbortHandle;

use crate::outgoing::{Wording, word};
use crate::target::{Offer, Target};

/// Fields of a response: a check says nothing of `limits.response-header-count`.
const MAX_FIELDS: usize = 10_000;

/// Bytes of a body that nobody looks at.
const MOST_DISCARDED: usize = 8 << 20;

/// A response whose body is still to be read.
pub(crate) struct Received {
    pub(crate) response: Response<Incoming>,
    /// Moves the connection until this is dropped.
    _connection: Task,
}

impl Received {
    /// Reads the rest of the body, up to [`MOST_DISCARDED`], and then closes.
    pub(crate) async fn discard(mut self) {
        let mut left = MOST_DISCARDED;
        while let Some(Ok(frame)) = self.response.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    }
}

/// Sends a request without a body; the caller bounds the time.
///
/// # Errors
/// There is no connection, or no response on it; the text is for the log.
pub(crate) async fn send(target: &Target, protocol: Protocol, head: RequestHead) -> Result<Received, String> {
    // What requests are offered, and in what ALPN chooses: that is what has to work.
    let connected =
        target.connect(Header::Local, Offer::AsConfigured).await.map_err(|error| error.to_string())?;
    let http2 = connected.http2 || protocol == Protocol::H2;
    let wording = Wording { http2, upgrade: None, trailers: false, length: None, via: true };
    let mut request = word(&head, target, wording, Empty::<Bytes>::new());
    let io = TokioIo::new(connected.stream);
    let (response, connection) = if http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| error.to_string())?;
        let connection = Task::spawn(connection);
        (sender.send_request(request).await, connection)
    } else {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let handshake = http1::Builder::new().max_headers(MAX_FIELDS).handshake(io).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let connection = Task::spawn(connection);
        (sender.send_request(request).await, connection)
    };
    let response = response.map_err(|error| error.to_string())?;
    Ok(Received { response, _connection: connection })
}

/// A task that ends with its owner.
pub(crate) struct Task(AbortHandle);

impl Task {
    pub(crate) fn spawn<F>(work: F) -> Self
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Self(tokio::spawn(work).abort_handle())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
