//! Tasks of a worker that outlive what started them.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Owns tasks that bring something to its end after what started them has gone: a policy's call about a body that
/// was given up, the log line of an exchange that waits for that call, a connection that switched
/// protocols. The worker waits for them when it drains; those that are left end with it.
#[derive(Clone, Default)]
pub(crate) struct Tasks(Rc<RefCell<JoinSet<()>>>);

impl Tasks {
    /// Starts one on the worker's thread. Does nothing while the worker's runtime ends, which drops all tasks.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        if Handle::try_current().is_ok() {
            self.0.borrow_mut().spawn_local(work);
        }
    }

    /// Forgets those that ended; true if none is left.
    pub(crate) fn reap(&self) -> bool {
        let mut tasks = self.0.borrow_mut();
        while tasks.try_join_next().is_some() {}
        tasks.is_empty()
    }
}
