//! What an upstream speaks: HTTP/1.1 or HTTP/2, clear or over TLS.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::body::BoxBody;
use crate::certificates::{Authority, Leaf};
use crate::place::{Accepted, Io};
use crate::tls::{alpn, peer_certificate, server_config};

/// Fields a request may have: more than the proxy lets through, together with those it adds.
const MAX_HEADERS: usize = 1000;

/// How an upstream talks to those who connect.
#[derive(Debug, Clone)]
pub struct Speech {
    version: Version,
    tls: Option<Arc<ServerConfig>>,
    max_streams: Option<u32>,
    requests_per_connection: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
    /// The one that ALPN settles; HTTP/1.1 without ALPN.
    Alpn,
}

/// What a client said in its handshake.
#[derive(Debug, Clone)]
pub struct TlsSeen {
    /// SNI.
    pub server_name: Option<String>,
    /// What ALPN settled.
    pub alpn: Option<String>,
    /// The certificate that it showed.
    pub certificate: Option<CertificateDer<'static>>,
}

impl Speech {
    /// HTTP/1.1 in clear text.
    #[must_use]
    pub fn http1() -> Self {
        Self { version: Version::Http1, tls: None, max_streams: None, requests_per_connection: usize::MAX }
    }

    /// HTTP/2 in clear text, by prior knowledge.
    #[must_use]
    pub fn http2() -> Self {
        Self { version: Version::Http2, ..Self::http1() }
    }

    /// TLS with this certificate; the version of HTTP is what ALPN settles out of `alpn`.
    #[must_use]
    pub fn tls(leaf: &Leaf, alpn: &[&str]) -> Self {
        Self::over_tls(leaf, alpn, None)
    }

    /// [`Self::tls`] that refuses clients without a certificate signed by `clients`.
    #[must_use]
    pub fn tls_for(leaf: &Leaf, alpn: &[&str], clients: &Authority) -> Self {
        Self::over_tls(leaf, alpn, Some(clients))
    }

    fn over_tls(leaf: &Leaf, alpn: &[&str], clients: Option<&Authority>) -> Self {
        Self { version: Version::Alpn, tls: Some(server_config(leaf, alpn, clients)), ..Self::http1() }
    }

    /// HTTP/2: so many streams at a time, in SETTINGS.
    #[must_use]
    pub fn max_streams(mut self, count: u32) -> Self {
        self.max_streams = Some(count);
        self
    }

    /// The upstream announces the end of a connection, with `connection: close` or GOAWAY, after so many
    /// requests.
    #[must_use]
    pub fn requests_per_connection(mut self, count: usize) -> Self {
        self.requests_per_connection = count;
        self
    }

    /// Serves one connection to its end.
    pub(crate) async fn converse<F, R>(self, stream: Accepted, answer: F)
    where
        F: Fn(Request<Incoming>, Option<&TlsSeen>) -> R + Send + 'static,
        R: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        let Some(config) = self.tls.clone() else {
            return self.exchange(stream.into_io(), None, answer).await;
        };
        // In some tests the proxy refuses the certificate.
        let Ok(stream) = TlsAcceptor::from(config).accept(stream.into_io()).await else { return };
        let (_, session) = stream.get_ref();
        let seen = TlsSeen {
            server_name: session.server_name().map(str::to_owned),
            alpn: alpn(session),
            certificate: peer_certificate(session),
        };
        self.exchange(Box::new(stream), Some(seen), answer).await;
    }

    async fn exchange<F, R>(self, stream: Box<dyn Io>, tls: Option<TlsSeen>, answer: F)
    where
        F: Fn(Request<Incoming>, Option<&TlsSeen>) -> R + Send + 'static,
        R: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        let is_http2 = match self.version {
            Version::Http1 => false,
            Version::Http2 => true,
            Version::Alpn => tls.as_ref().is_some_and(|tls| tls.alpn.as_deref() == Some("h2")),
        };
        let (count, enough) = (AtomicUsize::new(0), Arc::new(Notify::new()));
        let last = Arc::clone(&enough);
        let service = service_fn(move |request| {
            if count.fetch_add(1, Relaxed) + 1 == self.requests_per_connection {
                last.notify_one();
            }
            let response = answer(request, tls.as_ref());
            async move { Ok::<_, Infallible>(response.await) }
        });
        // In some tests the proxy closes the connection early, so errors are ignored.
        if is_http2 {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            if let Some(count) = self.max_streams {
                builder.max_concurrent_streams(count);
            }
            let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            tokio::select! {
                _ = &mut connection => return,
                () = enough.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        } else {
            let builder = http1::Builder::new().max_headers(MAX_HEADERS).to_owned();
            let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                _ = &mut connection => return,
                () = enough.notified() => connection.as_mut().graceful_shutdown(),
            }
            let _ = connection.await;
        }
    }
}
