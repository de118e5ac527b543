//! The lines a process writes, as they come.

use std::io::{BufRead, BufReader, Read};
use std::sync::Arc;

use tokio::sync::watch;

use crate::wait::PATIENCE;

/// Lines of one output of a process; clones share them.
#[derive(Debug, Clone)]
pub struct Lines {
    received: watch::Receiver<Arc<Vec<String>>>,
}

impl Lines {
    /// Reads on a thread of its own until the process closes the output, so that the process never blocks
    /// on it.
    #[must_use]
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, received) = watch::channel(Arc::new(Vec::new()));
        std::thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                sender.send_modify(|lines| Arc::make_mut(lines).push(line));
            }
        });
        Self { received }
    }

    /// Everything so far.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<String>> {
        self.received.borrow().clone()
    }

    /// How many lines so far; a mark for [`Self::wait_from`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.received.borrow().len()
    }

    /// Nothing was written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many lines so far contain `text`.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        self.all().iter().filter(|line| line.contains(text)).count()
    }

    /// The first line, past or future, that contains all of `texts`.
    pub async fn wait(&self, texts: &[&str]) -> String {
        self.wait_from(0, texts).await
    }

    /// The first line after the first `mark` that contains all of `texts`.
    pub async fn wait_from(&self, mark: usize, texts: &[&str]) -> String {
        let found = self
            .find_from(mark, |line| texts.iter().all(|text| line.contains(text)).then(|| line.to_owned()))
            .await;
        found.unwrap_or_else(|| {
            panic!("no line with {texts:?} after line {mark} in {PATIENCE:?}:\n{}", self.all().join("\n"))
        })
    }

    /// The first line after the first `mark` for which `choose` gives something; `None` when the
    /// process ends or the wait grows too long.
    pub async fn find_from<T>(&self, mark: usize, choose: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut received = self.received.clone();
        let mut looked_at = mark;
        tokio::time::timeout(PATIENCE, async move {
            loop {
                {
                    let lines = received.borrow_and_update();
                    if let Some(found) = lines.iter().skip(looked_at).find_map(|line| choose(line)) {
                        return Some(found);
                    }
                    looked_at = lines.len().max(mark);
                }
                received.changed().await.ok()?;
            }
        })
        .await
        .ok()
        .flatten()
    }

    /// Waits until the process has closed the output.
    pub async fn end(&self) {
        let mut received = self.received.clone();
        crate::wait::within("the end of the output", async { while received.changed().await.is_ok() {} })
            .await;
    }
}
