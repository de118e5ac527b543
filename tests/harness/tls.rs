//! A server's side of TLS, for any bytes.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Leaf;
use crate::wait::within;

/// Shakes hands with a client, who is shown this certificate whatever it asks for.
pub async fn tls_accept(stream: TcpStream, leaf: &Leaf) -> io::Result<TlsStream<TcpStream>> {
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der()], leaf.key_der())
        .expect("a key that fits");
    within("a TLS handshake", TlsAcceptor::from(Arc::new(config)).accept(stream)).await
}
