//! The exchange while bodies are on their way: whoever calls a policy takes it, and gives it back.

use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use tidegate_message::Reply;
use tidegate_plugin_host::Exchange;
use tokio::sync::Notify;

use super::Step;
use crate::error::Error;

/// One exchange that the filters of its bodies and the exchange itself use in turn.
#[derive(Clone)]
pub(crate) struct Custody(Rc<Inner>);

struct Inner {
    /// `None` while somebody has it.
    exchange: RefCell<Option<Box<Exchange>>>,
    given: Notify,
    notes: RefCell<Notes>,
}

/// What came of calls while a body passed.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) steps: Vec<Step>,
    /// Why a body was broken off.
    pub(crate) failure: Option<Error>,
    /// The response a policy made when it had seen a piece of the request body.
    pub(crate) reply: Option<Reply>,
}

impl Custody {
    /// The exchange is with whoever makes it.
    pub(super) fn new() -> Self {
        Self(Rc::new(Inner { exchange: RefCell::default(), given: Notify::new(), notes: RefCell::default() }))
    }

    pub(crate) fn give(&self, exchange: Box<Exchange>) {
        *self.0.exchange.borrow_mut() = Some(exchange);
        self.0.given.notify_one();
    }

    pub(crate) fn try_take(&self) -> Option<Box<Exchange>> {
        self.0.exchange.borrow_mut().take()
    }

    /// Waits until it is free: whoever has it has it for one call, and every call has its limits.
    pub(crate) async fn take(&self) -> Box<Exchange> {
        loop {
            if let Some(exchange) = self.try_take() {
                return exchange;
            }
            self.0.given.notified().await;
        }
    }

    pub(crate) fn notes(&self) -> RefMut<'_, Notes> {
        self.0.notes.borrow_mut()
    }
}
