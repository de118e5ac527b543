//! The life of one connection: what it waits for, and what becomes of it when a bound is reached.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, sleep_until};

use super::Bounds;
use crate::http::io::Activity;
use crate::http::stream::Turn;
use tidegate_io::Millis;

/// HTTP/2 streams the client may open and reset before they are answered, in `RESET_WINDOW`: beyond what h2 bounds
/// itself. If they are more than half of its streams, the connection takes no new ones, and with twice as many it is cut.
const MAX_EARLY_RESETS: u64 = 100;
const RESET_WINDOW: Duration = Duration::from_secs(10);

/// After so long without a request a connection of HTTP/1 gives back what serves requests: it rests.
const REST_AFTER: Duration = Duration::from_secs(2);

/// A worker that drains waits so long for a request on a connection that is new, or had one a moment ago: what is on its way
/// already would find it closed.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What the driver does next with its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing; look again later.
    Check,
    /// Give back what serves requests until there are some again.
    Rest,
    /// Finish what is in flight, take nothing new.
    Close,
    /// Drop it as it is.
    Cut,
    /// Tell the client that its request head took too long, then close.
    RequestTimeout,
}

/// The life of one connection, as far as its bounds depend on it.
pub(super) struct State {
    pub(super) activity: Arc<Activity>,
    bounds: Bounds,
    http2: Cell<bool>,
    opened: Instant,
    pub(super) requests: Cell<u64>,
    pub(super) in_flight: Cell<u32>,
    /// The end of the last exchange, or the start of the connection.
    pub(super) idle_since: Cell<Millis>,
    /// HTTP/1: the head of the response in flight is on its way.
    pub(super) answered: Cell<bool>,
    /// Nothing is there that serves requests.
    rests: Cell<bool>,
    /// The worker takes no new connections, and this one ends when that costs nobody a request.
    draining: Cell<bool>,
    closing: Cell<bool>,
    early_resets: Cell<Resets>,
    /// There were too many of them, and nobody has been told yet.
    floods: Cell<bool>,
    /// An order from an exchange to the driver.
    ordered: Cell<Option<Next>>,
    order: Notify,
    _counted: Box<dyn Any>,
    /// Of the HTTP/2 stream whose request came last, until its task begins.
    pub(super) begun: Cell<Option<Rc<Turn>>>,
}

/// Streams that were reset before they were answered.
#[derive(Debug, Clone, Copy)]
struct Resets {
    since: Instant,
    /// Requests on the connection before.
    requests: u64,
    resets: u64,
}

/// The client's share of an HTTP/2 handshake: the preface and an empty SETTINGS frame (RFC 9113 §3.4).
const HTTP2_OPENING: u64 = 24 + 9;

impl State {
    pub(super) fn new(bounds: Bounds, counted: Box<dyn Any>) -> Self {
        let now = Instant::now();
        Self {
            activity: Activity::new(),
            bounds,
            http2: Cell::new(false),
            opened: now,
            requests: Cell::new(0),
            in_flight: Cell::new(0),
            idle_since: Cell::new(Millis::now()),
            answered: Cell::new(false),
            rests: Cell::new(false),
            draining: Cell::new(false),
            closing: Cell::new(false),
            early_resets: Cell::new(Resets { since: now, requests: 0, resets: 0 }),
            floods: Cell::new(false),
            ordered: Cell::new(None),
            order: Notify::new(),
            _counted: counted,
            begun: Cell::default(),
        }
    }

    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// What follows is HTTP/2, from the preface on.
    pub(super) fn expect_http2(&self) {
        self.http2.set(true);
        self.activity.expect_http2();
    }

    pub(super) fn is_http2(&self) -> bool {
        self.http2.get()
    }

    /// Notes whether there is anything that serves requests.
    pub(super) fn rests(&self, rests: bool) {
        self.rests.set(rests);
        if rests {
            self.activity.forget_head();
        }
    }

    /// Waits for the next thing the driver has to do. Timers are set to the earliest moment at which
    /// a bound could be reached and looked at again then, so that a request costs none.
    pub(super) async fn next(&self, drain: &mut watch::Receiver<bool>) -> Next {
        let next = tokio::select! {
            () = sleep_until(self.deadline().into()) => self.check(),
            () = self.order.notified() => self.ordered.take().unwrap_or(Next::Check),
            // An error means that the worker is gone; its runtime drops this task.
            _ = drain.wait_for(|draining| *draining), if !self.draining.get() => {
                self.draining.set(true);
                self.check()
            }
        };
        if next == Next::Close {
            self.closing.set(true);
        }
        next
    }

    /// Whether the request that is answered just now is the last one.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until a connection on which nothing was asked yet may be closed.
    pub(super) async fn last_call(&self, drain: &mut watch::Receiver<bool>) {
        // An error means that the worker is gone; its runtime drops this task.
        let _ = drain.wait_for(|draining| *draining).await;
        sleep(LAST_CALL.saturating_sub(self.idle())).await;
    }

