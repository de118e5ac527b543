//! Sends the requests that policies make themselves, over the connections of their worker.
//!
//! A policy's call runs in a sandbox that may move between threads, an upstream's connections belong to one: so what
//! is asked goes through a queue to a task of the worker. Each generation has one: what an exchange asks it asks of the
//! upstreams of its own generation.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant as StdInstant;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Version};
use tidegate_body::{Body, Collected, RequestBody, collect};
use tidegate_message::RequestHead;
use tidegate_plugin_host::{Answered, Callout, CalloutError, CalloutTrace, Callouts, Sent};
use tidegate_upstream::{self as upstream, Answer, Attempts, Hop, Outgoing};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{Instant, timeout_at};

use crate::files;
use crate::snapshot::{Destination, Generation};
use crate::trace;
use crate::worker::Worker;

/// Callouts of one generation that wait to be begun. They do not wait long: the worker is one of those that they wait for.
const QUEUE: usize = 1024;

/// The policies' end.
struct Door(mpsc::Sender<Job>);

struct Job {
    callout: Callout,
    answer: oneshot::Sender<Result<Answered, CalloutError>>,
}

/// To the upstreams of this generation, or without it to those of the one that the worker has then.
pub(crate) fn door(worker: &Rc<Worker>, generation: Weak<Generation>) -> Arc<dyn Callouts> {
    let (door, jobs) = mpsc::channel(QUEUE);
    spawn_local(serve(worker.clone(), generation, jobs));
    Arc::new(Door(door))
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

/// Works the queue off, for as long as anybody has the door to it.
async fn serve(worker: Rc<Worker>, generation: Weak<Generation>, mut jobs: mpsc::Receiver<Job>) {
    while let Some(Job { callout, mut answer }) = jobs.recv().await {
        let worker = worker.clone();
        let generation = generation.upgrade().unwrap_or_else(|| worker.generation());
        spawn_local(async move {
            tokio::select! {
                // Nobody waits for it any more: the client left, or the call ended.
                () = answer.closed() => {}
                answered = carry_out(&worker, &generation, callout) => drop(answer.send(answered)),
            }
        });
    }
}

async fn carry_out(
    worker: &Worker,
    generation: &Generation,
    callout: Callout,
) -> Result<Answered, CalloutError> {
    let Callout { upstream, method, target, host, mut headers, body, client, trace, timeout, largest } =
        callout;
    let deadline = Instant::now() + timeout;
    // It was there when the policy was loaded; a timer may see that a reload took it away.
    let destination = generation.destination(Some(&upstream)).ok_or(CalloutError::Failed)?;
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let payer = generation.memory.payer(client);
    let mut called = Called::begin(generation, trace, &upstream, &method, &target, &mut headers);
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
    let work = async {
        let (head, mut body) = match destination {
            // What a policy asks for, it asks for now.
            Destination::Upstream(upstream) | Destination::Cached(upstream, _) => {
                let deadline = Some(deadline);
                let outgoing = Outgoing { head: &head, hop: &hop, hash_key: None, body, deadline };
                let sent = upstream::send(upstream, outgoing, &mut called.attempts).await;
                let Answer { head, body, .. } = sent.map_err(|error| failed(&error))?;
                (head, Body::boxed(body))
            }
            Destination::Files(root) => files::serve(root, &head).await.map_err(|_| CalloutError::Failed)?,
        };
        let mut held = payer.hold();
        match collect(&mut body, largest, &mut held).await {
            Ok(Collected::Whole(body, _)) => {
                Ok(Answered { status: head.status, headers: head.headers, body, held: Box::new(held) })
            }
            Ok(Collected::Larger(_)) => Err(CalloutError::TooLarge),
            Ok(Collected::UsedUp(_)) => Err(CalloutError::TooMany),
            Err(_) => Err(CalloutError::Failed),
        }
    };
    let answered = timeout_at(deadline, work).await.unwrap_or(Err(CalloutError::Timeout));
    worker.servers.forget(connection);
    answered
}

/// What is told of a callout when it is over, also when nobody waits for it any more.
struct Called {
    attempts: Attempts,
    traced: Option<(trace::Handle, trace::Called)>,
}

impl Called {
    fn begin(
        generation: &Generation,
        trace: Option<CalloutTrace>,
        upstream: &str,
        method: &Method,
        target: &PathAndQuery,
        headers: &mut HeaderMap,
    ) -> Self {
        let (Some(handle), Some(CalloutTrace { context, policy })) = (&generation.traces, trace) else {
            return Self { attempts: Attempts::default(), traced: None };
        };
        let attempts = trace::tell_callout(context, headers);
        let traced = context.is_sampled().then(|| {
            let (upstream, method, path) =
                (upstream.to_owned(), method.to_string(), target.path().to_owned());
            (
                handle.clone(),
                trace::Called { context, begun: StdInstant::now(), policy, upstream, method, path },
            )
        });
        Self { attempts, traced }
    }
}

impl Drop for Called {
    fn drop(&mut self) {
        if let Some((handle, called)) = &self.traced {
            handle.finish_callout(called, &self.attempts);
        }
    }
}

fn failed(error: &upstream::Error) -> CalloutError {
    match error {
        upstream::Error::ConnectTimeout { .. } | upstream::Error::ResponseTimeout { .. } => {
            CalloutError::Timeout
        }
        // Others ask it as well, or this client asks too much: nothing is wrong with the service.
        upstream::Error::QueueFull { .. } | upstream::Error::QueueTimeout { .. } => CalloutError::TooMany,
        _ => CalloutError::Failed,
    }
}
