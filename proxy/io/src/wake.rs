//! Wakers that remember: part of a task is polled only when it was woken itself.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Passes a wake-up on to a task and remembers it.
#[derive(Debug)]
struct Flag {
    raised: AtomicBool,
    /// Wake-ups are not passed on: the task that causes them looks by itself.
    quiet: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.quiet.load(Ordering::Relaxed) {
            return;
        }
        self.raised.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

/// A flag that is raised by a wake-up, and the waker that raises it.
#[derive(Debug)]
pub struct WakeFlag {
    flag: Arc<Flag>,
    waker: Waker,
    /// What `flag.task` holds, to be compared without its lock.
    task: Option<Waker>,
}

impl WakeFlag {
    /// It is raised, so that the first question is answered with yes.
    pub fn raised() -> Self {
        let flag = Arc::new(Flag {
            raised: AtomicBool::new(true),
            quiet: AtomicBool::new(false),
            task: Mutex::default(),
        });
        let waker = Waker::from(flag.clone());
        Self { flag, waker, task: None }
    }

    /// Wakes the task of `cx` from now on.
    pub fn attach(&mut self, cx: &Context<'_>) {
        if !self.task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            *self.flag.task.lock().unwrap_or_else(PoisonError::into_inner) = self.task.clone();
        }
    }

    /// What raises it.
    pub fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// Whether it was raised since this was asked last; lowers it.
    pub fn take(&self) -> bool {
        self.flag.raised.load(Ordering::Relaxed) && self.flag.raised.swap(false, Ordering::Acquire)
    }

    /// Runs `work` without being raised by it.
    pub fn quietly<T>(&self, work: impl FnOnce() -> T) -> T {
        self.flag.quiet.store(true, Ordering::Relaxed);
        let done = work();
        self.flag.quiet.store(false, Ordering::Relaxed);
        done
    }
}

/// What wakes the task that asks.
pub async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

/// A future beside a busy one in the same task: it is polled only when it was woken itself, so that
/// the other's wake-ups cost it one look at a flag.
#[derive(Debug)]
pub struct Beside<F> {
    future: F,
    flag: WakeFlag,
}

impl<F> Beside<F> {
    /// Polled once, and then whenever it was woken.
    pub fn new(future: F) -> Self {
        Self { future, flag: WakeFlag::raised() }
    }
}

impl<F: Future + Unpin> Future for Beside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        this.flag.attach(cx);
        // Asked before the poll: a wake-up during it is not lost.
        if this.flag.take() {
            Pin::new(&mut this.future).poll(&mut this.flag.context())
        } else {
            Poll::Pending
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_future_beside_another_is_polled_once_and_then_when_it_is_woken() {
        let (polls, waker) = (Cell::new(0), Cell::new(None));
        let mut beside = Beside::new(poll_fn(|cx: &mut Context<'_>| {
            polls.set(polls.get() + 1);
            waker.set(Some(cx.waker().clone()));
            if polls.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
        }));
        let mut poll = || Pin::new(&mut beside).poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        assert!(poll().is_pending());
        assert_eq!(polls.get(), 1);
        for expected in [2, 3] {
            waker.take().expect("it was polled").wake();
            let polled = poll();
            assert_eq!((polls.get(), polled.is_ready()), (expected, expected == 3));
        }
    }

    #[test]
    fn work_done_quietly_wakes_nobody() {
        let mut flag = WakeFlag::raised();
        flag.attach(&Context::from_waker(Waker::noop()));
        assert!(flag.take());
        flag.quietly(|| flag.context().waker().wake_by_ref());
        assert!(!flag.take());
        flag.context().waker().wake_by_ref();
        assert!(flag.take());
    }
}
