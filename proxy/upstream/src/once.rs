//! One request to one server over a connection of its own.

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_config::Protocol;
use tidegate_io::proxy_protocol::Header;
use tidegate_message::RequestHead;
use tokio::task::AbortHandle;

use crate::outgoing::{Wording, word};
use crate::target::{Offer, Target};

/// A response whose body is still to be read.
pub(crate) struct Received {
    pub(crate) response: Response<Incoming>,
    /// Moves the connection until this is dropped.
    _connection: Task,
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
    let wording = Wording { http2, upgrade: None, trailers: false, length: None };
    let mut request = word(&head, target, wording, Empty::<Bytes>::new());
    let io = TokioIo::new(connected.stream);
    let (response, connection) = if http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| error.to_string())?;
        let connection = Task::spawn(connection);
        (sender.send_request(request).await, connection)
    } else {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
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
