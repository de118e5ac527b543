//! What an HTTP/2 client's frames say that hyper keeps to itself.

/// What opens every HTTP/2 connection (RFC 9113 §3.4).
pub(super) const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What may be sent before the client says anything about it (RFC 9113 §6.9.2).
pub(super) const FIRST_WINDOW: u64 = 65_535;

/// Bytes of a SETTINGS frame that is looked at: there are a dozen settings, of six bytes each.
const MAX_SETTINGS: usize = 1 << 10;

/// Follows HTTP/2 frames (RFC 9113 §4.1) just far enough to know whether a request head is incomplete, for the rest
/// of which hyper waits for ever, and whether the client lets more be sent.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the preface or of a payload still to come.
    skip: usize,
    header: [u8; 9],
    /// How much of `header` has come.
    filled: usize,
    /// Within HEADERS and its CONTINUATION frames (§4.3).
    in_head: bool,
    /// The frame whose payload is being skipped ends the head.
    ends_head: bool,
    pub(super) window_updates: u64,
    pub(super) initial_window: u64,
    pub(super) granted: u64,
    /// The payload that is being skipped, if it is looked at: of SETTINGS, or of WINDOW_UPDATE for the connection.
    payload: Option<(u8, Vec<u8>)>,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: HTTP2_PREFACE.len(),
            header: [0; 9],
            filled: 0,
            in_head: false,
            ends_head: false,
            window_updates: 0,
            initial_window: FIRST_WINDOW,
            granted: FIRST_WINDOW,
            payload: None,
        }
    }
}

impl Frames {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const WINDOW_UPDATE: u8 = 8;
    const END_HEADERS: u8 = 4;
    const INITIAL_WINDOW_SIZE: u16 = 4;

    /// Takes the next bytes; true if they end within a request head or a frame header.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                if let Some((_, payload)) = &mut self.payload {
                    payload.extend_from_slice(&bytes[..skipped]);
                }
                bytes = &bytes[skipped..];
                self.skip -= skipped;
                self.end_frame();
                continue;
            }
            let taken = (self.header.len() - self.filled).min(bytes.len());
            self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
            self.filled += taken;
            bytes = &bytes[taken..];
            if self.filled == self.header.len() {
                self.filled = 0;
                let [a, b, c, kind, flags, stream @ ..] = self.header;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                self.in_head |= kind == Self::HEADERS;
                self.window_updates += u64::from(matches!(kind, Self::SETTINGS | Self::WINDOW_UPDATE));
                self.ends_head = self.in_head && flags & Self::END_HEADERS != 0;
                let of_connection = u32::from_be_bytes(stream) & 0x7fff_ffff == 0;
                let is_read = matches!(kind, Self::SETTINGS | Self::WINDOW_UPDATE) && of_connection;
                self.payload = (is_read && self.skip <= MAX_SETTINGS).then(|| (kind, Vec::new()));
                self.end_frame();
            }
        }
        self.in_head || self.filled > 0
    }

    fn end_frame(&mut self) {
        if self.skip == 0 && self.ends_head {
            self.in_head = false;
            self.ends_head = false;
        }
        if self.skip > 0 {
            return;
        }
        match self.payload.take() {
            Some((Self::WINDOW_UPDATE, payload)) => {
                if let Ok(increment) = payload.try_into() {
                    self.granted += u64::from(u32::from_be_bytes(increment) & 0x7fff_ffff);
                }
            }
            Some((_, payload)) => {
                for [a, b, value @ ..] in payload.as_chunks::<6>().0 {
                    if u16::from_be_bytes([*a, *b]) == Self::INITIAL_WINDOW_SIZE {
                        self.initial_window = u32::from_be_bytes(*value).into();
                    }
                }
            }
            None => {}
        }
    }
}
