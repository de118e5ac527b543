//! A server behind the proxy that records what it was asked.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Barrier, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::body::{BoxBody, Chunks, body, chunks};
use crate::head::{head_field, read_head};
use crate::place::{Accepted, Place};
use crate::speech::{Speech, TlsSeen};
use crate::wait::{until, within};

/// A server on a port of its own; dropping this stops it.
pub struct Upstream {
    place: Place,
    seen: Arc<Seen>,
    serve: Serve,
    /// `None` while it is stopped.
    running: Option<Running>,
}

/// Serves a connection; gets its number, counted from 1.
type Serve = Arc<dyn Fn(Accepted, usize) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// An upstream that is not started yet.
#[derive(Debug)]
pub struct UpstreamBuilder {
    place: Place,
    speech: Speech,
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
    /// Version of HTTP.
    pub version: Version,
    /// Method.
    pub method: String,
    /// As it stood in the request line, or in `:path`.
    pub target: String,
    /// `:authority` of HTTP/2; `None` on HTTP/1.1.
    pub authority: Option<String>,
    /// Fields in order.
    pub headers: HeaderMap,
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// What the handshake said; `None` on clear text.
    pub tls: Option<TlsSeen>,
}

impl Recorded {
    /// First value of a field as text; empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a text value"))
    }

    /// How many values a field has.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.headers.get_all(name).iter().count()
    }
}

impl UpstreamBuilder {
    /// At this address instead of a port of its own on 127.0.0.1.
    #[must_use]
    pub fn at(mut self, address: SocketAddr) -> Self {
        self.place = Place::at(address);
        self
    }

    /// At a Unix socket, by its path.
    #[must_use]
    pub fn unix(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.place = Place::unix(path.into());
        self
    }

    /// Speaks as this says instead of HTTP/1.1 in clear text.
    #[must_use]
    pub fn speaking(mut self, speech: Speech) -> Self {
        self.speech = speech;
        self
    }

    /// Answers 200 with JSON about the request: `upstream` (this name), `method`, `target`, `headers`
    /// (name to values joined by `, `), `body` (as text), `trailers`.
    pub async fn echo(self, name: &str) -> Upstream {
        let name: Arc<str> = name.into();
        self.serve(move |request| echo(Arc::clone(&name), request)).await
    }

    /// Answers no request before `count` of them have arrived; those for `/warm` at once.
    pub async fn meeting(self, count: usize) -> Upstream {
        let everybody = Arc::new(Barrier::new(count));
        self.serve(move |request| {
            let everybody = Arc::clone(&everybody);
            async move {
                if request.uri().path() != "/warm" {
                    everybody.wait().await;
                }
                status(200, "ok".to_owned())
            }
        })
        .await
    }

    /// Answers with what `handler` makes of each request.
    pub async fn serve<F, R>(self, handler: F) -> Upstream
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let (recorder, speech) = (Arc::clone(&seen), self.speech);
        let serve: Serve = Arc::new(move |stream, connection| {
            let (handler, recorder) = (handler.clone(), Arc::clone(&recorder));
            let answer = move |request: Request<Incoming>, tls: Option<&TlsSeen>| {
                recorder.record(&request, connection, tls);
                handler(request)
            };
            Box::pin(speech.clone().converse(stream, answer))
        });
        Upstream::started(self.place, seen, serve).await
    }
}

