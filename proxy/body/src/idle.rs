//! A wait for the next chunk of a body.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Expires when nothing came for a while. The timer exists only once a chunk had to be waited for.
#[derive(Debug)]
pub struct Idle {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

impl Idle {
    /// The wait begins with the first [`Idle::poll_expired`].
    pub fn new(after: Duration) -> Self {
        Self { after, sleep: None, armed: false }
    }

    /// Something came: the next wait begins anew.
    pub fn progress(&mut self) {
        self.armed = false;
    }

    /// Ready when nothing came for as long as may be.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(self.after)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + self.after);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }
}
