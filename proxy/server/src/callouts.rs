//! Sends the requests that policies make themselves, over the connections of their worker.
//!
//! A policy's call runs in a sandbox that may move between threads, an upstream's connections belong to one: so what
//! is asked goes through a queue to a task of the worker.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use http::Version;
use tidegate_body::{Body, Collected, RequestBody, collect};
use tidegate_message::RequestHead;
use tidegate_plugin_host::{Answered, Callout, CalloutError, Callouts, Sent};
use tidegate_upstream::{self as upstream, Answer, Attempts, Hop, Outgoing};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use crate::worker::Worker;

/// Callouts of one worker that wait to be begun. They do not wait long: the worker is one of those that they wait for.
const QUEUE: usize = 1024;

/// The policies' end.
struct Door(mpsc::Sender<Job>);

/// The worker's end.
pub(crate) struct Jobs(mpsc::Receiver<Job>);

struct Job {
    callout: Callout,
    answer: oneshot::Sender<Result<Answered, CalloutError>>,
}

pub(crate) fn door() -> (Arc<dyn Callouts>, Jobs) {
    let (door, jobs) = mpsc::channel(QUEUE);
    (Arc::new(Door(door)), Jobs(jobs))
}

impl Callouts for Door {
    fn send(&self, callout: Callout) -> Sent {
        let (answer, answered) = oneshot::channel();
        let queued = self.0.try_send(Job { callout, answer });
        Box::pin(async move {
            match queued {
                // The worker ends.
                Ok(()) => answered.await.unwrap_or(Err(CalloutError::Failed)),
                Err(_) => Err(CalloutError::TooMany),
            }
        })
    }
}

/// Works the queue off, for as long as the worker lives.
pub(crate) async fn serve(worker: Rc<Worker>, mut jobs: Jobs) {
    while let Some(Job { callout, mut answer }) = jobs.0.recv().await {
        let worker = worker.clone();
        spawn_local(async move {
            tokio::select! {
                // Nobody waits for it any more: the client left, or the call ended.
                () = answer.closed() => {}
                answered = carry_out(&worker, callout) => drop(answer.send(answered)),
            }
        });
    }
}

async fn carry_out(worker: &Worker, callout: Callout) -> Result<Answered, CalloutError> {
    let Callout { upstream, method, target, host, headers, body, client, timeout, largest } = callout;
    let deadline = Instant::now() + timeout;
    let generation = worker.generation();
    // It was there when the policy was loaded; a reload may have taken it away.
    let upstream = generation.upstream(&upstream).ok_or(CalloutError::Failed)?;
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let payer = generation.memory.payer(client);
    let mut head =
        RequestHead::new(method, Version::HTTP_11, "http", host.unwrap_or_default(), target, headers);
    // A request that expects content has a length even without any (RFC 9110 §8.6).
    let expects = matches!(head.method.as_str(), "POST" | "PUT" | "PATCH");
    head.content_length = (expects || !body.is_empty()).then_some(body.len() as u64);
    let body = match body.is_empty() {
        true => RequestBody::empty(),
        false => RequestBody::of(Body::full(body), payer.clone()),
    };
    let unspecified = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    let connection = worker.next_id();
    let client = SocketAddr::new(client, 0);
    let hop = Hop { upgrade: None, trailers: false, connection, client, destination: unspecified };
    let mut attempts = Attempts::default();
    let work = async {
        let outgoing = Outgoing { head: &head, hop: &hop, hash_key: None, body, deadline: Some(deadline) };
        let Answer { head, body, .. } =
            upstream::send(upstream, outgoing, &mut attempts).await.map_err(|error| failed(&error))?;
        let mut held = payer.hold();
        match collect(&mut Body::boxed(body), largest, &mut held).await {
            Ok(Collected::Whole(body, _)) => {
                Ok(Answered { status: head.status, headers: head.headers, body })
            }
            Ok(Collected::Larger(_) | Collected::UsedUp(_)) => Err(CalloutError::TooLarge),
            Err(_) => Err(CalloutError::Failed),
        }
    };
    let answered = timeout_at(deadline, work).await.unwrap_or(Err(CalloutError::Timeout));
    worker.servers.forget(connection);
    answered
}

fn failed(error: &upstream::Error) -> CalloutError {
    match error {
        upstream::Error::ConnectTimeout { .. }
        | upstream::Error::ResponseTimeout { .. }
        | upstream::Error::QueueTimeout { .. } => CalloutError::Timeout,
        _ => CalloutError::Failed,
    }
}
