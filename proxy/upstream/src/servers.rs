//! Every server that one worker has connections to.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::pool::{Bounds, Server, Spare};
use crate::target::{Endpoint, Target};

/// Every server a worker has connections to. It outlives generations, so that a reload costs no
/// connection; a server that no generation uses any more closes its idle ones.
pub struct Servers {
    by_place: RefCell<HashMap<Endpoint, Vec<Weak<Server>>>>,
    /// Some connection belongs to one client's.
    pub(crate) have_owned: Cell<bool>,
    spare: Rc<Spare>,
}

impl Servers {
    /// `spare`: idle connections that are kept beyond what each server has anyway.
    pub fn new(spare: usize) -> Rc<Self> {
        Rc::new(Self { by_place: RefCell::default(), have_owned: Cell::default(), spare: Spare::new(spare) })
    }

    /// Servers at the same place with other bounds or another TLS keep apart.
    pub(crate) fn get(&self, target: &Arc<Target>, bounds: Bounds) -> Rc<Server> {
        let mut servers = self.by_place.borrow_mut();
        let here = servers.entry(target.endpoint.clone()).or_default();
        let known = here
            .iter()
            .filter_map(Weak::upgrade)
            .find(|server| server.bounds == bounds && server.target.is_same(target));
        known.unwrap_or_else(|| {
            let server = Rc::new(Server::new(target.clone(), bounds, self.spare.clone()));
            here.push(Rc::downgrade(&server));
            server
        })
    }

    /// A client's connection has ended: what servers took for authenticated by it is of no use to anybody.
    pub fn forget(&self, connection: u64) {
        if self.have_owned.get() {
            let servers = self.by_place.borrow();
            servers.values().flatten().filter_map(Weak::upgrade).for_each(|server| server.forget(connection));
        }
    }

    /// Closes connections that have been idle for too long or grown too old; called every second.
    pub fn sweep(&self) {
        self.by_place.borrow_mut().retain(|_, here| {
            here.retain(|server| match server.upgrade() {
                Some(server) => {
                    server.sweep();
                    true
                }
                None => false,
            });
            !here.is_empty()
        });
    }
}
