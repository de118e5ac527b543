//! One stream of an HTTP/2 connection, ended when its client takes nothing of its response. What is written to the
//! socket does not tell: the client says for each stream how much of it may be sent (RFC 9113 §5.2).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use tidegate_config::MinRate;
use tidegate_io::Millis;
use tokio::time::{Instant, Sleep, sleep};

use super::io::Activity;
use super::leftover::Leftover;
use tidegate_body::{BoxError, ResponseBody};

/// What is handed on at once, as the client is waited for from one piece to the next: the largest DATA frame that
/// every peer takes (RFC 9113 §4.2).
const PIECE: usize = 16 << 10;

/// What the task of a stream and the body of its response tell each other.
pub(crate) struct Turn {
    /// The number of the piece that the client is waited for to take.
    waits_for: Cell<Option<u64>>,
    /// It was waited for in vain.
    is_cut: Cell<bool>,
    /// Of its request, if that has a body.
    left: Option<Rc<Leftover>>,
}

impl Turn {
    pub(crate) fn new(left: Option<Rc<Leftover>>) -> Self {
        Self { waits_for: Cell::new(None), is_cut: Cell::new(false), left }
    }
}

/// The body of a response, piece by piece.
pub(crate) struct Pieces {
    /// What of a frame is still to be handed on.
    rest: Bytes,
    /// The length of the last piece, the number of pieces and of bytes so far.
    last: usize,
    pieces: u64,
    bytes: u64,
    turn: Rc<Turn>,
    activity: Arc<Activity>,
}

impl Pieces {
    pub(crate) fn new(turn: Rc<Turn>, activity: Arc<Activity>) -> Self {
        Self { rest: Bytes::new(), last: 0, pieces: 0, bytes: 0, turn, activity }
    }

    /// Bytes that were taken from the body and not handed on.
    pub(crate) fn rest(&self) -> usize {
        self.rest.len()
    }

    /// Bytes of the body that the client has not taken for sure: none, if the body is over in good order.
    pub(crate) fn untaken(&self) -> usize {
        self.rest.len() + if self.turn.is_cut.get() { self.last } else { 0 }
    }

    /// The next piece of `body`.
    pub(crate) fn poll(
        &mut self,
        body: &mut ResponseBody,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.turn.waits_for.set(None);
        let mut piece = std::mem::take(&mut self.rest);
        if piece.is_empty() {
            piece = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            };
        }
        if piece.len() > PIECE {
            self.rest = piece.split_off(PIECE);
        }
        let may_be_last =
            self.rest.is_empty() && (body.is_end_stream() || body.size_hint().exact().is_none());
        let is_granted = self.activity.hand_over(self.bytes, piece.len() as u64);
        if may_be_last && !is_granted && piece.len() > 1 {
            // hyper is done with a stream once it has taken the last piece, and waits for room for one byte alone: so
            // the last byte goes when there is room for all before it.
            self.rest = piece.split_off(piece.len() - 1);
        }
        self.last = piece.len();
        self.pieces += 1;
        self.bytes += piece.len() as u64;
        self.turn.waits_for.set(Some(self.pieces));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

/// How long a client may take nothing of a response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// While it does not let more be sent on any stream: `timeouts.body-idle`.
    pub(crate) idle: Duration,
    pub(crate) rate: MinRate,
}

/// A wait for the client to take a piece.
struct Wait {
    piece: u64,
    since: Millis,
    /// What the connection's socket had been waited for until then.
    stalled: Duration,
    /// How often the client had let more be sent when this was last looked at.
    updates: u64,
    timer: Pin<Box<Sleep>>,
}

impl Patience {
    /// Serves `stream` until it is complete, or until the client has taken nothing of its response for too long: it
    /// is reset then. What of its request is still to come is taken for a while, lest the client takes the reset of that
    /// for the end of a response that it has not read yet.
    pub(crate) async fn serve(
        self,
        mut stream: Pin<Box<impl Future<Output = ()>>>,
        turn: Rc<Turn>,
        activity: Arc<Activity>,
    ) {
        let mut wait = None;
        poll_fn(|cx| {
            if stream.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let waits_for = turn.waits_for.get();
            wait.take_if(|wait: &mut Wait| waits_for != Some(wait.piece));
            let Some(piece) = waits_for else { return Poll::Pending };
            let expired = self.poll_expired(
                wait.get_or_insert_with(|| Wait {
                    piece,
                    since: Millis::now(),
                    stalled: activity.stalled(),
                    updates: activity.window_updates(),
                    timer: Box::pin(sleep(self.idle.min(self.piece()))),
                }),
                &activity,
                cx,
            );
            turn.is_cut.set(expired.is_ready());
            expired
        })
        .await;
        drop(stream);
        if let Some(left) = &turn.left {
            left.discard().await;
        }
    }

    fn poll_expired(&self, wait: &mut Wait, activity: &Activity, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(wait.timer.as_mut().poll(cx));
            // While the socket takes nothing the connection is to blame, not this stream.
            let socket = activity.stalled().saturating_sub(wait.stalled);
            let waited = Millis::now().time_since(wait.since).saturating_sub(socket);
            let updates = activity.window_updates();
            let silent = updates == wait.updates;
            if waited >= self.piece() || silent && waited >= self.idle {
                return Poll::Ready(());
            }
            wait.updates = updates;
            // The clock may be a tick behind the timer.
            let left = self.piece().min(if silent { self.idle } else { waited + self.idle }) - waited;
            wait.timer.as_mut().reset(Instant::now() + left.max(Millis::TICK));
        }
    }

    /// For how long one piece may wait if the client does let more be sent.
    fn piece(&self) -> Duration {
        let MinRate { response: rate, response_after, .. } = self.rate;
        let at_rate = (PIECE as u64 * 1000).checked_div(rate).map_or(Duration::MAX, Duration::from_millis);
        at_rate.max(response_after)
    }
}
