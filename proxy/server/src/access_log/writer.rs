//! A worker's end of the access log: lines are put together there, and handed over many at a time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Handle;
use super::clock::Clock;
use super::values::Values;
use crate::sample::Sample;

/// A line waits for others for so long at most. Each handing over wakes the thread that writes, which costs as much as
/// several lines.
const BATCH: Duration = Duration::from_millis(100);
/// Nor does it wait when there are so many bytes.
const FULL: usize = 32 << 10;

/// Lines of one worker. What is left is handed over when it is dropped.
pub(crate) struct Writer {
    pub(super) handle: Handle,
    clock: Clock,
    batch: RefCell<Batch>,
    /// By class of the status.
    samples: [Sample; 5],
}

#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl Writer {
    pub(crate) fn new(handle: Handle) -> Rc<Self> {
        let sample = &handle.0.sample;
        let shares = [
            sample.informational,
            sample.success,
            sample.redirection,
            sample.client_error,
            sample.server_error,
        ];
        Rc::new(Self {
            samples: shares.map(Sample::new),
            handle,
            clock: Clock::default(),
            batch: RefCell::default(),
        })
    }

    /// Whether it hands its lines to this one.
    pub(crate) fn is_of(&self, handle: &Handle) -> bool {
        self.handle.is_same(handle)
    }

    /// Fields of requests that lines tell, beside `User-Agent`.
    pub(super) fn headers(&self) -> &[HeaderName] {
        self.handle.0.format.headers()
    }

    /// Whether an exchange without a failure is to have a line.
    pub(super) fn takes(&self, status: StatusCode) -> bool {
        match usize::from(status.as_u16() / 100) {
            class @ 1..=5 => self.samples[class - 1].takes(),
            _ => true,
        }
    }

    /// Writes the line of an exchange.
    pub(super) fn line(self: &Rc<Self>, values: &Values<'_>) {
        self.add(|text| self.handle.0.format.write(values, &self.clock, text));
    }

    /// Writes the line of a connection.
    pub(super) fn connection(self: &Rc<Self>, values: &Values<'_>) {
        self.add(|text| self.handle.0.format.write_connection(values, &self.clock, text));
    }

    fn add(self: &Rc<Self>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = self.batch.borrow_mut();
        let is_first = batch.text.is_empty();
        write(&mut batch.text);
        batch.lines += 1;
        if batch.text.len() >= FULL {
            self.hand_over(&mut batch);
        // While the worker's runtime ends, no task begins any more: what is left is handed over at the end.
        } else if is_first && tokio::runtime::Handle::try_current().is_ok() {
            let writer = Rc::downgrade(self);
            spawn_local(async move {
                sleep(BATCH).await;
                if let Some(writer) = writer.upgrade() {
                    writer.hand_over(&mut writer.batch.borrow_mut());
                }
            });
        }
    }

    fn hand_over(&self, batch: &mut Batch) {
        if !batch.text.is_empty() {
            let room = batch.text.len();
            let text = std::mem::replace(&mut batch.text, Vec::with_capacity(room));
            self.handle.0.lines.push(text, std::mem::take(&mut batch.lines));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let mut batch = self.batch.take();
        self.hand_over(&mut batch);
    }
}
