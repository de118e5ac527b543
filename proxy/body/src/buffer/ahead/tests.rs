//! A response between a source that the test feeds and a client that the test is.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;

use http::HeaderValue;
use http_body::Body as _;
use tokio::task::{LocalSet, yield_now};

use super::super::space::tests::files;
use super::*;
use tidegate_io::wake::waker;

const KIB: usize = 1 << 10;
const BUFFER: Buffer = Buffer { memory: 64 * KIB, disk: 0 };

/// What a source has still to give: chunks, or how it breaks off; it waits while there is nothing.
#[derive(Default)]
struct Script {
    frames: VecDeque<Option<Result<Frame<Bytes>, BoxError>>>,
    waker: Option<Waker>,
    length: Option<u64>,
    given_up: bool,
}

/// The source, and its end in the test's hand.
struct Scripted(Rc<RefCell<Script>>);

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut script = self.0.borrow_mut();
        script.waker = Some(cx.waker().clone());
        let Some(frame) = script.frames.pop_front() else { return Poll::Pending };
        let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref().map(Bytes::len));
        script.length = script.length.map(|left| left - length.unwrap_or_default() as u64);
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().length == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

impl ReadAhead for Scripted {
    fn extend(&mut self, _: Duration) {}
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.0.borrow_mut().given_up = true;
    }
}

/// The test's hand on a source.
struct Hand(Rc<RefCell<Script>>);

impl Hand {
    fn give(&self, frame: Option<Result<Frame<Bytes>, BoxError>>) {
        let mut script = self.0.borrow_mut();
        script.frames.push_back(frame);
        if let Some(waker) = script.waker.take() {
            waker.wake();
        }
    }

    fn data(&self, length: usize) {
        self.give(Some(Ok(Frame::data(Bytes::from(vec![b'x'; length])))));
    }

    fn is_given_up(&self) -> bool {
        self.0.borrow().given_up
    }

    fn waiting(&self) -> usize {
        self.0.borrow().frames.len()
    }
}

/// A source whose head has come, and with it these chunks.
fn source(length: Option<u64>, chunks: &[usize]) -> (Scripted, Hand) {
    let script = Rc::new(RefCell::new(Script { length, ..Script::default() }));
    let hand = Hand(script.clone());
    chunks.iter().for_each(|length| hand.data(*length));
    (Scripted(script), hand)
}

async fn buffered(source: Scripted, at_once: bool) -> Body {
    keep_ahead(source, BUFFER, &files(0).0, Payer::rich, at_once, &mut Context::from_waker(&waker().await))
}

async fn next(body: &mut Body) -> Option<Result<Frame<Bytes>, BoxError>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

async fn data(body: &mut Body, length: usize) {
    let mut left = length;
    while left > 0 {
        let frame = next(body).await.expect("more").expect("no failure");
        left = left.checked_sub(frame.into_data().expect("data").len()).expect("no more than that");
    }
}

/// Lets the pump have its turn.
async fn turns() {
    for _ in 0..10 {
        yield_now().await;
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), test);
}

#[test]
fn what_is_there_at_once_frees_the_source_before_anybody_asks() {
    run(async {
        let (body, hand) = source(Some(5), &[5]);
        let mut body = buffered(body, false).await;
        assert!(hand.is_given_up());
        assert_eq!(body.size_hint().exact(), Some(5));
        data(&mut body, 5).await;
        assert!(body.is_end_stream());

        let (body, hand) = source(None, &[5, 0, 6]);
        hand.give(None);
        let mut body = buffered(body, false).await;
        assert!(hand.is_given_up());
        assert_eq!(body.size_hint().exact(), Some(11), "known by now");
        data(&mut body, 11).await;
        assert!(body.is_end_stream() && next(&mut body).await.is_none());
    });
}

#[test]
fn a_short_response_is_read_when_the_client_asks() {
    run(async {
        let (body, hand) = source(Some(2000), &[1000]);
        let mut body = buffered(body, false).await;
        hand.data(1000);
        turns().await;
        assert_eq!(hand.waiting(), 1);
        assert_eq!(body.size_hint().exact(), Some(2000));
        data(&mut body, 2000).await;
        assert!(hand.is_given_up() && body.is_end_stream());
    });
}

