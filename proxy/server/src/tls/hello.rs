//! Handshakes that begin with a look at what the client says: an authority that looks whether a name is the proxy's (TLS-ALPN-01, RFC 8737), and
//! names whose certificates are obtained on demand, beside all others.

use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::Acceptor;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tidegate_acme::ALPN;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::accept::{Failed, Obtained, Reason};
use super::certificates::of_pem;
use super::config::Terms;
use super::on_demand::{OnDemand, refusing};

/// Shakes hands by the listener's terms; or, with an authority that looks at a name of ours, by what it wants to see, and says
/// nothing more. Such a handshake asks for no client certificate and carries no request.
pub(super) async fn accept(
    stream: TcpStream,
    terms: &Terms,
    obtained: Obtained<'_>,
) -> Result<Option<TlsStream<TcpStream>>, Failed> {
    let handshake = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = handshake.client_hello();
    // An authority offers this protocol and no other (RFC 8737 §4).
    let is_challenge =
        hello.alpn().is_some_and(|mut offered| offered.next() == Some(ALPN) && offered.next().is_none());
    let name = hello.server_name().filter(|_| is_challenge).map(str::to_owned);
    let answer = match name {
        Some(name) => Box::pin(obtained.challenges.tls(&name)).await,
        None => None,
    };
    let Some(answer) = answer else {
        return by_terms(handshake, terms, obtained.on_demand).await.map(Some);
    };
    let config = answering(&answer.pem).map_err(io::Error::other)?;
    let mut stream = handshake.into_stream(Arc::new(config)).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Shakes hands by the listener's terms, and with a certificate that is obtained now for a name that they have none for.
async fn by_terms(
    handshake: StartHandshake<TcpStream>,
    terms: &Terms,
    on_demand: &OnDemand,
) -> Result<TlsStream<TcpStream>, Failed> {
    let hello = handshake.client_hello();
    let name = hello.server_name();
    if !terms.on_demand || terms.certificates.has(name) {
        return Ok(handshake.into_stream(terms.config.clone()).await?);
    }
    match Box::pin(on_demand.serving(&terms.config, name)).await {
        Ok(config) => Ok(handshake.into_stream(config).await?),
        Err(denied) => {
            let (error, name) = (io::Error::other(denied.reason()), name.map(str::to_owned));
            // Fails, and says so to the client.
            let _ = handshake.into_stream(refusing(&terms.config)).await;
            Err(Failed { reason: Reason::Name, error, name })
        }
    }
}

/// Shows one certificate, and speaks the one protocol.
fn answering(pem: &[u8]) -> Result<ServerConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = answer_of_pem(pem, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let resolver = SingleCertAndKey::from(key);
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

/// Not checked: what makes it an answer is critical, and nothing but an authority understands it.
fn answer_of_pem(pem: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let (chain, key) = of_pem(pem)?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| error.to_string())?;
    Ok(CertifiedKey::new(chain, key))
}
