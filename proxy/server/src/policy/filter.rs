//! Shows a policy the chunks of a body as they pass.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tidegate_plugin_host::{Chunk, Phase, Verdict};

use super::keeper::Custody;
use super::{Chain, Judged, Step};
use crate::error::Error;
use tidegate_body::{Body, BoxError, Held, Payer};
use tidegate_message::representation;

/// A body with one policy in its way. One chunk is with the policy at a time: the source is asked for the
/// next when the client's, or the server's, connection wants more.
pub(super) struct Filter {
    chain: Rc<Chain>,
    /// The policy's place in the chain.
    index: usize,
    phase: Phase,
    custody: Custody,
    source: Body,
    state: State,
    /// What the policy held back, to be seen again before the next chunk.
    held: Bytes,
    /// That, on the client's account.
    account: Held,
    trailers: Option<HeaderMap>,
    edited: bool,
    /// All calls together.
    step: Step,
}

enum State {
    Reading,
    Calling {
        call: Pin<Box<dyn Future<Output = Called>>>,
        is_last: bool,
    },
    /// The policy wants no more of it.
    Passing,
    /// Trailers, if there are any, and the end.
    Ended,
}

/// Why a policy broke the body off.
enum BrokenOff {
    /// It answers the client itself: [`super::keeper::Notes::reply`].
    Answered,
    Failed(Error),
}

impl From<BrokenOff> for BoxError {
    fn from(reason: BrokenOff) -> Self {
        match reason {
            BrokenOff::Answered => "a policy answers the client itself".into(),
            BrokenOff::Failed(error) => error.into(),
        }
    }
}

struct Called {
    chunk: Chunk,
    judged: Judged,
}

impl Filter {
    pub(super) fn new(
        chain: Rc<Chain>,
        index: usize,
        phase: Phase,
        custody: Custody,
        payer: &Payer,
        source: Body,
    ) -> Self {
        let step = chain.places[index].step(phase, Verdict::Next.as_str(), None, 0);
        let (state, held) = (State::Reading, Bytes::new());
        Self {
            chain,
            index,
            phase,
            custody,
            source,
            state,
            held,
            account: payer.hold(),
            trailers: None,
            edited: false,
            step,
        }
    }

    /// Shows the next chunk, after what was held back of the last.
    fn show(&mut self, data: Bytes, is_last: bool) {
        let held = std::mem::take(&mut self.held);
        let mut chunk = Chunk::new(joined(held, data), is_last);
        let (chain, index, phase, custody) =
            (self.chain.clone(), self.index, self.phase, self.custody.clone());
        let call = async move {
            let mut slot = custody.take().await;
            let lent = custody.lent();
            let judged = chain.call_body(&chain.places[index], phase, &mut slot, &mut chunk).await;
            if let Ok(Verdict::Respond) = judged.verdict {
                custody.notes().reply = slot.reply.take();
            }
            lent.give(slot);
            Called { chunk, judged }
        };
        self.state = State::Calling { call: Box::pin(call), is_last };
    }

    /// What passes on after a call.
    fn settle(&mut self, called: Called, is_last: bool) -> Result<Bytes, BrokenOff> {
        let Called { chunk, judged } = called;
        // One step for all calls: what was decided last, and no `next` after it hides that.
        if judged.error.is_some() || judged.noted != Verdict::Next.as_str() {
            (self.step.verdict, self.step.error) = (judged.noted, judged.error);
        }
        let verdict = judged.verdict.map_err(BrokenOff::Failed)?;
        self.edited |= chunk.is_edited();
        let (bytes, held) = chunk.into_parts();
        match verdict {
            Verdict::Next | Verdict::Fail => {
                self.account.set(held.len()).map_err(|used_up| BrokenOff::Failed(Error::Memory(used_up)))?;
                self.held = held;
                self.state = if is_last { State::Ended } else { State::Reading };
                Ok(bytes)
            }
            Verdict::Finish => {
                // Less is always granted.
                let _ = self.account.set(0);
                self.state = if is_last { State::Ended } else { State::Passing };
                Ok(joined(bytes, held))
            }
            Verdict::Respond => Err(BrokenOff::Answered),
        }
    }

    fn end(&mut self) -> Option<Frame<Bytes>> {
        let mut trailers = self.trailers.take()?;
        if self.edited {
            representation::remove_digests(&mut trailers);
        }
        Some(Frame::trailers(trailers))
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        _ => {
            let mut both = BytesMut::with_capacity(first.len() + second.len());
            both.extend_from_slice(&first);
            both.extend_from_slice(&second);
            both.freeze()
        }
    }
}

impl http_body::Body for Filter {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::Ended => return Poll::Ready(this.end().map(Ok)),
                State::Passing => {
                    let frame = ready!(Pin::new(&mut this.source).poll_frame(cx));
                    return Poll::Ready(match frame {
                        Some(Ok(frame)) => Some(Ok(match frame.into_trailers() {
                            Ok(trailers) => {
                                this.trailers = Some(trailers);
                                this.state = State::Ended;
                                continue;
                            }
                            Err(data) => data,
                        })),
                        other => other,
                    });
                }
                State::Calling { .. } => {
                    // Not in its place meanwhile: it must not be polled again if it panics.
                    let calling = std::mem::replace(&mut this.state, State::Ended);
                    let State::Calling { mut call, is_last } = calling else { continue };
                    let began = Instant::now();
                    let called = call.as_mut().poll(cx);
                    this.step.us += u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                    let Poll::Ready(called) = called else {
                        this.state = State::Calling { call, is_last };
                        return Poll::Pending;
                    };
                    match this.settle(called, is_last) {
                        Ok(bytes) if bytes.is_empty() => {}
                        Ok(bytes) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                        Err(reason) => {
                            if let BrokenOff::Failed(error) = &reason {
                                this.custody.notes().failure.get_or_insert_with(|| error.clone());
                            }
                            this.state = State::Ended;
                            this.trailers = None;
                            return Poll::Ready(Some(Err(reason.into())));
                        }
                    }
                }
                State::Reading => match ready!(Pin::new(&mut this.source).poll_frame(cx)) {
                    None => this.show(Bytes::new(), true),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => {
                            let is_last = this.source.is_end_stream();
                            if is_last || !data.is_empty() {
                                this.show(data, is_last);
                            }
                        }
                        Err(frame) => {
                            this.trailers = frame.into_trailers().ok();
                            this.show(Bytes::new(), true);
                        }
                    },
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Ended => self.trailers.is_none(),
            State::Passing => self.source.is_end_stream(),
            State::Reading | State::Calling { .. } => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.state {
            State::Passing => self.source.size_hint(),
            State::Ended => SizeHint::with_exact(0),
            State::Reading | State::Calling { .. } => SizeHint::default(),
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // The exchange is needed after its bodies: the call comes to its end, within its limits.
        if let State::Calling { call, .. } = std::mem::replace(&mut self.state, State::Ended) {
            self.chain.tasks.spawn(async move { drop(call.await) });
        }
        self.custody.notes().steps.push(self.step.clone());
    }
}
