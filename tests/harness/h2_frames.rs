//! HTTP/2 frame by frame, for what no well-behaved client sends, and few servers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::tcp_connect;
use crate::h2_names::{ErrorCode, FrameType, Setting, flags};
use crate::wait::within;

/// The client's preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes before the payload of a frame.
const HEAD: usize = 9;
/// Bytes of one setting (RFC 9113 §6.5.1).
const SETTING: usize = 6;

/// Statuses that HPACK has a number for, by the byte that stands for the whole field (RFC 7541 §6.1,
/// appendix A).
const INDEXED_STATUSES: [(u8, u16); 7] =
    [(0x88, 200), (0x89, 204), (0x8a, 206), (0x8b, 304), (0x8c, 400), (0x8d, 404), (0x8e, 500)];

/// A frame that the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is for.
    pub kind: FrameType,
    /// Those of [`flags`] that are set.
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
        // Updates of the size of HPACK's table may stand before the first field (RFC 7541 §6.3).
        let first = self.payload.iter().find(|byte| **byte & 0xe0 != 0x20)?;
        let (_, status) = INDEXED_STATUSES.into_iter().find(|(indexed, _)| indexed == first)?;
        Some(status)
    }

    /// The value of a setting in a SETTINGS frame; `None` when it is not set.
    #[must_use]
    pub fn setting(&self, setting: Setting) -> Option<u32> {
        let mut entries = self.payload.as_chunks::<SETTING>().0.iter();
        // What is set twice has the value that comes last (RFC 9113 §6.5.3).
        let last = entries.rfind(|[a, b, ..]| u16::from_be_bytes([*a, *b]) == setting as u16);
        last.map(|[_, _, value @ ..]| u32::from_be_bytes(*value))
    }

    /// Why a RST_STREAM frame ends its stream.
    #[must_use]
    pub fn error_code(&self) -> ErrorCode {
        let code = self.payload.as_slice().try_into();
        ErrorCode::of(u32::from_be_bytes(code.unwrap_or_else(|_| panic!("no error code alone: {self:?}"))))
    }
}

/// One connection, frame by frame.
#[derive(Debug)]
pub struct H2Frames {
    stream: TcpStream,
}

impl H2Frames {
    /// The fields of a request for `/` of `a.test`.
    pub const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")];

    /// Connects and sends preface and empty settings.
    pub async fn connect(address: SocketAddr) -> Self {
        let mut frames = Self::connect_bare(address).await;
        frames.send_bytes(PREFACE).await;
        frames.send_settings(&[]).await;
        frames
    }

    /// The server's side of a connection: takes the preface and sends empty settings.
    pub async fn accept(mut stream: TcpStream) -> Self {
        let mut preface = [0; PREFACE.len()];
        let _ = within("the preface", stream.read_exact(&mut preface)).await;
        let mut frames = Self { stream };
        frames.send_settings(&[]).await;
        frames
    }

    /// Connects and sends nothing.
    pub async fn connect_bare(address: SocketAddr) -> Self {
        Self { stream: tcp_connect(address).await }
    }

    /// Sends these bytes; a peer that has closed already is no failure.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends one frame.
    pub async fn send(&mut self, kind: FrameType, flags: u8, stream: u32, payload: &[u8]) {
        self.send_bytes(&[&head(kind, flags, stream, payload.len())[..], payload].concat()).await;
    }

    /// Sends settings; those that are not among them keep their values.
    pub async fn send_settings(&mut self, settings: &[(Setting, u32)]) {
        let mut payload = Vec::new();
        for (setting, value) in settings {
            payload.extend((*setting as u16).to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.send(FrameType::Settings, flags::NONE, 0, &payload).await;
    }

    /// Lets the peer send so many bytes more of the body on a stream.
    pub async fn open_window(&mut self, stream: u32, bytes: u32) {
        self.send(FrameType::WindowUpdate, flags::NONE, stream, &bytes.to_be_bytes()).await;
    }

    /// Ends a stream.
    pub async fn reset(&mut self, stream: u32, code: ErrorCode) {
        self.send(FrameType::RstStream, flags::NONE, stream, &(code as u32).to_be_bytes()).await;
    }

    /// Sends a request without body on a stream.
    pub async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let flags = flags::END_STREAM | flags::END_HEADERS;
        self.send(FrameType::Headers, flags, stream, &encoded(fields)).await;
    }

    /// Sends a HEADERS frame that ends in the middle of its fields.
    pub async fn half_a_request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        let block = encoded(fields);
        let head = head(FrameType::Headers, flags::END_STREAM | flags::END_HEADERS, stream, block.len());
        self.send_bytes(&[&head[..], &block[..block.len() / 2]].concat()).await;
    }

    /// Sends a request with its whole body in one piece.
    pub async fn send_together(&mut self, stream: u32, fields: &[(&str, &str)], body: &[u8]) {
        let block = encoded(fields);
        let headers = head(FrameType::Headers, flags::END_HEADERS, stream, block.len());
        let data = head(FrameType::Data, flags::END_STREAM, stream, body.len());
        self.send_bytes(&[&headers[..], &block, &data[..], body].concat()).await;
    }

    /// Sends the head of a request whose body is to follow.
    pub async fn request_head(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.send(FrameType::Headers, flags::END_HEADERS, stream, &encoded(fields)).await;
    }

    /// Sends a response without further fields and without body on a stream; of the statuses that HPACK
    /// has a number for.
    pub async fn respond(&mut self, stream: u32, status: u16) {
        let found = INDEXED_STATUSES.into_iter().find(|(_, known)| *known == status);
        let (indexed, _) = found.unwrap_or_else(|| panic!("HPACK has no number for {status}"));
        let flags = flags::END_STREAM | flags::END_HEADERS;
        self.send(FrameType::Headers, flags, stream, &[indexed]).await;
    }

    /// The next frame; `None` when the peer has closed.
    pub async fn next(&mut self) -> Option<Frame> {
        within("a frame", async {
            let mut head = [0; HEAD];
            self.stream.read_exact(&mut head).await.ok()?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await.ok()?;
            // The first bit of the number is reserved (RFC 9113 §4.1).
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            Some(Frame { kind: FrameType::of(kind), flags, stream, payload })
        })
        .await
    }

    /// The next frame of one of these types. Frames of other types are dropped, SETTINGS and PING
    /// acknowledged first.
    pub async fn next_of(&mut self, kinds: &[FrameType]) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            let is_answer = frame.flags & flags::ACK != 0;
            match frame.kind {
                FrameType::Settings if !is_answer => {
                    self.send(FrameType::Settings, flags::ACK, 0, &[]).await;
                }
                FrameType::Ping if !is_answer => {
                    self.send(FrameType::Ping, flags::ACK, 0, &frame.payload).await;
                }
                _ => {}
            }
            if kinds.contains(&frame.kind) {
                return Some(frame);
            }
        }
    }
}

/// What comes before a payload of this length (RFC 9113 §4.1).
fn head(kind: FrameType, flags: u8, stream: u32, length: usize) -> [u8; HEAD] {
    let [0, a, b, c] = u32::try_from(length).expect("a small payload").to_be_bytes() else {
        panic!("{length} bytes are too much for a frame")
    };
    let [d, e, f, g] = stream.to_be_bytes();
    [a, b, c, kind as u8, flags, d, e, f, g]
}

/// A literal field that is never indexed, with a name of its own (RFC 7541 §6.2.3).
const NEVER_INDEXED: u8 = 0x10;

/// HPACK without its tables and without Huffman coding.
fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(NEVER_INDEXED);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text"));
            block.extend(text.as_bytes());
        }
    }
    block
}
