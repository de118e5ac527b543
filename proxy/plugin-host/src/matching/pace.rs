//! How often long work on the host looks whether it may go on.

use std::time::{Duration, Instant};

/// What work for a plugin may still use.
pub(crate) trait Watch {
    /// To be asked again and again while the work goes on. What was used counts from the first time on.
    fn look(&self) -> Result<(), OverBudget>;
}

/// The call has used up what it may; it has to end without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("over the budget of the call, in a function of the host")]
pub(crate) struct OverBudget;

/// For what the operator configured: it is asked before any plugin is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn look(&self) -> Result<(), OverBudget> {
        Ok(())
    }
}

/// A look costs a system call, so it is to come neither at each step nor too late: work between two looks takes
/// something between these.
const SHORT: Duration = Duration::from_micros(100);
const LONG: Duration = Duration::from_micros(500);
/// Steps between two looks, however fast they are.
const MOST: usize = 1 << 20;

/// Counts the steps of one piece of work, and looks at the budget from time to time.
pub(super) struct Pace<'w> {
    watch: &'w dyn Watch,
    slice: usize,
    left: usize,
    last: Option<Instant>,
}

impl<'w> Pace<'w> {
    /// Work of up to `first` steps is over before anyone looks.
    pub(super) fn new(watch: &'w dyn Watch, first: usize) -> Self {
        Self { watch, slice: first.max(1), left: first.max(1), last: None }
    }

    /// So much more is to be done.
    pub(super) fn step(&mut self, steps: usize) -> Result<(), OverBudget> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => self.look(),
        }
    }

    #[cold]
    fn look(&mut self) -> Result<(), OverBudget> {
        self.watch.look()?;
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            let took = now - last;
            if took < SHORT {
                self.slice = self.slice.saturating_mul(2).min(MOST);
            } else if took > LONG {
                self.slice = (self.slice / 4).max(1);
            }
        }
        self.left = self.slice;
        Ok(())
    }
}
