//! The way to an authority, and to what the operator has listening: HTTP/1.1, one request after another on a connection that
//! is kept for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use rustls::ClientConfig;
use tidegate_acme::{Transport, TransportFuture};
use tokio::time::timeout;

use crate::outbound::{Sender, connect, described};

/// For a name, a connection and a handshake.
const CONNECT: Duration = Duration::from_secs(10);
/// For all of a request and its answer.
const WHOLE: Duration = Duration::from_secs(30);
/// A chain with everything is some KiB.
const LARGEST: usize = 1 << 20;

/// Reaches one authority, or something else.
pub(super) struct Http {
    /// `None`: in clear text.
    tls: Option<Arc<ClientConfig>>,
    /// The connection that was used last, with whom it is to.
    idle: Arc<Mutex<Option<(String, Sender)>>>,
}

impl Http {
    pub(super) fn new(tls: Option<Arc<ClientConfig>>) -> Self {
        Self { tls, idle: Arc::default() }
    }
}

impl Transport for Http {
    fn send(&self, request: Request<Bytes>) -> TransportFuture {
        let (tls, idle) = (self.tls.clone(), self.idle.clone());
        Box::pin(async move {
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            match timeout(WHOLE, exchange(tls, &idle, request)).await {
                Ok(result) => result.map_err(|error| format!("{authority}: {error}")),
                Err(_) => Err(format!("{authority}: no answer within {} s", WHOLE.as_secs())),
            }
        })
    }
}

async fn exchange(
    tls: Option<Arc<ClientConfig>>,
    idle: &Mutex<Option<(String, Sender)>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, String> {
    let uri = request.uri().clone();
    // What an authority answers may name anything; accounts are for this way alone (RFC 8555 §6.1).
    let scheme = if tls.is_some() { "https" } else { "http" };
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some(scheme));
    let Some(authority) = authority else { return Err(format!("{uri} is not a URL with {scheme}")) };
    let authority = authority.to_string();
    let mut request = in_origin_form(request.map(Full::new), &authority)?;
    let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((to, mut sender)) = kept
        && to == authority
        && sender.ready().await.is_ok()
    {
        match sender.try_send_request(request).await {
            Ok(answer) => return finish(answer, idle, authority, sender).await,
            // It was closed meanwhile; what was not sent is sent again.
            Err(mut error) => match error.take_message() {
                Some(back) => request = back,
                None => return Err(described(&error.into_error())),
            },
        }
    }
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let mut sender = timeout(CONNECT, connect(tls, uri.host().unwrap_or_default(), port))
        .await
        .map_err(|_| format!("no connection within {} s", CONNECT.as_secs()))??;
    let answer = sender.send_request(request).await.map_err(|error| described(&error))?;
    finish(answer, idle, authority, sender).await
}

fn in_origin_form(
    mut request: Request<Full<Bytes>>,
    authority: &str,
) -> Result<Request<Full<Bytes>>, String> {
    let host = HeaderValue::try_from(authority).map_err(|error| error.to_string())?;
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let target = target.parse::<Uri>().map_err(|error| error.to_string())?;
    *request.uri_mut() = target;
    let library = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let agent = format!("tidegate/{} {}", env!("CARGO_PKG_VERSION"), library.unwrap_or_default());
    let agent = HeaderValue::try_from(agent.trim_end()).map_err(|error| error.to_string())?;
    request.headers_mut().insert(header::USER_AGENT, agent);
    request.headers_mut().insert(header::HOST, host);
    Ok(request)
}

/// Reads the answer, and keeps the connection.
async fn finish(
    answer: Response<hyper::body::Incoming>,
    idle: &Mutex<Option<(String, Sender)>>,
    authority: String,
    sender: Sender,
) -> Result<Response<Bytes>, String> {
    let (parts, body) = answer.into_parts();
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| format!("its answer broke off: {error}"))?.to_bytes();
    *idle.lock().unwrap_or_else(PoisonError::into_inner) = Some((authority, sender));
    Ok(Response::from_parts(parts, body))
}