    /// Since the last exchange, or the start of the connection.
    fn idle(&self) -> Duration {
        Millis::now().time_since(self.idle_since.get())
    }

    pub(super) fn order(&self, next: Next) {
        self.ordered.set(Some(next));
        self.order.notify_one();
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        let timeouts = &self.bounds.timeouts;
        let mut deadline = if self.in_flight.get() > 0 {
            // The exchange may end right away, and then the other bounds count from there.
            let stalled = self.activity.write_stalled().unwrap_or_default();
            let stall = timeouts.body_idle.saturating_sub(stalled);
            let rate = self.bounds.limits.min_rate.response_after;
            now + stall.min(timeouts.keep_alive).min(timeouts.request_headers).min(rate)
        } else {
            let wait =
                if self.draining.get() && !self.closing.get() { LAST_CALL } else { timeouts.keep_alive };
            now + wait.min(timeouts.keep_alive).saturating_sub(self.idle())
        };
        // No head begins unseen at one that rests; its first has to come in time.
        let heads = !self.rests.get() || self.requests.get() == 0;
        if heads && (self.http2.get() || self.in_flight.get() == 0) {
            let head = self.activity.head_since().unwrap_or_default();
            deadline = deadline.min(now + timeouts.request_headers.saturating_sub(head));
        }
        if !self.closing.get() {
            deadline = deadline.min(self.opened + timeouts.connection_age);
        }
        if !self.http2.get() && !self.rests.get() {
            deadline = deadline.min(now + REST_AFTER);
        }
        // What is due is handled by `check`; a bound that keeps being due must not spin.
        deadline.max(now + Duration::from_millis(10))
    }

    fn check(&self) -> Next {
        let timeouts = &self.bounds.timeouts;
        if self.activity.write_stalled().is_some_and(|stalled| stalled >= timeouts.body_idle) {
            return Next::Cut;
        }
        let rate = &self.bounds.limits.min_rate;
        if self.activity.reads_too_slowly(rate.response, rate.response_after) {
            return Next::Cut;
        }
        // In HTTP/2 nothing else can come before the rest of a head.
        if (self.http2.get() || self.in_flight.get() == 0)
            && self.activity.head_since().is_some_and(|since| since >= timeouts.request_headers)
        {
            return Next::RequestTimeout;
        }
        // What is in flight is finished, and its client told that it is the last; a response that is on its way already has
        // told it that there may be another.
        if self.draining.get()
            && !self.closing.get()
            && match self.in_flight.get() {
                0 => self.idle() >= LAST_CALL,
                _ => !self.answered.get(),
            }
        {
            return Next::Close;
        }
        if self.in_flight.get() == 0 {
            let opening = if self.http2.get() {
                self.activity.bytes_read() < HTTP2_OPENING
            } else {
                self.requests.get() == 0
            };
            if opening && self.opened.elapsed() >= timeouts.request_headers {
                return Next::Cut;
            }
            if self.idle() >= timeouts.keep_alive {
                // A client that ignores GOAWAY is not waited for a second time.
                return if self.closing.get() { Next::Cut } else { Next::Close };
            }
        }
        if !self.closing.get() && self.opened.elapsed() >= timeouts.connection_age {
            return Next::Close;
        }
        if self.may_rest() { Next::Rest } else { Next::Check }
    }

    /// Whether hyper's connection holds nothing that would be missed: no exchange, no part of a head, nothing unsent.
    fn may_rest(&self) -> bool {
        !self.http2.get()
            && !self.closing.get()
            && self.in_flight.get() == 0
            && self.activity.head_since().is_none()
            && self.activity.write_stalled().is_none()
            && self.idle() >= REST_AFTER
    }

    /// Whether it closes for streams that were reset; true once.
    pub(super) fn begins_to_flood(&self) -> bool {
        self.floods.take()
    }

    pub(super) fn count_early_reset(&self) {
        if self.bounds.many_clients {
            // Each of them may go away at any time.
            return;
        }
        let mut counted = self.early_resets.get();
        if counted.since.elapsed() >= RESET_WINDOW {
            counted = Resets { since: Instant::now(), requests: self.requests.get() - 1, resets: 0 };
        }
        counted.resets += 1;
        self.early_resets.set(counted);
        let Resets { requests, resets, .. } = counted;
        if resets > MAX_EARLY_RESETS && resets > (self.requests.get() - requests) / 2 {
            let goes_on = self.closing.get() && resets > 2 * MAX_EARLY_RESETS;
            self.floods.set(self.floods.get() || !self.closing.get());
            self.order(if goes_on { Next::Cut } else { Next::Close });
        }
    }
}
