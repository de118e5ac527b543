//! Lines on their way to the thread that writes them: a queue bounded in lines and bytes, in which nobody waits for room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// The end of those who have something to write. `C` is what they can ask of the writer beside that.
#[derive(Clone)]
pub(crate) struct Lines<C> {
    queue: SyncSender<Item<C>>,
    /// Bytes that may be queued.
    bytes: usize,
    queued: Arc<AtomicUsize>,
    lost: Arc<AtomicU64>,
    /// The same for all queues of this kind, since the process began.
    lost_ever: Arc<AtomicU64>,
}

/// The writer's end.
pub(crate) struct Queue<C> {
    pub(crate) items: Receiver<Item<C>>,
    lost: Arc<AtomicU64>,
}

pub(crate) enum Item<C> {
    Line(Line),
    Command(C),
}

/// One line or several. Counts as queued until it is dropped.
pub(crate) struct Line {
    pub(crate) text: Vec<u8>,
    queued: Arc<AtomicUsize>,
}

/// A queue of so many lines and bytes; what comes beyond them is lost, and counted in `lost_ever` as well.
pub(crate) fn queue<C>(lines: usize, bytes: usize, lost_ever: Arc<AtomicU64>) -> (Lines<C>, Queue<C>) {
    let (queue, items) = sync_channel(lines);
    let lost = Arc::new(AtomicU64::new(0));
    (Lines { queue, bytes, queued: Arc::default(), lost: lost.clone(), lost_ever }, Queue { items, lost })
}

impl<C> Lines<C> {
    /// `lines` are in the text.
    pub(crate) fn push(&self, text: Vec<u8>, lines: u64) {
        let fits = self.queued.fetch_add(text.len(), Relaxed) < self.bytes;
        let line = Item::Line(Line { text, queued: self.queued.clone() });
        // Disconnected: the writer has ended, and nobody is told any more.
        if !fits || matches!(self.queue.try_send(line), Err(TrySendError::Full(_))) {
            self.lost.fetch_add(lines, Relaxed);
            self.lost_ever.fetch_add(lines, Relaxed);
        }
    }

    /// False if there is no room for it, or no writer any more.
    pub(crate) fn ask(&self, command: C) -> bool {
        self.queue.try_send(Item::Command(command)).is_ok()
    }
}

impl<C> Queue<C> {
    /// How many lines were lost since this was asked last.
    pub(crate) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Relaxed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.text.len(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_either_bound_are_lost_and_counted() {
        let (lines, queue) = queue::<()>(4, 100, Arc::default());
        (0..6).for_each(|_| lines.push(vec![b'x'; 40], 1));
        assert_eq!(queue.take_lost(), 3, "one may go beyond the bytes");
        assert_eq!(queue.items.try_iter().count(), 3);
        (0..6).for_each(|_| lines.push(Vec::new(), 3));
        assert!(!lines.ask(()));
        assert_eq!(queue.take_lost(), 6);
        assert_eq!(lines.queued.load(Relaxed), 0);
    }
}
