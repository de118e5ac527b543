//! The admin interface: how the proxy fares, and what can be changed while it runs.
//!
//! `guard` says who may ask, `api` answers, `status` and `exposition` tell, `events` tell again each second,
//! `dashboard` is a page for people.

mod api;
mod dashboard;
mod events;
mod exposition;
mod guard;
mod openapi;
mod process;
mod status;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tidegate_config::Admin;
use tidegate_plugin_host::Services;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use self::events::Events;
pub(crate) use self::guard::token;
use self::guard::{Guard, Refusal, changes};
use crate::cache::Purges;
use crate::listener::{self, Inherited, Sockets};
use crate::log::Threshold;
use crate::metrics::Metrics;
use crate::reload::Handle;
use crate::tls;
use crate::upgrade;

/// A handshake of TLS has this long, and a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at a time; a further one is closed at once.
const CONNECTIONS: usize = 64;
/// For a client to take what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// However busy it is. A page that follows events connects again.
const CONNECTION_AGE: Duration = Duration::from_secs(300);

/// What the interface shows and steers.
pub(crate) struct Inside {
    pub(crate) control: Handle,
    pub(crate) services: Services,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log_level: Threshold,
    /// Told when somebody asks the process to drain and end.
    pub(crate) stop: Arc<Notify>,
    /// Where upgrades are asked for.
    pub(crate) upgrades: upgrade::Door,
    /// Where other proxies learn what was purged.
    pub(crate) purges: Arc<Purges>,
}

/// What all connections share.
struct Interface {
    inside: Inside,
    guard: Guard,
    /// As it was known last; `None` where the address speaks clear text.
    tls: Option<Mutex<Arc<tls::Terms>>>,
    events: Events,
    places: Arc<Semaphore>,
    /// Of their own: whoever reaches that address takes none from operators.
    places_for_probes: Arc<Semaphore>,
}

/// Who asks.
#[derive(Debug, Clone)]
enum Asker {
    Network(SocketAddr),
    /// At the address for probes.
    Probe(SocketAddr),
    /// With a certificate that an authority of `client-ca` signed: its names, or its subject if it has none.
    Known(SocketAddr, String),
    /// Through the socket.
    Local,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Its name where sockets have names.
pub(crate) const NAME: &str = "admin";
/// That of the address for probes.
pub(crate) const PROBES: &str = "admin-probes";

/// The sockets of the interface; what connects to them waits until they are served.
pub(crate) struct Bound {
    network: Listening,
    /// For `/livez` and `/readyz` alone.
    probes: Option<Listening>,
    socket: Option<Socket>,
    accepting: Vec<AbortHandle>,
}

/// The sockets of one address.
pub(crate) struct Listening {
    pub(crate) name: &'static str,
    /// What the settings ask for.
    pub(crate) asked: SocketAddr,
    pub(crate) listeners: Vec<StdTcpListener>,
}

impl Listening {
    /// On sockets that the process was started with if there are such.
    fn open(name: &'static str, asked: SocketAddr, inherited: &Inherited) -> io::Result<Self> {
        let listeners = match inherited.take(name, asked) {
            Some(given) => given,
            None => vec![StdTcpListener::bind(asked)?],
        };
        listeners.iter().try_for_each(listener::adopt)?;
        Ok(Self { name, asked, listeners })
    }

    fn lend(&self) -> io::Result<Self> {
        let listeners = self.listeners.iter().map(StdTcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { listeners, ..*self })
    }
}

impl Bound {
    /// Opens what the settings ask for, on sockets that the process was started with if there are such.
    pub(crate) fn open(settings: &Admin, inherited: &Inherited) -> io::Result<Self> {
        let network = Listening::open(NAME, settings.address, inherited)?;
        let probes = settings.probes.map(|address| Listening::open(PROBES, address, inherited));
        let socket = settings.socket.as_ref().map(|path| match inherited.take_unix(path) {
            Some((listener, is_foreign)) => Ok(Socket { listener, path: path.clone(), is_foreign }),
            None => Socket::bind(path),
        });
        Ok(Self { network, probes: probes.transpose()?, socket: socket.transpose()?, accepting: Vec::new() })
    }

