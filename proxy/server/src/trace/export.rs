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
use rustls::ClientConfig;
use tidegate_telemetry::{Span, message};
use tokio::time::{sleep, timeout};

use super::Settings;
use crate::metrics::TraceCounts;
use crate::{outbound, tls};

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
    let tls = settings.collector.is_tls.then(|| tls::for_own_requests(None));
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

/// The text of an error is for the log.
async fn send(
    settings: &Settings,
    tls: Option<&Result<Arc<ClientConfig>, String>>,
    message: Vec<u8>,
) -> Result<(), String> {
    let collector = &settings.collector;
    let (host, port) = collector.authority.rsplit_once(':').ok_or("a collector without a port")?;
    let port = port.parse().map_err(|_| "a collector whose port is none")?;
    let mut sender = outbound::connect(tls.cloned().transpose()?, host, port).await?;
    let path = if collector.path.is_empty() { "/" } else { &collector.path };
    let mut request = Request::post(path)
        .header(header::HOST, &collector.authority)
        .header(header::CONTENT_TYPE, "application/x-protobuf")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, concat!("tidegate/", env!("CARGO_PKG_VERSION")));
    for (name, value) in &settings.headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(message))).map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let status = response.status();
    // What it says of single spans is not looked at.
    let _ = Limited::new(response.into_body(), 64 << 10).collect().await;
    if status.is_success() { Ok(()) } else { Err(format!("it answered {status}")) }
}
