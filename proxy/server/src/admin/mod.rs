//! The admin interface: whether the proxy lives and is ready, what its policies are, and reloading.

mod exposition;
mod process;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use socket2::SockRef;
use tidegate_acme::{NameState, Watcher};
use tidegate_config::Config;
use tidegate_message::authority;
use tidegate_plugin_host::Services;
use tidegate_state::Reach;
use tidegate_telemetry::Format;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::explain::{self, Recorded};
use crate::metrics::Metrics;
use crate::reload::{Handle, PolicyStatus, Status};

/// A request head on this interface has this long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at a time; a further one is closed at once.
const CONNECTIONS: usize = 64;
/// For a client to take what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// However busy it is.
const CONNECTION_AGE: Duration = Duration::from_secs(300);

/// Listens on `address` and answers in tasks of the current runtime, until that ends.
pub(crate) async fn start(
    address: SocketAddr,
    hosts: Vec<String>,
    control: Handle,
    services: Services,
    metrics: Arc<Metrics>,
) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(target: "listener", listener = %"admin", address = %listener.local_addr()?, "listening");
    let (hosts, places) = (Arc::<[String]>::from(hosts), Arc::new(Semaphore::new(CONNECTIONS)));
    let inside = Arc::new(Inside { control, services, metrics });
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: there will be more.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Who reads no answers keeps no place.
            let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (inside, hosts) = (inside.clone(), hosts.clone());
            let service = service_fn(move |request| {
                let (inside, hosts) = (inside.clone(), hosts.clone());
                async move {
                    if !request.headers().contains_key(header::HOST) && request.version() == Version::HTTP_11
                    {
                        return Ok(text(StatusCode::BAD_REQUEST, "no Host (RFC 9112 §3.2)\n".to_owned()));
                    }
                    Ok::<_, Infallible>(match refusal(request.headers(), &hosts) {
                        Some(refusal) => text(StatusCode::FORBIDDEN, refusal),
                        None => answer(&request, &inside).await,
                    })
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // What breaks here, the operator's own client sees.
            tokio::spawn(async move {
                let _ = timeout(CONNECTION_AGE, connection).await;
                drop(place);
            });
        }
    });
    Ok(())
}

/// Why a request is not answered that a page elsewhere may have made in the browser of somebody who can reach this.
fn refusal(headers: &HeaderMap, hosts: &[String]) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let authority = text(header::HOST).unwrap_or_default();
    let host = authority::host(authority);
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_local = !host.contains('.') || host.ends_with(".localhost");
    if !is_address && !is_local && !hosts.iter().any(|known| known.eq_ignore_ascii_case(host)) {
        return Some(format!("add {host:?} to admin.hosts to ask by this name\n"));
    }
    let is_own =
        |origin: &str| origin.split_once("://").is_some_and(|(_, of)| of.eq_ignore_ascii_case(authority));
    if headers.contains_key(header::ORIGIN) && !text(header::ORIGIN).is_some_and(is_own) {
        return Some("pages of another origin are not answered\n".to_owned());
    }
    text(SEC_FETCH_SITE)
        .filter(|site| *site == "cross-site" || *site == "same-site")
        .map(|_| "pages of another site are not answered\n".to_owned())
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What the interface shows and steers.
struct Inside {
    control: Handle,
    services: Services,
    metrics: Arc<Metrics>,
}

async fn answer(request: &Request<Incoming>, inside: &Inside) -> Response<Full<Bytes>> {
    let Inside { control, services, .. } = inside;
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" if get => match stuck(&inside.metrics) {
            reasons if reasons.is_empty() => text(StatusCode::OK, "ok\n".to_owned()),
            reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
        },
        "/readyz" if get => {
            let reasons = not_ready(&control.status(), control.certificates());
            if reasons.is_empty() {
                text(StatusCode::OK, "ok\n".to_owned())
            } else {
                text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
            }
        }
        "/metrics" if get => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let format = Format::wanted(accept.unwrap_or_default());
            let metrics = exposition::write(format, control, services, &inside.metrics);
            with_type(StatusCode::OK, format.media_type(), metrics)
        }
        "/api/v1/state" if get => json(StatusCode::OK, &state(&services.state.status())),
        "/api/v1/acme" if get => json(StatusCode::OK, &json!(control.certificates().status())),
        "/api/v1/plugins" if get => json(StatusCode::OK, &json!(control.status().plugins)),
        "/api/v1/requests" if get => with_type(StatusCode::OK, "application/jsonl", control.recent().lines()),
        path if get && path.starts_with(REQUEST) => match explained(control, &path[REQUEST.len()..]) {
            Some(explanation) => text(StatusCode::OK, explanation),
            None => text(StatusCode::NOT_FOUND, "no request with this id is kept\n".to_owned()),
        },
        "/api/v1/upstreams" if get => {
            let upstreams = control.status().upstreams;
            json(StatusCode::OK, &json!(upstreams.iter().map(|cluster| cluster.status()).collect::<Vec<_>>()))
        }
        "/api/v1/reload" if *request.method() == Method::POST => match control.reload().await {
            Some(Ok(outcome)) if outcome.problems.is_empty() => json(StatusCode::OK, &json!(outcome)),
            Some(Ok(outcome)) => json(StatusCode::UNPROCESSABLE_ENTITY, &json!(outcome)),
            Some(Err(problems)) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                json(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "problems": problems }))
            }
            None => text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned()),
        },
        "/livez" | "/readyz" | "/metrics" | "/api/v1/plugins" | "/api/v1/requests" | "/api/v1/upstreams"
        | "/api/v1/state" | "/api/v1/acme" => not_allowed("GET, HEAD"),
        path if path.starts_with(ACME) && path.ends_with(RENEW) && path.len() > ACME.len() + RENEW.len() => {
            let name = &path[ACME.len()..path.len() - RENEW.len()];
            match *request.method() == Method::POST {
                true if control.certificates().renew(name) => {
                    text(StatusCode::ACCEPTED, "begun\n".to_owned())
                }
                true => text(StatusCode::NOT_FOUND, "no certificate is obtained for this name\n".to_owned()),
                false => not_allowed("POST"),
            }
        }
        "/api/v1/reload" => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
    }
}

