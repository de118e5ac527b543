//! How far the body of a request has come, for those who do not own it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::time::Instant;

use crate::error::RequestBodyError;
use crate::request::Bounds;

/// What the exchange knows of its request body while the upstream's connection owns it. `None`: there is no body.
#[derive(Debug, Clone)]
pub struct Progress(pub(crate) Option<Rc<Advance>>);

/// How far a body has come, and how that ended.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    pub(crate) bytes: Cell<u64>,
    /// Of a body that comes from a client; what stages make of it keeps to them already.
    pub(crate) bounds: Cell<Option<Bounds>>,
    /// The response has begun.
    pub(crate) answered: Cell<bool>,
    /// The handle to the body that may move.
    pub(crate) turn: Cell<u32>,
    pub(crate) ended: Cell<Option<Instant>>,
    pub(crate) failure: RefCell<Option<RequestBodyError>>,
}

impl Progress {
    /// Bytes taken from the client.
    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |advance| advance.bytes.get())
    }

    /// The body keeps to these from now on.
    pub fn bind(&self, bounds: Bounds) {
        if let Some(advance) = &self.0 {
            advance.bounds.set(Some(bounds));
        }
    }

    /// What the body keeps to; `None` if there is none.
    pub fn bounds(&self) -> Option<Bounds> {
        self.0.as_ref().and_then(|advance| advance.bounds.get())
    }

    /// Whether there is a body that is still being sent.
    pub fn goes_on(&self) -> bool {
        self.0.as_ref().is_some_and(|advance| advance.ended.get().is_none())
    }

    /// The response has begun: a client that goes on beside it sends when it has something to say, and is bound by
    /// [`Bounds::stream_idle`](crate::Bounds) alone.
    pub fn answered(&self) {
        if let Some(advance) = &self.0 {
            advance.answered.set(true);
        }
    }

    /// When the body had been sent whole, or was given up.
    pub fn ended(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|advance| advance.ended.get())
    }

    /// Why the client's body could not be passed on.
    pub fn failure(&self) -> Option<RequestBodyError> {
        self.0.as_ref().and_then(|advance| advance.failure.borrow().clone())
    }
}
