//! What an authority is answered when it looks whether a name is the proxy's.
//!
//! Workers ask here. The proxy that has an order knows the answer in memory; those that share its storage find it there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::{ChallengeKind, Storage, key};

/// Below this path an authority asks (RFC 8555 §8.3).
pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";
/// The protocol an authority asks with (RFC 8737 §6.2).
pub const ALPN: &[u8] = b"acme-tls/1";

/// Anybody can ask for anything: so many look into the storage at a time, and others are told that there is nothing.
const READERS: usize = 4;
/// A storage that does not answer is not waited for any longer.
const READING: Duration = Duration::from_secs(2);

/// The answers of the whole process.
#[derive(Debug)]
pub struct Challenges {
    own: Mutex<HashMap<(ChallengeKind, String), String>>,
    storage: Mutex<Option<Storage>>,
    readers: Arc<Semaphore>,
}

/// The answer to TLS-ALPN-01, in PEM: a key and a certificate that stands for the answer.
#[derive(Debug)]
pub struct Challenge {
    /// Both.
    pub pem: Vec<u8>,
}

impl Default for Challenges {
    fn default() -> Self {
        Self { own: Mutex::default(), storage: Mutex::default(), readers: Arc::new(Semaphore::new(READERS)) }
    }
}

impl Challenges {
    /// The body for a token; `None`: this token is not ours.
    pub async fn http(&self, token: &str) -> Option<String> {
        // Base64 for URLs (RFC 8555 §8): what else is asked for names no file.
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > 128 || !token.bytes().all(is_token) {
            return None;
        }
        self.answer(ChallengeKind::Http01, token).await
    }

    /// The certificate for a name; `None`: nobody looks whether this one is ours.
    pub async fn tls(&self, name: &str) -> Option<Challenge> {
        let name = name.to_ascii_lowercase();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if name.is_empty() || name.len() > 253 || name.starts_with('.') || !name.bytes().all(is_host) {
            return None;
        }
        let answer = self.answer(ChallengeKind::TlsAlpn01, &name).await?;
        key::answer(&name, &Sha256::digest(answer).into()).ok().map(|pem| Challenge { pem })
    }

    async fn answer(&self, kind: ChallengeKind, key: &str) -> Option<String> {
        let own = lock(&self.own).get(&(kind, key.to_owned())).cloned();
        if own.is_some() {
            return own;
        }
        let storage = lock(&self.storage).clone()?;
        let reader = self.readers.clone().try_acquire_owned().ok()?;
        let key = key.to_owned();
        let read = spawn_blocking(move || {
            let answer = storage.challenge(kind, &key);
            drop(reader);
            answer
        });
        timeout(READING, read).await.ok()?.ok()?
    }

    pub(crate) fn use_storage(&self, storage: Option<Storage>) {
        *lock(&self.storage) = storage;
    }

    /// Answers so until what is returned is dropped.
    pub(crate) fn present(
        self: &Arc<Self>,
        storage: &Storage,
        kind: ChallengeKind,
        key: &str,
        answer: &str,
    ) -> std::io::Result<Presented> {
        storage.set_challenge(kind, key, answer)?;
        lock(&self.own).insert((kind, key.to_owned()), answer.to_owned());
        Ok(Presented { challenges: self.clone(), storage: storage.clone(), kind, key: key.to_owned() })
    }
}

/// An answer that is given.
pub(crate) struct Presented {
    challenges: Arc<Challenges>,
    storage: Storage,
    kind: ChallengeKind,
    key: String,
}

impl Drop for Presented {
    fn drop(&mut self) {
        self.storage.remove_challenge(self.kind, &self.key);
        lock(&self.challenges.own).remove(&(self.kind, std::mem::take(&mut self.key)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn an_answer_is_given_by_all_who_share_the_storage() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("it is made");
        let (one, other) = (Arc::new(Challenges::default()), Challenges::default());
        one.use_storage(Some(storage.clone()));
        other.use_storage(Some(storage.clone()));
        let http =
            one.present(&storage, ChallengeKind::Http01, "to-ken_1", "to-ken_1.thumb").expect("written");
        let tls = one.present(&storage, ChallengeKind::TlsAlpn01, "a.test", "t.thumb").expect("written");
        for challenges in [&*one, &other] {
            assert_eq!(challenges.http("to-ken_1").await.as_deref(), Some("to-ken_1.thumb"));
            assert!(challenges.tls("A.test").await.is_some());
            for strange in ["", "other", "../http-01/to-ken_1", "to-ken_1/", ".", ".."] {
                assert_eq!(challenges.http(strange).await, None, "{strange}");
                assert!(challenges.tls(strange).await.is_none(), "{strange}");
            }
        }
        drop((http, tls));
        for challenges in [&*one, &other] {
            assert_eq!(challenges.http("to-ken_1").await, None);
            assert!(challenges.tls("a.test").await.is_none());
        }
    }
}
