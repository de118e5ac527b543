//! Why a body could not be passed on.

use std::error::Error;
use std::sync::Arc;

use crate::any::BoxError;
use crate::codec::DecodedTooLarge;
use crate::memory::MemoryUsedUp;

/// Why a request body could not be passed on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RequestBodyError {
    /// The body is over `limits.request-body`.
    #[error("the request body is over limits.request-body")]
    TooLarge,
    /// The body is over what the upstream's `buffer-requests` keeps.
    #[error("the request body is over buffer-requests of upstream {upstream}")]
    OverBuffer {
        /// The upstream's name.
        upstream: Arc<str>,
    },
    /// The body would have to be kept, and all temporary files together are at `limits.temporary-space`.
    #[error("limits.temporary-space is used up, and the request body has to be kept")]
    NoSpace,
    /// The body would have to be kept, and `limits.memory` is used up, or the client's share of it.
    #[error("limits.memory, or the client's share of it, is used up, and the request body has to be kept")]
    NoMemory,
    /// The body could not be kept on the disk, or not be read again.
    #[error("cannot keep the request body in a temporary file: {cause}")]
    TemporaryFile {
        /// The system's message.
        cause: String,
    },
    /// What the body's codings hide is over `limits.decoded-body`.
    #[error(transparent)]
    Decoded(#[from] DecodedTooLarge),
    /// The client sent nothing of its body for `timeouts.body-idle`.
    #[error("the client sent nothing of its body for timeouts.body-idle")]
    Idle,
    /// The client sends slower than `limits.min-rate` allows.
    #[error("the client sends its body slower than limits.min-rate")]
    Slow,
    /// The client's body broke off or its framing is wrong.
    #[error("the request body broke off or is badly framed")]
    Broken,
    /// A stage of the body failed: a codec, or what else the caller put in its way.
    #[error("{0}")]
    Stage(Arc<dyn Error + Send + Sync>),
}

impl RequestBodyError {
    /// What broke a body off that may have gone through stages: the client's body says what befell it, and
    /// anything else is a stage's.
    pub fn of(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(known) => return *known,
            Err(error) => error,
        };
        if error.is::<MemoryUsedUp>() {
            return Self::NoMemory;
        }
        match error.downcast::<DecodedTooLarge>() {
            Ok(known) => Self::Decoded(*known),
            Err(error) => Self::Stage(error.into()),
        }
    }
}