#[test]
fn a_longer_one_is_read_on_whether_or_not_the_client_asks() {
    // Over HTTP/2 a short one as well.
    for (first, at_once) in [(16 * KIB, false), (1, true)] {
        run(async move {
            let length = first + 30_000;
            let (body, hand) = source(Some(length as u64), &[first]);
            let mut body = buffered(body, at_once).await;
            hand.data(10_000);
            turns().await;
            assert_eq!(hand.waiting(), 0);
            hand.data(20_000);
            turns().await;
            assert!(hand.is_given_up());
            assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(length as u64), false));
            data(&mut body, length).await;
            assert!(body.is_end_stream());
        });
    }
}

#[test]
fn a_client_that_asks_gets_each_piece_as_it_comes() {
    run(async {
        let (body, hand) = source(None, &[20_000]);
        let mut body = buffered(body, false).await;
        data(&mut body, 20_000).await;
        for length in [1, 2, 3] {
            let received = Cell::new(false);
            tokio::join!(
                async {
                    data(&mut body, length).await;
                    received.set(true);
                },
                async {
                    turns().await;
                    assert!(!received.get());
                    hand.data(length);
                }
            );
        }
    });
}

#[test]
fn a_full_memory_holds_the_source_back_until_the_client_takes_something() {
    run(async {
        let (body, hand) = source(None, &[16 * KIB; 20]);
        let mut body = buffered(body, false).await;
        turns().await;
        assert_eq!(hand.waiting(), 16);
        data(&mut body, 64 * KIB).await;
        turns().await;
        assert_eq!(hand.waiting(), 12);
        data(&mut body, 16 * 16 * KIB).await;
    });
}

#[test]
fn what_came_before_a_failure_is_passed_on_before_it() {
    run(async {
        let (body, hand) = source(Some(100_000), &[20_000]);
        let mut body = buffered(body, false).await;
        hand.data(10_000);
        hand.give(Some(Err("broken off".into())));
        turns().await;
        assert!(hand.is_given_up());
        assert_eq!(body.size_hint().exact(), Some(100_000), "which is what the head said");
        data(&mut body, 30_000).await;
        assert!(!body.is_end_stream());
        assert_eq!(next(&mut body).await.expect("an end").expect_err("a failure").to_string(), "broken off");
        assert!(!body.is_end_stream());
    });
}

#[test]
fn trailers_follow_the_last_piece() {
    for at_once in [false, true] {
        run(async move {
            let (body, hand) = source(None, &[20]);
            let mut body = buffered(body, at_once).await;
            let fields = HeaderMap::from_iter([(
                http::HeaderName::from_static("x-sum"),
                HeaderValue::from_static("1"),
            )]);
            hand.give(Some(Ok(Frame::trailers(fields.clone()))));
            hand.give(None);
            turns().await;
            data(&mut body, 20).await;
            assert!(!body.is_end_stream());
            let frame = next(&mut body).await.expect("more").expect("no failure");
            assert_eq!(frame.into_trailers().expect("trailers"), fields);
            assert!(next(&mut body).await.is_none() && body.is_end_stream());
        });
    }
}

#[test]
fn a_client_that_leaves_gives_the_source_up() {
    run(async {
        let (body, hand) = source(None, &[20_000]);
        let body = buffered(body, false).await;
        turns().await;
        assert!(!hand.is_given_up());
        drop(body);
        turns().await;
        assert!(hand.is_given_up());
    });
}

#[test]
fn a_client_that_keeps_up_costs_no_disk() {
    run(async {
        let (files, held) = files(1 << 30);
        let (body, hand) = source(None, &[16 * KIB; 4]);
        let buffer = Buffer { disk: 1 << 30, ..BUFFER };
        let mut body =
            keep_ahead(body, buffer, &files, Payer::rich, false, &mut Context::from_waker(&waker().await));
        for _ in 0..100 {
            (0..4).for_each(|_| hand.data(16 * KIB));
            turns().await;
            tokio::time::advance(GRACE / 2).await;
            data(&mut body, 64 * KIB).await;
        }
        assert_eq!(held(), 0);
        (0..8).for_each(|_| hand.data(16 * KIB));
        turns().await;
        tokio::time::advance(GRACE * 2).await;
        turns().await;
        assert!(held() > 0, "one that does not");
    });
}