impl Upstream {
    /// HTTP/1.1 in clear text on a port of its own, unless the builder says otherwise.
    #[must_use]
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder { place: Place::any_port(), speech: Speech::http1() }
    }

    /// [`UpstreamBuilder::echo`] with the defaults of [`Self::builder`].
    pub async fn echo(name: &str) -> Self {
        Self::builder().echo(name).await
    }

    /// [`UpstreamBuilder::serve`] with the defaults of [`Self::builder`].
    pub async fn serve<F, R>(handler: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<BoxBody>> + Send + 'static,
    {
        Self::builder().serve(handler).await
    }

    /// An echo at each of these addresses, all on the same port, named after the address.
    pub async fn echoes(addresses: &[IpAddr]) -> Vec<Self> {
        let mut echoes = Vec::new();
        for place in Place::side_by_side(addresses) {
            let name = place.address().ip().to_string();
            echoes.push(UpstreamBuilder { place, speech: Speech::http1() }.echo(&name).await);
        }
        echoes
    }

    /// Answers every request with this status.
    pub async fn answering(code: u16) -> Self {
        Self::serve(move |_| async move { status(code, String::new()) }).await
    }

    /// Answers the first request with a body that the test feeds, and all others with `others`, both as
    /// `text/plain`.
    pub async fn fed(others: impl Into<Bytes>) -> (Self, Chunks) {
        let (feed, download) = chunks();
        let (first, others) = (Arc::new(Mutex::new(Some(download))), others.into());
        let upstream = Self::serve(move |_| {
            let first = first.lock().expect("no panic").take();
            let body = first.unwrap_or_else(|| body(others.clone()));
            let response = Response::builder().header(CONTENT_TYPE, "text/plain").body(body);
            async move { response.expect("a valid response") }
        });
        (upstream.await, feed)
    }

    /// Holds every request until the test says true, and then answers it.
    pub async fn holding() -> (Self, watch::Sender<bool>) {
        let (release, released) = watch::channel(false);
        let upstream = Self::serve(move |_| {
            let mut released = released.clone();
            async move {
                let _ = released.wait_for(|released| *released).await;
                status(200, "released".to_owned())
            }
        });
        (upstream.await, release)
    }

    /// Takes requests and never answers.
    pub async fn silent() -> Self {
        Self::serve(async |_| std::future::pending().await).await
    }

    /// Reads the head and the whole body of a request and closes the connection without an answer.
    pub async fn closing() -> Self {
        Self::script(async |mut stream, _| {
            let head = read_head(&mut stream).await;
            let length = head_field(&head, "content-length").and_then(|length| length.parse().ok());
            let mut body = vec![0; length.unwrap_or_default()];
            let _ = stream.read_exact(&mut body).await;
        })
        .await
    }

    /// Hands each connection to `script`, with its number from 1. Requests are not recorded.
    pub async fn script<F, R>(script: F) -> Self
    where
        F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let serve: Serve =
            Arc::new(move |stream, connection| Box::pin(script(stream.into_tcp(), connection)));
        Self::started(Place::any_port(), Arc::default(), serve).await
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

    /// A port on which nobody listens, and nobody else will while the tests run.
    pub async fn absent() -> SocketAddr {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let address = socket.local_addr().expect("a bound socket");
        // Bound, and never listening.
        std::mem::forget(socket);
        address
    }

    /// Stops as with `kill -9`: it closes the port and all connections, in the middle of what they carry. No
    /// other process gets the port.
    pub async fn stop(&mut self) {
        let Running { stop, task } = self.running.take().expect("it runs");
        let _ = stop.send(());
        within("the upstream to stop", task).await.expect("no panic");
    }

    /// Serves again where it did before it was stopped.
    pub async fn start(&mut self) {
        assert!(self.running.is_none(), "it runs already");
        let listener = self.place.listen();
        let (stop, mut stopped) = oneshot::channel();
        let (serve, seen) = (Arc::clone(&self.serve), Arc::clone(&self.seen));
        let task = tokio::spawn(async move {
            // Dropping the set ends the connections with the listener.
            let mut connections = JoinSet::new();
            loop {
                let stream = tokio::select! {
                    stream = listener.accept() => stream,
                    _ = &mut stopped => break,
                };
                let served = serve(stream, seen.connections.fetch_add(1, Relaxed) + 1);
                let seen = Arc::clone(&seen);
                connections.spawn(async move {
                    served.await;
                    seen.closed.fetch_add(1, Relaxed);
                });
                while connections.try_join_next().is_some() {}
            }
            drop(listener);
            connections.shutdown().await;
        });
        self.running = Some(Running { stop, task });
    }

    /// For `servers`; panics on a Unix socket, which [`Self::server`] names.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.place.address()
    }

    /// For `servers`, on TCP or a Unix socket.
    #[must_use]
    pub fn server(&self) -> String {
        self.place.to_string()
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

    /// Waits until so many requests have reached it, and not one more.
    pub async fn until_requests(&self, count: usize) {
        until(&format!("{count} requests upstream"), async || self.requests().len() == count).await;
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

    /// Waits until so many of them have ended, and not one more.
    pub async fn until_closed(&self, count: usize) {
        until(&format!("{count} connections upstream to end"), async || self.closed() == count).await;
    }

    async fn started(mut place: Place, seen: Arc<Seen>, serve: Serve) -> Self {
        place.reserve();
        let mut upstream = Self { place, seen, serve, running: None };
        upstream.start().await;
        upstream
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Seen {
    fn record(&self, request: &Request<Incoming>, connection: usize, tls: Option<&TlsSeen>) {
        let is_http2 = request.version() == Version::HTTP_2;
        let authority = request.uri().authority().filter(|_| is_http2);
        let recorded = Recorded {
            version: request.version(),
            method: request.method().to_string(),
            target: target(request.version(), request.uri()),
            authority: authority.map(ToString::to_string),
            headers: request.headers().clone(),
            connection,
            tls: tls.cloned(),
        };
        self.requests.lock().expect("no recorder panics").push(recorded);
    }
}

async fn echo(name: Arc<str>, request: Request<Incoming>) -> Response<BoxBody> {
    let (head, incoming) = request.into_parts();
    let received = match incoming.collect().await {
        Ok(received) => received,
        Err(error) => return status(400, format!("{error}")),
    };
    let trailers = received.trailers().map(shown);
    let answer = json!({
        "upstream": &*name,
        "method": head.method.as_str(),
        "target": target(head.version, &head.uri),
        "headers": shown(&head.headers),
        "body": String::from_utf8_lossy(&received.to_bytes()),
        "trailers": trailers,
    });
    let response = Response::builder().header(CONTENT_TYPE, "application/json");
    response.body(body(answer.to_string())).expect("a valid response")
}

/// On HTTP/2, hyper puts scheme and authority in front of the path.
fn target(version: Version, uri: &http::Uri) -> String {
    match uri.path_and_query() {
        Some(target) if version == Version::HTTP_2 => target.to_string(),
        _ => uri.to_string(),
    }
}

fn status(code: u16, text: String) -> Response<BoxBody> {
    Response::builder().status(code).body(body(text)).expect("a valid response")
}

fn shown(headers: &HeaderMap) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        object.insert(name.to_string(), values.collect::<Vec<_>>().join(", ").into());
    }
    object.into()
}
