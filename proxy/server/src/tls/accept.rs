//! The handshake with one client, and what it established.

use std::io;
use std::time::Duration;

use http::Version;
use rustls::HandshakeKind;
use tidegate_acme::Challenges;
use tidegate_message::TlsFacts;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::alpn::ALPN_HTTP2;
use super::certificates::client_certificate;
use super::config::{Terms, speaks_only_http2};
use super::hello;
use super::on_demand::OnDemand;

/// A connection whose handshake is done.
pub(crate) struct Accepted {
    pub(crate) stream: TlsStream<TcpStream>,
    /// What ALPN chose (RFC 7301); HTTP/1.1 for a client that does not use it.
    pub(crate) version: Version,
    pub(crate) facts: TlsFacts,
    /// A session of an earlier connection was resumed (RFC 8446 §2.2).
    pub(crate) resumed: bool,
}

/// A handshake that came to nothing.
pub(crate) struct Failed {
    pub(crate) reason: Reason,
    pub(crate) error: io::Error,
    /// What the client asked for, where that is why.
    pub(crate) name: Option<String>,
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self { reason: reason(&error), error, name: None }
    }
}

/// Why, in one of few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Timeout,
    /// The client closed the connection.
    Closed,
    NotTls,
    /// The client gave it up.
    Alert,
    /// No version, suite or group in common.
    Incompatible,
    /// A client's is required.
    NoCertificate,
    /// The client's.
    Certificate,
    Alpn,
    /// No certificate is to be had for the name that the client asks for.
    Name,
    Other,
}

impl Reason {
    /// In metrics.
    pub(crate) fn word(self) -> &'static str {
        self.failure().trim_start_matches("tls-")
    }

    /// In the access log.
    pub(crate) fn failure(self) -> &'static str {
        match self {
            Self::Timeout => "tls-timeout",
            Self::Closed => "tls-closed",
            Self::NotTls => "tls-not-tls",
            Self::Alert => "tls-alert",
            Self::Incompatible => "tls-incompatible",
            Self::NoCertificate => "tls-no-certificate",
            Self::Certificate => "tls-certificate",
            Self::Alpn => "tls-alpn",
            Self::Name => "tls-name",
            Self::Other => "tls-other",
        }
    }
}

fn reason(error: &io::Error) -> Reason {
    use rustls::Error;
    let tls = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match tls {
        _ if error.kind() == io::ErrorKind::TimedOut => Reason::Timeout,
        None => Reason::Closed,
        Some(Error::AlertReceived(_)) => Reason::Alert,
        Some(Error::PeerIncompatible(_)) => Reason::Incompatible,
        Some(Error::NoCertificatesPresented) => Reason::NoCertificate,
        Some(Error::InvalidCertificate(_)) => Reason::Certificate,
        Some(Error::NoApplicationProtocol) => Reason::Alpn,
        Some(Error::InvalidMessage(_)) => Reason::NotTls,
        Some(_) => Reason::Other,
    }
}

/// What the proxy has of authorities, where it obtains certificates by itself.
#[derive(Clone, Copy)]
pub(crate) struct Obtained<'a> {
    pub(crate) challenges: &'a Challenges,
    pub(crate) on_demand: &'a OnDemand,
}

/// Shakes hands within `limit`. `None`: it was an authority that looks whether a name is the proxy's, and was answered.
/// Dropping the future closes the connection.
pub(crate) async fn accept(
    stream: TcpStream,
    terms: &Terms,
    obtained: Option<Obtained<'_>>,
    limit: Duration,
) -> Result<Option<Accepted>, Failed> {
    let only_http2 = speaks_only_http2(&terms.config);
    let handshake = async {
        match obtained {
            None => Ok(Some(TlsAcceptor::from(terms.config.clone()).accept(stream).await?)),
            Some(obtained) => hello::accept(stream, terms, obtained).await,
        }
    };
    let stream = match timeout(limit, handshake).await {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return Ok(None),
        Ok(Err(failed)) => return Err(failed),
        Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "over timeouts.tls-handshake").into()),
    };
    let (_, session) = stream.get_ref();
    let version = match session.alpn_protocol() {
        Some(ALPN_HTTP2) => Version::HTTP_2,
        None if only_http2 => Version::HTTP_2,
        _ => Version::HTTP_11,
    };
    let certificate = session.peer_certificates().and_then(|chain| chain.first());
    let facts = TlsFacts {
        version: session.protocol_version().map_or(0, u16::from),
        cipher_suite: session.negotiated_cipher_suite().map_or(0, |suite| suite.suite().into()),
        server_name: session.server_name().map(str::to_owned),
        client_certificate: certificate.map(|der| Box::new(client_certificate(der))),
        // The verifier lets no certificate pass that does not verify.
        client_verified: certificate.is_some(),
    };
    let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Some(Accepted { stream, version, facts, resumed }))
}
