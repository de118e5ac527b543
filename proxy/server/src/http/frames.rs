//! What HTTP/2 frames say that hyper keeps to itself.

use std::collections::VecDeque;

/// What opens every HTTP/2 connection (RFC 9113 §3.4).
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What may be sent before the client says anything about it (RFC 9113 §6.9.2).
pub(super) const FIRST_WINDOW: u64 = 65_535;

/// Bytes of a SETTINGS frame that is looked at: there are a dozen settings, of six bytes each.
const MAX_SETTINGS: usize = 1 << 10;

/// Streams that are remembered to have ended with a head: as many as `limits.http2-streams` is by default, and some more.
const ENDED: usize = 128;

/// Bytes of a head that has a status and no field: hyper adds a date to the responses of exchanges, and h2 none to its own 431,
/// which a reset follows only if more of the request is to come.
const STATUS_ALONE: usize = 8;

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const INITIAL_WINDOW_SIZE: u16 = 4;
const PROTOCOL_ERROR: u32 = 1;
const REFUSED_STREAM: u32 = 7;

/// Cuts bytes into frames (RFC 9113 §4.1), however they come.
#[derive(Debug, Default)]
struct Cutter {
    header: [u8; 9],
    /// How much of `header` has come.
    filled: usize,
    /// Bytes of the payload still to come.
    left: usize,
}

/// What came of one frame.
struct Part<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
    begins: bool,
    ends: bool,
    length: usize,
}

impl Cutter {
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Option<Part<'a>> {
        let begins = self.left == 0;
        if begins {
            let taken = (self.header.len() - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            *bytes = &bytes[taken..];
            if self.filled < self.header.len() {
                return None;
            }
            self.filled = 0;
        } else if bytes.is_empty() {
            return None;
        }
        let [a, b, c, kind, flags, stream @ ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if begins {
            self.left = length;
        }
        let (payload, rest) = bytes.split_at(self.left.min(bytes.len()));
        *bytes = rest;
        self.left -= payload.len();
        let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
        Some(Part { kind, flags, stream, payload, begins, ends: self.left == 0, length })
    }
}

/// Follows what a client sends just far enough to know whether a request head is incomplete, for the rest
/// of which hyper waits for ever, how many were complete, and whether the client lets more be sent.
#[derive(Debug)]
pub(super) struct Received {
    /// What is still to come of the preface.
    preface: &'static [u8],
    pub(super) is_http2: bool,
    frames: Cutter,
    /// Within HEADERS and its CONTINUATION frames (§4.3).
    in_head: bool,
    /// The frame whose payload is being skipped ends the head.
    ends_head: bool,
    last_stream: u32,
    /// The head is the first of its stream, and not its trailers.
    is_request: bool,
    /// Complete heads of requests, good or bad.
    pub(super) requests: u64,
    pub(super) window_updates: u64,
    pub(super) initial_window: u64,
    pub(super) granted: u64,
    /// The payload that is being skipped, if it is looked at: of SETTINGS, or of WINDOW_UPDATE for the connection.
    payload: Option<Vec<u8>>,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            preface: HTTP2_PREFACE,
            is_http2: true,
            frames: Cutter::default(),
            in_head: false,
            ends_head: false,
            last_stream: 0,
            is_request: false,
            requests: 0,
            window_updates: 0,
            initial_window: FIRST_WINDOW,
            granted: FIRST_WINDOW,
            payload: None,
        }
    }
}

impl Received {
    /// Takes the next bytes; true if they end within a request head or a frame header.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        if !self.preface.is_empty() {
            let (come, rest) = bytes.split_at(self.preface.len().min(bytes.len()));
            self.is_http2 &= self.preface.starts_with(come);
            self.preface = &self.preface[come.len()..];
            bytes = rest;
        }
        while let Some(part) = self.frames.next(&mut bytes) {
            self.take(&part);
        }
        self.in_head || self.frames.filled > 0
    }

    fn take(&mut self, part: &Part<'_>) {
        if part.begins {
            let is_head = part.kind == HEADERS;
            self.in_head |= is_head;
            self.ends_head = self.in_head && part.flags & END_HEADERS != 0;
            if is_head && part.stream > self.last_stream {
                self.last_stream = part.stream;
                self.is_request = true;
            }
            let grants = matches!(part.kind, SETTINGS | WINDOW_UPDATE);
            self.window_updates += u64::from(grants);
            self.payload = (grants && part.stream == 0 && part.length <= MAX_SETTINGS).then(Vec::new);
        }
        if let Some(payload) = &mut self.payload {
            payload.extend_from_slice(part.payload);
        }
        if part.ends {
            self.end_frame(part.kind);
        }
    }

    fn end_frame(&mut self, kind: u8) {
        if self.ends_head {
            self.in_head = false;
            self.ends_head = false;
            self.requests += u64::from(std::mem::take(&mut self.is_request));
        }
        let Some(payload) = self.payload.take() else { return };
        if kind == WINDOW_UPDATE {
            if let Ok(increment) = payload.try_into() {
                self.granted += u64::from(u32::from_be_bytes(increment) & 0x7fff_ffff);
            }
            return;
        }
        for [a, b, value @ ..] in payload.as_chunks::<6>().0 {
            if u16::from_be_bytes([*a, *b]) == INITIAL_WINDOW_SIZE {
                self.initial_window = u32::from_be_bytes(*value).into();
            }
        }
    }
}

