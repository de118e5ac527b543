//! The proxy's own log, on stderr: written by a thread of its own, so that no thread that serves waits for whoever reads
//! it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Write, stderr};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_config::{Log, LogFormat, LogLevel};
use tidegate_io::Millis;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::lines::{self, Item, Lines, Queue};

/// Lines that may wait to be written, and bytes of them; more are counted and dropped.
const QUEUE: usize = 8 << 10;
const QUEUE_BYTES: usize = 8 << 20;

/// When the process ends, what is queued has this long to be written: a reader that stopped is not waited for.
const FAREWELL: Duration = Duration::from_secs(1);

/// Starts logging; the first call in a process counts. What is logged is written until the guard is dropped.
pub(crate) fn init(log: Log) -> io::Result<Guard> {
    let lost = Arc::new(AtomicU64::new(0));
    let (lines, queue) = lines::queue(QUEUE, QUEUE_BYTES, lost.clone());
    let (done, ended) = sync_channel(0);
    std::thread::Builder::new().name("log".to_owned()).spawn(move || {
        write_lines(&queue, &mut stderr(), |lost| {
            tracing::warn!(target: "log", lost, "lines were lost: they come faster than they are read");
        });
        drop(done);
    })?;
    let kept = lines.clone();
    let (filter, reload) = reload::Layer::new(filter(log.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(Writer(lines)).with_ansi(false);
    let registry = tracing_subscriber::registry().with(filter);
    // An error means that there is a subscriber already.
    let _ = match log.format {
        LogFormat::Text => registry.with(lines).try_init(),
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
    };
    let level = Threshold { reload, current: Arc::new(Mutex::new(log.level)) };
    Ok(Guard { lines: kept, ended, lost, level })
}

/// The least important message that is written, which can be changed.
#[derive(Clone)]
pub(crate) struct Threshold {
    reload: reload::Handle<LevelFilter, Registry>,
    current: Arc<Mutex<LogLevel>>,
}

impl Threshold {
    pub(crate) fn get(&self) -> LogLevel {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set(&self, level: LogLevel) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = level;
        // It fails when the subscriber is gone, and then nothing is logged.
        let _ = self.reload.reload(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Dropping it writes what is queued.
pub(crate) struct Guard {
    lines: Lines<End>,
    /// Nothing is ever sent: the thread ends.
    ended: Receiver<()>,
    lost: Arc<AtomicU64>,
    level: Threshold,
}

impl Guard {
    /// What is written, to be changed.
    pub(crate) fn level(&self) -> Threshold {
        self.level.clone()
    }

    /// Takes lines that are complete already, as another process has written them.
    pub(crate) fn writer(&self) -> Writer {
        Writer(self.lines.clone())
    }

    /// How many lines were lost, now and later.
    pub(crate) fn lost(&self) -> Arc<AtomicU64> {
        self.lost.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // A full queue has a reader that stopped.
        if self.lines.ask(End) {
            let _ = self.ended.recv_timeout(FAREWELL);
        }
    }
}

/// Nothing is written after it.
#[derive(Clone, Copy)]
struct End;

/// Where the subscriber writes: each write is a line.
#[derive(Clone)]
pub(crate) struct Writer(Lines<End>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec(), 1);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Writer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn write_lines(queue: &Queue<End>, output: &mut impl Write, tell: impl Fn(u64)) {
    loop {
        // Looks at what was lost also when nothing comes any more.
        match queue.items.recv_timeout(Duration::from_secs(1)) {
            // There is nowhere to report to that this cannot be written.
            Ok(Item::Line(line)) => drop(output.write_all(&line.text)),
            Ok(Item::Command(End)) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        let lost = queue.take_lost();
        if lost > 0 {
            tell(lost);
        }
    }
}

/// Lines of one kind that one worker may log in a second: whoever makes requests fail does not fill the log, and each
/// of them has its line in the access log.
const LINES: u32 = 10;

/// Counts the lines of one kind on one worker.
#[derive(Default)]
pub(crate) struct Rate {
    second: Cell<u64>,
    lines: Cell<u32>,
}

impl Rate {
    /// Whether another line may be written about `what`; tells first of those that were left out.
    pub(crate) fn allows(&self, what: &str) -> bool {
        let (allowed, left_out) = self.take(Millis::now());
        if left_out > 0 {
            tracing::warn!(target: "log", what, left_out, "lines beyond {LINES} in a second were left out");
        }
        allowed
    }

    fn take(&self, now: Millis) -> (bool, u32) {
        let second = now.0 / 1000;
        let is_new = self.second.replace(second) != second;
        let before = if is_new { self.lines.take() } else { self.lines.get() };
        self.lines.update(|lines| lines.saturating_add(1));
        if is_new { (true, before.saturating_sub(LINES)) } else { (before < LINES, 0) }
    }
}

/// The same for failures, each a kind of its own.
#[derive(Default)]
pub(crate) struct Rates(RefCell<HashMap<&'static str, Rate>>);

impl Rates {
    /// See [`Rate::allows`].
    pub(crate) fn allow(&self, failure: &'static str) -> bool {
        self.0.borrow_mut().entry(failure).or_default().allows(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_kind_are_bounded_and_what_is_left_out_is_counted() {
        let rate = Rate::default();
        let allowed = (0..LINES + 7).filter(|_| rate.take(Millis(5000)).0).count();
        assert_eq!(allowed, 10);
        assert_eq!(rate.take(Millis(6999)), (true, 7));
        assert_eq!(rate.take(Millis(6999)), (true, 0));
        assert_eq!(rate.take(Millis(9000)), (true, 0));
    }

    #[test]
    fn lines_beyond_the_queue_are_lost_and_told_of() {
        let (lines, queue) = lines::queue(QUEUE, QUEUE_BYTES, Arc::default());
        let mut writer = Writer(lines);
        let long = vec![b'x'; QUEUE_BYTES / 4];
        for _ in 0..6 {
            writer.write_all(&long).expect("it never fails");
        }
        let (mut written, told) = (Vec::new(), Cell::new(0));
        drop(writer);
        write_lines(&queue, &mut written, |lost| told.set(lost));
        assert_eq!(written, vec![b'x'; QUEUE_BYTES]);
        assert_eq!(told.get(), 2);
    }
}
