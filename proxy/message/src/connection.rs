//! The client connection that requests come on.

use std::net::SocketAddr;
use std::sync::Arc;

/// What every exchange of one client connection has in common.
#[derive(Debug)]
pub struct Connection {
    /// Name of the listener in the configuration.
    pub listener: Arc<str>,
    /// The other end of the connection, which may be a proxy.
    pub peer: SocketAddr,
    /// Whom the connection is made for: the source in the PROXY protocol header of a trusted peer, else
    /// the peer.
    pub source: SocketAddr,
    /// Where `source` connected to: the destination in that header, else this end of the connection.
    pub destination: SocketAddr,
    /// `None` = clear text.
    pub tls: Option<TlsFacts>,
}

/// What the TLS handshake established.
#[derive(Debug, Clone)]
pub struct TlsFacts {
    /// 0x0303 = TLS 1.2, 0x0304 = TLS 1.3.
    pub version: u16,
    /// IANA number.
    pub cipher_suite: u16,
    /// The name the client asked for (SNI).
    pub server_name: Option<String>,
    /// `None` if the client gave none.
    pub client_certificate: Option<Box<ClientCertificate>>,
    /// The certificate was verified against the listener's client CA.
    pub client_verified: bool,
}

/// The client's own certificate.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// Of `der`.
    pub sha256: [u8; 32],
    /// Subject alternative names with their kind: `DNS:…`, `URI:…`, `IP:…`.
    pub names: Vec<String>,
    /// As text (RFC 4514).
    pub subject: String,
    /// Hexadecimal in lower case, without leading zeros.
    pub serial: String,
    /// The certificate itself.
    pub der: Vec<u8>,
}