    /// Answers in tasks of the current runtime, until that ends or [`Self::leave`] is called.
    pub(crate) fn serve(
        &mut self,
        settings: &Admin,
        token: Option<Vec<u8>>,
        inside: Inside,
    ) -> io::Result<()> {
        let tls = match settings.tls {
            None => None,
            Some(_) => {
                let nothing = || io::Error::other("there is no TLS for it");
                Some(Mutex::new(inside.control.admin_tls().ok_or_else(nothing)?))
            }
        };
        let events = Events::start(&inside);
        let interface = Arc::new(Interface {
            inside,
            guard: Guard::new(settings.hosts.clone(), token).behind(settings.tls.as_ref()),
            tls,
            events,
            places: Arc::new(Semaphore::new(CONNECTIONS)),
            places_for_probes: Arc::new(Semaphore::new(CONNECTIONS)),
        });
        if let Some(socket) = &self.socket {
            let listener = socket.listener.try_clone()?;
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            tracing::info!(target: "listener", listener = %NAME, socket = %socket.path.display(), "listening");
            self.accepting.push(tokio::spawn(serve_socket(listener, interface.clone())).abort_handle());
        }
        let mut accepting = Vec::new();
        for Listening { name, listeners, .. } in self.network() {
            for listener in listeners {
                let listener = TcpListener::from_std(listener.try_clone()?)?;
                tracing::info!(target: "listener", listener = %name, address = %listener.local_addr()?, "listening");
                let (interface, is_for_probes) = (interface.clone(), *name == PROBES);
                accepting
                    .push(tokio::spawn(serve_network(listener, interface, is_for_probes)).abort_handle());
            }
        }
        self.accepting.append(&mut accepting);
        Ok(())
    }

    /// What listens on the network.
    pub(crate) fn network(&self) -> impl Iterator<Item = &Listening> {
        // The interface itself is the last to be there.
        self.probes.iter().chain(std::iter::once(&self.network))
    }

    /// Copies of the sockets.
    pub(crate) fn lend(&self) -> io::Result<Lent> {
        let socket = self.socket.as_ref();
        let socket = socket.map(Socket::lend);
        let network = self.network().map(Listening::lend).collect::<io::Result<_>>()?;
        Ok(Lent { network, socket: socket.transpose()? })
    }

