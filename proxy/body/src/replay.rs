//! What it takes to send a request body again: the part of it that is kept.

use std::cell::RefCell;
use std::rc::Rc;

use crate::arriving::{Arriving, Position};
use crate::buffer::{Reader, Stored};
use crate::memory::Payer;
use crate::progress::Advance;
use crate::request::{Origin, RequestBody};

/// A request body that can be sent again; `None`: there is none.
pub struct Replay(Option<Again>);

struct Again {
    kept: Kept,
    payer: Payer,
    progress: Rc<Advance>,
}

enum Kept {
    Arriving(Rc<RefCell<Arriving>>),
    Stored(Rc<Stored>),
}

impl RequestBody {
    /// What it takes to send this body again. From now on up to `bytes` of it are kept, unless all of it is
    /// already; to be called before anything of it is sent.
    pub fn replay(&self, bytes: usize) -> Replay {
        Replay(self.0.as_ref().map(|handle| {
            let kept = match &handle.origin {
                Origin::Arriving { body, .. } => {
                    body.borrow_mut().keep(bytes);
                    Kept::Arriving(body.clone())
                }
                Origin::Stored(reader) => Kept::Stored(reader.stored().clone()),
            };
            let (payer, progress) = (handle.payer.clone(), handle.progress.clone());
            Again { kept, payer, progress }
        }))
    }
}

impl Replay {
    /// Whether there is a body to be had from [`Replay::body`].
    pub fn is_whole(&self) -> bool {
        match self.0.as_ref().map(|again| &again.kept) {
            Some(Kept::Arriving(body)) => body.borrow().is_kept(),
            Some(Kept::Stored(_)) | None => true,
        }
    }

    /// The body from its beginning, unless more of it was sent than was to be kept. What was sent of it
    /// before ends.
    pub fn body(&self) -> Option<RequestBody> {
        let Some(again) = &self.0 else { return Some(RequestBody::empty()) };
        let origin = match &again.kept {
            Kept::Arriving(body) => {
                if !body.borrow().is_kept() {
                    return None;
                }
                Origin::Arriving { body: body.clone(), position: Position::default() }
            }
            Kept::Stored(stored) => Origin::Stored(Reader::new(stored.clone())),
        };
        Some(RequestBody::next(origin, again.payer.clone(), &again.progress))
    }
}
