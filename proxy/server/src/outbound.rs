//! Connections that the proxy makes for itself, and not for a request: to authorities, collectors, admin interfaces. HTTP/1.1.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

pub(crate) type Sender = SendRequest<Full<Bytes>>;

/// Connects to a host: with TLS, or in clear text. The text of an error is for people.
pub(crate) async fn connect(tls: Option<Arc<ClientConfig>>, host: &str, port: u16) -> Result<Sender, String> {
    let host = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    // Small messages that wait for each other.
    let _ = stream.set_nodelay(true);
    match tls {
        None => speak(stream).await,
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
            let stream = TlsConnector::from(tls).connect(name, stream).await;
            speak(stream.map_err(|error| format!("TLS: {error}"))?).await
        }
    }
}

/// Speaks HTTP on a connection, which ends with the sender, or with the other side.
pub(crate) async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Sender, String> {
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| described(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

pub(crate) fn described(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
