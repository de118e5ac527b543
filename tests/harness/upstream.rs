//! A server behind the proxy that records what it was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::body::{BoxBody, full};

/// Fields a request may have here; what the proxy lets through comes with those it adds.
const MAX_HEADERS: usize = 1000;

/// A server on a port of its own; it ends when this is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Mutex<Vec<Recorded>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
}

/// The head of a request that reached the upstream.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Method.
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// Fields in order.
    pub headers: HeaderMap,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
}

impl Recorded {
    /// First value of a field as text; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text value"))
    }

    /// How often a field stands there.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.headers.get_all(name).iter().count()
    }
}

impl Upstream {
    /// Answers 200 with JSON about the request: `upstream` (this name), `method`, `target`, `headers`
    /// (name to values joined by `, `), `body` (as text), `trailers`.
    pub async fn echo(name: &'static str) -> Self {
        Self::serve(move |request| async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body,
                Err(error) => return status(400, format!("{error}")),
            };
            let trailers = body.trailers().map(shown);
            let answer = json!({
                "upstream": name,
                "method": head.method.as_str(),
                "target": head.uri.to_string(),
                "headers": shown(&head.headers),
                "body": String::from_utf8_lossy(&body.to_bytes()),
                "trailers": trailers,
            });
            let response = Response::builder().header("content-type", "application/json");
            response.body(full(answer.to_string())).expect("a valid response")
        })
        .await
    }

    /// Answers with what `handler` makes of each request.
    pub async fn serve<F, R>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let recorder = Arc::clone(&seen);
        Self::listen(seen, move |stream, connection| {
            let (handler, recorder) = (handler.clone(), Arc::clone(&recorder));
            async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    recorder.record(&request, connection);
                    let response = handler(request);
                    async move { Ok::<_, Infallible>(response.await) }
                });
                // A proxy that hangs up is part of some tests.
                let _ = http1::Builder::new()
                    .max_headers(MAX_HEADERS)
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
            }
        })
        .await
    }

    /// Hands each connection to `script`, with its number from 1. Requests are not recorded.
    pub async fn script<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        Self::listen(Arc::default(), script).await
    }

    /// Reads one request head from each connection, answers with exactly these bytes, and closes.
    pub async fn raw(response: impl Into<Bytes>) -> Self {
        let response = response.into();
        Self::script(move |mut stream, _| {
            let response = response.clone();
            async move {
                read_head(&mut stream).await;
                let _ = stream.write_all(&response).await;
                let _ = stream.shutdown().await;
                // Until the proxy closes too: what it still sends must not reset the connection.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        })
        .await
    }

    /// A port on which nobody listens.
    pub async fn absent() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        listener.local_addr().expect("a bound socket")
    }

    /// For `servers`.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What reached it so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.seen.requests.lock().expect("no recorder panics").clone()
    }

    /// The only request that reached it.
    #[must_use]
    pub fn only_request(&self) -> Recorded {
        let requests = self.requests();
        let [request] = requests.as_slice() else { panic!("not one request: {requests:#?}") };
        request.clone()
    }

    /// How many connections were made to it.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.seen.connections.load(Relaxed)
    }

    /// How many of them have ended.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.seen.closed.load(Relaxed)
    }

    async fn listen<F, R>(seen: Arc<Seen>, serve: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let counted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            // Dropping the set ends the connections with the listener.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                stream.set_nodelay(true).expect("an open socket");
                let served = serve(stream, counted.connections.fetch_add(1, Relaxed) + 1);
                let counted = Arc::clone(&counted);
                connections.spawn(async move {
                    served.await;
                    counted.closed.fetch_add(1, Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
        });
        Self { address, seen, task }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    fn record(&self, request: &Request<Incoming>, connection: usize) {
        let recorded = Recorded {
            method: request.method().to_string(),
            target: request.uri().to_string(),
            headers: request.headers().clone(),
            connection,
        };
        self.requests.lock().expect("no recorder panics").push(recorded);
    }
}

/// Reads up to and with the empty line after a head.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn status(code: u16, text: String) -> Response<BoxBody> {
    Response::builder().status(code).body(full(text)).expect("a valid response")
}

fn shown(headers: &HeaderMap) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        object.insert(name.to_string(), values.collect::<Vec<_>>().join(", ").into());
    }
    object.into()
}
