//! One authority: the account with it, and for how long it is left alone.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::failure::{Failure, Fault};
use crate::plan::spread;
use crate::settings::Authority;
use crate::transport::{Client, Told};
use crate::{At, Storage};

/// After the first failure that is the authority's own.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// However often it fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Between two looks whether another proxy has made the account.
const LOOK: Duration = Duration::from_millis(500);

/// An authority that is asked.
pub(crate) struct Asked {
    pub(crate) settings: Authority,
    /// Names the account in the storage.
    account: String,
    pause: Mutex<Pause>,
}

/// For how long no name asks an authority.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause {
    /// Failures in a row.
    count: u32,
    pub(crate) until: Option<At>,
    /// Why.
    pub(crate) error: Option<String>,
}

impl Asked {
    pub(crate) fn new(settings: Authority) -> Self {
        let host = settings.directory.split('/').nth(2).unwrap_or_default();
        let host: String = host
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
            .take(100)
            .collect();
        let bound = settings.external_account.as_ref().map(|bound| bound.id.as_str()).unwrap_or_default();
        let digest = Sha256::digest(format!("{} {bound}", settings.directory));
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Self { account: format!("{host}-{digest}"), settings, pause: Mutex::default() }
    }

    pub(crate) fn pause(&self) -> Pause {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Until when it is left alone.
    pub(crate) fn paused_until(&self, now: At) -> Option<At> {
        self.pause().until.filter(|until| *until > now)
    }

    /// It answered as it should.
    pub(crate) fn answered(&self) {
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Pause::default();
    }

    /// Pauses if the failure is about more than one name. A limit may be one of that name or its domain alone: so the pause
    /// begins short, and grows as long as nothing else succeeds.
    pub(crate) fn failed(&self, failure: &Failure, now: At) {
        if !matches!(failure.fault, Fault::Authority | Fault::RateLimit) {
            return;
        }
        let mut pause = self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        if pause.until.is_some_and(|until| until > now) {
            // Begun before the pause.
            return;
        }
        let own = FIRST_PAUSE.saturating_mul(1 << pause.count.min(12)).min(LONGEST_PAUSE);
        let said = failure.not_before.map(|at| at.since(now)).unwrap_or_default();
        let length = match failure.fault {
            Fault::RateLimit if said > Duration::ZERO => said.min(own.saturating_mul(6)),
            _ => said.max(spread(own, rand::random())),
        };
        *pause = Pause {
            count: pause.count + 1,
            until: Some(now.plus(length.max(Duration::from_secs(1)))),
            error: Some(failure.text.clone()),
        };
        tracing::warn!(
            target: "acme",
            directory = %self.settings.directory,
            "the authority is left alone for {} s: {}",
            length.as_secs(),
            failure.text
        );
    }

    /// The account, which is made if there is none. What is told is of this account alone.
    pub(crate) async fn account(
        &self,
        storage: &Storage,
        email: Option<&str>,
    ) -> Result<(Account, Told), Failure> {
        // For a request or two.
        const WAITS: usize = 120;
        for _ in 0..WAITS {
            if let Some(account) = self.stored_account(storage).await? {
                return Ok(account);
            }
            let lease = storage.lease(&format!("account@{}", self.account)).map_err(own)?;
            let Some(lease) = lease else {
                sleep(LOOK).await;
                continue;
            };
            let made = lease.hold(async {
                // Another proxy may have made it just now.
                match self.stored_account(storage).await? {
                    Some(account) => Ok(account),
                    None => self.make_account(storage, email).await,
                }
            });
            return made.await.unwrap_or_else(|_| Err(Failure::own("another proxy makes the account")));
        }
        Err(Failure::own("another proxy makes the account"))
    }

    async fn stored_account(&self, storage: &Storage) -> Result<Option<(Account, Told)>, Failure> {
        let Some(text) = storage.account(&self.account).map_err(own)? else { return Ok(None) };
        let credentials: AccountCredentials = serde_json::from_slice(&text)
            .map_err(|error| Failure::own(format!("the account {} cannot be read: {error}", self.account)))?;
        let (client, told) = Client::new(self.settings.transport.clone());
        let account = Account::builder_with_http(Box::new(client)).from_credentials(credentials).await;
        match account {
            Ok(account) => Ok(Some((account, told))),
            Err(error) => Err(Failure::of(error, told.take())),
        }
    }

    async fn make_account(&self, storage: &Storage, email: Option<&str>) -> Result<(Account, Told), Failure> {
        let (client, told) = Client::new(self.settings.transport.clone());
        let contact = email.map(|email| format!("mailto:{email}"));
        let contacts: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contacts, terms_of_service_agreed: true, only_return_existing: false };
        let bound = self.settings.external_account.as_ref();
        let bound = bound.map(|bound| ExternalAccountKey::new(bound.id.clone(), &bound.key));
        let made = Account::builder_with_http(Box::new(client))
            .create(&new, self.settings.directory.clone(), bound.as_ref())
            .await;
        let (account, credentials) = made.map_err(|error| {
            let mut failure = Failure::of(error, told.take());
            // Without an account there is nothing for any name.
            failure.fault = match failure.fault {
                Fault::RateLimit => Fault::RateLimit,
                _ => Fault::Authority,
            };
            failure.text = format!("no account: {}", failure.text);
            failure
        })?;
        let text =
            serde_json::to_vec_pretty(&credentials).map_err(|error| Failure::own(error.to_string()))?;
        storage.set_account(&self.account, &text).map_err(own)?;
        tracing::info!(target: "acme", directory = %self.settings.directory, account = %account.id(), "account made");
        Ok((account, told))
    }

