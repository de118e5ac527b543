//! A client that sends exactly the bytes it is given.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::tcp_connect;
use crate::head::head_field;
use crate::wait::within;

/// One connection, byte by byte.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Raw {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: tcp_connect(address).await, received: Vec::new() }
    }

    /// Connects with a receive buffer so small that the peer can send hardly more than the test reads.
    pub async fn narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a new socket");
        let stream = within("a connection", socket.connect(address)).await.expect("a connection");
        Self { stream, received: Vec::new() }
    }

    /// The port of this end.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.stream.local_addr().expect("a bound socket").port()
    }

    /// Sends these bytes; that the peer has closed already is no failure, as the test sees it from the
    /// answer.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("room to send", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Sends as much of `bytes` as the peer takes within what the sockets buffer, and returns how much.
    ///
    /// Stops at the first write that would wait twice in a row without progress.
    pub async fn send_until_blocked(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            let quiet = tokio::time::Duration::from_millis(500);
            match tokio::time::timeout(quiet, self.stream.write(&bytes[sent..])).await {
                Ok(Ok(count)) if count > 0 => sent += count,
                _ => break,
            }
        }
        sent
    }

    /// Ends the direction to the peer; the one from it stays open.
    pub async fn shutdown(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next bytes up to and with `end`; what comes after stays for the next call. Panics when the
    /// peer closes before.
    pub async fn read_until(&mut self, end: &str) -> String {
        let found = within(&format!("{end:?}"), async {
            loop {
                if let Some(at) = find(&self.received, end.as_bytes()) {
                    return Some(at + end.len());
                }
                if self.read_more().await == 0 {
                    return None;
                }
            }
        })
        .await;
        let Some(length) = found else {
            panic!("closed before {end:?}: {:?}", String::from_utf8_lossy(&self.received))
        };
        text(self.received.drain(..length).collect())
    }

    /// The same, or everything until the peer closes.
    pub async fn read_until_or_end(&mut self, end: &str) -> String {
        within(&format!("{end:?}"), async {
            while find(&self.received, end.as_bytes()).is_none() && self.read_more().await > 0 {}
        })
        .await;
        let length = find(&self.received, end.as_bytes()).map_or(self.received.len(), |at| at + end.len());
        text(self.received.drain(..length).collect())
    }

    /// The next response's status line and fields, with the empty line.
    pub async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    /// Exactly `length` further bytes.
    pub async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        within("the rest of a body", async {
            while self.received.len() < length {
                assert_ne!(
                    self.read_more().await,
                    0,
                    "closed after {} of {length} bytes",
                    self.received.len()
                );
            }
        })
        .await;
        self.received.drain(..length).collect()
    }

    /// A response whose head has a `content-length`: head and body as text.
    pub async fn read_response(&mut self) -> (String, String) {
        let head = self.read_head().await;
        let length = head_field(&head, "content-length").and_then(|length| length.parse().ok());
        let length = length.unwrap_or_else(|| panic!("no content-length: {head}"));
        let body = self.read_exactly(length).await;
        (head, text(body))
    }

    /// Everything until the peer closes.
    pub async fn read_to_end(&mut self) -> String {
        within("the peer to close", async { while self.read_more().await > 0 {} }).await;
        text(std::mem::take(&mut self.received))
    }

    /// Whether the peer closes without sending anything more.
    pub async fn is_closed_silently(&mut self) -> bool {
        self.read_to_end().await.is_empty()
    }

    /// 0 when the peer has closed, orderly or not.
    async fn read_more(&mut self) -> usize {
        self.stream.read_buf(&mut self.received).await.unwrap_or(0)
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
