//! When policies are called, and what they decide.

use crate::bodies::{BodyMode, Side};

/// A moment in an exchange at which policies are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The request head is complete; nothing was sent upstream yet.
    Request,
    /// The whole request body is there; nothing was sent upstream yet.
    RequestBody,
    /// A chunk of the request body is there.
    RequestChunk,
    /// The response head is complete; nothing was sent to the client yet.
    Response,
    /// The whole response body is there; nothing was sent to the client yet.
    ResponseBody,
    /// A chunk of the response body is there.
    ResponseChunk,
    /// After the exchange.
    Log,
    /// A period has passed; there is no exchange.
    Timer,
}

impl Phase {
    pub(crate) const ALL: [Self; 8] = [
        Self::Request,
        Self::RequestBody,
        Self::RequestChunk,
        Self::Response,
        Self::ResponseBody,
        Self::ResponseChunk,
        Self::Log,
        Self::Timer,
    ];

    /// `request-body`, say: the name of its interface without `-phase`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::RequestBody => "request-body",
            Self::RequestChunk => "request-chunk",
            Self::Response => "response",
            Self::ResponseBody => "response-body",
            Self::ResponseChunk => "response-chunk",
            Self::Log => "log",
            Self::Timer => "timer",
        }
    }

    /// The phase in which a policy can ask for the body of this side.
    pub(crate) fn of_head(side: Side) -> Self {
        match side {
            Side::Request => Self::Request,
            Side::Response => Self::Response,
        }
    }

    /// The phase that sees as much of the body of this side.
    pub(crate) fn of_body(side: Side, mode: BodyMode) -> Option<Self> {
        match (side, mode) {
            (_, BodyMode::Skip) => None,
            (Side::Request, BodyMode::Whole) => Some(Self::RequestBody),
            (Side::Request, BodyMode::Chunks | BodyMode::StatefulChunks) => Some(Self::RequestChunk),
            (Side::Response, BodyMode::Whole) => Some(Self::ResponseBody),
            (Side::Response, BodyMode::Chunks | BodyMode::StatefulChunks) => Some(Self::ResponseChunk),
        }
    }

    /// Of a phase that sees a body, the one in which that is asked for.
    pub(crate) fn head(self) -> Option<Self> {
        match self {
            Self::RequestBody | Self::RequestChunk => Some(Self::Request),
            Self::ResponseBody | Self::ResponseChunk => Some(Self::Response),
            Self::Request | Self::Response | Self::Log | Self::Timer => None,
        }
    }

    /// True if it comes once for each chunk of a body.
    pub fn sees_chunks(self) -> bool {
        matches!(self, Self::RequestChunk | Self::ResponseChunk)
    }

    /// True if there must be a response for it.
    pub(crate) fn needs_response(self) -> bool {
        matches!(self, Self::Response | Self::ResponseBody | Self::ResponseChunk | Self::Log)
    }
}

/// What a policy decided in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Go on with the next policy of the chain.
    Next,
    /// Skip the rest of the chain for this phase.
    Finish,
    /// Send [`Exchange::reply`](crate::Exchange::reply), which is set.
    Respond,
    /// No decision could be made: the operator's `on-error` applies. The call's edits are undone.
    Fail,
}

impl Verdict {
    /// `next`, `finish`, `respond` or `fail`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Finish => "finish",
            Self::Respond => "respond",
            Self::Fail => "fail",
        }
    }
}
