//! A client that speaks HTTP/1.1 and HTTP/2, clear or over TLS.

use std::io;
use std::net::SocketAddr;

use http::header::HOST;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::client::TlsStream;

use crate::answer::Answer;
use crate::body::{BoxBody, empty};
use crate::tls::{TlsOptions, alpn, peer_certificate, tls_connect};
use crate::wait::{until, within};

/// The host of a request that names none.
const DEFAULT_HOST: &str = "example.test";

/// The start of a request to a path of `example.test`.
pub fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

/// [`request`] with these fields.
pub fn request_with(method: &str, target: &str, fields: &[(&str, &str)]) -> http::request::Builder {
    fields.iter().fold(request(method, target), |request, (name, value)| request.header(*name, *value))
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    sender: Sender,
    scheme: &'static str,
    session: Option<Session>,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<BoxBody>),
    Http2(http2::SendRequest<BoxBody>),
}

/// What the client and the proxy agreed on in their TLS handshake.
#[derive(Debug)]
struct Session {
    certificate: CertificateDer<'static>,
    alpn: Option<String>,
    version: rustls::ProtocolVersion,
    key_exchange: Option<rustls::NamedGroup>,
}

impl Client {
    /// HTTP/1.1 in clear text.
    pub async fn http1(address: SocketAddr) -> Self {
        let stream = tcp_connect(address).await;
        Self { sender: http1_sender(stream).await.expect("a handshake"), scheme: "http", session: None }
    }

    /// HTTP/2 in clear text, by prior knowledge.
    pub async fn http2(address: SocketAddr) -> Self {
        let stream = tcp_connect(address).await;
        Self { sender: http2_sender(stream).await.expect("a handshake"), scheme: "http", session: None }
    }

    /// TLS; HTTP in the version that ALPN settles, HTTP/1.1 without ALPN.
    pub async fn tls(address: SocketAddr, options: &TlsOptions<'_>) -> io::Result<Self> {
        Self::tls_over(tcp_connect(address).await, options).await
    }

    /// [`Self::tls`] over a connection on which the test has sent something before.
    pub async fn tls_over(stream: TcpStream, options: &TlsOptions<'_>) -> io::Result<Self> {
        let stream = tls_connect(stream, options).await?;
        let session = Session::of(&stream);
        let sender = match session.alpn.as_deref() {
            Some("h2") => http2_sender(stream).await,
            _ => http1_sender(stream).await,
        };
        let sender = sender.map_err(io::Error::other)?;
        Ok(Self { sender, scheme: "https", session: Some(session) })
    }

    /// Sends and reads the whole response.
    pub async fn send(&mut self, request: Request<BoxBody>) -> Answer {
        let shown = format!("{} {}", request.method(), request.uri());
        self.try_send(request).await.unwrap_or_else(|error| panic!("{shown}: {error:?}"))
    }

    /// [`Self::send`] where the connection or the body may end early.
    pub async fn try_send(&mut self, request: Request<BoxBody>) -> hyper::Result<Answer> {
        within("a response", async { Answer::read(self.start(request).await?).await }).await
    }

    /// Sends and returns with the head of the response.
    pub async fn start(&mut self, mut request: Request<BoxBody>) -> hyper::Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                let headers = request.headers_mut();
                headers.entry(HOST).or_insert(http::HeaderValue::from_static(DEFAULT_HOST));
                within("the connection to be free", sender.ready()).await?;
                within("a response head", sender.send_request(request)).await
            }
            Sender::Http2(sender) => {
                let host = request.headers_mut().remove(HOST);
                let authority =
                    host.as_ref().map_or(DEFAULT_HOST, |host| host.to_str().expect("a text host"));
                let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
                let uri = Uri::builder().scheme(self.scheme).authority(authority).path_and_query(target);
                *request.uri_mut() = uri.build().expect("a valid target");
                *request.version_mut() = Version::HTTP_2;
                within("the connection to be free", sender.ready()).await?;
                within("a response head", sender.send_request(request)).await
            }
        }
    }

    /// Another handle on the same HTTP/2 connection, for requests side by side. Panics on HTTP/1.1.
    #[must_use]
    pub fn share(&self) -> Self {
        let Sender::Http2(sender) = &self.sender else { panic!("HTTP/1.1 has one request at a time") };
        Self { sender: Sender::Http2(sender.clone()), scheme: self.scheme, session: None }
    }

    /// `GET` of a target.
    pub async fn get(&mut self, target: &str) -> Answer {
        self.send(request("GET", target).body(empty()).expect("a valid request")).await
    }

    /// [`Self::get`] where the connection may end early.
    pub async fn try_get(&mut self, target: &str) -> hyper::Result<Answer> {
        self.try_send(request("GET", target).body(empty()).expect("a valid request")).await
    }

    /// Whether the proxy has closed the connection, or announced that it takes no further request on it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => sender.is_closed(),
            Sender::Http2(sender) => sender.is_closed(),
        }
    }

    /// `GET` of a target, up to the head of the response.
    pub async fn start_get(&mut self, target: &str) -> Response<Incoming> {
        let request = request("GET", target).body(empty()).expect("a valid request");
        self.start(request).await.expect("a response head")
    }

    /// Sends `count` requests side by side, each for a target of its own, and returns the statuses. Panics
    /// on HTTP/1.1.
    pub async fn side_by_side(&self, count: usize) -> Vec<u16> {
        let mut requests = JoinSet::new();
        for n in 0..count {
            let mut client = self.share();
            requests.spawn(async move { client.get(&format!("/{n}")).await.status });
        }
        within("all answers", requests.join_all()).await
    }

    /// Waits until the proxy has closed the connection, or announced that it takes no further request on it.
    pub async fn until_closed(&self) {
        until("the connection to close", async || self.is_closed()).await;
    }

    /// The certificate that the server showed.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.session().certificate
    }

    /// The protocol that ALPN settled.
    #[must_use]
    pub fn alpn(&self) -> Option<&str> {
        self.session().alpn.as_deref()
    }

    /// The version of TLS.
    #[must_use]
    pub fn tls_version(&self) -> rustls::ProtocolVersion {
        self.session().version
    }

    /// The key exchange of TLS.
    #[must_use]
    pub fn key_exchange(&self) -> Option<rustls::NamedGroup> {
        self.session().key_exchange
    }

    fn session(&self) -> &Session {
        self.session.as_ref().expect("a connection over TLS")
    }
}

impl Session {
    fn of(stream: &TlsStream<TcpStream>) -> Self {
        let (_, tls) = stream.get_ref();
        Self {
            certificate: peer_certificate(tls).expect("a server certificate"),
            alpn: alpn(tls),
            version: tls.protocol_version().expect("a finished handshake"),
            key_exchange: tls.negotiated_key_exchange_group().map(|group| group.name()),
        }
    }
}

/// A client's side of TCP, for any bytes.
pub async fn tcp_connect(address: SocketAddr) -> TcpStream {
    let stream = within("a connection", TcpStream::connect(address)).await.expect("a connection");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

async fn http1_sender(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(Sender::Http1(sender))
}

async fn http2_sender(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<Sender> {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(Sender::Http2(sender))
}