/// Before the name whose certificate is to be obtained now, and what follows it.
const ACME: &str = "/api/v1/acme/";
const RENEW: &str = "/renew";

/// One request of those that were explained.
const REQUEST: &str = "/api/v1/requests/";

/// What policies made of a request, in words.
fn explained(control: &Handle, id: &str) -> Option<String> {
    let line = control.recent().find(id)?;
    Some(explain::text::of(&serde_json::from_str::<Recorded>(&line).ok()?))
}

/// Where policies keep what they share, and whether that can be reached.
fn state(status: &tidegate_state::Status) -> Value {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let error = status.last_error.as_ref();
    json!({
        "backend": status.backend,
        "reach": match status.reach {
            Reach::Here => "here",
            Reach::Connecting => "connecting",
            Reach::Reachable => "reachable",
            Reach::Unreachable => "unreachable",
        },
        "since": seconds(status.since),
        "last-error": error.map(|(at, text)| json!({ "at": seconds(*at), "error": text })),
    })
}

/// A worker turns over once a second; one that does not for so long serves nobody.
const TURNS_OVER: Duration = Duration::from_secs(10);

fn stuck(metrics: &Metrics) -> Vec<String> {
    let stuck = metrics.stuck(TURNS_OVER).into_iter();
    stuck
        .map(|(worker, since)| format!("worker {worker} has not turned over for {} s", since.as_secs()))
        .collect()
}

/// Why requests are not, or not all, served as configured.
fn not_ready(status: &Status, certificates: &Watcher) -> Vec<String> {
    let draining = status.draining.then(|| "draining".to_owned());
    let policies = status.plugins.iter().filter_map(PolicyStatus::not_ready);
    let needed = status.config.iter().flat_map(|config| &config.ready.upstreams);
    let down = needed.filter(|name| {
        let mut upstreams = status.upstreams.iter();
        !upstreams.any(|cluster| *cluster.name == ***name && cluster.has_server_up())
    });
    let down = down.map(|name| format!("upstream {name}: no server is up"));
    let missing = status.config.iter().flat_map(|config| without_certificate(config, certificates));
    draining.into_iter().chain(policies).chain(down).chain(missing).collect()
}

/// The listeners that have nothing to show but what the proxy signed itself. A name that has no certificate beside others that
/// have one is no reason: the others would go down with it.
fn without_certificate(config: &Config, certificates: &Watcher) -> Vec<String> {
    let tables = config.listeners.iter().filter_map(|(name, listener)| Some((name, listener.tls.as_ref()?)));
    let mut tables = tables
        .filter(|(_, tls)| config.ready.certificates && tls.certificates.is_empty() && !tls.acme.is_empty())
        .peekable();
    if tables.peek().is_none() {
        return Vec::new();
    }
    let status = certificates.status();
    let of_name = |name: &String| {
        status.names.binary_search_by(|known| known.name.cmp(name)).ok().map(|found| &status.names[found])
    };
    let missing = tables.filter_map(|(listener, tls)| {
        let mut names = tls.acme.iter().filter_map(of_name);
        if names.any(|name| name.state != NameState::Missing) {
            return None;
        }
        let first = of_name(tls.acme.first()?);
        let failure = first.and_then(|name| name.failures.last().map(|failure| failure.error.as_str()));
        let why = failure.or(first.and_then(|name| name.error.as_deref())).unwrap_or("it is being asked for");
        Some(format!("listener {listener}: no certificate yet for {}: {why}", tls.acme[0]))
    });
    missing.collect()
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", text)
}

fn json(status: StatusCode, value: &Value) -> Response<Full<Bytes>> {
    with_type(status, "application/json", format!("{value:#}\n"))
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allow}\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn with_type(status: StatusCode, media_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
