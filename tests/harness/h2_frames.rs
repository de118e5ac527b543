//! HTTP/2 frame by frame, for what no well-behaved client sends, and few servers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::within;

/// The client's preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before the payload of a frame.
const HEAD: usize = 9;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// RFC 9113 §6: 0 DATA, 1 HEADERS, 3 RST_STREAM, 4 SETTINGS, 7 GOAWAY.
    pub kind: u8,
    /// Flags of the kind.
    pub flags: u8,
    /// 0 for the connection.
    pub stream: u32,
    /// What follows the head.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status in a HEADERS frame, where it is one that HPACK has a number for.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let indexed = self.payload.iter().find(|byte| **byte & 0xe0 != 0x20)?;
        match indexed {
            0x88 => Some(200),
            0x89 => Some(204),
            0x8a => Some(206),
            0x8b => Some(304),
            0x8c => Some(400),
            0x8d => Some(404),
            0x8e => Some(500),
            _ => None,
        }
    }
}

/// One connection, frame by frame.
#[derive(Debug)]
pub struct H2Frames {
    stream: TcpStream,
}

impl H2Frames {
    /// Connects and sends preface and empty settings.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::connect_bare(address).await;
        frames.send_bytes(PREFACE).await;
        frames.send(4, 0, 0, &[]).await;
        frames
    }

    /// The server's side of a connection: takes the preface and sends empty settings.
    pub async fn accept(mut stream: TcpStream) -> Self {
        let mut preface = [0; PREFACE.len()];
        let _ = within("the preface", stream.read_exact(&mut preface)).await;
        let mut frames = Self { stream };
        frames.send(4, 0, 0, &[]).await;
        frames
    }

    /// Connects and sends nothing.
    pub async fn connect_bare(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.expect("a connection");
        Self { stream }
    }

    /// Sends these bytes; a peer that has closed already is no failure.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends one frame.
    pub async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a small payload").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.send_bytes(&frame).await;
    }

    /// Sends a request without body on a stream: HEADERS with END_STREAM and END_HEADERS.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(1, 0x5, stream, &encoded(fields)).await;
    }

    /// Sends the head of a request whose body is to follow.
    pub async fn request_head(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(1, 0x4, stream, &encoded(fields)).await;
    }

    /// The next frame; `None` when the peer has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; HEAD];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
        })
        .await
    }

    /// The next frame of one of these kinds; the others are passed over, SETTINGS and PING answered.
    pub async fn next_of(&mut self, kinds: &[u8]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            match frame.kind {
                4 if frame.flags == 0 => self.send(4, 1, 0, &[]).await,
                6 if frame.flags == 0 => self.send(6, 1, 0, &frame.payload).await,
                _ => {}
            }
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}

/// HPACK without its tables and without Huffman coding: literal fields, never indexed.
fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}
