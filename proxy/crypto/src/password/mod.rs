//! Passwords against the hashes of a password file, without letting the work of it hurt anybody else.

mod stored;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use crate::bounded::{Bounded, Mark};
use stored::Stored;

/// Checks passwords, for the whole process. A clone is the same one.
///
/// A hash is made so that a check takes long: milliseconds to seconds, up to 256 MiB. So a check runs on a
/// blocking thread, and only so many at once; some more wait, in the order in which they came; further ones
/// are refused. A password that was right is remembered for 5 minutes, as every proxy came to do: a browser
/// sends it with each request. A wrong one is not, and costs a check each time: limit those who fail before
/// asking here.
///
/// Read are the formats of htpasswd files and of `/etc/shadow`:
///
/// * bcrypt, `$2a$`, `$2b$` and `$2y$`, which `htpasswd -B` makes, with a cost of up to 14. Only the first 72
///   bytes of a password count, as everywhere else: who chose a longer one can log in with it;
/// * Argon2, `$argon2id$` and `$argon2i$`, with up to 256 MiB and 10 passes;
/// * scrypt, `$scrypt$`, with up to 256 MiB, and up to 1 GiB written in all of its `p` turns;
/// * SHA-crypt, `$5$` and `$6$`, with 1,000 to 1,000,000 rounds.
///
/// At these bounds, a check takes 2 to 3 s. A password of more than 512 bytes is wrong, as it is to `crypt(3)`:
/// the time of SHA-crypt grows with it. So is one with a zero byte in it.
#[derive(Clone)]
pub struct Passwords(Arc<Shared>);

/// The answer, or the way to it.
pub enum Verification {
    /// There is nothing to wait for: the answer is remembered, or it takes no check, or none is made.
    Now(Result<bool, PasswordError>),
    /// Must be polled on a tokio runtime, whose blocking threads it uses. It waits for its turn, then for the
    /// check; bound the time from outside. Dropped before the check began, it gives its place to
    /// another and nothing runs; dropped later, the check runs to its end and keeps its place until then.
    Later(Pin<Box<dyn Future<Output = Result<bool, PasswordError>> + Send>>),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PasswordError {
    /// The hash is of a weak format, or of none that is known, or damaged. Says which, and nothing of the hash.
    #[error("the password's hash is {0}; make it anew with bcrypt, for example: `htpasswd -B`")]
    UnknownFormat(&'static str),
    /// The check would take too long, or too much memory: the hash's author went too far.
    #[error("the password's hash is too costly: its {what} is {found}, and may be {most}")]
    TooCostly {
        /// The parameter.
        what: &'static str,
        /// What it is.
        found: u64,
        /// What it may be.
        most: u64,
    },
    /// As many checks run and wait as may, or there is no memory for one: try again later.
    #[error("too many passwords are being checked")]
    Busy,
}

/// How long a right password is remembered. It does not delay a change of the file: a mark stands for the
/// password and the hash, and the old hash is asked for no more.
const REMEMBERED: Duration = Duration::from_secs(300);
/// About 1 MiB.
const MOST_REMEMBERED: usize = 10_000;
/// That of `crypt(3)` in libxcrypt.
const MOST_PASSWORD_BYTES: usize = 512;

struct Shared {
    /// Never leaves the process: marks in a memory dump are of no use without it, and with it they cost
    /// a guesser as much as a fast hash.
    key: hmac::Key,
    /// Until when.
    remembered: Mutex<Bounded<Instant>>,
    /// For those that run and those that wait.
    places: Arc<Semaphore>,
    /// For those that run. Fair.
    turns: Arc<Semaphore>,
}

impl Passwords {
    /// Up to `at_once` checks run, at least one, and up to `waiting` wait for their turn. Each may take 256
    /// MiB, and a processor for seconds: half of the cores is much.
    ///
    /// # Panics
    ///
    /// If the system has no randomness for the process's key.
    #[must_use]
    pub fn new(at_once: usize, waiting: usize) -> Self {
        let at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        let places = at_once.saturating_add(waiting).min(Semaphore::MAX_PERMITS);
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Self(Arc::new(Shared {
            key: key.expect("the system gives random bytes"),
            remembered: Mutex::new(Bounded::new(MOST_REMEMBERED)),
            places: Arc::new(Semaphore::new(places)),
            turns: Arc::new(Semaphore::new(at_once)),
        }))
    }

    /// A hash of the same format, parameters and salt as this one, which no password matches. For a hash that
    /// is refused, one of bcrypt with a cost of 10.
    #[must_use]
    pub fn dummy_like(hash: &str) -> String {
        stored::dummy_like(hash)
    }

    /// Whether `hash` was made of `password`. The same pair asked for twice at once is checked twice.
    ///
    /// For a user who is not there, check [`Passwords::dummy_like`] another: an answer at once would tell who
    /// is.
    pub fn verify(&self, hash: &str, password: &[u8]) -> Verification {
        let stored = match Stored::read(hash) {
            Ok(stored) => stored,
            Err(error) => return Verification::Now(Err(error)),
        };
        if password.len() > MOST_PASSWORD_BYTES {
            return Verification::Now(Ok(false));
        }
        let mark = self.0.mark(hash, password);
        if self.0.remembers(&mark) {
            return Verification::Now(Ok(true));
        }
        let Ok(place) = self.0.places.clone().try_acquire_owned() else {
            return Verification::Now(Err(PasswordError::Busy));
        };
        let shared = self.0.clone();
        let password = password.to_vec();
        Verification::Later(Box::pin(async move {
            let Ok(turn) = shared.turns.clone().acquire_owned().await else {
                return Err(PasswordError::Busy);
            };
            Running(spawn_blocking(move || {
                let _until_the_end = (place, turn);
                let right = stored.matches(&password)?;
                if right {
                    shared.remember(mark);
                }
                Ok(right)
            }))
            .end()
            .await
        }))
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").finish_non_exhaustive()
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl Shared {
    fn mark(&self, hash: &str, password: &[u8]) -> Mark {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&(hash.len() as u64).to_be_bytes());
        context.update(hash.as_bytes());
        context.update(password);
        let mut mark = Mark::default();
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }

    fn remembers(&self, mark: &Mark) -> bool {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(mark).is_some_and(|until| Instant::now() < *until)
    }

    fn remember(&self, mark: Mark) {
        let until = Instant::now() + REMEMBERED;
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).insert(mark, until);
    }
}

/// A check on its thread, or still in the runtime's queue for one: there it is taken back when nobody waits
/// for it.
struct Running(JoinHandle<Result<bool, PasswordError>>);

impl Running {
    async fn end(mut self) -> Result<bool, PasswordError> {
        match (&mut self.0).await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime shuts down.
            Err(_) => Err(PasswordError::Busy),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}
