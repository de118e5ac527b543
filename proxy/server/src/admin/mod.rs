//! The admin interface: whether the proxy lives and is ready, what its policies are, and reloading.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::reload::{Handle, PolicyStatus, Status};

/// A request head on this interface has this long.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Listens on `address` and answers in tasks of the current runtime, until that ends.
pub(crate) async fn start(address: SocketAddr, control: Handle) -> io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(target: "listener", listener = %"admin", address = %listener.local_addr()?, "listening");
    tokio::spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors: there will be more.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let control = control.clone();
            let service = service_fn(move |request| {
                let control = control.clone();
                async move { Ok::<_, Infallible>(answer(&request, &control).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // What breaks here, the operator's own client sees.
            tokio::spawn(async move { drop(connection.await) });
        }
    });
    Ok(())
}

async fn answer(request: &Request<Incoming>, control: &Handle) -> Response<Full<Bytes>> {
    let get = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" if get => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" if get => {
            let reasons = not_ready(&control.status());
            if reasons.is_empty() {
                text(StatusCode::OK, "ok\n".to_owned())
            } else {
                text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
            }
        }
        "/api/v1/plugins" if get => json(StatusCode::OK, &json!(control.status().plugins)),
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
        "/livez" | "/readyz" | "/api/v1/plugins" | "/api/v1/upstreams" => not_allowed("GET, HEAD"),
        "/api/v1/reload" => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
    }
}

/// Why requests are not, or not all, served as configured.
fn not_ready(status: &Status) -> Vec<String> {
    let draining = status.draining.then(|| "draining".to_owned());
    let policies = status.plugins.iter().filter_map(PolicyStatus::not_ready);
    draining.into_iter().chain(policies).collect()
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
