//! Connections to a proxy, in clear text and over TLS.

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::gate::Tally;

/// Either kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What handshakes of new connections are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handshakes {
    Full,
    /// With a ticket of the connection before.
    Resumed,
}

/// How one client reaches the proxy.
#[derive(Clone)]
pub(super) struct Way {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Way {
    pub(super) fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// Each client has tickets of its own, as each browser has.
    pub(super) fn secure(
        address: SocketAddr,
        roots: &Arc<RootCertStore>,
        is_http2: bool,
        handshakes: Handshakes,
    ) -> Self {
        let mut config =
            ClientConfig::builder().with_root_certificates(Arc::clone(roots)).with_no_client_auth();
        config.alpn_protocols = vec![if is_http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
        if handshakes == Handshakes::Full {
            config.resumption = Resumption::disabled();
        }
        Self { address, tls: Some(Arc::new(config).into()) }
    }

    pub(super) async fn connect(&self, host: &str, tally: &Tally) -> Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(host.to_owned()).map_err(Error::other)?;
        let stream = tls.connect(name, stream).await?;
        tally.shook_hands(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed));
        Ok(Box::new(stream))
    }
}
