//! The numbers of HTTP/2 by the names that RFC 9113 gives them.

/// What a frame is for (RFC 9113 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameType {
    /// A chunk of a body.
    Data = 0x0,
    /// Fields: the head of a message, or its trailers.
    Headers = 0x1,
    /// Deprecated (RFC 9113 §5.3.2).
    Priority = 0x2,
    /// The end of a stream, with an [`ErrorCode`].
    RstStream = 0x3,
    /// The sender's settings, or the acknowledgement of the receiver's.
    Settings = 0x4,
    /// A response to a request that the client has not made.
    PushPromise = 0x5,
    /// A question whether the peer is there, or the answer.
    Ping = 0x6,
    /// The end of the connection, with an [`ErrorCode`].
    GoAway = 0x7,
    /// How many bytes more the sender takes.
    WindowUpdate = 0x8,
    /// Fields for which HEADERS had no room.
    Continuation = 0x9,
}

impl FrameType {
    const ALL: [Self; 10] = [
        Self::Data,
        Self::Headers,
        Self::Priority,
        Self::RstStream,
        Self::Settings,
        Self::PushPromise,
        Self::Ping,
        Self::GoAway,
        Self::WindowUpdate,
        Self::Continuation,
    ];

    /// Panics on a number without a name: the proxy has no reason to send one.
    pub(crate) fn of(number: u8) -> Self {
        let found = Self::ALL.into_iter().find(|kind| *kind as u8 == number);
        found.unwrap_or_else(|| panic!("a frame of type {number:#x}, which RFC 9113 does not know"))
    }
}

/// What a frame says beside its type (RFC 9113 §6).
pub mod flags {
    /// No flag is set.
    pub const NONE: u8 = 0x0;
    /// SETTINGS and PING: the sender has received the peer's.
    pub const ACK: u8 = 0x1;
    /// DATA and HEADERS: nothing follows on this stream.
    pub const END_STREAM: u8 = 0x1;
    /// HEADERS: no CONTINUATION follows.
    pub const END_HEADERS: u8 = 0x4;
}

/// What SETTINGS can set, as far as tests look at it (RFC 9113 §6.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// How many streams the peer may have open.
    MaxConcurrentStreams = 0x3,
    /// How many bytes of a body the peer may send before the first WINDOW_UPDATE.
    InitialWindowSize = 0x4,
}

/// Why a stream or a connection ends (RFC 9113 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// Nothing is wrong.
    NoError = 0x0,
    /// The peer does not keep to the protocol, and no other code says how.
    ProtocolError = 0x1,
    /// The sender has failed.
    InternalError = 0x2,
    /// The peer sent more than the window allows.
    FlowControlError = 0x3,
    /// The peer did not acknowledge SETTINGS.
    SettingsTimeout = 0x4,
    /// A frame for a stream that is closed.
    StreamClosed = 0x5,
    /// A frame of a size that is not valid.
    FrameSizeError = 0x6,
    /// The stream was not processed: the request may be sent again.
    RefusedStream = 0x7,
    /// Nobody wants the stream any more.
    Cancel = 0x8,
    /// The compression of fields has failed.
    CompressionError = 0x9,
    /// The connection of a CONNECT has failed.
    ConnectError = 0xa,
    /// The peer asks for too much work.
    EnhanceYourCalm = 0xb,
    /// TLS is too weak.
    InadequateSecurity = 0xc,
    /// HTTP/1.1 is wanted.
    Http11Required = 0xd,
}

impl ErrorCode {
    const ALL: [Self; 14] = [
        Self::NoError,
        Self::ProtocolError,
        Self::InternalError,
        Self::FlowControlError,
        Self::SettingsTimeout,
        Self::StreamClosed,
        Self::FrameSizeError,
        Self::RefusedStream,
        Self::Cancel,
        Self::CompressionError,
        Self::ConnectError,
        Self::EnhanceYourCalm,
        Self::InadequateSecurity,
        Self::Http11Required,
    ];

    /// Panics on a number without a name: the proxy has no reason to send one.
    pub(crate) fn of(number: u32) -> Self {
        let found = Self::ALL.into_iter().find(|code| *code as u32 == number);
        found.unwrap_or_else(|| panic!("an error code {number:#x}, which RFC 9113 does not know"))
    }
}
