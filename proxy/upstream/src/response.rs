//! The body of a response as its server sends it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tidegate_body::buffer::ReadAhead;
use tidegate_body::{BoxError, Idle};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::pool::Lease;

/// Streams from a server over the connection it came on, which is kept for the next request after the last byte.
/// Dropping it before gives the connection up.
///
/// The server is given up when it sends nothing for the upstream's `timeouts.idle`, or is not done at the
/// deadline. Back-pressure is the reader's.
pub struct ServerBody {
    incoming: Incoming,
    /// Given back after the last byte.
    lease: Option<Lease>,
    idle: Idle,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ServerBody {
    pub(crate) fn new(incoming: Incoming, lease: Lease, idle: Duration, deadline: Option<Instant>) -> Self {
        let deadline = deadline.map(|deadline| Box::pin(sleep_until(deadline)));
        Self { incoming, lease: Some(lease), idle: Idle::new(idle), deadline }
    }

    /// Keeps the connection for the next request.
    fn release(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
    }

    /// The next chunk, the connection driven as far as it takes.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, lease, .. } = self;
        let Some(lease) = lease else { return Pin::new(incoming).poll_frame(cx) };
        if let Poll::Ready(frame) = lease.quietly(|| Pin::new(&mut *incoming).poll_frame(cx)) {
            return Poll::Ready(frame);
        }
        lease.poll_driver(cx);
        lease.quietly(|| Pin::new(incoming).poll_frame(cx))
    }
}

impl http_body::Body for ServerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let frame = match this.poll_incoming(cx) {
            Poll::Ready(frame) => {
                this.idle.progress();
                frame.map(|frame| frame.map_err(BoxError::from))
            }
            Poll::Pending => {
                let late =
                    this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready());
                if !late {
                    ready!(this.idle.poll_expired(cx));
                }
                Some(Err("the upstream did not send its body in time".into()))
            }
        };
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => this.lease = None,
            None => this.release(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl ReadAhead for ServerBody {
    fn extend(&mut self, time: Duration) {
        if let Some(deadline) = &mut self.deadline {
            let later = deadline.deadline() + time;
            deadline.as_mut().reset(later);
        }
    }
}

impl Drop for ServerBody {
    fn drop(&mut self) {
        // A body of known length is not polled again after its last byte.
        if self.incoming.is_end_stream() {
            self.release();
        }
    }
}
