//! Active health checks: asks each server of an upstream, again and again, whether it is well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri, Version, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate_config::{Health as Settings, HttpProbe, Probe, Protocol};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, Member};
use super::target::{Offer, Target};
use tidegate_io::Millis;
use tidegate_io::proxy_protocol::Header;

/// What is read of a body that must contain a text.
const MAX_BODY: usize = 64 << 10;

/// Checks the servers of `cluster`, one task for each, until this is dropped.
pub(super) async fn run(cluster: Arc<Cluster>, settings: Settings) {
    let settings = Arc::new(settings);
    let mut changes = cluster.changes();
    let mut running: HashMap<Arc<str>, Task> = HashMap::new();
    loop {
        changes.mark_unchanged();
        let members = cluster.members();
        running.retain(|name, _| members.list.iter().any(|member| member.target.name == *name));
        for member in &members.list {
            running.entry(member.target.name.clone()).or_insert_with(|| {
                let (cluster, member, settings) = (cluster.clone(), member.clone(), settings.clone());
                Task(tokio::spawn(watch(cluster, member, settings)).abort_handle())
            });
        }
        // The cluster is kept by this task itself.
        if changes.changed().await.is_err() {
            return;
        }
    }
}

struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks one server.
async fn watch(cluster: Arc<Cluster>, member: Member, settings: Arc<Settings>) {
    let Settings { interval, fall, rise, .. } = *settings;
    // Servers are not all asked at the same moment, nor all proxies in step.
    let first = interval.min(Duration::from_secs(1));
    sleep(first.mul_f64(rand::random_range(0.0..1.0))).await;
    let name = &*member.target.name;
    loop {
        let outcome = match timeout(settings.timeout, probe(&member.target, &cluster, &settings.probe)).await
        {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {:?}", settings.timeout)),
        };
        let transition = match &outcome {
            Ok(()) => member.health.check_passed(rise, Millis::now()),
            Err(cause) => {
                tracing::debug!(target: "upstream", upstream = &*cluster.name, server = name, "health check failed: {cause}");
                member.health.check_failed(fall)
            }
        };
        match (transition, &outcome) {
            (Some(transition), Err(cause)) => {
                tracing::warn!(target: "upstream", upstream = &*cluster.name, server = name, "{transition}: {cause}");
            }
            (transition, _) => cluster.log(name, transition),
        }
        sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
    }
}

async fn probe(target: &Target, cluster: &Cluster, probe: &Probe) -> Result<(), String> {
    let http = match probe {
        Probe::Tcp => {
            return match target.connect(Header::Local, Offer::Nothing).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        Probe::Http(http) => http,
    };
    // What requests are offered, and in what ALPN chooses: that is what has to work.
    let connected =
        target.connect(Header::Local, Offer::AsConfigured).await.map_err(|error| error.to_string())?;
    let http2 = connected.http2 || cluster.config.protocol == Protocol::H2;
    let request = request(target, http, http2)?;
    let io = TokioIo::new(connected.stream);
    let response = if http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(|error| error.to_string())?;
        let driver = Task(tokio::spawn(connection).abort_handle());
        let response = sender.send_request(request).await;
        (response, driver)
    } else {
        let (mut sender, connection) = http1::handshake(io).await.map_err(|error| error.to_string())?;
        let driver = Task(tokio::spawn(connection).abort_handle());
        let response = sender.send_request(request).await;
        (response, driver)
    };
    let (response, _driver) = response;
    judge(response.map_err(|error| error.to_string())?, http).await
}

fn request(target: &Target, probe: &HttpProbe, http2: bool) -> Result<Request<Empty<Bytes>>, String> {
    let host = probe.host.as_deref().unwrap_or(&target.host);
    // A Unix socket has no host; the path of its file is none.
    let host = if host.contains('/') { "localhost" } else { host };
    let mut request = Request::builder()
        .method(probe.method.as_str())
        .header(header::USER_AGENT, "tidegate-health-check")
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    let uri = if http2 { format!("{scheme}://{host}{}", probe.path) } else { probe.path.clone() };
    *request.uri_mut() = uri.parse::<Uri>().map_err(|error| error.to_string())?;
    if http2 {
        *request.version_mut() = Version::HTTP_2;
    } else {
        request.headers_mut().insert(header::HOST, host.parse().map_err(|_| "an invalid host")?);
        request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    Ok(request)
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<(), String> {
    let status = response.status().as_u16();
    if !probe.status.iter().any(|range| range.contains(&status)) {
        return Err(format!("status {status}"));
    }
    let Some(text) = &probe.body else { return Ok(()) };
    let body = Limited::new(response.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| format!("the body: {error}"))?.to_bytes();
    let found = body.windows(text.len()).any(|window| window == text.as_bytes());
    if found { Ok(()) } else { Err(format!("the body does not contain {text:?}")) }
}
