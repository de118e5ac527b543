//! Takes a response from its server as fast as that sends, however slow the client is.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tidegate_config::Buffer;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::Instant;

use super::space::TemporaryFiles;
use super::spool::{Spill, Spool};
use crate::any::{Body, BoxError};
use crate::idle::Idle;
use crate::memory::Payer;

/// When the memory is full, the client has this long to take something before the disk is put to work:
/// several turns of a connection that keeps up, and nothing beside what a slow client takes.
const GRACE: Duration = Duration::from_millis(10);

/// Until so much of a response has come, the client's connection reads on by itself: hyper asks for more
/// as long as less than 64 KiB wait to be written, and the kernel takes so little of any client. Many responses
/// are shorter, and cost no task.
const SHORT: u64 = 16 << 10;

/// What is read ahead: a body that can be given more time, as it is not read while there is no room.
pub trait ReadAhead: http_body::Body<Data = Bytes, Error = BoxError> + Unpin {
    /// Gives the server so much longer for the rest.
    fn extend(&mut self, time: Duration);
}

/// Puts a buffer behind a body whose head has just come.
///
/// What is there already is taken at once. Often that is all of it; then the upstream's connection is free on
/// return. A longer body is read on in a task of its own, which gives the connection back after the last
/// byte, or up when what is returned is dropped. With `at_once` that goes for a short one too: an HTTP/2
/// connection asks for bytes only when its client has a window open for them.
///
/// Chunks are passed on as they come. When the body breaks off, what came of it goes to the client's
/// connection before the error (which makes hyper drop what that has not written yet). Time that it waits for the client does not count as the upstream's.
///
/// What is in memory is on the account of `payer`; when that is full, the server waits for the client.
///
/// The task whose `cx` it is gets to know of what comes until what is returned is polled.
pub fn keep_ahead<S: ReadAhead + 'static>(
    mut source: S,
    buffer: Buffer,
    files: &TemporaryFiles,
    payer: impl FnOnce() -> Payer,
    at_once: bool,
    cx: &mut Context<'_>,
) -> Body {
    if source.is_end_stream() {
        return Body::empty();
    }
    let left = source.size_hint().exact();
    let first = match Pin::new(&mut source).poll_frame(cx) {
        // The shortest way, and the usual one.
        Poll::Ready(Some(Ok(frame))) if source.is_end_stream() && frame.is_data() => {
            return Body::full(frame.into_data().unwrap_or_default());
        }
        first => first,
    };
    let mut flow = Flow { left, ..Flow::new(Spool::new(buffer, files.clone(), &payer())) };
    let mut source = Some(source);
    let mut next = first;
    while let (Poll::Ready(frame), Some(body)) = (next, &mut source) {
        if flow.receive(frame, body) {
            source = None;
            break;
        }
        if flow.received >= SHORT {
            break;
        }
        next = Pin::new(body).poll_frame(cx);
    }
    let runs_ahead = at_once || flow.received >= SHORT;
    let mut buffered = Buffered { flow: Rc::new(RefCell::new(flow)), source, pump: None };
    if runs_ahead {
        buffered.run_ahead();
    }
    Body::boxed(buffered)
}

/// The client's end.
struct Buffered<S> {
    flow: Rc<RefCell<Flow>>,
    /// As long as it is read from here.
    source: Option<S>,
    /// The task that reads it otherwise.
    pump: Option<AbortHandle>,
}

/// What both ends share; both are in one thread.
struct Flow {
    spool: Spool,
    /// Bytes that came.
    received: u64,
    /// Bytes that the client has still to get, where the head tells.
    left: Option<u64>,
    trailers: Option<HeaderMap>,
    end: Option<End>,
    /// The client waits for a chunk.
    client: Option<Waker>,
    /// The pump waits for room, or to be told that it is time to read from the disk.
    pump: Option<Waker>,
}

/// How the source ended.
enum End {
    Whole,
    /// `None` when the client has been told.
    Broken(Option<BoxError>),
}

impl Flow {
    fn new(spool: Spool) -> Self {
        Self { spool, received: 0, left: None, trailers: None, end: None, client: None, pump: None }
    }