    /// Accepts no more connections, and finishes those that are there. With `taken` the file of the socket is another
    /// process's.
    pub(crate) fn leave(mut self, taken: bool) {
        self.accepting.iter().for_each(AbortHandle::abort);
        if let Some(socket) = &mut self.socket {
            socket.is_foreign |= taken;
        }
    }
}

/// Copies of the sockets of the interface, for another process.
pub(crate) struct Lent {
    pub(crate) network: Vec<Listening>,
    pub(crate) socket: Option<Sockets>,
}

impl Interface {
    /// What serves the next connection; `None` for clear text.
    fn tls(&self) -> Option<Arc<tls::Terms>> {
        let mut known = self.tls.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        // Without a table in the file that serves now it stays as it is: never clear text in its place.
        if let Some(now) = self.inside.control.admin_tls() {
            *known = now;
        }
        Some(known.clone())
    }
}

/// Shakes hands first, where that is asked for.
async fn greet(stream: TcpStream, peer: SocketAddr, interface: Arc<Interface>, place: OwnedSemaphorePermit) {
    let Some(tls) = interface.tls() else {
        return serve(stream, Asker::Network(peer), interface, place).await;
    };
    match tls::accept(stream, &tls, None, HEADER_TIMEOUT).await {
        Ok(Some(tls::Accepted { stream, facts, .. })) => {
            // The verifier lets no other pass.
            let asker = match facts.client_certificate {
                Some(certificate) if certificate.names.is_empty() => Asker::Known(peer, certificate.subject),
                Some(certificate) => Asker::Known(peer, certificate.names.join(", ")),
                None => Asker::Network(peer),
            };
            serve(stream, asker, interface, place).await;
        }
        Ok(None) => {}
        Err(tls::Failed { error, .. }) => {
            tracing::debug!(target: "tls", listener = "admin", %peer, "handshake failed: {error}");
        }
    }
}

/// The socket's file, which goes with it.
struct Socket {
    listener: StdUnixListener,
    path: PathBuf,
    /// It is somebody else's.
    is_foreign: bool,
}

impl Socket {
    /// For its owner alone. A socket that an earlier process left is replaced, and nothing else.
    fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
            fs::remove_file(path)?;
        }
        let listener = StdUnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path: path.to_owned(), is_foreign: false })
    }

    fn lend(&self) -> io::Result<Sockets> {
        let Self { listener, path, is_foreign } = self;
        Ok(Sockets::Unix { socket: listener.try_clone()?, path: path.clone(), is_foreign: *is_foreign })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if !self.is_foreign {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn serve_network(listener: TcpListener, interface: Arc<Interface>, is_for_probes: bool) {
    let places = if is_for_probes { &interface.places_for_probes } else { &interface.places };
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of file descriptors: there will be more.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        // Who reads no answers keeps no place.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let interface = interface.clone();
        match is_for_probes {
            true => tokio::spawn(serve(stream, Asker::Probe(peer), interface, place)),
            false => tokio::spawn(greet(stream, peer, interface, place)),
        };
    }
}

async fn serve_socket(listener: UnixListener, interface: Arc<Interface>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Ok(place) = interface.places.clone().try_acquire_owned() {
                    tokio::spawn(serve(stream, Asker::Local, interface.clone(), place));
                }
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Goes with a response after which this process begins to end: dropped when the response is written.
#[derive(Clone)]
struct Last(#[expect(dead_code, reason = "its end is what counts")] Arc<oneshot::Sender<()>>);

async fn serve<S>(stream: S, asker: Asker, interface: Arc<Interface>, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let last = Arc::<Mutex<Option<Last>>>::default();
    let kept = last.clone();
    let service = service_fn(move |request| {
        let (interface, asker, kept) = (interface.clone(), asker.clone(), kept.clone());
        async move {
            let mut response = answer(request, &interface, &asker).await;
            if let Some(last) = response.extensions_mut().remove::<Last>() {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // What breaks here, the operator's own client sees.
    let _ = timeout(CONNECTION_AGE, connection).await;
    drop((place, last));
}

/// Every answer, with what browsers are told about it.
async fn answer(request: Request<Incoming>, interface: &Interface, asker: &Asker) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let refused = match asker {
        // What is to be had there is no secret, whoever asks by whatever name.
        Asker::Probe(_) if matches!(parts.uri.path(), "/livez" | "/readyz") => None,
        Asker::Probe(_) => {
            let text = "this address answers /livez and /readyz alone\n".to_owned();
            Some(Refusal { status: StatusCode::NOT_FOUND, text })
        }
        Asker::Network(_) => interface.guard.refuses(&parts, false),
        Asker::Known(..) | Asker::Local => interface.guard.refuses(&parts, true),
    };
    let mut response = match refused {
        Some(Refusal { status, text }) => api::text(status, text),
        None => api::answer(&parts, body, interface).await,
    };
    if changes(&parts.method) {
        let (status, from) = (response.status().as_u16(), asker.to_string());
        tracing::info!(target: "audit", method = %parts.method, path = parts.uri.path(), from, status, "asked for a change");
    }
    let headers = response.headers_mut();
    for (name, value) in FOR_BROWSERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Pages are made of what comes from here, in no frame; nothing is kept, and nobody elsewhere reads it.
const FOR_BROWSERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

impl std::fmt::Display for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Network(peer) | Self::Probe(peer) => peer.fmt(f),
            Self::Known(peer, subject) => write!(f, "{peer} ({subject})"),
            Self::Local => f.write_str("the socket"),
        }
    }
}
