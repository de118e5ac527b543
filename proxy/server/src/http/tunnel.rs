//! Carries the bytes of an upgraded connection (RFC 9110 §7.8) both ways until it ends or falls silent.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::time::{Instant, sleep_until};

/// What passed through a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) from_client: u64,
    pub(crate) to_client: u64,
    /// Both sides ended their direction; false if one broke off or nothing moved for the idle time.
    pub(crate) complete: bool,
}

/// A piece is forwarded as soon as it is read; larger buffers only help bulk transfers.
const BUFFER: usize = 16 << 10;

/// Joins both ends until each has closed its direction, one fails, or no byte moved for `idle`. A side
/// that closes its direction is passed on as such; the other direction goes on (half-close).
pub(crate) async fn carry(client: Upgraded, server: Upgraded, idle: Duration) -> Carried {
    let (client_read, client_write) = split(TokioIo::new(client));
    let (server_read, server_write) = split(TokioIo::new(server));
    let moved = Cell::new(Instant::now());
    let (from_client, to_client) = (Cell::new(0), Cell::new(0));
    let both = async {
        tokio::try_join!(
            pump(client_read, server_write, &moved, &from_client),
            pump(server_read, client_write, &moved, &to_client),
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
    let complete = tokio::select! {
        ended = both => ended.is_ok(),
        () = silence => false,
    };
    Carried { from_client: from_client.get(), to_client: to_client.get(), complete }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &Cell<Instant>,
    count: &Cell<u64>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = from.read(&mut buffer).await?;
        moved.set(Instant::now());
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        moved.set(Instant::now());
        count.set(count.get() + read as u64);
    }
}
