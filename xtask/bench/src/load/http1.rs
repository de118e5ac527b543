//! A client's connection of HTTP/1.1, as little of it as possible.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connect::Stream;
use super::gate::Tally;
use super::work::Asked;

/// Bytes that are taken at once: the buffers of all clients stay in the cache of a core.
const TAKEN: usize = 16 << 10;

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

/// A request as it is sent.
pub(super) fn worded(asked: &Asked, closes: bool) -> Vec<u8> {
    let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", asked.method, asked.target, asked.host);
    for (name, value) in asked.fields() {
        text += &format!("{name}: {value}\r\n");
    }
    if !asked.body.is_empty() {
        text += &format!("content-length: {}\r\n", asked.body.len());
    }
    if closes {
        text += "connection: close\r\n";
    }
    [text.as_bytes(), b"\r\n", &asked.body].concat()
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, buffer: Vec::with_capacity(TAKEN) }
    }

    /// Sends a request and takes the answer, which has to have so many bytes.
    pub(super) async fn ask(&mut self, request: &[u8], expected: Option<usize>, tally: &Tally) -> Result<()> {
        // A body larger than the buffers on the way is taken only while the proxy's answer is, so this does not wait
        // for it: no proxy here answers before it has the request.
        self.stream.write_all(request).await?;
        // Over TLS, what was written may still be here.
        self.stream.flush().await?;
        self.buffer.clear();
        let head = read_head(&mut self.stream, &mut self.buffer).await?;
        let length = match of_length(&self.buffer[..head]) {
            Length::Unexpected => {
                let head = String::from_utf8_lossy(&self.buffer[..head]).into_owned();
                return Err(Error::other(format!("an answer that is not 200: {head}")));
            }
            Length::Chunked => None,
            Length::Bytes(bytes) => Some(bytes),
        };
        if let (Some(length), Some(expected)) = (length, expected)
            && length != expected
        {
            return Err(Error::other(format!("an answer of {length} bytes in place of {expected}")));
        }
        let mut come = self.buffer.len() - head;
        tally.took(come);
        while match length {
            Some(length) => come < length,
            None => !self.buffer.ends_with(b"\r\n0\r\n\r\n"),
        } {
            // What ends a chunked body may come in parts.
            if length.is_some() {
                self.buffer.clear();
            }
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            come += read;
            tally.took(read);
        }
        Ok(())
    }

    /// Waits until the proxy has closed it, so that the port is free again.
    pub(super) async fn closed(mut self) -> Result<()> {
        loop {
            self.buffer.clear();
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // Not every proxy says goodbye in TLS.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// How an answer says where its body ends.
enum Length {
    Bytes(usize),
    Chunked,
    /// Any answer but 200.
    Unexpected,
}

fn of_length(head: &[u8]) -> Length {
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Length::Unexpected;
    }
    match content_length(head) {
        Some(bytes) => Length::Bytes(bytes),
        None => Length::Chunked,
    }
}

/// Of a head of HTTP/1.1.
pub(super) fn content_length(head: &[u8]) -> Option<usize> {
    let lines = head.split(|byte| *byte == b'\n');
    let mut fields = lines.filter_map(|line| line.split_at_checked(b"content-length:".len()));
    let (_, value) = fields.find(|(name, _)| name.eq_ignore_ascii_case(b"content-length:"))?;
    str::from_utf8(value).ok()?.trim().parse().ok()
}

/// Reads at least a whole head into the empty `buffer`; returns its length.
pub(super) async fn read_head(
    stream: &mut (impl AsyncReadExt + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<usize> {
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(at + 4);
        }
    }
}