    /// The authority does not know it: the next attempt makes another one.
    pub(crate) fn forget_account(&self, storage: &Storage) {
        storage.forget_account(&self.account);
    }
}

fn own(error: std::io::Error) -> Failure {
    Failure::own(format!("the storage cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Transport, TransportFuture};

    struct Nowhere;

    impl Transport for Nowhere {
        fn send(&self, _: http::Request<bytes::Bytes>) -> TransportFuture {
            Box::pin(async { Err("nothing is there".to_owned()) })
        }
    }

    fn asked(directory: &str) -> Asked {
        let (directory, transport) = (directory.to_owned(), Arc::new(Nowhere));
        Asked::new(Authority { directory, profile: None, external_account: None, transport })
    }

    #[test]
    fn each_authority_has_an_account_of_its_own() {
        let (one, other) = (asked("https://ca.test:14000/dir"), asked("https://ca.test:14000/other"));
        assert!(one.account.starts_with("ca.test_14000-"), "{}", one.account);
        assert_ne!(one.account, other.account);
    }

    #[test]
    fn a_pause_grows_and_ends_with_an_answer() {
        let asked = asked("https://ca.test/dir");
        let failure = |fault| Failure::new(fault, "no");
        let mut now = At(1_000_000);
        asked.failed(&failure(Fault::Name), now);
        assert_eq!(asked.paused_until(now), None, "one name's own matter");
        let mut lengths = Vec::new();
        for _ in 0..12 {
            asked.failed(&failure(Fault::Authority), now);
            let until = asked.paused_until(now).expect("a pause");
            asked.failed(&failure(Fault::Authority), now);
            assert_eq!(asked.paused_until(now), Some(until), "attempts side by side count once");
            lengths.push(until.since(now).as_secs());
            now = until;
        }
        assert!(lengths[0] <= 12 && lengths[3] > lengths[0] && lengths[11] <= 3600 * 6 / 5, "{lengths:?}");
        asked.answered();
        assert_eq!(asked.paused_until(now), None);
        let limited =
            Failure { not_before: Some(now.plus(Duration::from_secs(3600))), ..failure(Fault::RateLimit) };
        asked.failed(&limited, now);
        assert_eq!(asked.paused_until(now), Some(now.plus(Duration::from_secs(60))));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_authority_that_is_not_there_is_at_fault() {
        let folder = tempfile::tempdir().expect("a folder");
        let storage = Storage::open(folder.path()).expect("it is made");
        let failure = asked("https://ca.test/dir").account(&storage, None).await.err().expect("no account");
        assert_eq!(
            (failure.fault, failure.text.as_str()),
            (Fault::Authority, "no account: nothing is there")
        );
    }
}
