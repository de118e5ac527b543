//! Brings spans to a collector: on a thread of its own, several at a time, and never while anybody waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tidegate_telemetry::{Span, message};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::Settings;
use crate::metrics::TraceCounts;

/// Spans wait for others for so long: nobody wakes the thread for each of them.
const TURN: Duration = Duration::from_secs(1);
/// Spans of one message.
const BATCH: usize = 512;
/// For a collector to take a message.
const ANSWER: Duration = Duration::from_secs(10);

pub(super) fn start(
    settings: Settings,
    spans: Receiver<Vec<Span>>,
    counts: Arc<TraceCounts>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let work = move || runtime.block_on(run(&settings, &spans, &counts));
    std::thread::Builder::new().name("traces".to_owned()).spawn(work)
}

/// Until nobody has spans any more.
async fn run(settings: &Settings, spans: &Receiver<Vec<Span>>, counts: &TraceCounts) {
    let tls = settings.collector.is_tls.then(|| Arc::new(system_tls()));
    // Reported once, until it works again.
    let mut failing = false;
    loop {
        let mut batch = Vec::new();
        let ended = loop {
            match spans.try_recv() {
                Ok(more) => batch.extend(more),
                Err(TryRecvError::Empty) => break false,
                Err(TryRecvError::Disconnected) => break true,
            }
            if batch.len() >= BATCH {
                break false;
            }
        };
        let is_full = batch.len() >= BATCH;
        if !batch.is_empty() {
            let count = batch.len() as u64;
            let text = message(&settings.resource, env!("CARGO_PKG_VERSION"), &batch);
            match timeout(ANSWER, send(settings, tls.as_ref(), text)).await {
                Ok(Ok(())) => {
                    failing = false;
                    counts.sent.fetch_add(count, Relaxed);
                }
                result => {
                    counts.dropped.fetch_add(count, Relaxed);
                    if !failing {
                        failing = true;
                        let cause = result.map_or_else(
                            |_| "no answer in time".to_owned(),
                            |sent| sent.err().unwrap_or_default(),
                        );
                        tracing::warn!(target: "traces", collector = %settings.collector, "spans are lost until this is mended: {cause}");
                    }
                }
            }
        }
        if ended {
            return;
        }
        if !is_full {
            sleep(TURN).await;
        }
    }
}

/// What the system trusts.
fn system_tls() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the versions of the provider itself")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// The text of an error is for the log.
async fn send(settings: &Settings, tls: Option<&Arc<ClientConfig>>, message: Vec<u8>) -> Result<(), String> {
    let authority = &settings.collector.authority;
    let stream = TcpStream::connect(authority).await.map_err(|error| error.to_string())?;
    match tls {
        None => post(stream, settings, message).await,
        Some(tls) => {
            let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
            let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
                .map_err(|error| error.to_string())?;
            let stream = TlsConnector::from(tls.clone()).connect(name, stream).await;
            post(stream.map_err(|error| error.to_string())?, settings, message).await
        }
    }
}

async fn post<S>(stream: S, settings: &Settings, message: Vec<u8>) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let connection = tokio::spawn(connection);
    let path = if settings.collector.path.is_empty() { "/" } else { &settings.collector.path };
    let mut request = Request::post(path)
        .header(header::HOST, &settings.collector.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(message))).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    // What it says of single spans is not looked at; the connection is closed in any case.
    let _ = Limited::new(response.into_body(), 64 << 10).collect().await;
    connection.abort();
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}
