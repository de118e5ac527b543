//! Passwords, checked with the crate the proxy uses, and at once: a test waits for nothing.

use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};

use tidegate_crypto::{self as crypto, Passwords, Verification};

pub(crate) use crate::bindings::imports::tidegate::policy::password::PasswordError;

static PASSWORDS: LazyLock<(Passwords, tokio::runtime::Runtime)> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    (Passwords::new(2, 64), runtime)
});

pub(crate) fn verify(hash: &str, password: &[u8]) -> Result<bool, PasswordError> {
    let (passwords, runtime) = &*PASSWORDS;
    let _entered = runtime.enter();
    let verified = match passwords.verify(hash, password) {
        Verification::Now(verified) => verified,
        Verification::Later(mut checking) => loop {
            match checking.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(verified) => break verified,
                Poll::Pending => std::thread::yield_now(),
            }
        },
    };
    verified.map_err(|error| match error {
        crypto::PasswordError::UnknownFormat(_) => PasswordError::UnknownFormat,
        crypto::PasswordError::TooCostly { .. } => PasswordError::TooCostly,
        crypto::PasswordError::Busy => PasswordError::Busy,
    })
}

pub(crate) fn dummy(like: &str) -> String {
    Passwords::dummy_like(like)
}
