//! TLS for any bytes, from either side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, CommonState, HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::certificates::{Authority, Leaf};
use crate::wait::within;

/// How to open a TLS connection.
#[derive(Debug, Clone)]
pub struct TlsOptions<'a> {
    /// The certificate of the authority that signed the server's certificate, or the server's certificate
    /// itself.
    pub trusted: &'a CertificateDer<'static>,
    /// For SNI; an address sends none.
    pub server_name: &'a str,
    /// Offered in this order; nothing = no ALPN.
    pub alpn: &'a [&'a str],
    /// Versions offered.
    pub versions: &'a [&'static rustls::SupportedProtocolVersion],
    /// Signatures that the server may prove itself with; nothing = all.
    pub schemes: &'a [rustls::SignatureScheme],
    /// The certificate shown when the server asks.
    pub client: Option<&'a Leaf>,
}

impl<'a> TlsOptions<'a> {
    /// HTTP/2 or HTTP/1.1, the newest TLS, no client certificate.
    #[must_use]
    pub fn new(authority: &'a Authority, server_name: &'a str) -> Self {
        Self::trusting(authority.der(), server_name)
    }

    /// [`Self::new`] where there is no authority but one certificate.
    #[must_use]
    pub fn trusting(trusted: &'a CertificateDer<'static>, server_name: &'a str) -> Self {
        Self {
            trusted,
            server_name,
            alpn: &["h2", "http/1.1"],
            versions: rustls::ALL_VERSIONS,
            schemes: &[],
            client: None,
        }
    }
}

/// A client's side.
pub async fn tls_connect(
    stream: TcpStream,
    options: &TlsOptions<'_>,
) -> io::Result<client::TlsStream<TcpStream>> {
    connect_by(stream, client_config(options), options.server_name).await
}

/// Whether a session that began at `one` is resumed at `other`. Both serve HTTP/1.1.
pub async fn tls_resumes(one: SocketAddr, other: SocketAddr, options: &TlsOptions<'_>) -> io::Result<bool> {
    tls_resumes_after(one, other, options, async {}).await
}

/// [`tls_resumes`] with something in between.
pub async fn tls_resumes_after(
    one: SocketAddr,
    other: SocketAddr,
    options: &TlsOptions<'_>,
    between: impl Future<Output = ()>,
) -> io::Result<bool> {
    let options = TlsOptions { alpn: &["http/1.1"], ..options.clone() };
    let config = client_config(&options);
    let mut first = connect_by(TcpStream::connect(one).await?, config.clone(), options.server_name).await?;
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
    // Tickets come with what comes after the handshake.
    within("an answer", first.read_to_end(&mut Vec::new())).await?;
    between.await;
    let second = connect_by(TcpStream::connect(other).await?, config, options.server_name).await?;
    Ok(second.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
}

async fn connect_by(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    name: &str,
) -> io::Result<client::TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a valid name");
    within("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await
}

fn client_config(options: &TlsOptions<'_>) -> Arc<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    if !options.schemes.is_empty() {
        let known = &mut provider.signature_verification_algorithms;
        let some: Vec<_> =
            known.mapping.iter().filter(|(scheme, _)| options.schemes.contains(scheme)).copied().collect();
        known.mapping = some.leak();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(options.versions)
        .expect("known versions")
        .with_root_certificates(roots(options.trusted));
    let mut config = match options.client {
        Some(leaf) => {
            config.with_client_auth_cert(vec![leaf.der()], leaf.key_der()).expect("a key that fits")
        }
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(options.alpn);
    Arc::new(config)
}

/// A server's side: the client is shown this certificate whatever it asks for.
pub async fn tls_accept(stream: TcpStream, leaf: &Leaf) -> io::Result<server::TlsStream<TcpStream>> {
    let config = server_config(leaf, &[], None);
    within("a TLS handshake", TlsAcceptor::from(config).accept(stream)).await
}

/// A server that shows this certificate, and takes only clients that show one which `clients` has signed.
pub(crate) fn server_config(leaf: &Leaf, alpn: &[&str], clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("known versions");
    let builder = match clients {
        Some(authority) => {
            let roots = Arc::new(roots(authority.der()));
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(verifier.build().expect("a root"))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(vec![leaf.der()], leaf.key_der()).expect("a key that fits");
    config.alpn_protocols = protocols(alpn);
    Arc::new(config)
}

/// What ALPN settled.
pub(crate) fn alpn(session: &CommonState) -> Option<String> {
    session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned())
}

/// The certificate that the peer showed.
pub(crate) fn peer_certificate(session: &CommonState) -> Option<CertificateDer<'static>> {
    session.peer_certificates().map(|chain| chain[0].clone().into_owned())
}

fn roots(trusted: &CertificateDer<'static>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a valid root");
    roots
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
