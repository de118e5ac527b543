//! An answer that may be there at once.

use std::fmt;
use std::pin::Pin;

/// What came of it: at once, or after a round trip to the shared store.
///
/// Not simply a future, so that whoever asks can go on without suspending anything when nothing has to be
/// waited for.
pub enum Answer<T> {
    /// Known already.
    Now(T),
    /// To be waited for on a tokio runtime with time. It is bounded: by the limiter's timeout, or by 100 ms
    /// for a store. Dropping it gives up the answer; what was asked may be done all the same.
    Later(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Answer<T> {
    /// Waits if need be.
    pub async fn wait(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }

    /// The same with what `change` makes of the answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U + Send + 'static) -> Answer<U>
    where
        T: 'static,
    {
        match self {
            Self::Now(answer) => Answer::Now(change(answer)),
            Self::Later(answer) => Answer::Later(Box::pin(async { change(answer.await) })),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}
