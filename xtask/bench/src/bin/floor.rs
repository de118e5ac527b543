//! The floor: the least that a proxy on hyper does. Connections kept on both sides, in a pool of the shape of ours, and
//! no check, no limit, no time-out. What it costs is hyper's; what tidegate costs beyond it is ours. Nothing but a
//! contender of the bench.
//!
//! `floor ADDRESS SERVER [CHAIN KEY]`: HTTP/1.1 in clear text, or HTTP/2 and HTTP/1.1 by ALPN with a certificate.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::HeaderValue;
use http::header::{CONNECTION, HOST};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error + Send + Sync>;

/// Idle connections to the one server; the one that rested least goes first.
#[derive(Clone)]
struct Pool {
    server: SocketAddr,
    idle: Rc<RefCell<Vec<client::SendRequest<Incoming>>>>,
}

impl Pool {
    async fn take(&self) -> Result<client::SendRequest<Incoming>, Failure> {
        let kept = self.idle.borrow_mut().pop();
        if let Some(mut sender) = kept
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await?;
        spawn_local(connection);
        Ok(sender)
    }
}

/// A response body that gives its connection back at its end.
struct Returning {
    body: Incoming,
    sender: Option<client::SendRequest<Incoming>>,
    pool: Pool,
}

impl Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        self.pool.idle.borrow_mut().extend(self.sender.take());
    }
}

async fn forward(mut request: Request<Incoming>, pool: Pool) -> Result<Response<Returning>, Failure> {
    if request.version() == Version::HTTP_2
        && let Some(authority) = request.uri().authority()
    {
        let host = HeaderValue::from_str(authority.as_str())?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse()?;
        request.headers_mut().insert(HOST, host);
        *request.uri_mut() = path;
        *request.version_mut() = Version::HTTP_11;
    }
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
    let mut sender = pool.take().await?;
    let mut response = sender.send_request(request).await?;
    response.headers_mut().remove(CONNECTION);
    Ok(response.map(|body| Returning { body, sender: Some(sender), pool }))
}

/// Serves one connection to its end; that a client leaves is nobody's fault.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, is_http2: bool, pool: Pool) {
    let service = service_fn(move |request| forward(request, pool.clone()));
    let io = TokioIo::new(stream);
    let _ = match is_http2 {
        true => http2::Builder::new(Local).serve_connection(io, service).await,
        false => http1::Builder::new().serve_connection(io, service).await,
    };
}

async fn accepted(stream: TcpStream, tls: Option<TlsAcceptor>, pool: Pool) {
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else { return serve(stream, false, pool).await };
    if let Ok(stream) = tls.accept(stream).await {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        serve(stream, is_http2, pool).await;
    }
}

/// Streams of HTTP/2 are tasks of the one thread.
#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async { drop(future.await) });
    }
}

fn acceptor(chain: &str, key: &str) -> Result<TlsAcceptor, Failure> {
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>()?;
    let config = rustls::ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config).into())
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, server, tls) = match &*arguments {
        [address, server] => (address, server, None),
        [address, server, chain, key] => (address, server, Some(acceptor(chain, key)?)),
        _ => return Err("Usage: floor ADDRESS SERVER [CHAIN KEY]".into()),
    };
    let pool = Pool { server: server.parse()?, idle: Rc::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(address).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            spawn_local(accepted(stream, tls.clone(), pool.clone()));
        }
    })
}
