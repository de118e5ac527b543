//! Session tickets (RFC 5077, RFC 8446 §4.6.1) that a process which takes the place of this one can open, and any proxy that
//! shares the storage.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::server::ProducesTickets;
use tidegate_acme::{At, TicketSecret, TicketSecrets};
use tidegate_crypto::{Hash, SealingKey, hmac};

/// As long as a secret is used, after which tickets that it sealed are good for as long again.
const LIFETIME: Duration = Duration::from_secs(8 * 3600);
/// Of the name of the secret that sealed a ticket, at its beginning.
const ID: usize = 8;
/// The secret that is used, and the one whose tickets are still good.
const KEPT: usize = 2;

/// The secrets of this process.
#[derive(Default)]
pub(crate) struct OwnSecrets(Mutex<Arc<[TicketSecret]>>);

impl OwnSecrets {
    /// To go on with those of another process.
    pub(crate) fn of(secrets: Vec<TicketSecret>) -> Self {
        Self(Mutex::new(secrets.into()))
    }

    /// The newest first, which is good for sealing: a new one is made when it is time.
    pub(crate) fn at(&self, now: At) -> Arc<[TicketSecret]> {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if secrets.first().is_none_or(|newest| newest.from.plus(LIFETIME) <= now) {
            let new = TicketSecret { bytes: rand::random(), from: now };
            *secrets = std::iter::once(new).chain(secrets.iter().take(KEPT - 1).cloned()).collect();
        }
        secrets.clone()
    }
}

/// The tickets of one listener.
pub(super) struct Tickets {
    own: Sealing<Arc<OwnSecrets>>,
    /// Where proxies share them; while there are no such secrets, those of the process are used.
    shared: Option<Sealing<Arc<TicketSecrets>>>,
}

/// What a session of a listener has been checked by is mixed into what its tickets are sealed with. A ticket of another one must
/// not be good here: it may have asked for no client certificate.
pub(super) struct Sealing<S> {
    pub(super) secrets: S,
    pub(super) context: Vec<u8>,
}

impl<S> Sealing<S> {
    /// A name for the key.
    fn id(&self, secret: &TicketSecret) -> Option<[u8; ID]> {
        let id = hmac(Hash::Sha256, &secret.bytes, &[b"name ", &*self.context].concat());
        id.get(..ID)?.try_into().ok()
    }

    fn key(&self, secret: &TicketSecret) -> Option<SealingKey> {
        let key = hmac(Hash::Sha256, &secret.bytes, &[b"key ", &*self.context].concat());
        SealingKey::new(key.get(..32)?.try_into().ok()?)
    }

    fn seal(&self, secret: &TicketSecret, plain: &[u8]) -> Option<Vec<u8>> {
        Some([&self.id(secret)?[..], &self.key(secret)?.seal(plain)?].concat())
    }

    /// `None` if none of the secrets has sealed it.
    fn open(&self, secrets: &[TicketSecret], id: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let secret = secrets.iter().find(|secret| self.id(secret).is_some_and(|known| known == id))?;
        self.key(secret)?.open(sealed)
    }
}

impl Tickets {
    pub(super) fn new(own: Sealing<Arc<OwnSecrets>>, shared: Option<Sealing<Arc<TicketSecrets>>>) -> Self {
        Self { own, shared }
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // Eight hours.
        u32::try_from(LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = At::now();
        if let Some(shared) = &self.shared
            && let Some(secret) = shared.secrets.now().iter().find(|secret| secret.from <= now)
        {
            return shared.seal(secret, plain);
        }
        self.own.seal(self.own.secrets.at(now).first()?, plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, sealed) = ticket.split_at_checked(ID)?;
        let shared = self.shared.as_ref().and_then(|shared| shared.open(&shared.secrets.now(), id, sealed));
        shared.or_else(|| self.own.open(&self.own.secrets.at(At::now()), id, sealed))
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets(own: &Arc<OwnSecrets>, context: &str) -> Tickets {
        Tickets::new(Sealing { secrets: own.clone(), context: context.into() }, None)
    }

    #[test]
    fn a_process_that_has_the_secrets_opens_tickets_of_the_same_listener_alone() {
        let before = Arc::<OwnSecrets>::default();
        let ticket = tickets(&before, "web").encrypt(b"session").expect("randomness");
        let handed_over = Arc::new(OwnSecrets::of(before.at(At::now()).to_vec()));
        assert_eq!(tickets(&handed_over, "web").decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets(&handed_over, "other").decrypt(&ticket), None);
        assert_eq!(tickets(&Arc::default(), "web").decrypt(&ticket), None);
    }

    #[test]
    fn a_secret_is_used_for_a_while_and_good_for_as_long_again() {
        let own = OwnSecrets::default();
        let mut now = At(1_000_000);
        let first = own.at(now)[0].clone();
        assert!(own.at(now.plus(LIFETIME / 2))[0] == first);
        now = now.plus(LIFETIME);
        let secrets = own.at(now);
        assert!(secrets[0] != first && secrets[1] == first && secrets[0].from == now);
        assert!(!own.at(now.plus(LIFETIME)).contains(&first));
    }
}
