//! Session tickets (RFC 5077, RFC 8446 §4.6.1) that any proxy which shares the storage can open.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::ProducesTickets;
use tidegate_acme::{At, TicketSecret, TicketSecrets};
use tidegate_crypto::{Hash, SealingKey, hmac};

/// In seconds: as long as a secret is used, after which tickets that it sealed are good for as long again.
const LIFETIME: u32 = 8 * 3600;
/// Of the name of the secret that sealed a ticket, at its beginning.
const ID: usize = 8;

/// The tickets of one listener.
pub(super) struct Shared {
    secrets: Arc<TicketSecrets>,
    /// What a session of this listener has been checked by. A ticket of another one must not be good here: it may have asked
    /// for no client certificate.
    context: Vec<u8>,
    /// While there are no secrets.
    own: Arc<dyn ProducesTickets>,
}

impl Shared {
    /// `context` is the same on all proxies whose tickets are to be good here.
    pub(super) fn new(secrets: Arc<TicketSecrets>, context: Vec<u8>) -> Result<Self, rustls::Error> {
        Ok(Self { secrets, context, own: aws_lc_rs::Ticketer::new()? })
    }

    /// A name for the key.
    fn id(&self, secret: &TicketSecret) -> Option<[u8; ID]> {
        let id = hmac(Hash::Sha256, &secret.bytes, &[b"name ", &*self.context].concat());
        id.get(..ID)?.try_into().ok()
    }

    fn key(&self, secret: &TicketSecret) -> Option<SealingKey> {
        let key = hmac(Hash::Sha256, &secret.bytes, &[b"key ", &*self.context].concat());
        SealingKey::new(key.get(..32)?.try_into().ok()?)
    }
}

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let (secrets, now) = (self.secrets.now(), At::now());
        let Some(secret) = secrets.iter().find(|secret| secret.from <= now) else {
            return self.own.encrypt(plain);
        };
        Some([&self.id(secret)?[..], &self.key(secret)?.seal(plain)?].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (id, sealed) = ticket.split_at_checked(ID)?;
        let secrets = self.secrets.now();
        match secrets.iter().find(|secret| self.id(secret).is_some_and(|known| known == id)) {
            Some(secret) => self.key(secret)?.open(sealed),
            None => self.own.decrypt(ticket),
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}