    /// Takes what `source` gave; true if that was the last of it.
    fn receive(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BoxError>>,
        source: &impl http_body::Body,
    ) -> bool {
        match frame {
            None => self.end = Some(End::Whole),
            Some(Err(error)) => self.end = Some(End::Broken(Some(error))),
            Some(Ok(frame)) => {
                match frame.into_data() {
                    Ok(chunk) => {
                        self.received += chunk.len() as u64;
                        self.spool.push(chunk);
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                }
                if source.is_end_stream() {
                    self.end = Some(End::Whole);
                }
            }
        }
        self.end.is_some()
    }

    /// What is next for the client, if it is at hand.
    fn next(&mut self) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(chunk) = self.spool.pop() {
            self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
            if self.spool.runs_low()
                && let Some(pump) = self.pump.take()
            {
                pump.wake();
            }
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match &mut self.end {
            Some(_) if !self.spool.is_empty() => Poll::Pending,
            Some(End::Whole) => {
                Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(End::Broken(error)) => Poll::Ready(error.take().map(Err)),
            None => Poll::Pending,
        }
    }

    fn wake_client(&mut self) {
        if (self.spool.has_piece() || self.end.is_some())
            && let Some(client) = self.client.take()
        {
            client.wake();
        }
    }
}

impl<S: ReadAhead + 'static> Buffered<S> {
    /// Hands the source, if there still is one, to a task.
    fn run_ahead(&mut self) {
        let Some(source) = self.source.take() else { return };
        let pump = Pump {
            source: Some(source),
            flow: self.flow.clone(),
            patience: Idle::new(GRACE),
            full_since: None,
        };
        self.pump = Some(spawn_local(pump).abort_handle());
    }
}

impl<S: ReadAhead + 'static> http_body::Body for Buffered<S> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let mut flow = this.flow.borrow_mut();
            if let Poll::Ready(next) = flow.next() {
                return Poll::Ready(next);
            }
            let Some(source) = &mut this.source else {
                flow.client = Some(cx.waker().clone());
                return Poll::Pending;
            };
            let frame = ready!(Pin::new(&mut *source).poll_frame(cx));
            if flow.receive(frame, source) {
                this.source = None;
            }
            let is_long = flow.received >= SHORT;
            drop(flow);
            if is_long {
                this.run_ahead();
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let flow = self.flow.borrow();
        matches!(flow.end, Some(End::Whole)) && flow.trailers.is_none() && flow.spool.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let flow = self.flow.borrow();
        match (flow.left, &flow.end, &flow.trailers) {
            (Some(left), _, _) => SizeHint::with_exact(left),
            (None, Some(End::Whole), None) => SizeHint::with_exact(flow.spool.len()),
            _ => {
                let mut hint = SizeHint::new();
                hint.set_lower(flow.spool.len());
                hint
            }
        }
    }
}

impl<S> Drop for Buffered<S> {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
    }
}

/// The upstream's end: fills the spool until the source has ended and nothing is left on the disk.
struct Pump<S> {
    source: Option<S>,
    flow: Rc<RefCell<Flow>>,
    /// What the client has left of [`GRACE`].
    patience: Idle,
    /// Since when the source is not read, for want of room.
    full_since: Option<Instant>,
}

impl<S: ReadAhead> Future for Pump<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { source, flow, patience, full_since } = &mut *self;
        let mut flow = flow.borrow_mut();
        loop {
            while let Some(body) = source.as_mut().filter(|_| flow.spool.accepts()) {
                patience.progress();
                if let Some(since) = full_since.take() {
                    body.extend(since.elapsed());
                }
                let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { break };
                if flow.receive(frame, body) {
                    // Before the client has the rest: the connection is for the next exchange.
                    *source = None;
                }
            }
            let is_full = source.is_some() && !flow.spool.accepts();
            if is_full {
                full_since.get_or_insert_with(Instant::now);
            }
            let spill = match source {
                None => Spill::Finish,
                Some(_) if is_full && patience.poll_expired(cx).is_ready() => Spill::Begin,
                Some(_) => Spill::GoOn,
            };
            let moved = match flow.spool.poll_work(spill, cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(error)) => {
                    flow.end = Some(End::Broken(Some(error.into())));
                    *source = None;
                    true
                }
            };
            flow.wake_client();
            if source.is_none() && !flow.spool.spills() {
                return Poll::Ready(());
            }
            if !moved {
                let waits = is_full || flow.spool.spills();
                flow.pump = waits.then(|| cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}

#[cfg(test)]
mod tests;
