//! What a client goes on to send of a request that is answered already. It is read and thrown away: a client whose
//! connection is reset while it sends loses the answer (RFC 9112 §9.6; RFC 9113 §8.1).

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tidegate_message::fields;
use tokio::time::timeout;

use super::io::Activity;

/// A body that is given up is read to its end, before the response is sent, if it has no more than this …
const LITTLE: u64 = 256 << 10;
/// … and if that takes no longer than this.
const BEFORE: Duration = Duration::from_millis(500);
/// The rest of a stream of HTTP/2 is taken for so long after the response.
const AFTER: Duration = Duration::from_secs(2);

/// The body of a request as its client sends it. What its owner gives up of it is left here.
pub(crate) struct ClientBody {
    /// `None` when it has ended.
    incoming: Option<Incoming>,
    left: Option<(Rc<Leftover>, Arc<Activity>)>,
}

/// The body of a request that was given up before its end.
#[derive(Default)]
pub(crate) struct Leftover(Cell<Option<Incoming>>);

impl ClientBody {
    pub(crate) fn new(incoming: Incoming, activity: &Arc<Activity>) -> (Self, Option<Rc<Leftover>>) {
        if incoming.is_end_stream() {
            return (Self { incoming: Some(incoming), left: None }, None);
        }
        let leftover = Rc::<Leftover>::default();
        let left = Some((leftover.clone(), activity.clone()));
        (Self { incoming: Some(incoming), left }, Some(leftover))
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let polled = Pin::new(incoming).poll_frame(cx);
        match polled {
            Poll::Ready(None | Some(Err(_))) => self.incoming = None,
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                let trailers = frame.into_trailers().map(|mut trailers| {
                    fields::remove_from_trailers(&mut trailers);
                    Frame::trailers(trailers)
                });
                return Poll::Ready(Some(Ok(trailers.unwrap_or_else(|frame| frame))));
            }
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let (Some(incoming), Some((leftover, activity))) = (self.incoming.take(), &self.left)
            && !incoming.is_end_stream()
        {
            activity.leaves_unread(true);
            leftover.0.set(Some(incoming));
        }
    }
}

impl Leftover {
    /// Before the response to a request of HTTP/1.1 is sent: true if nothing is left to be read of the request. `waits`:
    /// the client waits to be told to continue, which would be the wrong word now.
    pub(crate) async fn is_read(&self, waits: bool, activity: &Activity) -> bool {
        let Some(mut incoming) = self.0.take() else { return true };
        let is_read = !waits
            && incoming.size_hint().lower() <= LITTLE
            && matches!(timeout(BEFORE, discard(&mut incoming, LITTLE)).await, Ok(true));
        if is_read {
            activity.leaves_unread(false);
        } else {
            self.0.set(Some(incoming));
        }
        is_read
    }

    /// After the response of a stream of HTTP/2.
    pub(crate) async fn discard(&self) {
        if let Some(mut incoming) = self.0.take() {
            let _ = timeout(AFTER, discard(&mut incoming, u64::MAX)).await;
        }
    }

    /// Of HTTP/1.1: the rest comes on the bare connection, as hyper reads no further.
    pub(crate) fn forget(&self) {
        self.0.take();
    }
}

/// Whether a body ends within so many bytes.
async fn discard(incoming: &mut Incoming, mut at_most: u64) -> bool {
    loop {
        match incoming.frame().await {
            None => return true,
            Some(Err(_)) => return false,
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                match at_most.checked_sub(length) {
                    Some(left) => at_most = left,
                    None => return false,
                }
            }
        }
    }
}
