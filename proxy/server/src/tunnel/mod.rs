//! Carries bytes between a client and a server both ways until both end, one fails or both fall silent.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

/// What passed through a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    /// Bytes that the server's stream took, with what came before the tunnel (`prefix`).
    pub(crate) from_client: u64,
    /// Bytes that the client's stream took.
    pub(crate) to_client: u64,
    pub(crate) end: End,
}

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides ended their direction.
    Complete,
    /// No byte moved in either direction for the idle time.
    Idle,
    /// The proxy does not wait for it any longer.
    Stopped,
    /// This side broke off. What was on the way to it, and from it, is lost.
    Broken { side: Side, error: io::ErrorKind },
}

impl End {
    /// The name in the access log; `None` for an end in order.
    pub(crate) fn failure(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::Idle => Some("idle-timeout"),
            Self::Stopped | Self::Broken { .. } => Some("broken-off"),
        }
    }
}

/// One end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// A piece is forwarded as soon as it is read; larger buffers only help bulk transfers. Each direction
/// holds at most one piece: a side that does not read stops the other one from sending.
const BUFFER: usize = 16 << 10;

/// Joins both ends until each has closed its direction, one fails, no byte moved for `idle`, or `stop` ends. A side
/// that closes its direction is passed on as such; the other direction goes on (half-close).
///
/// `prefix` goes to the server first: what was read of the client to decide where it goes. It does not
/// keep the server from speaking first. Dropping the future closes both ends. A TCP peer cannot tell that
/// from an end in order; a TLS peer can, as it gets no close_notify (RFC 8446 §6.1).
pub(crate) async fn carry(
    client: impl AsyncRead + AsyncWrite,
    prefix: Bytes,
    server: impl AsyncRead + AsyncWrite,
    idle: Duration,
    stop: impl Future<Output = ()>,
) -> Carried {
    let (client_read, client_write) = split(client);
    let (server_read, server_write) = split(server);
    let moved = Cell::new(Instant::now());
    let (from_client, to_client) = (Cell::new(0), Cell::new(0));
    let upwards = Direction { from: Side::Client, to: Side::Server, moved: &moved, count: &from_client };
    let downwards = Direction { from: Side::Server, to: Side::Client, moved: &moved, count: &to_client };
    let both = async {
        tokio::try_join!(
            upwards.pump(prefix, client_read, server_write),
            downwards.pump(Bytes::new(), server_read, client_write),
        )
    };
    let silence = async {
        loop {
            let end = moved.get() + idle;
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    };
    let end = tokio::select! {
        biased;
        ended = both => ended.map_or_else(|broken| broken, |_| End::Complete),
        () = silence => End::Idle,
        () = stop => End::Stopped,
    };
    Carried { from_client: from_client.get(), to_client: to_client.get(), end }
}

/// One direction of a tunnel.
struct Direction<'a> {
    from: Side,
    to: Side,
    /// When a byte last moved in either direction.
    moved: &'a Cell<Instant>,
    count: &'a Cell<u64>,
}

impl Direction<'_> {
    async fn pump(
        &self,
        prefix: Bytes,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), End> {
        self.write(&prefix, &mut to).await?;
        drop(prefix);
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = from.read(&mut buffer).await.map_err(broken(self.from))?;
            self.moved.set(Instant::now());
            if read == 0 {
                return to.shutdown().await.map_err(broken(self.to));
            }
            self.write(&buffer[..read], &mut to).await?;
        }
    }

    /// Every byte that is taken counts as movement, so that a slow reader is not a silent one.
    async fn write(&self, mut bytes: &[u8], to: &mut (impl AsyncWrite + Unpin)) -> Result<(), End> {
        if bytes.is_empty() {
            return Ok(());
        }
        while !bytes.is_empty() {
            let written = to.write(bytes).await.map_err(broken(self.to))?;
            if written == 0 {
                return Err(End::Broken { side: self.to, error: io::ErrorKind::WriteZero });
            }
            bytes = &bytes[written..];
            self.moved.set(Instant::now());
            self.count.set(self.count.get() + written as u64);
        }
        // TLS may hold back what it was given.
        to.flush().await.map_err(broken(self.to))
    }
}

fn broken(side: Side) -> impl Fn(io::Error) -> End {
    move |error| End::Broken { side, error: error.kind() }
}

#[cfg(test)]
mod tests;
