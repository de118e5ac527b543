//! Who has the exchange: its owner, or a filter of one of its bodies for the length of a call.

use std::cell::{Cell, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use tidegate_message::Reply;
use tidegate_plugin_host::Slot;
use tokio::sync::Notify;

use super::Step;
use crate::error::Error;

/// The owner's end: has the exchange, except while the owner waits for something that filters take part in.
pub(crate) struct Keeper {
    /// `None` while it is lent.
    slot: Option<Slot>,
    /// `None` while no policy sees chunks of a body: nothing is ever lent then.
    custody: Option<Custody>,
}

impl Keeper {
    pub(crate) fn new(slot: Slot) -> Self {
        Self { slot: Some(slot), custody: None }
    }

    /// The filters' end.
    pub(super) fn custody(&mut self) -> Custody {
        self.custody.get_or_insert_with(Custody::new).clone()
    }

    /// Whether there are filters, which may still want the exchange.
    pub(crate) fn has_filters(&self) -> bool {
        self.custody.is_some()
    }

    /// The filters have the exchange, if there are any, until [`Keeper::reclaim`].
    pub(crate) fn lend(&mut self) {
        if let Some(custody) = &self.custody
            && let Some(slot) = self.slot.take()
        {
            custody.give(slot);
        }
    }

    /// Lends the exchange for as long as the work takes.
    pub(crate) async fn lend_while<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.lend();
        let done = work.await;
        self.reclaim().await;
        done
    }

    /// Takes the exchange back; waits while a filter has it.
    pub(crate) async fn reclaim(&mut self) {
        if let (None, Some(custody)) = (&self.slot, &self.custody) {
            self.slot = Some(custody.take().await);
        }
    }

    /// Takes it back unless a filter has it.
    pub(crate) fn try_reclaim(&mut self) -> bool {
        if let (None, Some(custody)) = (&self.slot, &self.custody) {
            self.slot = custody.try_take();
        }
        self.slot.is_some()
    }

    /// The response a policy made when it had seen a chunk of the request body.
    pub(crate) fn take_reply(&self) -> Option<Reply> {
        self.custody.as_ref()?.notes().reply.take()
    }

    /// What the filters noted.
    pub(crate) fn take_notes(&self) -> Notes {
        self.custody.as_ref().map(|custody| std::mem::take(&mut *custody.notes())).unwrap_or_default()
    }
}

impl Deref for Keeper {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        self.slot.as_ref().expect("the owner does not look while the exchange is lent")
    }
}

impl DerefMut for Keeper {
    fn deref_mut(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("the owner does not look while the exchange is lent")
    }
}

/// What the owner and the filters of both bodies share.
#[derive(Clone)]
pub(super) struct Custody(Rc<Inner>);

struct Inner {
    /// `None` while the owner or a filter has it.
    slot: RefCell<Option<Slot>>,
    /// It went down with a call.
    is_lost: Cell<bool>,
    given: Notify,
    notes: RefCell<Notes>,
}

/// What came of calls while a body passed.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) steps: Vec<Step>,
    /// Why a body was broken off.
    pub(crate) failure: Option<Error>,
    /// The response a policy made when it had seen a chunk of the request body.
    pub(crate) reply: Option<Reply>,
}

impl Custody {
    /// The exchange is with its owner.
    fn new() -> Self {
        Self(Rc::new(Inner {
            slot: RefCell::default(),
            is_lost: Cell::new(false),
            given: Notify::new(),
            notes: RefCell::default(),
        }))
    }

    /// A call has it, which either gives it back or takes it down.
    pub(super) fn lent(&self) -> Lent {
        Lent(Some(self.clone()))
    }

    pub(super) fn give(&self, slot: Slot) {
        *self.0.slot.borrow_mut() = Some(slot);
        self.0.given.notify_one();
    }

    fn try_take(&self) -> Option<Slot> {
        self.0.slot.borrow_mut().take()
    }

    /// Waits until it is free: a filter has it for one call, and every call has its limits. Panics if a call did: what
    /// waits for the exchange then ends like that call.
    pub(super) async fn take(&self) -> Slot {
        loop {
            if let Some(slot) = self.try_take() {
                return slot;
            }
            assert!(!self.0.is_lost.get(), "a call about this exchange panicked");
            self.0.given.notified().await;
        }
    }

    pub(super) fn notes(&self) -> RefMut<'_, Notes> {
        self.0.notes.borrow_mut()
    }
}

/// Tells those that wait for the exchange if it does not come back.
pub(super) struct Lent(Option<Custody>);

impl Lent {
    pub(super) fn give(mut self, slot: Slot) {
        if let Some(custody) = self.0.take() {
            custody.give(slot);
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(custody) = &self.0 {
            custody.0.is_lost.set(true);
            custody.0.given.notify_one();
        }
    }
}
