//! Active health checks: asks each server of an upstream, again and again, whether it is well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Response, Version, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use tidegate_config::{Health as Settings, HttpProbe, Probe};
use tidegate_message::RequestHead;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, Member};
use crate::once::{self, Received, Task};
use crate::target::{Offer, Target};
use tidegate_io::Millis;
use tidegate_io::proxy_protocol::Header;

/// What is read of a body that must contain a text.
const MAX_BODY: usize = 64 << 10;

/// Checks the servers of `cluster`, one task for each, until this is dropped.
pub(crate) async fn run(cluster: Arc<Cluster>, settings: Settings) {
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
                Task::spawn(watch(cluster, member, settings))
            });
        }
        // The cluster is kept by this task itself.
        if changes.changed().await.is_err() {
            return;
        }
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
        let mut rest = None;
        let probing = probe(&member.target, &cluster, &settings.probe, &mut rest);
        let outcome = match timeout(settings.timeout, probing).await {
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
                cluster.log_check(name, transition, cause);
            }
            (transition, _) => cluster.log(name, transition),
        }
        if let Some(rest) = rest {
            // A server that is closed upon while it writes notes an error.
            let _ = timeout(settings.timeout, rest.discard()).await;
        }
        sleep(interval.mul_f64(rand::random_range(0.9..1.1))).await;
    }
}

/// What of the answer was not looked at goes into `rest`.
async fn probe(
    target: &Target,
    cluster: &Cluster,
    probe: &Probe,
    rest: &mut Option<Received>,
) -> Result<(), String> {
    let http = match probe {
        Probe::Tcp => {
            return match target.connect(Header::Local, Offer::Nothing).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            };
        }
        Probe::Http(http) => http,
    };
    let received = once::send(target, cluster.config.protocol, request(target, http)?).await?;
    judge(&mut rest.insert(received).response, http).await
}

fn request(target: &Target, probe: &HttpProbe) -> Result<RequestHead, String> {
    let host = probe.host.as_deref().unwrap_or(&target.host);
    // A Unix socket has no host; the path of its file is none.
    let host = if host.contains('/') { "localhost" } else { host };
    let method = probe.method.parse::<Method>().map_err(|error| error.to_string())?;
    let path = probe.path.parse::<PathAndQuery>().map_err(|error| error.to_string())?;
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tidegate-health-check"));
    let scheme = if target.tls.is_some() { "https" } else { "http" };
    Ok(RequestHead::new(method, Version::HTTP_11, scheme, host.to_owned(), path, headers))
}

async fn judge(response: &mut Response<Incoming>, probe: &HttpProbe) -> Result<(), String> {
    let status = response.status().as_u16();
    if !probe.status.iter().any(|range| range.contains(&status)) {
        return Err(format!("status {status}"));
    }
    let Some(text) = &probe.body else { return Ok(()) };
    let body = Limited::new(response.body_mut(), MAX_BODY).collect().await;
    let body = body.map_err(|error| format!("the body: {error}"))?.to_bytes();
    let found = body.windows(text.len()).any(|window| window == text.as_bytes());
    if found { Ok(()) } else { Err(format!("the body does not contain {text:?}")) }
}
