//! The servers behind the proxies: one of HTTP/1.1, as little of it as possible, and one of gRPC.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Result;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::http1::{content_length, read_head};
use super::http2::Local;
use super::work::{BODY, grpc_message};

/// Bytes that are taken and sent at once.
const PIECE: usize = 64 << 10;

/// Calls at a time on one connection: all of any case.
const STREAMS: u32 = 10_000;

/// Servers at work; they belong to the thread's tasks.
pub(super) struct Servers {
    pub(super) http1: SocketAddr,
    pub(super) grpc: SocketAddr,
    /// Bytes of the bodies that the first one answers with.
    pub(super) body: Rc<Cell<usize>>,
}

impl Servers {
    pub(super) async fn start() -> Result<Self> {
        let body = Rc::new(Cell::new(BODY));
        let (plain, grpc) = (TcpListener::bind(any(1)).await?, TcpListener::bind(any(1)).await?);
        let servers = Self { http1: plain.local_addr()?, grpc: grpc.local_addr()?, body: Rc::clone(&body) };
        spawn_local(accept(plain, body));
        spawn_local(async move {
            while let Ok((stream, _)) = grpc.accept().await {
                let _ = stream.set_nodelay(true);
                let mut builder = http2::Builder::new(Local);
                // Proxies send their first requests before they know how many the server takes.
                builder.max_concurrent_streams(STREAMS);
                // nginx opens windows of streams that have ended, for which others would cut it off after a while.
                builder.max_local_error_reset_streams(None);
                spawn_local(builder.serve_connection(TokioIo::new(stream), service_fn(call)));
            }
        });
        Ok(servers)
    }

    /// So many more servers of HTTP/1.1, each with an address of its own.
    pub(super) async fn more(&self, count: usize) -> Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for number in 0..count {
            let number = u32::try_from(number).expect("some thousand servers");
            let listener = TcpListener::bind(any(2 + number)).await?;
            addresses.push(listener.local_addr()?);
            spawn_local(accept(listener, Rc::clone(&self.body)));
        }
        Ok(addresses)
    }
}

/// A free port of the n-th address of this machine to itself.
fn any(number: u32) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 0).to_bits() + number)), 0)
}

async fn accept(listener: TcpListener, body: Rc<Cell<usize>>) {
    while let Ok((stream, _)) = listener.accept().await {
        spawn_local(serve(stream, Rc::clone(&body)));
    }
}

/// A proxy that closes a connection ends this; no error is worth a message.
async fn serve(mut stream: TcpStream, body: Rc<Cell<usize>>) -> Result<()> {
    stream.set_nodelay(true)?;
    let piece = vec![b'x'; PIECE];
    let mut buffer = Vec::with_capacity(PIECE);
    let (mut length, mut response) = (usize::MAX, Vec::new());
    loop {
        buffer.clear();
        let head = read_head(&mut stream, &mut buffer).await?;
        let come = buffer.len() - head;
        match content_length(&buffer[..head]) {
            Some(bytes) => {
                let mut left = bytes.saturating_sub(come);
                while left > 0 {
                    buffer.clear();
                    let read = stream.read_buf(&mut buffer).await?;
                    if read == 0 {
                        return Ok(());
                    }
                    left = left.saturating_sub(read);
                }
            }
            None if has_chunks(&buffer[..head]) => {
                while !buffer.ends_with(b"0\r\n\r\n") {
                    // The end may come in parts.
                    let tail = buffer.len().saturating_sub(4).max(head.min(buffer.len()));
                    buffer.drain(..tail);
                    if stream.read_buf(&mut buffer).await? == 0 {
                        return Ok(());
                    }
                }
            }
            None => {}
        }
        if length != body.get() {
            length = body.get();
            response = worded(length);
        }
        stream.write_all(&response).await?;
        let mut left = length.saturating_sub(PIECE);
        while left > 0 {
            let next = left.min(PIECE);
            stream.write_all(&piece[..next]).await?;
            left -= next;
        }
    }
}

/// The head of an answer, and the first piece of its body.
fn worded(length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &vec![b'x'; length.min(PIECE)]].concat()
}

fn has_chunks(head: &[u8]) -> bool {
    head.to_ascii_lowercase().windows(26).any(|window| window == b"transfer-encoding: chunked")
}

/// One call of gRPC.
async fn call(request: Request<Incoming>) -> std::result::Result<Response<Reply>, Infallible> {
    // Whoever breaks off a request does not wait for an answer.
    let _ = request.into_body().collect().await;
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let reply = Reply([Frame::data(grpc_message()), Frame::trailers(trailers)].into());
    let mut response = Response::new(reply);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// A message and the status.
struct Reply(VecDeque<Frame<Bytes>>);

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}
