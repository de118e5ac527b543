//! One address of an upstream, and how a connection to it is made.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::ProxyProtocol;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use tidegate_io::proxy_protocol::{self, Header};
use tidegate_io::{Carrier, Stream};

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One address of an upstream. Two that are equal have connections in common.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// As logs and the admin interface show it.
    pub(crate) name: Arc<str>,
    pub(crate) endpoint: Endpoint,
    /// The host a request is for when its client named none.
    pub(crate) host: Arc<str>,
    pub(crate) tls: Option<Tls>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) server_name: ServerName<'static>,
}

/// What is agreed on by ALPN (RFC 7301), if there is TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// What the upstream's `protocol` allows.
    AsConfigured,
    /// Only HTTP/1.1, of which a connection can be upgraded.
    Http1,
    /// Nothing: the bytes are the client's.
    Nothing,
}

/// A connection, ready for a request.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// ALPN chose HTTP/2.
    pub(crate) http2: bool,
}

impl Target {
    /// Whether connections to the one are connections to the other.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                Arc::ptr_eq(&one.config, &other.config) && one.server_name == other.server_name
            }
            _ => false,
        };
        self.endpoint == other.endpoint && same_tls && self.proxy_protocol == other.proxy_protocol
    }

    /// Connects. The caller bounds the time; dropping the future gives the connection up. `client` is whom
    /// the PROXY header names.
    pub(crate) async fn connect(&self, client: Header, offer: Offer) -> io::Result<Connected> {
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                self.greet(stream, client, offer).await
            }
            Endpoint::Unix(path) => self.greet(UnixStream::connect(path).await?, client, offer).await,
        }
    }

    /// What comes before the first request: the PROXY header, then TLS.
    async fn greet(
        &self,
        mut stream: impl Carrier + 'static,
        client: Header,
        offer: Offer,
    ) -> io::Result<Connected> {
        if let Some(version) = self.proxy_protocol {
            let version = match version {
                ProxyProtocol::V1 => proxy_protocol::Version::V1,
                ProxyProtocol::V2 => proxy_protocol::Version::V2,
            };
            stream.write_all(&proxy_protocol::encode(version, client)).await?;
        }
        let Some(tls) = &self.tls else {
            return Ok(Connected { stream: Stream::new(stream), http2: false });
        };
        let connector = TlsConnector::from(tls.config.clone());
        let name = tls.server_name.clone();
        let connecting = match offer {
            Offer::AsConfigured => connector.connect(name, stream),
            Offer::Http1 => connector.with_alpn(vec![b"http/1.1".to_vec()]).connect(name, stream),
            Offer::Nothing => connector.with_alpn(Vec::new()).connect(name, stream),
        };
        let stream = connecting.await.map_err(explain)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Connected { stream: Stream::new(stream), http2 })
    }
}

/// Says what an operator can do about a handshake that failed; the library's words name the kind of fault alone.
fn explain(error: io::Error) -> io::Error {
    use rustls::{CertificateError as Certificate, Error as Tls};
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::other("the server closed the connection during the TLS handshake")
            }
            _ => error,
        };
    };
    let help = match tls {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => {
            "nobody who is believed has signed its certificate: name the authority with tls.ca, or the certificate \
             itself with tls.fingerprints"
        }
        Tls::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => "its certificate is for other names: write one of them as tls.server-name",
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its certificate has expired"
        }
        Tls::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its certificate is not valid yet: compare the clocks"
        }
        Tls::InvalidMessage(_) => "it does not seem to speak TLS: leave tls out, or name its TLS port",
        Tls::AlertReceived(_) => "the server ended the TLS handshake",
        Tls::NoApplicationProtocol => {
            "the server speaks none of the protocols it was offered (ALPN): see protocol"
        }
        _ => return error,
    };
    io::Error::other(format!("{help} ({tls})"))
}
