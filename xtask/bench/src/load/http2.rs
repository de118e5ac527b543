//! A client's connection of HTTP/2: hyper's, as several clients share it.

use std::io::{Error, Result};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;

use super::connect::Stream;
use super::gate::Tally;
use super::work::Asked;

/// What browsers let a server send ahead, or more.
const WINDOW: u32 = 8 << 20;

#[derive(Clone)]
pub(super) struct Connection(SendRequest<Full<Bytes>>);

/// A request as hyper takes it.
pub(super) fn worded(asked: &Asked) -> Request<Full<Bytes>> {
    let mut request =
        Request::builder().method(asked.method).uri(format!("https://{}{}", asked.host, asked.target));
    for (name, value) in asked.fields() {
        request = request.header(name, value);
    }
    request.body(Full::new(asked.body.clone())).expect("these are a method, a target and fields")
}

impl Connection {
    pub(super) async fn open(stream: Box<dyn Stream>) -> Result<Self> {
        let mut builder = Builder::new(Local);
        builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::other)?;
        tokio::task::spawn_local(connection);
        Ok(Self(sender))
    }

    /// Sends a request and takes the answer, which has to have so many bytes.
    pub(super) async fn ask(
        &mut self,
        request: &Request<Full<Bytes>>,
        is_grpc: bool,
        expected: Option<usize>,
        tally: &Tally,
    ) -> Result<()> {
        self.0.ready().await.map_err(Error::other)?;
        let answer = self.0.send_request(request.clone()).await.map_err(Error::other)?;
        if answer.status() != StatusCode::OK {
            return Err(Error::other(format!("an answer that is not 200: {:?}", answer.into_parts().0)));
        }
        // A call that failed says so in the head, and has no body.
        let mut status = answer.headers().get("grpc-status").cloned();
        let message = answer.headers().get("grpc-message").cloned();
        let (mut body, mut come) = (answer.into_body(), 0);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(Error::other)?;
            if let Some(data) = frame.data_ref() {
                come += data.len();
                tally.took(data.len());
            } else if let Some(trailers) = frame.trailers_ref() {
                status = trailers.get("grpc-status").cloned();
            }
        }
        if is_grpc && status.as_ref().is_none_or(|status| status != "0") {
            return Err(Error::other(format!("a call that ended with the status {status:?}, {message:?}")));
        }
        if expected.is_some_and(|expected| come != expected) {
            return Err(Error::other(format!("an answer of {come} bytes in place of {expected:?}")));
        }
        Ok(())
    }
}

/// Streams are tasks of the one thread.
#[derive(Clone)]
pub(super) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async { drop(future.await) });
    }
}