/// What a client is told of a head that does not become a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// An error of the stream.
    Malformed,
    /// 431.
    TooLarge,
    /// Over the streams that it may have open.
    TooMany,
}

/// Follows what is sent for what hyper answers by itself, to heads that it does not hand on (RFC 9113 §8.1.1): an exchange
/// may be answered so as well.
#[derive(Debug, Default)]
pub(super) struct Sent {
    frames: Cutter,
    /// What has come of an error code.
    code: u32,
    /// Streams that ended with a head, the latest last.
    ended: VecDeque<u32>,
    /// Not taken yet.
    refused: Vec<Refused>,
    /// Refusals that were taken in all.
    taken: u64,
}

impl Sent {
    /// Takes the next bytes; true if there is something that may be a refusal.
    pub(super) fn wrote(&mut self, mut bytes: &[u8]) -> bool {
        while let Some(part) = self.frames.next(&mut bytes) {
            match part.kind {
                HEADERS if part.begins && part.flags & END_STREAM != 0 => {
                    if self.ended.len() == ENDED {
                        self.ended.pop_front();
                    }
                    self.ended.push_back(part.stream);
                    if part.length <= STATUS_ALONE {
                        self.refused.push(Refused::TooLarge);
                    }
                }
                RST_STREAM => {
                    part.payload.iter().for_each(|byte| self.code = self.code << 8 | u32::from(*byte));
                    if part.ends {
                        self.refused.extend(self.refusal(part.stream));
                    }
                }
                _ => {}
            }
        }
        !self.refused.is_empty()
    }

    fn refusal(&self, stream: u32) -> Option<Refused> {
        match self.code {
            // It follows a head that said what there is to say.
            PROTOCOL_ERROR if self.ended.contains(&stream) => None,
            PROTOCOL_ERROR => Some(Refused::Malformed),
            REFUSED_STREAM => Some(Refused::TooMany),
            _ => None,
        }
    }

    /// What was refused since this was asked last, if so many heads that came were not handed on in all: what else was
    /// reset is an exchange that has a line of its own.
    pub(super) fn take(&mut self, not_handed_on: u64) -> Vec<Refused> {
        let mut refused = std::mem::take(&mut self.refused);
        let most = not_handed_on.saturating_sub(self.taken);
        refused.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        self.taken += refused.len() as u64;
        refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn what_is_followed_may_come_byte_by_byte() {
        let mut received = Received::default();
        let trailers = frame(HEADERS, END_STREAM | END_HEADERS, 1, b"t");
        let parts = [
            HTTP2_PREFACE.to_vec(),
            frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]),
            frame(HEADERS, 0, 1, b"abc"),
            frame(9, END_HEADERS, 1, b"def"),
            trailers,
            frame(HEADERS, END_STREAM | END_HEADERS, 3, b""),
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ];
        for byte in parts.concat() {
            received.read(&[byte]);
        }
        assert!(received.is_http2);
        assert_eq!(received.requests, 2);
        assert_eq!((received.initial_window, received.granted), (9, FIRST_WINDOW + 1));
        assert!(received.read(&frame(HEADERS, 0, 5, b"x")), "the head is not complete");

        let mut other = Received::default();
        other.read(b"GET / HTTP/1.1\r\n");
        assert!(!other.is_http2);
    }

    #[test]
    fn a_refusal_is_told_from_an_exchange_that_is_reset() {
        let reset = |stream, code: u32| frame(RST_STREAM, 0, stream, &code.to_be_bytes());
        let mut sent = Sent::default();
        sent.wrote(&frame(HEADERS, END_STREAM | END_HEADERS, 1, b"x"));
        sent.wrote(&frame(HEADERS, END_STREAM | END_HEADERS, 11, b"a response with fields"));
        for byte in [reset(1, PROTOCOL_ERROR), reset(3, REFUSED_STREAM), reset(5, 8)].concat() {
            sent.wrote(&[byte]);
        }
        assert_eq!(sent.take(2), [Refused::TooLarge, Refused::TooMany]);
        assert!(sent.wrote(&reset(7, PROTOCOL_ERROR)));
        assert_eq!(sent.take(2), [], "of an exchange");
        sent.wrote(&reset(9, PROTOCOL_ERROR));
        assert_eq!(sent.take(3), [Refused::Malformed]);
    }
}
