//! Moves a connection to a server, in the task of the exchange that uses it or in one of its own.
//!
//! hyper gives a connection as two halves: a sender, and a future that reads and writes. The usual way
//! is to spawn the future; then every step of an exchange wakes another task. Here the exchange polls
//! it itself, which saves those wake-ups. Between exchanges it is not polled: the pool looks before it
//! lends a connection, and once a second.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Waker};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use tidegate_body::RequestBody;
use tidegate_io::Stream;
use tidegate_io::wake::WakeFlag;

type Connection = http1::Connection<TokioIo<Stream>, RequestBody>;

/// Who moves the connection.
pub(crate) enum Driver {
    /// The exchange that uses the connection, or the pool.
    Here(Box<Connection>, WakeFlag),
    /// A task, which ends when the sender is dropped or the server closes the connection.
    Spawned,
    /// It is closed. An exchange on it learns from its own future how it failed.
    Ended,
}

impl Driver {
    pub(crate) fn new(connection: Connection) -> Self {
        Self::Here(Box::new(connection), WakeFlag::raised())
    }

    pub(crate) fn is_spawned(&self) -> bool {
        matches!(self, Self::Spawned)
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) {
        let Self::Here(connection, flag) = self else { return };
        flag.attach(cx);
        // Asked before the poll: a wake-up during it is not lost.
        flag.take();
        if Pin::new(&mut **connection).poll(&mut flag.context()).is_ready() {
            *self = Self::Ended;
        }
    }

    /// Whether an idle connection is as it was when it was polled last, so that a look would find nothing.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self, Self::Here(_, flag) if !flag.take())
    }

    /// Finds out whether an idle connection was closed; no task is woken when it is.
    pub(crate) fn look(&mut self) {
        self.poll(&Context::from_waker(Waker::noop()));
    }

    pub(crate) fn spawn(&mut self) {
        if let Self::Here(connection, _) = std::mem::replace(self, Self::Spawned) {
            spawn_local(async move {
                let _ = connection.with_upgrades().await;
            });
        }
    }

    /// Runs `take`, which takes from the connection what would only wake the task that takes it.
    pub(crate) fn quietly<T>(&self, take: impl FnOnce() -> T) -> T {
        match self {
            Self::Here(_, flag) => flag.quietly(take),
            Self::Spawned | Self::Ended => take(),
        }
    }
}
